"""How much memory this process takes, and whether an exception says that there was no more."""

import sys
from pathlib import Path


def memory_bytes() -> int:
    """Resident memory of this process; its largest extent so far where the system only tells that; else 0."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        import resource

        return int(statm.read_text().split()[1]) * resource.getpagesize()
    return peak_memory_bytes()


def peak_memory_bytes() -> int:
    """The largest resident memory of this process so far; 0 where the system does not tell."""
    if sys.platform == "win32":
        return 0
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
