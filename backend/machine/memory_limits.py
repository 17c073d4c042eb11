"""Limits of memory that Linux sets to groups of processes, as containers are (cgroups v1 and v2).

A group lies in others, and what any of them may not take, none of its processes may.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class MemoryLimit:
    """Bytes that a group may take in all, and what is left of them; its pages of files count as left."""

    most: int
    left: int


@dataclass(frozen=True)
class _Files:
    """What a version of cgroups calls its files."""

    limit: str
    used: str
    reclaimable: str  # in memory.stat; with what the groups below it hold


_V1 = _Files("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_V2 = _Files("memory.max", "memory.current", "inactive_file")


def memory_limits(root: Path = Path("/")) -> tuple[MemoryLimit, ...]:
    """Those of this process; none where the system has no such groups. root: of the file system."""
    found = (_limit(group, files) for group, files in _groups(root))
    return tuple(limit for limit in found if limit is not None)


def _groups(root: Path) -> Iterator[tuple[Path, _Files]]:
    """The folders of the groups that this process is in, the innermost first."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
        mounts = (root / "proc/self/mountinfo").read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return
    ours = [line.split(":", 2)[1:] for line in lines if line.count(":") > 1]  # "4:memory:/group", "0::/group"
    for mount in mounts:
        where, _, what = mount.partition(" - ")  # "31 23 0:28 ROOT PLACE …" and "KIND SOURCE OPTIONS"
        kind, _, options = (what.split() + ["", "", ""])[:3]
        if kind not in ("cgroup", "cgroup2") or (kind == "cgroup" and "memory" not in options.split(",")):
            continue
        controller, files = ("memory", _V1) if kind == "cgroup" else ("", _V2)
        top, mounted = root / where.split()[4].lstrip("/"), where.split()[3]
        for path in (path for controllers, path in ours if controller in controllers.split(",")):
            folder = top / _below(path, mounted)
            yield from ((group, files) for group in (folder, *folder.parents) if group.is_relative_to(top))


def _below(path: str, mounted: str) -> Path:
    """Where a group lies in a mount; a container may see only its own one, by a path from outside."""
    group, seen = Path(path), Path(mounted)
    return group.relative_to(seen) if group.is_relative_to(seen) and ".." not in group.parts else Path()


def _limit(group: Path, files: _Files) -> MemoryLimit | None:
    try:
        most = int((group / files.limit).read_text())  # no number, "max", where there is no limit
        used = int((group / files.used).read_text())
        rows = (line.split() for line in (group / "memory.stat").read_text().splitlines())
        stat = {row[0]: int(row[1]) for row in rows if len(row) == 2}
    except (OSError, ValueError):
        return None
    return MemoryLimit(most, max(most - used + stat.get(files.reclaimable, 0), 0))
