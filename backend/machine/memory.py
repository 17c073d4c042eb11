"""How much memory this process takes and can have, and whether an exception says that there was no more."""

import os
import sys
from pathlib import Path

from backend.machine.memory_limits import memory_limits
from backend.machine.windows_memory import machine_memory, process_memory


def memory_bytes() -> int:
    """Resident memory of this process; its largest extent so far where the system only tells that; else 0."""
    if sys.platform == "win32":
        return process_memory().resident
    statm = Path("/proc/self/statm")
    if statm.exists():
        import resource

        return int(statm.read_text().split()[1]) * resource.getpagesize()
    return peak_memory_bytes()


def total_memory_bytes() -> int:
    """The memory of the machine, or what of it this process may take; 0 where the system does not tell."""
    if sys.platform == "win32":
        return machine_memory().total
    names = getattr(os, "sysconf_names", {})
    if "SC_PHYS_PAGES" not in names or "SC_PAGE_SIZE" not in names:
        return 0
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min((whole, *(limit.most for limit in memory_limits())))


def available_memory_bytes() -> int:
    """What this process can still have of the machine's memory, swap included; 0 where it does not tell."""
    if sys.platform == "win32":
        return machine_memory().available
    sizes = _sizes(Path("/proc/meminfo"))
    if not sizes:
        return 0
    left = (max(limit.left, 1) for limit in memory_limits())
    return min((sizes.get("MemAvailable", 0) + sizes.get("SwapFree", 0), *left))


def _sizes(table: Path) -> dict[str, int]:
    """What one of Linux's tables says in kB, in bytes; nothing where there is no such table."""
    rows = (line.split() for line in table.read_text().splitlines()) if table.exists() else ()
    return {row[0].rstrip(":"): 1024 * int(row[1]) for row in rows if row[2:] == ["kB"]}


def peak_memory_bytes() -> int:
    """The largest resident memory of this process so far; 0 where the system does not tell."""
    if sys.platform == "win32":
        return process_memory().peak
    # What getrusage tells on Linux begins with the size of the process that started this one.
    if largest := _sizes(Path("/proc/self/status")).get("VmHWM"):
        return largest
    import resource

    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else largest * 1024  # macOS counts in bytes, Linux in KiB


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory of the processor or of the graphics card ran out."""
    torch = sys.modules.get("torch")
    if isinstance(error, MemoryError) or (torch and isinstance(error, torch.OutOfMemoryError)):
        return True
    # the CPU allocator and MPS raise a plain RuntimeError
    words = ("not enough memory", "can't allocate memory", "out of memory")
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)
