"""Where packages come from on this machine, as pip is told, in uv's words. Standard library only, no bpy.

uv does not read pip's configuration; a machine behind a mirror has nothing else.
"""

import configparser
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

OPTIONS = {  # of pip -> variables of uv
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "no-index": "UV_NO_INDEX",
    "constraint": "UV_CONSTRAINT",
    "cert": "SSL_CERT_FILE",
    "trusted-host": "UV_INSECURE_HOST",
    "proxy": "ALL_PROXY",
}
_PROXIES = ("ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy")
OWN_SOURCES = (
    "UV_DEFAULT_INDEX",
    "UV_INDEX_URL",
    "UV_INDEX",
    "UV_EXTRA_INDEX_URL",
    "UV_FIND_LINKS",
    "UV_NO_INDEX",
)


def uv_variables(environ: Mapping[str, str] = os.environ, offline_folder: str = "") -> dict[str, str]:
    """Variables that make uv take packages from where pip would; uv's own variables go before them.

    offline_folder: a folder of wheels to take everything from, without a network; "" for none.
    """
    if offline_folder:
        links = address_of(offline_folder)
        return {"UV_FIND_LINKS": links, "UV_NO_INDEX": "1", "UV_OFFLINE": "1", "UV_NO_CONFIG": "1"}
    told = _pip_options(environ)
    variables = {name: _joined(option, told[option]) for option, name in OPTIONS.items() if told.get(option)}
    if any(environ.get(name) for name in _PROXIES):
        variables.pop("ALL_PROXY", None)
    if "UV_INDEX" in variables or "UV_FIND_LINKS" in variables:
        variables["UV_INDEX_STRATEGY"] = "unsafe-best-match"  # as pip: the best of all sources
    return {name: value for name, value in variables.items() if name not in environ}


def address_of(folder: str) -> str:
    """A folder as pip and uv may be told of it: pip parts what it is told at blanks, uv at commas."""
    return Path(folder).absolute().as_uri()


def has_own_sources(environ: Mapping[str, str], variables: Mapping[str, str]) -> bool:
    """Whether this machine is told where to find packages: a mirror, a folder of wheels."""
    return any(name in environ or name in variables for name in OWN_SOURCES)


def _joined(option: str, value: str) -> str:
    if option == "find-links":
        return ",".join(value.split())
    if option == "no-index":
        return "1" if value.strip().lower() in ("1", "true", "yes", "on") else "0"
    if option == "proxy" and "://" not in value:
        return f"http://{value.strip()}"
    return " ".join(value.split())


def _pip_options(environ: Mapping[str, str]) -> dict[str, str]:
    """pip's options of this machine: its files, the later ones before the earlier, then its variables."""
    told: dict[str, str] = {}
    for file in _config_files(environ):
        parser = configparser.RawConfigParser()
        try:
            parser.read(file, encoding="utf-8")
        except (OSError, UnicodeDecodeError, configparser.Error):
            continue  # pip itself says what is wrong with it
        for section in ("global", "install"):
            if parser.has_section(section):
                told |= dict(parser.items(section))
    for option in OPTIONS:
        name = "PIP_" + option.upper().replace("-", "_")
        if environ.get(name):
            told[option] = environ[name]
    return told


def _config_files(environ: Mapping[str, str]) -> list[Path]:
    home = Path(environ.get("USERPROFILE" if os.name == "nt" else "HOME") or os.path.expanduser("~"))
    chosen = environ.get("PIP_CONFIG_FILE", "")
    if chosen == os.devnull:
        return []
    if os.name == "nt":
        data = Path(environ.get("PROGRAMDATA", r"C:\ProgramData"))
        roaming = Path(environ.get("APPDATA") or home / "AppData" / "Roaming")
        files = [data / "pip" / "pip.ini", home / "pip" / "pip.ini", roaming / "pip" / "pip.ini"]
    else:
        shared = re.split(os.pathsep, environ.get("XDG_CONFIG_DIRS") or "/etc/xdg")
        files = [Path(folder) / "pip" / "pip.conf" for folder in reversed(shared)] + [Path("/etc/pip.conf")]
        if sys.platform == "darwin":
            files.append(home / "Library" / "Application Support" / "pip" / "pip.conf")
        config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
        files += [home / ".pip" / "pip.conf", config / "pip" / "pip.conf"]
    return files + ([Path(chosen)] if chosen else [])
