"""Starts the backend, talks to it and notices when it is gone. No bpy: standard library only.

Three threads move bytes (its messages, our messages, its log); the caller only polls and never waits.
Poll first, then look at `alive`: messages that came before the end are handed out before it is told.
"""

import logging
import os
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ..faults import Fault
from ..protocol import (
    PROTOCOL_VERSION,
    Buffer,
    Failed,
    FromBackend,
    Heartbeat,
    Hello,
    ProtocolError,
    Reader,
    Shutdown,
    ToBackend,
    encode,
)
from .backend_log import REMARK, BackendLog
from .listening import Listening, hello_behind_noise
from .message_queue import MessageQueue
from .process_tree import end_tree, kill_tree

log = logging.getLogger(__name__)

START_SECONDS = 180.0  # importing torch from a cold disk can take a minute
UNREADABLE_FRAMES = 16  # in a row, after which the other side is no backend
BANNER_LINES = 200  # that a machine may say to whoever logs in, before its backend's first word
BANNER_LETTERS = 80
STANDSTILL_SECONDS = 5.0  # without a poll: Blender or the machine slept, so that nothing could be heard
LINGER_SECONDS = 1.0  # for the last messages of a process that has ended
UNSENT_BYTES = 1 << 30


class BackendProcess:
    """One run of the backend. `command` is an argument list, `cwd` the extension's root."""

    def __init__(
        self,
        command: Sequence[str],
        cwd: Path,
        log_path: Path,
        start_seconds: float = START_SECONDS,
        variables: Mapping[str, str] | None = None,
        prepare: Callable[[FromBackend], FromBackend] = lambda message: message,
        by_command: bool = False,  # whether a command of the user's starts it, perhaps on another machine
    ):
        self._prepare = prepare  # what becomes of a message as it comes, in the thread that reads it
        self._by_command = by_command
        self._banner = ""  # the first line that was no message, before its Hello
        self._variables = dict(variables or {})  # of the environment, beside those that Blender has
        self.hello: Hello | None = None  # None until the backend has started
        self.memory_bytes = 0  # as the last heartbeat told
        self._command = list(command)
        self._cwd = cwd
        self._log = BackendLog(log_path)
        self._start_seconds = start_seconds
        self._messages = MessageQueue()
        self._unsent: queue.Queue[list[Buffer] | None] = queue.Queue()
        self._unsent_bytes = 0
        self._lock = threading.Lock()
        self._fault = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._threads: list[threading.Thread] = []
        self._began = self._heard = self._polled = time.monotonic()
        self._exited: float | None = None

    # ---- the caller's side

    def start(self) -> None:
        """Start the process; Fault where it cannot be. Its Hello comes later, through poll()."""
        try:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._cwd,
                env=self._environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=-1,
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
                start_new_session=os.name == "posix",  # Ctrl-C in Blender's terminal is not for it
            )
        except OSError as error:
            reason = error.strerror or error
            if self._by_command:
                raise Fault(
                    f"The backend command {self._command[0]} cannot be started ({reason}): "
                    "correct it in the preferences."
                ) from None
            raise Fault(
                f"The backend's Python {self._command[0]} cannot be started ({reason}); "
                "install the backend or choose another interpreter in the preferences."
            ) from None
        self._began = self._heard = self._polled = time.monotonic()
        self._log.begin()
        for target in (self._receive, self._transmit, self._keep_log):
            self._threads.append(threading.Thread(target=target, name=target.__name__, daemon=True))
            self._threads[-1].start()

    def _environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        return inherited | self._variables

    def send(self, message: ToBackend) -> None:
        """Hand a message over and return at once. ProtocolError if it is too large or malformed."""
        pieces = encode(message)
        size = sum(map(len, pieces))
        with self._lock:
            if self._unsent_bytes and self._unsent_bytes + size > UNSENT_BYTES:
                raise Fault("The backend does not take what it is sent; restart it and try again.")
            self._unsent_bytes += size
        self._unsent.put(pieces)

    def poll(self, max_messages: int = 32, max_seconds: float = 0.01) -> list[FromBackend]:
        """The messages that have come, in order; none is waited for. Stops taking more after either limit."""
        now = time.monotonic()
        if now - self._polled > STANDSTILL_SECONDS:
            self._began = self._heard = now
        self._polled = now
        deadline = time.monotonic() + max_seconds
        taken: list[FromBackend] = []
        while len(taken) < max_messages and (message := self._messages.take()) is not None:
            if isinstance(message, Hello):
                self.hello = message
            elif isinstance(message, Heartbeat):
                self.memory_bytes = message.memory_bytes
            taken.append(message)
            if time.monotonic() > deadline:
                break
        is_late = now - self._began > self._start_seconds and not len(self._messages)
        if self.hello is None and not self._fault and is_late:
            self._give_up(f"It did not answer within {self._start_seconds:.0f} seconds.{self._said()}")
        return taken

    @property
    def alive(self) -> bool:
        """False once the backend is gone and its last message has been polled, or before it was started."""
        if self._process is None:
            return False
        if len(self._messages):
            return True
        if self._fault or not self._threads[0].is_alive():
            return False
        if self._process.poll() is None:
            return True
        # ended, though something that it started may still hold the pipe
        self._exited = self._exited or time.monotonic()
        return time.monotonic() - self._exited < LINGER_SECONDS

    @property
    def seconds_since_heartbeat(self) -> float:
        """How long nothing at all has come; a healthy backend is heard of every two seconds."""
        return time.monotonic() - self._heard

    def exit_reason(self) -> str:
        """Why the backend is gone, with the last lines of its log; "" while it is there."""
        if self.alive:
            return ""
        if self._process is None:
            return "The backend has not been started."
        reason = self._fault or self._end()
        tail = self._log.tail()
        return f"The backend stopped. {reason}" + (f"\n{tail}" if tail else "")

    def log_tail(self, lines: int = 12) -> str:
        """The last lines of its log."""
        return self._log.tail(lines)

    def kill(self) -> None:
        """End it at once, without a word."""
        if self._process is not None:
            kill_tree(self._process)

    def stop(self, grace: float = 1.0) -> None:
        """Ask it to end, then make it and all that it has started; takes about `grace` + 1 seconds."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            self._unsent.put(encode(Shutdown()))
            self._unsent.put(None)
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            end_tree(process, grace=0.5)
        kill_tree(process)  # what it has started and left behind
        self._messages.close()
        self._unsent.put(None)
        for thread in self._threads:
            thread.join(0.5)

    # ---- the threads

    def _receive(self) -> None:
        assert self._process and self._process.stdout
        stream = Listening(self._process.stdout, self._hear)
        reader = Reader(stream)
        greeted, unreadable = False, 0
        while not self._fault:
            try:
                message = reader.read()
            except ProtocolError as error:
                message = None if greeted else hello_behind_noise(stream.line)
                if message is None:
                    unreadable += 1
                    if not error.recoverable:
                        return self._log.note(str(error))  # it ended in the middle of a frame
                    self._doubt(error)
                    if not greeted and not self._banner:
                        self._banner = stream.line.decode("utf-8", "replace").strip()[:BANNER_LETTERS]
                    banner = self._by_command and not greeted
                    if unreadable >= (BANNER_LINES if banner else UNREADABLE_FRAMES):
                        return self._give_up(f"It sent what is no message: {error}{self._said()}")
                    continue
            if message is None:
                return None
            if not isinstance(message, FromBackend):
                told = f"It sent {type(message).__name__}, which only the add-on may send."
                return self._give_up(told + self._said())
            if fault := _misfit(message, greeted):
                return self._give_up(fault)
            greeted, unreadable = True, 0
            self._messages.put(self._prepare(message))
        return None

    def _doubt(self, error: ProtocolError) -> None:
        """Note an unreadable frame, and end the job it spoke of: it may have been that job's last word."""
        self._log.note(f"Unreadable: {error}")
        if error.job:
            self._messages.put(Failed(error.job, "protocol", f"The backend's answer was unreadable. {error}"))

    def _transmit(self) -> None:
        assert self._process and self._process.stdin
        pipe = self._process.stdin
        try:
            while (pieces := self._unsent.get()) is not None:
                for piece in pieces:
                    pipe.write(piece)
                pipe.flush()
                with self._lock:
                    self._unsent_bytes -= sum(map(len, pieces))
            pipe.close()
        except OSError:
            return  # it is gone, which `alive` tells

    def _keep_log(self) -> None:
        assert self._process and self._process.stderr
        self._log.follow(self._process.stderr)

    def _hear(self) -> None:
        self._heard = time.monotonic()

    def _said(self) -> str:
        """The remedy where a command has started what never said Hello, with what it said instead."""
        if not self._by_command or self.hello is not None:
            return ""
        said = f' It said "{self._banner}".' if self._banner else ""
        return f"{said} Check the backend command in the preferences: it must start trellis-backend."

    def _end(self) -> str:
        """What its end means, by its exit code."""
        assert self._process is not None
        code = _returncode(self._process)
        if self._by_command and code == 255:
            lines = [line for line in self._log.tail().splitlines() if not line.startswith(REMARK)]
            said = f' It said "{lines[-1]}".' if lines else ""
            return (
                "The connection to it failed or broke off (exit code 255): "
                f"check the network, and that it asks for no password.{said}"
            )
        if self._by_command and code in (126, 127):
            return f"Its program was not found or may not be run (exit code {code}).{self._said()}"
        return _meaning(code) + self._said()

    def _give_up(self, fault: str) -> None:
        self._fault = fault
        self.kill()


def _misfit(message: FromBackend, greeted: bool) -> str:
    """What is wrong with a message at this place, "" if nothing is."""
    if isinstance(message, Hello) and message.protocol != PROTOCOL_VERSION:
        ours = f"version {PROTOCOL_VERSION} of the protocol"
        return f"The add-on speaks {ours}, it speaks version {message.protocol}; install the backend again."
    return "" if greeted or isinstance(message, Hello) else "Its first word was not its Hello."


def _returncode(process: subprocess.Popen[bytes]) -> int | None:
    """The exit code; its output may have ended a moment before it did."""
    try:
        return process.wait(0.2)
    except subprocess.TimeoutExpired:
        return None


def _meaning(code: int | None) -> str:
    if code is None:
        return "It closed its output."
    if code == -9:
        return "It was killed (signal 9); the system may have run out of memory."
    if code < 0 or code > 0x80000000:
        return f"It crashed ({f'signal {-code}' if code < 0 else f'code {code:#x}'})."
    return f"It ended with exit code {code}."
