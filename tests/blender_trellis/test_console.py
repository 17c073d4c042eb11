"""Programs whose output nobody can take: they end as they would otherwise, with their own exit code."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BEGIN = "import sys; from blender_trellis.batch.console import prepare_streams; prepare_streams()\n"
LONG = "sys.stdout.write('x' * 100000 + '\\n'); sys.stderr.write('y' * 100000); sys.stdout.flush()\n"


def run(code: str, encoding: str = "", **streams) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", f"{BEGIN}{code}\nsys.exit(7)"]
    environ = os.environ | ({"PYTHONIOENCODING": encoding} if encoding else {})
    streams = streams or {"capture_output": True}
    return subprocess.run(command, env=environ, cwd=ROOT, timeout=300, **streams)


@pytest.mark.parametrize(
    "encoding, written",
    [
        ("utf-8:strict", "\u6905 caf\u00e9 \\udce9\n".encode()),
        ("cp1252", b"\\u6905 caf\xe9 \\udce9\n"),
        ("cp437:strict", b"\\u6905 caf\x82 \\udce9\n"),
        ("ascii", b"\\u6905 caf\\xe9 \\udce9\n"),
        ("cp932", b"\x88\xd6 caf\\xe9 \\udce9\n"),
    ],
)
def test_characters_that_an_encoding_lacks_become_escapes(encoding, written):
    text = "'\\u6905 caf\\u00e9 \\udce9\\n'"
    done = run(f"sys.stdout.write({text}); sys.stderr.write({text})", encoding)
    assert done.returncode == 7 and done.stdout.replace(b"\r", b"") == written
    assert done.stderr.replace(b"\r", b"") == written


def test_nothing_is_lost_or_turned_round_where_all_is_well():
    code = (
        "import os\nsys.stdout.write('a\\n')\nsys.stdout.flush()\nos.write(1, b'b\\n')\nsys.stdout.write('c')"
    )
    done = run(code)
    assert (done.returncode, done.stdout, done.stderr) == (7, b"a\nb\nc", b"")


def test_what_is_not_buffered_stays_so():
    """As of python -u: written although the program has no time to flush."""
    environ = os.environ | {"PYTHONUNBUFFERED": "1"}
    code = f"{BEGIN}import os\nsys.stdout.write('half a line')\nos._exit(7)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, cwd=ROOT, capture_output=True, timeout=300
    )
    assert (done.returncode, done.stdout) == (7, b"half a line")


def test_a_pipe_that_nobody_reads():
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as closed:
        assert run(LONG + LONG, stdout=closed, stderr=closed).returncode == 7
        done = run(LONG, stdout=closed, stderr=subprocess.PIPE)
        assert done.returncode == 7 and done.stderr == b"y" * 100000


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no full device")
def test_a_full_disk_is_told_once():
    code = "sys.stdout.write('x' * 100000)\nsys.stdout.flush()\n"
    with open("/dev/full", "wb") as full:
        done = run(2 * code, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 7
    assert done.stderr == b"The standard output cannot be written (No space left on device).\n"


@pytest.mark.skipif(os.name != "posix", reason="needs a shell that closes descriptors")
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_descriptors_that_are_closed_from_the_start(closed, tmp_path):
    """A file that is opened later must not get their numbers, or the program's words would land in it."""
    code = (
        f"file = open({str(tmp_path / 'file')!r}, 'w')\n{LONG}file.write('whole')\nfile.close()\nsys.exit(7)"
    )
    command = f'exec "$0" -c "$1" {closed}'
    done = subprocess.run(
        ["sh", "-c", command, sys.executable, BEGIN + code], cwd=ROOT, capture_output=True, timeout=300
    )
    assert done.returncode == 7 and (tmp_path / "file").read_text() == "whole"


@pytest.mark.parametrize(
    "words",
    [
        ("-m", "backend", "--help"),
        ("scripts/build_extension.py", "--help"),
        ("scripts/setup.py", "--help"),
        ("scripts/batch.py", "--help"),
    ],
)
def test_help_goes_to_a_closed_pipe_without_a_word(words):
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as closed:
        done = subprocess.run(
            [sys.executable, *words], stdout=closed, stderr=subprocess.PIPE, cwd=ROOT, timeout=300
        )
    assert (done.returncode, done.stderr) == (0, b"")
