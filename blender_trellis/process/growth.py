"""Whether a backend has grown beyond what its work needs, by its memory after each job. No bpy."""

from collections.abc import Hashable
from dataclasses import dataclass, replace

SPARE_SHARE = 0.5  # of the base line, by which a backend may grow
SPARE_BYTES = 1 << 30  # and by which it may grow in any case


@dataclass(frozen=True)
class Growth:
    """What one backend has taken after each kind of work that it has done: the most is the base line.

    Work of a new kind (another model, another device) may raise it, as more has come into memory; the same
    work again may not.
    """

    kinds: frozenset[Hashable] = frozenset()
    base: int = 0  # bytes

    def after(self, kind: Hashable, memory: int) -> "Growth":
        """Once work of this kind has been done, with so many bytes taken then."""
        if not memory or kind in self.kinds:
            return self
        return replace(self, kinds=self.kinds | {kind}, base=max(self.base, memory))

    def is_beyond(self, memory: int) -> bool:
        """Whether so many bytes are more than the work explains."""
        return bool(self.base) and memory > self.base + max(SPARE_SHARE * self.base, SPARE_BYTES)
