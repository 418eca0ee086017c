"""The cells of a table of experiments: states and values by row, read when they are asked for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from weft.errors import InvalidInput, nearest
from weft.model.labelled import Lazy
from weft.model.step import Step
from weft.plan.blocks import positions
from weft.run.run import Run
from weft.store.commits import STATES
from weft.study.ends import extent
from weft.study.ends import positions as along_axis
from weft.study.study import Study

LARGE = 4096
"""Bytes of a value beyond which a column gives what loads its values instead of them."""

# A row is in the last of these that any of its elements is in.
ORDER = ("skipped", "done", "open", "queued", "running", "blocked", "failed")
_RANK = np.array([ORDER.index(state) for state in STATES])

Ranks = np.ndarray[Any, np.dtype[np.int64]]


def row_axes(run: Run, axis: str | tuple[str, ...] | None) -> tuple[str, ...]:
    """The axes of rows: those given, or those that all results with axes share.

    Raises
    ------
    InvalidInput
        For an axis that does not exist; if none is given, and none is shared.
    """
    along = {name: axes for name in run if (axes := run._study.graph.axes.get(name, ()))}
    known = list(dict.fromkeys(a for axes in along.values() for a in axes))
    if axis is not None:
        given = (axis,) if isinstance(axis, str) else tuple(axis)
        for name in given:
            if name not in known:
                raise InvalidInput(
                    f"The results have no axis {name!r}.{nearest(name, known)} "
                    f"Axes: {', '.join(known) or 'none'}."
                )
        return given
    shared = tuple(a for a in known if all(a in axes for axes in along.values()))
    if not known:
        raise InvalidInput("The results have no axes, so there is nothing to have rows of: run a sweep.")
    if not shared:
        told = ", ".join(f"{name}[{', '.join(axes)}]" for name, axes in along.items())
        raise InvalidInput(f"No axis is shared by all results: {told}. Say what a row is: axis={known[0]!r}.")
    return shared


class Cells:
    """States and values of a run as it was at one moment, by row: the product of some axes, in C order.

    Attributes
    ----------
    inputs, outputs
        Names in the run by name of the column; ``state`` is the state of the row, so a value of that name
        is ``state_``.
    """

    def __init__(self, run: Run, axes: tuple[str, ...]) -> None:
        self.axes = axes
        self.under_way = _under_way(run)
        self.run = run.snapshot()
        self.study: Study = self.run._study
        self.shape = tuple(len(along_axis(self.study, axis)) for axis in axes)
        self.n = math.prod(self.shape)
        along = self.study.graph.axes

        def labelled(names: Any) -> dict[str, str]:
            found = [name for name in names if set(along.get(name, ())) & set(axes)]
            return {f"{name}_" if name == "state" else name: name for name in found}

        self.inputs = labelled(self.study.inputs)
        self.outputs = labelled(self.run)
        self._survey = self.run._survey()
        self._ranks: dict[str, Ranks] = {}
        self._columns: dict[str, dict[int, Any]] = {}
        self._states: Ranks | None = None

    def rows(self) -> Ranks:
        """The rows that there are: of a ragged axis as far as each of its rows goes."""
        study, rows = self.study, np.arange(self.n)
        at = zip(self.axes, np.unravel_index(rows, self.shape), strict=True)
        where = {axis: along_axis(study, axis)[places] for axis, places in at}
        for name in self.outputs.values():
            for axis in set(study.graph.ragged) & set(self.axes) & set(study.graph.axes[name]):
                if set(self.axes) <= set(study.graph.axes[name]):
                    lengths = extent(study, name, axis, where, self.n)[rows]
                    rows = rows[(where[axis][rows] < lengths) | (lengths < 0)]
        return rows

    def index(self, row: int) -> dict[str, int]:
        """Position of a row on each axis."""
        at = np.unravel_index(row, self.shape)
        return {axis: int(place) for axis, place in zip(self.axes, at, strict=True)}

    def states(self) -> Ranks:
        """The state of each row, as a position in `ORDER`: that of all steps along any of the axes."""
        if self._states is None:
            mine = set(self.outputs.values())
            steps = [
                step
                for step in self.study.graph.order
                if set(step.axes) & set(self.axes) or set(step.outputs) & mine
            ]
            found = np.max([self._rank(step) for step in steps], axis=0)
            self._states = np.where(found < 0, ORDER.index("done"), found)
        return self._states

    def column(self, label: str) -> dict[int, Any]:
        """The values of a column by row, of the rows that have one."""
        if label not in self._columns:
            self._columns[label] = self._read({**self.inputs, **self.outputs}[label])
        return self._columns[label]

    def _read(self, name: str) -> dict[int, Any]:
        own = self.study.graph.axes[name]
        step = self.study.graph.producer.get(name)
        rows = np.arange(self.n) if step is None else np.flatnonzero(self._rank(step) == ORDER.index("done"))
        if not len(rows):
            return {}
        if not set(own) <= set(self.axes):
            return {row: Lazy(partial(self._part, name, row)) for row in rows.tolist()}
        if self.run._assembled(name, self._storage(name, int(rows[0]))).column.nbytes > LARGE:
            return {row: Lazy(partial(self._one, name, row)) for row in rows.tolist()}
        found = self.run._assembled(name)
        values = dict(zip(found.places.tolist(), found.column.tolist(), strict=True))
        places = np.unravel_index(np.arange(self.n), self.shape)
        mine = np.ravel_multi_index([places[self.axes.index(axis)] for axis in own], found.shape)
        return {row: values[at] for row, at in enumerate(mine.tolist()) if at in values}

    def _storage(self, name: str, row: int) -> dict[str, Any]:
        own = self.study.graph.axes[name]
        return {
            axis: self.study.axes[axis].select(place)
            for axis, place in self.index(row).items()
            if axis in own
        }

    def _one(self, name: str, row: int) -> Any:
        return self.run._assembled(name, self._storage(name, row)).column.tolist()[0]

    def _part(self, name: str, row: int) -> Any:
        own = self.study.graph.axes[name]
        return self.run.isel(name, **{axis: at for axis, at in self.index(row).items() if axis in own})

    def _rank(self, step: Step) -> Ranks:
        """The state of each row as far as one step goes; -1 where it has nothing."""
        if step.name not in self._ranks:
            own = [axis for axis in self.axes if axis in step.axes]
            ranks = np.full([self.shape[self.axes.index(axis)] for axis in own], -1)
            for at, found in self._elements(step):
                number, there = np.zeros(len(found), int), np.ones(len(found), bool)
                for axis, n in zip(own, ranks.shape, strict=True):
                    places = self.study.axes[axis].logical[at[axis]]
                    there &= (places >= 0) & (places < n)
                    number = number * n + places
                np.maximum.at(ranks.reshape(-1), number[there], found[there])
            wide = [n if axis in own else 1 for axis, n in zip(self.axes, self.shape, strict=True)]
            self._ranks[step.name] = np.broadcast_to(ranks.reshape(wide), self.shape).reshape(-1)
        return self._ranks[step.name]

    def _elements(self, step: Step) -> Any:
        """Storage positions on each axis, and states, of a step's elements, part by part."""
        for at, found in self._survey.elements(step.name):
            yield at, _RANK[found]
        yield from self.under_way.get(step.name, ())


def _under_way(run: Run) -> Mapping[str, list[tuple[dict[str, Any], Ranks]]]:
    """What a driver in this process has sent to workers, by step: storage positions, and states."""
    driver = run._session.driver if run._live and run._session is not None else None
    found: dict[str, list[tuple[dict[str, Any], Ranks]]] = {}
    for sent in list(driver.sent.values()) if driver is not None else ():
        for item in sent.job.items:
            for name in item.steps:
                step = run._study.graph.steps[name]
                grid, local = run._study.grid(step) or run._study.provisional(step), positions(item.local)
                at = dict(zip(step.axes, grid.storage(item.block, local), strict=True))
                found.setdefault(name, []).append((at, np.full(len(local), ORDER.index("running"))))
    return found
