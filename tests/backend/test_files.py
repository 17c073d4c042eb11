"""Files appear whole or not at all, and every fault of a disk or folder is said in a sentence."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from backend.errors import UserError
from backend.files import atomic_path, check_writable_folder, write_bytes

ROOT = Path(__file__).parents[2]
as_root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root to mount")
posix = pytest.mark.skipif(os.name != "posix", reason="limits and permissions of POSIX")


def test_the_new_file_takes_the_place_of_the_old_one(tmp_path):
    final = tmp_path / "model.glb"
    final.write_bytes(b"old")
    with atomic_path(final) as temporary:
        assert temporary.parent == tmp_path and temporary.suffix == ".glb"
        temporary.write_bytes(b"new")
        assert final.read_bytes() == b"old"
    assert final.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["model.glb"]


@pytest.mark.parametrize("fault", [ValueError, KeyboardInterrupt, OSError])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path, fault):
    final = tmp_path / "model.glb"
    final.write_bytes(b"old")
    with pytest.raises(fault), atomic_path(final) as temporary:
        temporary.write_bytes(b"half")
        raise fault
    assert final.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["model.glb"]


def test_an_error_about_another_file_is_not_blamed_on_the_target(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "model.glb"):
        (tmp_path / "input.png").read_bytes()
    error = PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "input.png"))
    with pytest.raises(PermissionError), atomic_path(tmp_path / "model.glb"):
        raise error


def test_names_with_spaces_and_other_letters(tmp_path):
    final = tmp_path / "mö del" / "猫 1.ply"
    final.parent.mkdir()
    write_bytes(final, b"x")
    assert final.read_bytes() == b"x"


def test_a_missing_folder_a_file_as_folder_and_a_folder_as_file(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for target in (tmp_path / "missing" / "a.ply", tmp_path / "file" / "a.ply", tmp_path):
        with pytest.raises(UserError):
            write_bytes(target, b"x")
    with pytest.raises(UserError, match="does not exist"):
        check_writable_folder(tmp_path / "missing")
    with pytest.raises(UserError, match="is a file"):
        check_writable_folder(tmp_path / "file")


def test_a_name_that_is_too_long(tmp_path):
    with pytest.raises(UserError, match="too long"):
        write_bytes(tmp_path / ("a" * 300), b"x")
    assert os.listdir(tmp_path) == []


@posix
def test_the_file_is_readable_as_the_umask_says(tmp_path):
    old = os.umask(0o022)
    try:
        write_bytes(tmp_path / "a.ply", b"x")
    finally:
        os.umask(old)
    assert (tmp_path / "a.ply").stat().st_mode & 0o777 == 0o644


@posix
def test_a_link_is_followed(tmp_path):
    (tmp_path / "real.ply").write_bytes(b"old")
    (tmp_path / "link.ply").symlink_to("real.ply")
    write_bytes(tmp_path / "link.ply", b"new")
    assert (tmp_path / "real.ply").read_bytes() == b"new"
    assert (tmp_path / "link.ply").is_symlink()


def test_a_writable_folder_is_left_empty(tmp_path):
    check_writable_folder(tmp_path)
    assert os.listdir(tmp_path) == []


WRITE = """
import {prelude}
from pathlib import Path
from backend.errors import UserError
from backend.files import check_writable_folder, write_bytes
{limit}
try:
    {action}
except UserError as error:
    print(error)
"""


def said_by_a_process(folder: Path, prelude: str, limit: str, action: str) -> str:
    script = WRITE.format(prelude=prelude, limit=limit, action=action)
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout


@posix
def test_a_file_larger_than_allowed_is_a_full_disk(tmp_path):
    limit = "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    limit += "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))"
    action = "write_bytes(Path(sys.argv[1]) / 'a.ply', bytes(8192))"
    assert "no room" in said_by_a_process(tmp_path, "resource, signal, sys", limit, action)
    assert os.listdir(tmp_path) == []


@as_root
def test_a_folder_without_permission(tmp_path):
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents:
        if parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o055)
    nobody = "os.setuid(65534)"
    for action in ("write_bytes(Path(sys.argv[1]) / 'a.ply', b'x')", "check_writable_folder(sys.argv[1])"):
        assert "may not be written" in said_by_a_process(tmp_path, "os, sys", nobody, action)


@as_root
def test_a_disk_that_is_really_full(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True)
    if mount.returncode:
        pytest.skip("this machine lets nobody mount")
    try:
        write_bytes(disk / "a.ply", b"old")
        with pytest.raises(UserError, match="no room"):
            write_bytes(disk / "a.ply", bytes(1 << 20))
        assert (disk / "a.ply").read_bytes() == b"old"
        assert os.listdir(disk) == ["a.ply"]
    finally:
        subprocess.run(["umount", disk], check=True)
