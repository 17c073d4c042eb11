"""How torch's threads wait for each other: asleep, so that another program may have their core.

OpenMP's threads otherwise spin for a while at the end of every operation: two backends on one machine, or a
render beside a generation, then mostly wait for threads that cannot run. The settings are read when torch's
libraries are loaded.
"""

from collections.abc import MutableMapping

OWN = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""What a person may have set: libgomp knows the first two, Intel's and LLVM's the first and the last."""


POLICY = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"}
"""Asleep, but in libgomp only after some tens of microseconds: long enough for a network's next operation to
find its threads awake, and short beside the milliseconds for which a core is given to another program."""


def let_waiting_threads_sleep(environment: MutableMapping[str, str]) -> None:
    """Ask for it in `environment`, unless that says anything of its own about waiting."""
    if not any(name in environment for name in OWN):
        environment.update(POLICY)
