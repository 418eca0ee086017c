"""A study: the graph with its inputs, axes, identities and results. What worker, driver and reader share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from weft.errors import ShapeError
from weft.model.graph import Graph
from weft.model.step import Step
from weft.plan.axes import Axis, coarsened
from weft.plan.blocks import Grid
from weft.store.record import Reset, StepRecord
from weft.store.results import CommitStore, Results
from weft.values.columns import Column


@dataclass(frozen=True, eq=False)
class Input:
    """A root input of a study.

    Attributes
    ----------
    axes
        The axes that it lies along; none if it is taken whole.
    column, shape
        For a mapped input: its values in logical C order, and its lengths.
    value
        What the user gave.
    digest
        Of the content, if it was asked for.
    """

    name: str
    axes: tuple[str, ...] = ()
    column: Column | None = None
    shape: tuple[int, ...] = ()
    value: Any = None
    digest: str = ""


class RecordedInput(Input):
    """A whole input, read from the record when it is asked for: it may be large, or not to be trusted."""

    @classmethod
    def of(cls, name: str, digest: str, load: Callable[[], Any]) -> RecordedInput:
        """An input whose value `load` gives."""
        given = cls(name, digest=digest)
        del given.__dict__["value"]
        given.__dict__["load"] = load
        return given

    @cached_property
    def value(self) -> Any:
        """What the user gave."""
        return self.__dict__["load"]()


@dataclass(eq=False)
class Study:
    """Everything that decides what a run's elements are and where their results lie.

    `stamp` tells one study at a path from another that lay there before; `generation` counts how often it
    was replaced there.

    Axes that steps open have no size until one of the results is there: `learn` tells it.
    """

    graph: Graph
    inputs: Mapping[str, Input]
    axes: dict[str, Axis]
    records: Mapping[str, StepRecord]
    store: CommitStore
    name: str = "run"
    seed: int = 0
    epoch: int = 0
    resets: tuple[Reset, ...] = ()
    forced: frozenset[str] = frozenset()
    path: str | None = None
    stamp: str = ""
    generation: int = 0
    results: dict[str, Results] = field(default_factory=dict)
    blocks: dict[str, tuple[int, ...]] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.axes |= coarsened(self.axes, self.graph.coarse)
        for step in self.graph.order:
            record = self.records[step.name]
            self.results[step.name] = Results(
                self.store, step.name, record.identity, record.bases, self.resets, bool(step.ragged)
            )

    @cached_property
    def coordinates(self) -> Mapping[str, Sequence[Input]]:
        """The inputs that lie along one axis alone, by that axis."""
        found: dict[str, list[Input]] = {}
        for given in self.inputs.values():
            if len(given.axes) == 1:
                found.setdefault(given.axes[0], []).append(given)
        return found

    def refresh(self) -> Study:
        """Look at every step's results, and learn the lengths of axes that steps open."""
        for step in self.graph.order:
            results = self.results[step.name].refresh()
            if step.name not in self.blocks:
                block = results.grid()
                if block is not None:
                    self.blocks[step.name] = block
            self.learn(step)
        return self

    def learn(self, step: Step) -> bool:
        """Learn the lengths of axes that a step opens from what it made; whether an axis is longer now.

        Of rows with lengths of their own the longest counts.

        Raises
        ------
        ShapeError
            If they are not those already known.
        """
        inner = self.results[step.name].inner
        longer = bool(step.ragged) and 0 in (self.shape(step) or ()) and self._widen(step.ragged, 0)
        for output in step.outputs:
            for axis, length in zip(step.opened, inner.get(output, ()), strict=False):
                known = self.axes[axis]
                if axis == step.ragged:
                    # What waits for the rows of an iteration waits for a block, also if all are empty.
                    longer |= self._widen(axis, max(1, length) if step.loops else length)
                elif known.size is None:
                    self.axes[axis] = Axis(axis, length, None, step.name)
                    self.axes |= coarsened(self.axes, self.graph.coarse)
                elif known.length != length:
                    raise ShapeError(
                        f"Axis {axis!r} has length {known.length}, but step {step.name!r} made {length} "
                        f"values of {output!r} along it."
                    )
        for name, axes in self.graph.started_along.items():
            for own, start in axes.items():
                if own != start and self.axes[start].length is not None and name in self.graph.axes:
                    longer |= self._widen(own, max(1, self.axes[start].length or 0))
        return longer

    def _widen(self, name: str, length: int) -> bool:
        axis = self.axes[name]
        if axis.size is not None and axis.size >= length:
            return False
        self.axes[name] = Axis(name, length, None, axis.opener)
        return True

    def shape(self, step: Step) -> tuple[int, ...] | None:
        """Lengths of the step's axes in storage order; None while one is unknown."""
        sizes = [self.axes[a].size for a in step.axes]
        return None if any(s is None for s in sizes) else tuple(s for s in sizes if s is not None)

    def grid(self, step: Step) -> Grid | None:
        """The step's grid of blocks; None while its shape or its blocks are not known."""
        shape = self.shape(step)
        block = () if not step.axes else self.blocks.get(step.name)
        return None if shape is None or block is None else Grid(shape, block)

    def provisional(self, step: Step) -> Grid:
        """The grid of a step whose blocks are not chosen yet: one block of everything."""
        shape = self.shape(step)
        assert shape is not None
        return Grid(shape, tuple(max(1, n) for n in shape))

    def array_shape(self, name: str) -> tuple[int, ...] | None:
        """Logical lengths of an array; None while one is unknown."""
        sizes = [self.axes[a].length for a in self.graph.axes.get(name, ())]
        return None if any(s is None for s in sizes) else tuple(s for s in sizes if s is not None)

    def selection(self, step: Step, chosen: Mapping[str, Any] | None = None) -> list[Any]:
        """For each axis of a step the sorted storage positions that are wanted; None for all."""
        found: list[Any] = []
        for name in step.axes:
            axis = self.axes[name]
            wanted = axis.wanted
            if chosen and name in chosen:
                wanted = chosen[name]
            found.append(wanted)
        return found
