"""Where compiled functions are kept from one start to the next, on machines that let nothing be written.

numba keeps them beside the code or in the user's cache, and refuses to load such functions at all where it
may write to neither, as under an account without a home.
"""

import os
import stat
import sys
import tempfile
from collections.abc import MutableMapping
from pathlib import Path

VARIABLE = "NUMBA_CACHE_DIR"


def choose_numba_cache(environment: MutableMapping[str, str]) -> None:
    """Name a temporary folder in `environment` where numba's own places cannot be written."""
    if VARIABLE not in environment and not any(map(_takes_files, (_beside_the_code(), _of_the_user()))):
        environment[VARIABLE] = str(_temporary())


def _beside_the_code() -> Path:
    return Path(__file__).parent / "__pycache__"


def _of_the_user() -> Path:
    """As numba finds it."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", ""))
    if sys.platform == "darwin":
        return Path(os.path.expanduser("~/Library/Caches/numba"))
    return Path(os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache"))) / "numba"


def _takes_files(folder: Path) -> bool:
    if not folder.is_absolute():
        return False
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True


def _temporary() -> Path:
    """The same one at every start, unless somebody else may write to it, for what lies in it is executed."""
    user = os.getuid() if hasattr(os, "getuid") else 0
    folder = Path(tempfile.gettempdir()) / f"trellis-numba-{user}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return Path(tempfile.mkdtemp(prefix="trellis-numba-"))
    is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == user and not found.st_mode & 0o022
    return folder if is_ours or os.name == "nt" else Path(tempfile.mkdtemp(prefix="trellis-numba-"))
