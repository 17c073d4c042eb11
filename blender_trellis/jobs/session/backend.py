"""Where the backend is, and how it is started."""

import time
from dataclasses import replace
from pathlib import Path

from ...backend_settings import backend_settings
from ...extension_paths import extension_root, user_folder
from ...install.backend_install import find_python, is_outdated
from ...protocol import Making
from ..launch import CommandLaunch, Launch
from .state import State, current

PYTHON_SECONDS = 2.0  # how long the search for the backend's Python is believed


def backend_python(fresh: bool = False) -> Path | None:
    """The backend's interpreter, None while there is none. Looked for every other second, or now."""
    state = current()
    if fresh or time.monotonic() - state.python_known > PYTHON_SECONDS:
        python = find_python(backend_settings().python, user_folder(), extension_root())
        state.python = python
        state.is_outdated = python is not None and is_outdated(python, user_folder(), extension_root())
        state.python_known = time.monotonic()
    return state.python


def has_backend() -> bool:
    """Whether there is something to start: a command, or an interpreter."""
    return bool(backend_settings().command) or backend_python() is not None


def needs_repair() -> bool:
    """Whether the installed packages are of another version of the extension, which was updated since."""
    return not backend_settings().command and backend_python() is not None and current().is_outdated


def is_running() -> bool:
    """Whether there is a backend process."""
    return current().runner.is_alive


def known_devices() -> list[str]:
    """What a model can run on, as far as it is known."""
    hello = current().runner.hello
    found = [device.name for device in hello.devices] if hello is not None else ["cpu", "cuda"]
    return ["auto", *found]


def _renewed(request: Making) -> Making:
    """The request, to be run where and how the preferences say now."""
    chosen = backend_settings()
    return replace(
        request,
        device=chosen.device,
        precision=chosen.precision,
        engine=chosen.engine,
        memory=chosen.memory,
    )


def choose_launch(state: State) -> None:
    """Lets the next backend start as the preferences say now, and each job begin as they say then."""
    state.runner.change = _renewed
    python, chosen = backend_python(fresh=True), backend_settings()
    log_path = user_folder(create=True) / "backend.log"
    if chosen.command:
        state.runner.use(CommandLaunch(chosen.command, log_path))
    elif python is not None:
        remover = chosen.background_remover
        state.runner.use(Launch(python, extension_root(), log_path, chosen.models, remover))
