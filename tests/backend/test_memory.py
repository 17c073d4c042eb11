"""What a process says of its own memory, and what the system lets it have."""

import ctypes
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from backend.machine import memory
from backend.machine.memory import available_memory_bytes, peak_memory_bytes, total_memory_bytes
from backend.machine.memory_limits import MemoryLimit, memory_limits
from backend.machine.windows_memory import MachineMemory, ProcessMemory, machine_memory, process_memory

TELL = "from backend.machine.memory import peak_memory_bytes; print(peak_memory_bytes())"


def test_the_peak_of_a_process_is_not_that_of_the_one_that_started_it():
    held = np.ones(40_000_000)
    assert peak_memory_bytes() >= held.nbytes
    told = subprocess.run([sys.executable, "-c", TELL], capture_output=True, text=True, check=True)
    assert 1e6 < int(told.stdout) < held.nbytes / 2


V1, V2 = "memory.limit_in_bytes memory.usage_in_bytes", "memory.max memory.current"
NO_LIMIT_V1 = 9223372036854771712
MOUNT_V1 = "35 31 0:32 {root} /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n"
MOUNT_V2 = "30 23 0:26 {root} /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"


def _system(root: Path, ours: str, mount: str, groups: dict[str, tuple]) -> Path:
    """A file system whose groups have so much: limit, in use, in files of the disk."""
    (root / "proc" / "self").mkdir(parents=True)
    (root / "proc" / "self" / "cgroup").write_text(ours)
    (root / "proc" / "self" / "mountinfo").write_text("22 1 8:1 / / rw - ext4 /dev/sda1 rw\n" + mount)
    for name, (limit, used, of_files) in groups.items():
        group = root / "sys" / "fs" / "cgroup" / name
        group.mkdir(parents=True, exist_ok=True)
        for file, value in zip((V1 if "memory" in name else V2).split(), (limit, used), strict=True):
            (group / file).write_text(f"{value}\n")
        rows = f"inactive_file {1 if 'memory' in name else of_files}\ntotal_inactive_file {of_files}\n"
        (group / "memory.stat").write_text(f"anon 7\n{rows}")
    return root


def test_the_limit_of_a_container_of_either_version_counts(tmp_path):
    """Whose own paths may be those that its groups have outside of it."""
    ours = "5:cpu:/docker/a\n4:memory:/docker/a\n0::/\n"
    mount = MOUNT_V1.format(root="/docker/a")
    first = _system(tmp_path / "v1", ours, mount, {"memory": (8000, 5000, 1000)})
    assert memory_limits(first) == (MemoryLimit(8000, 4000),)
    second = _system(tmp_path / "v2", "0::/\n", MOUNT_V2.format(root="/"), {".": (8000, 5000, 1000)})
    assert memory_limits(second) == (MemoryLimit(8000, 4000),)


def test_the_limits_of_all_groups_around_a_process_count(tmp_path):
    groups = {
        "user.slice/job": ("max", 300, 0),
        "user.slice": (1000, 900, 50),
        "other.slice": (10, 10, 0),
    }
    v2 = _system(tmp_path / "v2", "0::/user.slice/job\n", MOUNT_V2.format(root="/"), groups)
    assert memory_limits(v2) == (MemoryLimit(1000, 150),)
    groups = {
        "memory/batch/job": (2000, 300, 100),
        "memory/batch": (1000, 1200, 0),
        "memory": (NO_LIMIT_V1, 5000, 0),
    }
    v1 = _system(tmp_path / "v1", "4:memory:/batch/job\n", MOUNT_V1.format(root="/"), groups)
    limits = memory_limits(v1)
    assert limits[:2] == (MemoryLimit(2000, 1800), MemoryLimit(1000, 0))
    assert [limit.most for limit in limits] == [2000, 1000, NO_LIMIT_V1]


def test_a_system_without_groups_has_no_limits(tmp_path):
    assert memory_limits(tmp_path) == ()
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "cgroup").write_bytes(b"\xff\n")
    (tmp_path / "proc" / "self" / "mountinfo").write_text("odd\n")
    assert memory_limits(tmp_path) == ()


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="only Linux tells")
def test_this_process_has_what_the_narrowest_limit_leaves(monkeypatch):
    monkeypatch.setattr(memory, "memory_limits", lambda: ())
    total = total_memory_bytes()
    assert 100 << 20 < available_memory_bytes() and 100 << 20 < total
    limits = (MemoryLimit(total * 2, total * 2), MemoryLimit(5000, 400), MemoryLimit(4000, 500))
    monkeypatch.setattr(memory, "memory_limits", lambda: limits)
    assert (total_memory_bytes(), available_memory_bytes()) == (4000, 400)
    monkeypatch.setattr(memory, "memory_limits", lambda: (MemoryLimit(4000, 0),))
    assert available_memory_bytes() == 1  # for 0 is said where nothing is known


class _Kernel:
    """kernel32, as its documentation has it for 64 bits."""

    def __init__(self, answers: int = 1):
        self.answers = answers

    def GlobalMemoryStatusEx(self, status: object) -> int:
        packed = struct.pack("<II7Q", 64, 50, 16 << 30, 8 << 30, 24 << 30, 12 << 30, 1, 1, 0)
        return self._fill(status, packed)

    def K32GetProcessMemoryInfo(self, process: ctypes.c_void_p, counters: object, size: int) -> int:
        assert process.value == 2**64 - 1 and size == 72
        return self._fill(counters, struct.pack("<II8Q", 72, 9, 3 << 30, 2 << 30, 4, 5, 6, 7, 8, 9))

    def _fill(self, pointer: object, packed: bytes) -> int:
        held = pointer._obj
        assert ctypes.sizeof(held) == len(packed) == held.size
        if self.answers:
            ctypes.memmove(ctypes.addressof(held), packed, len(packed))
        return self.answers


def test_windows_tells_of_its_memory():
    assert machine_memory(_Kernel()) == MachineMemory(total=16 << 30, available=12 << 30)
    assert process_memory(_Kernel()) == ProcessMemory(resident=2 << 30, peak=3 << 30)
    assert machine_memory(_Kernel(answers=0)) == MachineMemory()
    assert process_memory(_Kernel(answers=0)) == ProcessMemory()
