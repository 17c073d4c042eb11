"""End a child process together with all that it has started. Standard library only.

On POSIX the child leads a session of its own, whose group gets the signal; on Windows taskkill walks the
tree.
"""

import contextlib
import os
import signal
import subprocess


def kill_tree(process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> None:
    """End the child and its children at once, also where they hang. Does not wait."""
    _signal_tree(process, "SIGKILL")


def end_tree(process: subprocess.Popen[bytes] | subprocess.Popen[str], grace: float = 2.0) -> None:
    """Ask the child and its children to end, then make them; returns when the child is gone."""
    if process.poll() is None:
        _signal_tree(process, "SIGTERM")
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            pass
    kill_tree(process)  # what the child has left behind
    process.wait()


def _signal_tree(process: subprocess.Popen[bytes] | subprocess.Popen[str], name: str) -> None:
    if os.name == "posix":
        try:
            os.killpg(process.pid, getattr(signal, name))
        except (ProcessLookupError, PermissionError):
            return  # all of the group is gone, which macOS calls a lack of rights where remains are unburied
    elif process.poll() is None:
        # terminate() and kill() leave grandchildren behind, such as those that uv or ssh has started
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):  # kill() at least ends the child
            subprocess.run(
                ["taskkill", "/T", "/F", "/PID", str(process.pid)],
                capture_output=True,
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
                timeout=10,
            )
        process.kill()
