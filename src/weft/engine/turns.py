"""Iterations within one piece of work: which elements may run together, and where a loop has ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from weft.engine.lanes import HOLE, Lane
from weft.study.arguments import Arguments, Carried
from weft.values.columns import Column


class Previous:
    """An argument that the iteration before made: one value, or `HOLE`, for each element."""

    def __init__(self, carried: Carried) -> None:
        self.of = carried.of
        self.before: list[int] = carried.before.tolist()
        self.rank: list[int] = carried.rank(np.arange(len(self.before))).tolist()
        self.outside: Column = carried.outside
        self.lane: Lane | None = None

    def __getitem__(self, position: int) -> Any:
        before = self.before[position]
        if before < 0:
            return self.outside[self.rank[position]]
        assert self.lane is not None
        return self.lane.value(self.of, before)


class Turns:
    """The order that loops ask for among the elements of a piece of work."""

    def __init__(self, arguments: Arguments, lanes: Sequence[Lane], n: int) -> None:
        makers = {output: lane for lane in lanes for output in lane.step.outputs}
        self.lanes = lanes
        self.gates = [(until, makers[until], before.tolist()) for until, before in arguments.gates.items()]
        waits = [given.before for given in arguments.given.values() if isinstance(given, Carried)]
        waits += list(arguments.gates.values())
        self.ends = _ends(np.max(waits, axis=0).tolist()) if waits else None
        self.over = [False] * n if self.gates else []

    def high(self, low: int, high: int) -> int:
        """How far elements from `low` on may run together, at most up to `high`."""
        return high if self.ends is None else min(high, self.ends[low])

    def begin(self, low: int, high: int) -> bool:
        """Leave out elements whose loops have ended; false if none of all that are left has to run."""
        ended = False
        for until, lane, before in self.gates:
            for position in range(low, high):
                b = before[position]
                if b >= 0 and (self.over[b] or _says_stop(lane.value(until, b))):
                    ended = self.over[position] = True
        if not ended:
            return True
        for lane in self.lanes:
            lane.skip = {position for position in range(low, high) if self.over[position]}
        return not all(self.over[low:high]) or not self._all_over(high)

    def _all_over(self, low: int) -> bool:
        """Whether every element from `low` on follows one whose loop has ended."""
        over = list(self.over)
        for _, _, before in self.gates:
            for position in range(low, len(over)):
                over[position] = over[position] or (before[position] >= 0 and over[before[position]])
        return all(over[low:])


def _says_stop(value: Any) -> bool:
    return value is HOLE or bool(value)


def _ends(waits: list[int]) -> list[int]:
    """For each position the end of the run of elements that may go together, none waiting for another."""
    n = len(waits)
    ends, start = [n] * n, 0
    for position, before in enumerate(waits):
        if before >= start:
            ends[start:position] = [position] * (position - start)
            start = position
    return ends
