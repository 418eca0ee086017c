"""Axes that are taken whole in the form that the parameter's annotation asks for, made for each call."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, Protocol

import numpy as np

from weft.model.annotations import Want, many_passes, promised, wants
from weft.model.graph import Graph
from weft.model.labelled import Labelled, Lazy
from weft.plan.blocks import Positions
from weft.store.results import ColumnCache
from weft.study.arrays import STREAMED_BYTES, Values
from weft.study.assembled import Assembled
from weft.study.labels import cells, columns, coordinates, dims, filled, needed
from weft.values.codecs import coded
from weft.values.columns import Column, RangeColumn, SequenceColumn, TextColumn, TypedColumn, concat
from weft.values.packing import kept, native

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
    """Where the values come from that an element takes whole; `shared` if they are the same for all."""

    @property
    def shared(self) -> bool: ...
    def at(self, position: int) -> Assembled: ...
    def columns(self, position: int) -> Iterator[Column]: ...


@dataclass(frozen=True, eq=False)
class Held:
    """Values in memory: the same for every element, or for each its own."""

    parts: Sequence[Assembled]
    shared: bool = True

    def at(self, position: int) -> Assembled:
        """All of an element's values."""
        return self.parts[0 if self.shared else position]

    def columns(self, position: int) -> Iterator[Column]:
        """The values, in C order."""
        yield self.at(position).column


@dataclass(frozen=True, eq=False)
class OnDisk:
    """Values that are read piece by piece when they are asked for; to be sent they are read first.

    `chosen` is the part of the array that each element reads, or all of them, `together` what must be there
    too.
    """

    values: Values
    name: str
    chosen: Sequence[Mapping[str, Positions]] = ({},)
    together: tuple[str, ...] = ()
    shared: bool = True
    cache: ColumnCache | None = field(default_factory=lambda: ColumnCache(STREAMED_BYTES))

    def at(self, position: int) -> Assembled:
        """All of an element's values."""
        return self.values.assemble(self.name, self.chosen[0 if self.shared else position])

    def columns(self, position: int) -> Iterator[Column]:
        """The values about a block at a time, in C order."""
        chosen = self.chosen[0 if self.shared else position]
        for column, _ in self.values.pieces(self.name, chosen, self.together, self.cache):
            yield column

    def __reduce__(self) -> tuple[Any, ...]:
        if not self.together:
            return Held, ([self.at(position) for position in range(len(self.chosen))], self.shared)
        columns = [concat(list(self.columns(position))) for position in range(len(self.chosen))]
        return Held, ([Assembled(column, (len(column),)) for column in columns], self.shared)


@dataclass(frozen=True, eq=False)
class Parts:
    """A part of an array for each element; as a sequence each is an array of its own.

    Attributes
    ----------
    along
        For each axis of the array the elements' places on it; None where they take it whole.
    reach
        For each element and each axis of its part how far it goes; None if all go to the end.
    """

    array: Assembled
    along: Sequence[Positions | None]
    reach: Positions | None = None
    shared = False

    @cached_property
    def _flat(self) -> tuple[Positions, Positions]:
        """The flat position of each element's part, and those of the part's values from there."""
        starts, offsets = np.zeros((), np.int64), np.zeros((), np.int64)
        for length, at in zip(self.array.shape, self.along, strict=True):
            starts = starts * length + (0 if at is None else at)
            offsets = offsets * length if at is not None else offsets[..., None] * length + np.arange(length)
        return starts, offsets

    def __len__(self) -> int:
        return len(self._flat[0])

    def __getitem__(self, position: int) -> Any:
        found = self.at(position)
        if 0 in found.shape:
            # The type of its elements would be that of other rows, if any are read together with it.
            return np.empty(found.shape)
        array, even = found.array().copy(), self.reach is None and not len(self.array.gone)
        return np.ma.array(array, mask=False) if even and found.present is None else array

    def at(self, position: int) -> Assembled:
        """The part of one element."""
        starts, offsets = self._flat
        flat = starts[position] + offsets
        if self.reach is not None:
            flat = flat[tuple(map(slice, self.reach[position]))]
        return self.array.part(flat.reshape(-1), flat.shape)

    def columns(self, position: int) -> Iterator[Column]:
        """The values of one element's part, in C order."""
        yield self.at(position).column

    def rows(self) -> Column:
        """The parts as arrays, of which each element gets a copy: one cannot change what another reads."""
        if self.array.present is not None or self.reach is not None:
            return SequenceColumn(self)
        array = self.array.array()
        places = [at for at in self.along if at is not None]
        order = sorted(range(len(self.along)), key=lambda place: self.along[place] is None)
        rows = np.ascontiguousarray(array.transpose(*order, *range(len(order), array.ndim))[tuple(places)])
        return TypedColumn(rows, "array") if native(rows.dtype) else SequenceColumn(Copies(rows))


class Copies:
    """Arrays of which whoever takes one gets a copy."""

    def __init__(self, rows: np.ndarray[Any, Any]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: int) -> Any:
        return self.rows[position].copy()

    def __reduce__(self) -> tuple[Any, ...]:
        if coded(self.rows):
            return getattr, (kept(self.rows), "source")
        return Copies, (self.rows,)


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
        return self[chosen[0]] if self.source.shared else [self[position] for position in chosen]

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
