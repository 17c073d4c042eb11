"""What is done to the backend in the background: checks, installations, self-tests, its models."""

import threading
from collections.abc import Callable

from ...backend_settings import backend_settings
from ...extension_paths import extension_root, user_folder
from ...install.accelerator import in_words
from ...install.backend_install import Wanted, install, remove
from ...install.health import Health, check, lock_for
from ...install.model_command import ModelsDone, run_models
from ...install.python_environment import mark_time
from ...install.self_test import run_self_test as self_test
from ...process.background_task import BackgroundTask, Report, TaskState
from .backend import backend_python
from .state import current
from .timer import wake

END_SECONDS = 30.0  # for a program to end, before its files are changed


def task(name: str) -> TaskState | None:
    """The state of the latest task of that name."""
    held = current().tasks.get(name)
    return held.state if held is not None else None


def cancel_task(name: str) -> None:
    """Asks a task to stop."""
    held = current().tasks.get(name)
    if held is not None:
        held.cancel()


def _start_task(name: str, started: BackgroundTask) -> None:
    state = current()
    state.tasks[name] = started
    state.running_tasks.add(name)
    wake()


def backend_health() -> Health | None:
    """What has been found out about the interpreter; None until it is known. Asks it the first time."""
    state, python = current(), backend_python()
    if python is None:
        return None
    key = (python, mark_time(python.parent.parent))
    if state.checked != key:
        state.checked = key
        lock, ours = lock_for(python, extension_root()), user_folder() in python.parents
        _start_task(
            "check",
            BackgroundTask("Checking", lambda report, cancelled: check(python, lock, cancelled, ours)),
        )
    found = state.tasks["check"].state.result
    return found if isinstance(found, Health) else None


def stop_backend() -> None:
    """Ends the backend; it starts again with the next job that is sent."""
    current().runner.stop()
    wake()


def _block_backend() -> Callable[[], None]:
    """Ends it, and lets none start while a task changes its files; gives what waits for the end of what uses
    them, for Windows neither deletes nor renames files of a program that runs."""
    runner, looking = current().runner, current().tasks.get("check")
    runner.is_blocked = True
    runner.stop_process()
    if looking is not None:
        looking.cancel()

    def wait() -> None:
        runner.wait_for_end(END_SECONDS)
        if looking is not None:
            looking.wait(END_SECONDS)

    return wait


def install_backend(wanted: Wanted) -> None:
    """Makes the backend's environment in the extension's folder, or mends it, in the background."""
    target, root = user_folder(create=True), extension_root()
    wait = _block_backend()

    def work(report: Report, cancelled: threading.Event) -> str:
        wait()
        install(target, root, wanted, report, cancelled)
        return "Installed"

    _start_task("install", BackgroundTask("Installing", work))


def remove_backend() -> None:
    """Deletes the backend's environment, in the background."""
    target = user_folder()
    wait = _block_backend()

    def work(report: Report, cancelled: threading.Event) -> str:
        wait()
        return f"Removed: {in_words(remove(target))} of disk are free again"

    _start_task("install", BackgroundTask("Removing", work))


def run_self_test(device: str, engine: str) -> None:
    """Runs the engine's self-test in a process of its own."""
    python = backend_python()
    assert python is not None, "the operator's poll asks for it"

    def work(report: Report, cancelled: threading.Event) -> str:
        return self_test(python, extension_root(), (device, engine), report, cancelled)

    _start_task("self-test", BackgroundTask("Testing", work))


def change_models(title: str, words: tuple[str, ...]) -> None:
    """Downloads, imports, verifies or deletes models with the backend's command, in a process of its own."""
    python = backend_python()
    assert python is not None, "the operators' polls ask for it"
    models = backend_settings().models

    def work(report: Report, cancelled: threading.Event) -> ModelsDone:
        return run_models(python, extension_root(), (*words, "--models", str(models)), report, cancelled)

    _start_task("models", BackgroundTask(title, work))
