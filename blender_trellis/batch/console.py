"""The streams of a command: they say any text in any encoding, also when nobody listens any more."""

import errno
import io
import os
import sys


def prepare_streams() -> None:
    """Call first in a program: from then on writing to stdout and stderr raises nothing.

    Characters that the encoding lacks are written as escapes. What a closed pipe, a full disk or a descriptor
    that was closed from the start does not take is dropped: the work goes on and its exit code is right.
    """
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, _to_nowhere(number))
        elif isinstance(stream, io.TextIOWrapper):
            # A terminal keeps its stream, which on Windows speaks Unicode to the console.
            setattr(sys, name, stream if stream.isatty() else _lasting(stream, number))
            getattr(sys, name).reconfigure(errors="backslashreplace")


def _to_nowhere(number: int) -> io.TextIOWrapper:
    """Takes the descriptor, which would otherwise go to the next file that is opened."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    if nowhere != number:
        os.dup2(nowhere, number)
        os.close(nowhere)
    return open(number, "w", encoding="utf-8", errors="backslashreplace", closefd=False)


def _lasting(stream: io.TextIOWrapper, number: int) -> io.TextIOWrapper:
    stream.flush()
    raw = _Lasting(number, "w", closefd=False)
    return io.TextIOWrapper(
        raw if stream.write_through else io.BufferedWriter(raw),  # python -u buffers nothing
        encoding=stream.encoding,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


class _Lasting(io.FileIO):
    """A descriptor; bytes that it does not take are dropped."""

    _complained = False

    def write(self, data, /) -> int | None:  # type: ignore[no-untyped-def, override]
        try:
            return super().write(data)
        except OSError as error:
            # Windows says EINVAL of a pipe that nobody reads.
            if error.errno not in (errno.EPIPE, errno.EINVAL) and self.fileno() == 1 and not self._complained:
                self._complained = True
                sys.stderr.write(f"The standard output cannot be written ({error.strerror}).\n")
            return memoryview(data).nbytes
