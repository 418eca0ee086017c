"""Steps that take and return arrays for many elements; a failing batch is halved to find the guilty."""

from __future__ import annotations

from typing import Any

import numpy as np

from weft.engine.lanes import HOLE, Constant, Lane, Upstream
from weft.values.columns import pack

Chosen = range | list[int]  # positions: a range where nothing is left out, which costs nothing an element


class BatchLane(Lane):
    """A lane whose function takes arrays of shape ``(n, ...)`` and returns as many values for each output."""

    def advance(self, high: int) -> None:
        """Run elements up to position `high` in one call, less those that a failure before them blocks."""
        low = len(self.results)
        chosen: Chosen = range(low, high)
        if self.leaves_out:
            left_out = self.skip | {p for up in self.from_lanes for p in chosen if up[p] is HOLE}
            chosen = [p for p in chosen if p not in left_out]
        values = self._halved(chosen) if chosen else []
        if len(chosen) < high - low:
            found = dict(zip(chosen, values, strict=True))
            values = [found.get(p, HOLE) for p in range(low, high)]
            self.holes += high - low - len(chosen)
        self.results += values
        self._settle(low)

    def _halved(self, chosen: Chosen) -> list[Any]:
        try:
            return self._values(chosen)
        except (Exception, SystemExit) as error:
            if len(chosen) == 1:
                return [self._last_attempts(chosen[0], error)]
            middle = len(chosen) // 2
            return self._halved(chosen[:middle]) + self._halved(chosen[middle:])

    def _values(self, chosen: Chosen) -> list[Any]:
        returned = self.call(*(self._batch(source, chosen) for source in self.sources))
        outputs = self.step.outputs
        if isinstance(returned, dict) and len(outputs) > 1:
            returned = tuple(returned[name] for name in self.step.outputs_as_given)
        parts = (returned,) if len(outputs) == 1 else tuple(returned)
        if len(parts) != len(outputs):
            raise TypeError(
                f"step {self.step.name!r} must return {len(outputs)} arrays, it returned {len(parts)}."
            )
        for output, part in zip(outputs, parts, strict=True):
            if not hasattr(part, "__len__") or len(part) != len(chosen):
                length = len(part) if hasattr(part, "__len__") else "no"
                raise ValueError(
                    f"step {self.step.name!r} was given {len(chosen)} elements at once and must return as "
                    f"many values of {output!r}; it returned {length}."
                )
        return list(parts[0]) if len(parts) == 1 else list(zip(*parts, strict=True))

    def _batch(self, source: Any, chosen: Chosen) -> Any:
        if isinstance(source, Constant):
            return source.value
        if isinstance(source, Upstream):
            return pack([source[position] for position in chosen], live=True).to_array()
        if isinstance(source, np.ndarray):
            return source[chosen.start : chosen.stop].copy() if isinstance(chosen, range) else source[chosen]
        return source.many(list(chosen))

    def _last_attempts(self, position: int, error: BaseException) -> Any:
        """The failed element alone again, as often as its retries allow."""
        kept = self.results
        self.results = []
        self._failed(position, error)
        value, self.results = self.results[0], kept
        return value

    def arguments(self, position: int) -> list[Any]:
        """The arguments of a batch of one."""
        return [self._batch(source, [position]) for source in self.sources]

    def _retry(self, position: int) -> Any:
        return self._values([position])[0]
