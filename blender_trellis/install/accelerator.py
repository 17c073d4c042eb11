"""Which build of torch suits this machine, and how large it is. No bpy."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Size:
    """Bytes, roughly."""

    download: int
    disk: int


GB = 1 << 30
OWN_PYTHON = Size(35 << 20, 110 << 20)  # of a standalone Python
SIZES = {"cpu": Size(int(0.6 * GB), 2 * GB), "cuda": Size(int(3.4 * GB), int(7.5 * GB))}
SPARE = 1.5  # times the disk's share that must be free, as both packages and archives lie there for a while


def suggested_accelerator() -> str:
    """ "cuda" where there is a driver of NVIDIA, else "cpu". Looks at files only and takes no time."""
    if platform.system() == "Windows":
        driver = [Path(os.environ.get("SYSTEMROOT", r"C:\Windows")) / "System32" / "nvcuda.dll"]
    elif platform.system() == "Linux":
        driver = [
            Path("/proc/driver/nvidia/version"),
            Path("/usr/lib/wsl/lib/libcuda.so.1"),
            Path("/dev/nvidia0"),
        ]
    else:
        driver = []
    return "cuda" if any(path.exists() for path in driver) else "cpu"


def size_of(accelerator: str, own_python: bool = False) -> Size:
    """What "Install Backend" downloads and takes for "cpu" or "cuda"."""
    size = SIZES[accelerator]
    extra = OWN_PYTHON if own_python else Size(0, 0)
    return Size(size.download + extra.download, size.disk + extra.disk)


def in_words(count: int) -> str:
    """Bytes as people read them."""
    return f"{count / GB:.1f} GB" if count >= GB // 10 else f"{count / (1 << 20):.0f} MB"
