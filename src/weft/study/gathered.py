"""A number for each element of a step, kept up with its commits: truths that end loops, lengths of rows."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from weft.store.commits import DONE
from weft.study.study import Study
from weft.values.columns import Column

UNKNOWN = -1


class Gathered:
    """What a step made, as whole numbers along its axes in storage order; `UNKNOWN` where nothing is yet.

    Parameters
    ----------
    name
        Of the output, or of what is stored beside it.
    read
        From a column to the numbers.
    """

    def __init__(self, study: Study, step: str, name: str, read: Callable[[Column], Any]) -> None:
        self.study, self.step, self.name, self.read = study, study.graph.steps[step], name, read
        self._found: Any = None
        self._seen = self._removed = 0
        self._results: Any = None
        # Driver and workers may be threads of one process: what one is reading, another must not miss.
        self._lock = threading.Lock()

    def numbers(self) -> Any:
        """All of them: only what was committed since the last look is read."""
        with self._lock:
            return self._numbers()

    def _numbers(self) -> Any:
        study, step = self.study, self.step
        results, grid = study.results[step.name], study.grid(step)
        shape = tuple(study.axes[axis].size or 0 for axis in step.axes)
        same = results is self._results and results.removed == self._removed
        if self._found is None or self._found.shape != shape or not same:
            self._found = np.full(shape, UNKNOWN, np.int64)
            self._seen, self._results, self._removed = 0, results, results.removed
        new = results.log[self._seen :]
        if grid is None:
            return self._found
        self._seen += len(new)
        for block in dict.fromkeys(c.block for c in new if c.n_done and grid.holds(c.block)):
            local = grid.local(block)
            local = local[results.state(grid, block).states()[local] == DONE]
            at = grid.storage(block, local)
            self._found[at] = self.read(results.read(grid, self.name, list(at))) if len(local) else 0
        return self._found


def gathered(study: Study, step: str, name: str, read: Callable[[Column], Any]) -> Gathered:
    """The study's own, which remembers."""
    found: Gathered = study.memory.setdefault(f"gathered {name}", Gathered(study, step, name, read))
    return found
