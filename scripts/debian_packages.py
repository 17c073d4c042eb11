"""The system packages that the environments need on Debian and Ubuntu: which are missing, how to get them.

Blender as a Python module links against X11 and OpenGL libraries even when it never opens a window, and
Debian ships Python without the module that makes virtual environments.
"""

import ctypes
import importlib.util
import os
import shutil
import subprocess
import sys

# What bpy's shared objects name and its wheel does not carry -> the package that has it.
LIBRARIES = {
    "libX11.so.6": "libx11-6",
    "libXext.so.6": "libxext6",
    "libXrender.so.1": "libxrender1",
    "libXfixes.so.3": "libxfixes3",
    "libXi.so.6": "libxi6",
    "libXxf86vm.so.1": "libxxf86vm1",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libSM.so.6": "libsm6",
    "libICE.so.6": "libice6",
    "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
}


def missing_venv() -> list[str]:
    """The package without which this interpreter cannot make virtual environments."""
    if importlib.util.find_spec("ensurepip") is None:
        return [f"python{sys.version_info.major}.{sys.version_info.minor}-venv"]
    return []


def missing_libraries() -> list[str]:
    """Packages of the libraries that Blender's Python module would not find."""
    return [package for library, package in LIBRARIES.items() if not _loads(library)]


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def can_install() -> bool:
    """Whether this process may install packages."""
    return shutil.which("apt-get") is not None and os.geteuid() == 0


def install_command(packages: list[str]) -> list[str]:
    """The line that gets them."""
    return ["apt-get", "install", "-y", "--no-install-recommends", *packages]


def install(packages: list[str]) -> str:
    """Install them; returns the last line of apt's complaint, empty when all went well."""
    _apt(["apt-get", "update"])  # a mirror that fails here may still have the packages
    result = _apt(install_command(packages))
    if result.returncode == 0:
        return ""
    return (result.stderr.strip() or "no output").splitlines()[-1]


def _apt(command: list[str]) -> subprocess.CompletedProcess[str]:
    environ = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    command = [*command, "-o", "DPkg::Lock::Timeout=300"]
    return subprocess.run(
        command, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace"
    )
