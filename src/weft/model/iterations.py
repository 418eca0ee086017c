"""What remains of a loop in ordinary steps: the axis of its iterations, and names for what crosses them.

Plan, blocks, store and resume know no loops. They know that an `Alias` is another name for an array, of which
an element reads its predecessor along the axis, or everyone outside the last that there is.
"""

from __future__ import annotations

from dataclasses import dataclass

FIRST = ".first"  # ``x.first`` is what comes from outside as ``x`` where a loop makes ``x`` itself


@dataclass(frozen=True)
class Alias:
    """Another name of an array, for those who read it across iterations.

    Attributes
    ----------
    of
        The array that is read, which lies along `axis`.
    initial
        What stands before the first iteration: then an element reads the iteration before its own. None for
        what is read outside: the last iteration.
    initial_axes
        Axes of `initial`.
    """

    name: str
    of: str
    axis: str
    initial: str | None = None
    initial_axes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Iterations:
    """The axis of a loop: its name, its length, and what ends it early."""

    name: str
    n: int
    until: str | None = None
