"""The two ways to start a backend: with a Python of this machine, or by a command that reaches another."""

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from ..faults import Fault
from ..process.backend_process import BackendProcess
from .results import checked


@dataclass(frozen=True)
class Launch:
    """A backend of this machine."""

    python: Path
    root: Path  # the extension's, which holds the backend
    log: Path
    models: Path | None = None  # folder of downloaded models
    background_remover: Path | None = None  # U²-Net's file
    module: tuple[str, ...] = ("-m", "backend")

    def start(self) -> BackendProcess:
        """A started process. Fault where it cannot be started."""
        # -E -s: nothing of Blender's own Python leads the backend astray.
        command = [str(self.python), "-E", "-s", *self.module]
        paths = {"TRELLIS_MODELS": self.models, "TRELLIS_U2NET": self.background_remover}
        variables = {name: str(path) for name, path in paths.items() if path is not None}
        process = BackendProcess(command, self.root, self.log, variables=variables, prepare=checked)
        process.start()
        return process


@dataclass(frozen=True)
class CommandLaunch:
    """A backend behind a command such as `ssh gpubox trellis-backend`.

    Nothing of this machine's folders goes with it: where it runs, it has its own.
    """

    command: str
    log: Path

    def start(self) -> BackendProcess:
        """A started process. Fault where the command cannot be read or started."""
        home = os.path.expanduser("~")
        folder = Path(home if os.path.isdir(home) else os.sep)  # a service may have no home
        process = BackendProcess(words_of(self.command), folder, self.log, by_command=True, prepare=checked)
        process.start()
        return process


def words_of(command: str) -> list[str]:
    """A command line as its words, split as a shell would, though none runs. Fault where it has none."""
    try:
        words = shlex.split(command, posix=os.name == "posix")
    except ValueError as error:
        raise Fault(
            f"The backend command cannot be read ({error}): correct its quotation marks in the preferences."
        ) from None
    if os.name != "posix":
        words = [word.strip('"') for word in words]
    if not words:
        raise Fault("The backend command is empty: enter one in the preferences.")
    return words
