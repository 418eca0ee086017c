"""Axes that are taken whole in the form that the parameter's annotation asks for, made for each call."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np

from weft.model.annotations import Want, many_passes, promised, wants
from weft.model.graph import Graph
from weft.model.labelled import Labelled, Lazy
from weft.plan.blocks import Positions
from weft.study.arrays import Assembled, Values
from weft.study.labels import cells, columns, coordinates, dims, filled, needed
from weft.values.columns import Column, RangeColumn, TextColumn, TypedColumn

FORMS: frozenset[Want] = frozenset({"dataarray", "dataframe", "labelled", "iterator", "lazy"})
LABELS: frozenset[Want] = frozenset({"dataarray", "dataframe", "labelled"})
_PACKAGES: dict[Want, str] = {"dataarray": "xarray", "dataframe": "pandas"}
RUN = 1024  # numbers that an iterator makes at once: 20 ns each, where one at a time takes 1 µs


def check_packages(graph: Graph) -> None:
    """Look, without importing it, whether what annotations ask for is installed.

    Raises
    ------
    ImportError
        If it is not; it names the step.
    """
    for step in graph.order:
        for parameter in step.parameters:
            package = _PACKAGES.get(wants(parameter.annotation))
            if package is None or step.is_bound(parameter) or graph.read(step, parameter.name).elementwise:
                continue
            if importlib.util.find_spec(package) is None:
                raise ImportError(
                    f"Step {step.name!r} takes {parameter.name!r} as {package} has it, and {package} is not "
                    "installed: pip install 'weft[labels]'"
                )


class Source(Protocol):
    """Where the values come from that an element takes whole."""

    def at(self, position: int) -> Assembled: ...
    def columns(self, position: int) -> Iterator[Column]: ...


@dataclass(frozen=True, eq=False)
class Held:
    """The same values for every element, in memory."""

    assembled: Assembled

    def at(self, position: int) -> Assembled:
        """All of them."""
        return self.assembled

    def columns(self, position: int) -> Iterator[Column]:
        """The values, in C order."""
        yield self.assembled.column


@dataclass(frozen=True, eq=False)
class OnDisk:
    """The same values for every element, read when they are asked for; to be sent they are read first."""

    values: Values
    name: str

    def at(self, position: int) -> Assembled:
        """All of them."""
        return self.values.assemble(self.name)

    def columns(self, position: int) -> Iterator[Column]:
        """The values block by block, in C order."""
        for column, _ in self.values.chunks(self.name):
            yield column

    def __reduce__(self) -> tuple[Any, ...]:
        return Held, (self.at(0),)


@dataclass(frozen=True, eq=False)
class Parts:
    """A part of an array for each element.

    `starts` has the flat position in `array` of each element's part, `offsets` those of the part's values
    from there, `shape` the lengths of a part.
    """

    array: Assembled
    starts: Positions
    offsets: Positions
    shape: tuple[int, ...]

    def at(self, position: int) -> Assembled:
        """The part of one element."""
        flat = self.starts[position] + self.offsets
        if self.array.present is None:
            return Assembled(self.array.column.take(flat), self.shape)
        there = np.isin(flat, self.array.present)
        if self.array.absent and len(self.shape) == 1:  # a row is just its cells
            return Assembled(
                self.array.column.take(np.searchsorted(self.array.present, flat[there])), (int(there.sum()),)
            )
        places = np.searchsorted(self.array.present, flat[there])
        kept = None if there.all() else np.flatnonzero(there)
        return Assembled(self.array.column.take(places), self.shape, kept)

    def columns(self, position: int) -> Iterator[Column]:
        """The values of one element's part, in C order."""
        yield self.at(position).column


def parts(array: Assembled, axes: Sequence[str], at: Mapping[str, Positions], n: int) -> Parts:
    """For each of `n` elements the part of an array at its positions on some axes, whole along the rest."""
    starts, offsets = np.zeros(n, np.int64), np.zeros((), np.int64)
    shape = []
    for place, (axis, length) in enumerate(zip(axes, array.shape, strict=True)):
        stride = math.prod(array.shape[place + 1 :])
        if axis in at:
            starts = starts + at[axis] * stride
        else:
            shape.append(length)
            offsets = offsets[..., None] + np.arange(length) * stride
    return Parts(array, starts, offsets.reshape(-1), tuple(shape))


