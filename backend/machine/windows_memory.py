"""What Windows tells of memory, through functions of kernel32; zeros where it refuses."""

import ctypes
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class MachineMemory:
    """Bytes of the machine, and those that this process can still have of memory and page file."""

    total: int = 0
    available: int = 0


@dataclass(frozen=True)
class ProcessMemory:
    """Bytes that this process has in memory now, and had at most."""

    resident: int = 0
    peak: int = 0


class _MachineStatus(ctypes.Structure):
    """MEMORYSTATUSEX"""

    _fields_ = [
        ("size", ctypes.c_uint32),
        ("load", ctypes.c_uint32),
        ("total", ctypes.c_uint64),
        ("free", ctypes.c_uint64),
        ("commit_limit", ctypes.c_uint64),
        ("commit_left", ctypes.c_uint64),
        ("addresses", ctypes.c_uint64),
        ("addresses_left", ctypes.c_uint64),
        ("reserved", ctypes.c_uint64),
    ]


class _ProcessCounters(ctypes.Structure):
    """PROCESS_MEMORY_COUNTERS"""

    _fields_ = [
        ("size", ctypes.c_uint32),
        ("faults", ctypes.c_uint32),
        ("peak", ctypes.c_size_t),
        ("resident", ctypes.c_size_t),
        ("pools", ctypes.c_size_t * 4),
        ("committed", ctypes.c_size_t),
        ("most_committed", ctypes.c_size_t),
    ]


def machine_memory(kernel: Any = None) -> MachineMemory:
    """Of this machine. kernel: stands in for kernel32."""
    kernel = kernel or _kernel()
    status = _MachineStatus(size=ctypes.sizeof(_MachineStatus))
    if not kernel.GlobalMemoryStatusEx(ctypes.byref(status)):
        return MachineMemory()
    return MachineMemory(status.total, status.commit_left)


def process_memory(kernel: Any = None) -> ProcessMemory:
    """Of this process. kernel: stands in for kernel32."""
    kernel = kernel or _kernel()
    counters = _ProcessCounters(size=ctypes.sizeof(_ProcessCounters))
    process = ctypes.c_void_p(-1)  # what GetCurrentProcess() gives, in the width of a handle
    if not kernel.K32GetProcessMemoryInfo(process, ctypes.byref(counters), counters.size):
        return ProcessMemory()
    return ProcessMemory(counters.resident, counters.peak)


def _kernel() -> Any:
    return getattr(ctypes, "windll").kernel32  # noqa: B009 (only there on Windows)
