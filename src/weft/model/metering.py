"""Time and memory of each stage of a stream, while items pass through all of them one at a time."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

LOOK_SECONDS = 1e-4
_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes in which the system tells the peak of memory


class Meter:
    """Seconds of each stage, and by how much it raised the peak of memory; the last is what is no stage.

    Every change of stage takes 0.2 µs; the peak, which takes 1.5, is looked at every tenth of a millisecond.
    """

    __slots__ = ("looked", "peak", "raised", "seconds", "since", "stage")

    def __init__(self, n: int) -> None:
        self.seconds, self.raised = [0.0] * (n + 1), [0] * (n + 1)
        self.stage = -1
        self.since = self.looked = time.perf_counter()
        self.peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def enter(self, stage: int) -> int:
        """Go on in a stage; returns the one before."""
        before, now = self.stage, time.perf_counter()
        self.seconds[before] += now - self.since
        if now - self.looked > LOOK_SECONDS:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            self.raised[before] += peak - self.peak
            self.looked, self.peak = now, peak
        self.since, self.stage = now, stage
        return before

    def told(self, kind: Any) -> Any:
        """All stages as one record."""
        each = zip(self.seconds[:-1], (raised * _UNIT for raised in self.raised), strict=False)
        return np.array(tuple(each), kind)


class Metered:
    """The items of a stage, made when they are asked for."""

    __slots__ = ("call", "given", "items", "meter", "stage")

    def __init__(self, meter: Meter, stage: int, call: Callable[[Any], Any], given: Any) -> None:
        self.meter, self.stage, self.call, self.given = meter, stage, call, given
        self.items: Iterator[Any] | None = None

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        before = self.meter.enter(self.stage)
        try:
            if self.items is None:
                self.items = iter(self.call(self.given))
            return next(self.items)
        finally:
            self.meter.enter(before)