class Whole:
    """An argument in the form that was asked for: a sequence with one for each element.

    Parameters
    ----------
    axes
        Those that are taken whole.
    n
        Number of elements.
    inputs
        What labels the axes: the axis of each input along one of them, and its values.
    private
        Whether a single element runs, which may write to what it gets.
    """

    def __init__(
        self, name: str, annotation: Any, axes: Sequence[str], n: int, source: Source,
        inputs: Mapping[str, tuple[str, Assembled]], private: bool,
    ) -> None:  # fmt: skip
        self.name, self.axes, self.n, self.source = name, tuple(axes), n, source
        self.want, self.passes = wants(annotation), many_passes(annotation)
        self.inner, self.inner_passes = wants(promised(annotation)), many_passes(promised(annotation))
        self.inputs, self.private = inputs, private
        self._made: Any = None

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, position: int) -> Any:
        if self.want == "lazy":
            return Lazy(partial(self._form, self.inner, self.inner_passes, position))
        return self._form(self.want, self.passes, position)

    def many(self, chosen: list[int]) -> Any:
        """What a batch gets: one for all, or a list where each element has a part of its own."""
        return [self[position] for position in chosen] if isinstance(self.source, Parts) else self[chosen[0]]

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_made": None}

    def _form(self, want: Want, passes: bool, position: int) -> Any:
        if want == "iterator":
            found = Passes(partial(self.source.columns, position))
            return found if passes else iter(found)
        if want in ("dataarray", "dataframe"):
            return self._table(want, position)
        assembled = self.source.at(position)
        if want == "labelled":
            return self._labelled(assembled)
        return assembled.nested() if want == "list" else assembled.array().copy()

    def _table(self, want: Want, position: int) -> Any:
        """A copy of its own for each call; data that all elements share is read-only."""
        make = self._dataarray if want == "dataarray" else self._dataframe
        if not isinstance(self.source, Held):
            return make(self.source.at(position))
        if self._made is None:
            self._made = make(self.source.at(position))
        return self._made.copy(deep=self.private or want == "dataframe")

    def _dataarray(self, assembled: Assembled) -> Any:
        xr = needed("xarray", "labels")
        array = filled(assembled.array()).copy()
        # One object for a label that is an array: a DataArray has no dimensions but those of its values.
        labels = {n: ((axis,), cells(held.array(), 1)) for n, (axis, held) in self.inputs.items()}
        found = xr.DataArray(
            array,
            dims=dims(self.name, self.axes, array),
            coords=coordinates(labels, {self.name}),
            name=self.name,
        )
        if isinstance(self.source, Held):  # what elements share, xarray's own copies of labels too
            for part in (found, *found.coords.values()):
                part.values.flags.writeable = False
        return found

    def _dataframe(self, assembled: Assembled) -> Any:
        pd = needed("pandas", "labels")
        labels = {name: ((axis,), held.array()) for name, (axis, held) in self.inputs.items()}
        labels.pop(self.name, None)
        found = columns(self.axes, assembled.shape, labels, {})
        if assembled.present is not None:
            found = {name: column[assembled.present] for name, column in found.items()}
        found[self.name] = cells(assembled.column.to_array(), 1)
        return pd.DataFrame(found)

    def _labelled(self, assembled: Assembled) -> list[Labelled[Any]]:
        values = assembled.column.tolist()
        flat = assembled.places
        along = np.unravel_index(flat, assembled.shape)
        at = {axis: places.tolist() for axis, places in zip(self.axes, along, strict=True)}
        held = {name: (axis, array.column.tolist()) for name, (axis, array) in self.inputs.items()}
        return [
            Labelled(
                value,
                {name: coords[at[axis][row]] for name, (axis, coords) in held.items()},
                {axis: places[row] for axis, places in at.items()},
            )
            for row, value in enumerate(values)
        ]


class Passes(Iterable[Any]):
    """Values one at a time, from the start for each pass."""

    def __init__(self, source: Callable[[], Iterator[Column]]) -> None:
        self._source = source

    def __iter__(self) -> Iterator[Any]:
        for column in self._source():
            for bite in bites(column):
                yield from bite.tolist()


def bites(column: Column) -> Iterator[Column]:
    """A column in pieces whose values may be made at once: many numbers, or a single large value."""
    many = isinstance(column, (RangeColumn, TextColumn)) or (
        isinstance(column, TypedColumn) and column.data.ndim == 1
    )
    step = RUN if many else 1
    for low in range(0, len(column), step):
        yield column[low : low + step]
