"""An axis that is coarse over another: each of its positions stands for a run of positions of that one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Coarse:
    """The axis along which a step takes another one run by run.

    Position k stands for the logical positions ``[k * length, (k + 1) * length)`` of the axis `of`; in a step
    the name that this axis has unless something else in the graph names it.
    """

    axis: str
    of: str
    length: int

    def size(self, n: int) -> int:
        """How many runs `n` positions make; the last may be short."""
        return -(-n // self.length)

    def span(self, low: int, high: int) -> tuple[int, int]:
        """The positions that runs ``[low, high)`` stand for; there may be fewer."""
        return low * self.length, high * self.length

    def runs(self, low: int, high: int) -> tuple[int, int]:
        """The runs that positions ``[low, high)`` lie in."""
        return low // self.length, self.size(high)
