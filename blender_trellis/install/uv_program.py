"""uv, the program that makes Python environments: the one in wheels/, or the one on PATH. No bpy.

Blender unpacks wheels without the right to run what is in them, so that the program is taken out of the
extension's wheel file and put into the user's folder, once for each version.
"""

import logging
import os
import platform
import re
import shutil
import zipfile
from pathlib import Path

log = logging.getLogger(__name__)

FOLDER = "uv"  # in the user's folder
SYSTEMS = {"Linux": "manylinux", "Windows": "win", "Darwin": "macosx"}
MACHINES = {
    "x86_64": "x86_64|amd64",
    "amd64": "x86_64|amd64",
    "aarch64": "aarch64|arm64",
    "arm64": "aarch64|arm64",
}


def find_uv(extension_root: Path, user_folder: Path) -> str:
    """The program's path; "" where there is none."""
    wheel = bundled_wheel(extension_root)
    if wheel is not None:
        try:
            return str(_unpacked(wheel, user_folder / FOLDER))
        except (OSError, zipfile.BadZipFile, KeyError) as fault:
            log.warning("uv cannot be taken out of %s: %s", wheel.name, fault)
    return shutil.which("uv") or ""


def bundled_wheel(extension_root: Path) -> Path | None:
    """uv's wheel for this machine, None where the extension holds none."""
    system, machine = SYSTEMS.get(platform.system()), MACHINES.get(platform.machine().lower())
    if system is None or machine is None:
        return None
    fits = re.compile(rf"uv-[\w.]+-py3-none-(.*\.)?{system}[\d_]*({machine})\b.*\.whl")
    wheels = sorted((extension_root / "wheels").glob("uv-*.whl"))
    return next((wheel for wheel in reversed(wheels) if fits.fullmatch(wheel.name)), None)


def _unpacked(wheel: Path, folder: Path) -> Path:
    """The program out of the wheel, in a folder of its version. OSError, BadZipFile, KeyError."""
    version = wheel.name.split("-")[1]
    name = "uv.exe" if os.name == "nt" else "uv"
    with zipfile.ZipFile(wheel) as archive:
        member = archive.getinfo(f"uv-{version}.data/scripts/{name}")
        program = folder / version / name
        if program.is_file() and program.stat().st_size == member.file_size:
            return program
        program.parent.mkdir(parents=True, exist_ok=True)
        part = program.with_name(f"{name}.{os.getpid()}.part")
        with archive.open(member) as source, part.open("wb") as target:
            shutil.copyfileobj(source, target)
    part.chmod(0o755)
    os.replace(part, program)
    return program
