"""The arguments of a piece of work, fetched by slice: what one job needs, and nothing else of the study."""

from __future__ import annotations

import contextlib
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from weft.model.annotations import promised, wants
from weft.model.iterations import FIRST
from weft.model.step import Parameter, Step
from weft.plan.axes import occurrences
from weft.plan.blocks import Block, Grid, Positions, positions, ranges
from weft.study import coarse
from weft.study.arrays import Values
from weft.study.assembled import Assembled
from weft.study.reading import STREAMED, Reading, injected
from weft.study.streams import stream_words
from weft.study.study import Study
from weft.study.whole import FORMS, LABELS, Held, OnDisk, Source, Whole
from weft.values import content
from weft.values.codecs import coded
from weft.values.columns import Column, concat
from weft.values.traces import traced


@dataclass(frozen=True)
class Item:
    """A piece of work: some elements of one block, through a chain of steps.

    `local` has ``[low, high)`` ranges of positions in the block.
    """

    steps: tuple[str, ...]
    block: Block
    local: tuple[tuple[int, int], ...]

    @property
    def n(self) -> int:
        """Number of elements."""
        return sum(high - low for low, high in self.local)

    def parts(self, most: float) -> list[tuple[Item, ...]]:
        """Parts of about `most` elements, each as the items of a job."""
        local = positions(self.local)
        count = max(1, round(len(local) / max(most, 1.0)))
        return [(Item.of(self.steps, self.block, part),) for part in np.array_split(local, count)]

    @classmethod
    def of(cls, steps: Sequence[str], block: Block, local: Positions) -> Item:
        """From sorted local positions."""
        return cls(tuple(steps), block, tuple((low, high) for low, high in ranges(local)))


def in_order(item: Item, step: Step, grid: Grid) -> Positions:
    """Local positions of an item's elements; iteration by iteration, where a loop goes on within it.

    So all that a loop runs for go through an iteration together, at 2 µs each where one by one takes 16.
    """
    local = positions(item.local)
    if not step.loops:
        return local
    turns = grid.storage(item.block, local)[step.axes.index(step.loops[-1].name)]
    return local[np.argsort(turns, kind="stable")]


@dataclass(frozen=True)
class Single:
    """An argument that is the same for every element; it travels as codecs have it."""

    value: Any

    def __reduce__(self) -> tuple[Any, ...]:
        if coded(self.value):
            with contextlib.suppress(TypeError):
                return Encoded, (content.encode(self.value),)
        return Single, (self.value,)


class Encoded(Single):
    """One that has travelled. Its codecs are known to a worker once it has begun the job, not before."""

    def __init__(self, data: bytes) -> None:
        vars(self)["data"] = data

    @cached_property
    def value(self) -> Any:
        """What was sent."""
        return content.decode(vars(self)["data"])

    def __reduce__(self) -> tuple[Any, ...]:
        return Encoded, (vars(self)["data"],)


@dataclass(frozen=True)
class Carried:
    """An argument that the iteration before made: of another element of the item, or from outside it.

    Attributes
    ----------
    of
        The output that is carried.
    before
        For each element the position of its predecessor in the item; -1 where that is outside.
    outside
        The values from outside, in the order of the elements that have them.
    """

    of: str
    before: Positions
    outside: Column

    def rank(self, at: Positions) -> Positions:
        """Where the values of elements with predecessors outside stand in `outside`."""
        found: Positions = (np.cumsum(self.before < 0) - 1)[at]
        return found


@dataclass
class Arguments:
    """Where every argument of an item comes from, by step and parameter name.

    Attributes
    ----------
    given
        A `Column` with one value per element, a `Single`, a `Carried`, or a `Whole`, which makes one for
        each call. Arguments made within the chain are absent.
    digests
        For steps that take computed values whole: 16 bytes for each element, digest of what it read.
    traces
        For steps that take values of volatile steps: bytes for each element, or the name of the value where
        it is made within the chain, or what carries it there.
    gates
        Outputs of the chain that end a loop when they are true, and each element's predecessor in it.
    reads
        For the same steps: the fingerprint of what was read.
    words
        For steps with random streams: their spawn keys.
    index, coords
        For steps that ask for their context: positions and values along each axis.
    """

    given: dict[tuple[str, str], Column | Single | Carried | Whole] = field(default_factory=dict)
    digests: dict[str, Any] = field(default_factory=dict)
    traces: dict[str, list[Any]] = field(default_factory=dict)
    reads: dict[str, str] = field(default_factory=dict)
    gates: dict[str, Positions] = field(default_factory=dict)
    words: dict[str, Any] = field(default_factory=dict)
    index: dict[str, list[int]] = field(default_factory=dict)
    coords: dict[str, list[Any]] = field(default_factory=dict)


class Fetcher(Reading):
    """Fetches arguments from a study."""

    def __init__(self, study: Study) -> None:
        super().__init__(study)
        self._occurrences: dict[str, Positions | None] = {}

    @classmethod
    def of(cls, study: Study) -> Fetcher:
        """The study's own fetcher, which remembers what was read whole from one job to the next."""
        found: Fetcher | None = study.memory.get("fetcher")
        return found if found is not None else study.memory.setdefault("fetcher", cls(study))

    def fetch(self, item: Item, grid: Grid) -> Arguments:
        """The arguments of an item, whose positions count in `grid`.

        Raises
        ------
        CorruptResult
            If what must be read is damaged.
        """
        study = self.study
        found = Arguments()
        first = study.graph.steps[item.steps[0]]
        local = in_order(item, first, grid)
        where = dict(zip(first.axes, grid.storage(item.block, local), strict=True))
        n, box = len(local), dict(zip(first.axes, grid.box(item.block), strict=True))
        made = {output for name in item.steps for output in study.graph.steps[name].outputs}
        for name in item.steps:
            step = study.graph.steps[name]
            asks = set()
            for parameter in step.parameters:
                if step.is_bound(parameter):
                    found.given[name, parameter.name] = Single(step.bound_value(parameter))
                elif injected(step, parameter, study):
                    asks.add(parameter.injected)
                elif self._carried_in(step, parameter.name, made):
                    found.given[name, parameter.name] = self._carried(parameter.name, where, n)
                elif parameter.name not in made:
                    found.given[name, parameter.name] = self._argument(step, parameter, where, n)
            self._digests(step, where, n, found, made, box)
            if "rng" in asks:
                found.words[name] = stream_words(name, self.coordinates(step, where, n))
            if asks & {"ctx", "res"} or callable(step.resources):
                index, coords = place(study, self.values, step, where, n)
                found.index.update(index)
                found.coords.update(coords)
        for loop in first.loops:
            if loop.until in made:
                found.gates[str(loop.until)] = self.before(loop.name, where, n)
        return found

    def _carried_in(self, step: Step, name: str, made: Container[str]) -> bool:
        """Whether a name is what the iteration before made, element by element, of what the chain makes."""
        graph = self.study.graph
        alias = graph.aliases.get(name)
        if alias is None or alias.initial is None or alias.of not in made or step.batch:
            return False
        return graph.read(step, name).elementwise and not graph.producer[alias.of].opened

    def _carried(self, name: str, where: Mapping[str, Positions], n: int) -> Carried:
        alias = self.study.graph.aliases[name]
        before = self.before(alias.axis, where, n)
        outside = np.flatnonzero(before < 0)
        part = {axis: np.broadcast_to(p, (n,))[outside] for axis, p in where.items()}
        values = self.values.elements(name, part, len(outside)) if len(outside) else concat([])
        return Carried(alias.of, before, values)

    def before(self, axis: str, where: Mapping[str, Positions], n: int) -> Positions:
        """For each element the position of the one before it along an axis; -1 if it is none of these."""
        sizes = [self.study.axes[a].size or 0 for a in where]
        flat = np.ravel_multi_index([np.broadcast_to(p, (n,)) for p in where.values()], sizes)
        order = np.argsort(flat, kind="stable")
        earlier = [p - 1 if a == axis else p for a, p in where.items()]
        wanted = np.ravel_multi_index([np.broadcast_to(p, (n,)) for p in earlier], sizes, mode="clip")
        place = order[np.minimum(np.searchsorted(flat[order], wanted), n - 1)]
        found: Positions = np.where((flat[place] == wanted) & (where[axis] > 0), place, -1)
        return found

    def _argument(
        self, step: Step, parameter: Parameter, where: Mapping[str, Positions], n: int
    ) -> Column | Single | Whole:
        study, name, want = self.study, parameter.name, wants(parameter.annotation)
        given = study.inputs.get(name)
        if not study.graph.made(name) and given is None:
            return Single(parameter.default)
        indices = study.graph.read(step, name).indices
        if not indices:
            value = self.values.elements(name, {}, 1).tolist()[0] if given is None else given.value
            return Single(_guarded(value, not step.axes) if type(value) is np.ndarray else value)
        if None not in indices:
            return self.values.elements(name, where, n)
        shared = not any(indices)
        if want in FORMS or (want == "list" and not shared):
            source = self._source(step, name, want, shared, where, n)
            free = [a for a, index in zip(study.graph.axes[name], indices, strict=True) if index is None]
            labels = self._labels(free) if {want, wants(promised(parameter.annotation))} & LABELS else {}
            return Whole(name, parameter.annotation, free, n, source, labels, private=not step.axes)
        if shared:
            return Single(self._shown(step, parameter, self.values.whole(name)))
        return self.parts(step, name, where, n).rows()

    def _source(
        self, step: Step, name: str, want: str, shared: bool, where: Mapping[str, Positions], n: int
    ) -> Source:
        """Where the values come from that elements take whole."""
        if want == "iterator" and coarse.stretched(self.study.graph, step, name):
            return coarse.read(self.values, step, name, where)
        if not shared:
            return self.parts(step, name, where, n)
        return OnDisk(self.values, name) if want in STREAMED else Held([self.values.whole(name)])

    def _labels(self, axes: Sequence[str]) -> dict[str, tuple[str, Assembled]]:
        """The inputs along one of some axes, by their names: the axis, and the values."""
        return {
            name.removesuffix(FIRST): (given.axes[0], self.values.whole(name))
            for name, given in self.study.inputs.items()
            if len(given.axes) == 1 and given.axes[0] in axes
        }

    def _shown(self, step: Step, parameter: Parameter, whole: Assembled) -> Any:
        """A whole array as the annotation asks; only a step that runs once may write to it."""
        if wants(parameter.annotation) == "list":
            return whole.nested()
        given = self.study.inputs.get(parameter.name)
        array = given.value if given is not None and type(given.value) is np.ndarray else whole.array()
        return _guarded(array, not step.axes)

    def _digests(
        self, step: Step, where: Mapping[str, Positions], n: int, found: Arguments, made: Container[str],
        box: Mapping[str, tuple[int, int]],
    ) -> None:  # fmt: skip
        seen = self.fingerprint(step, box)
        if not seen:
            return
        found.reads[step.name] = seen
        names = self.study.graph.traced(step)
        found.traces[step.name] = [
            name
            if name in made
            else found.given[step.name, name]
            if self._carried_in(step, name, made)
            else traced(self.values.elements(name, where, n))
            for name in names
        ]
        found.digests[step.name] = self.whole_digests(step, where, n)

    def coordinates(self, step: Step, where: Mapping[str, Positions], n: int) -> Any:
        """What identifies each element for its random stream: one row of bytes each."""
        parts: list[Any] = []
        for axis in step.axes:
            given = self.study.coordinates.get(axis, ())
            if not given:
                parts.append(np.ascontiguousarray(where[axis], dtype="<i8").view(np.uint8).reshape(n, 8))
                continue
            for value in sorted(given, key=lambda v: v.name):
                parts.append(self.values.elements(value.name, where, n).element_digests())
            count = self._occurrence(axis)
            number = np.zeros(n, "<i8") if count is None else count[where[axis]].astype("<i8")
            parts.append(number.view(np.uint8).reshape(n, 8))
        return np.concatenate(parts, axis=1) if parts else np.zeros((n, 0), np.uint8)

    def _occurrence(self, axis: str) -> Positions | None:
        if axis not in self._occurrences:
            held = self.study.axes[axis]
            given = self.study.coordinates.get(axis, ())
            columns = [v.column for v in given if v.column is not None]
            found = occurrences(columns)
            if found is not None and held.selection is not None:
                storage = np.zeros(held.size or 0, np.int64)
                storage[held.selection] = found
                found = storage
            self._occurrences[axis] = found
        return self._occurrences[axis]


def _guarded(array: Any, private: bool) -> Any:
    """A copy for the only element that gets an array; a view that cannot be written for all that share it."""
    if private:
        return array.copy()
    array = array.view()
    if not isinstance(array, np.ma.MaskedArray):
        array.flags.writeable = False
    return array


def place(
    study: Study, values: Values, step: Step, where: Mapping[str, Positions], n: int
) -> tuple[dict[str, list[int]], dict[str, list[Any]]]:
    """Logical positions of elements on each axis, and the values of the inputs that vary along them."""
    index = {axis: study.axes[axis].logical[where[axis]].tolist() for axis in step.axes}
    coords = {
        name.removesuffix(FIRST): values.elements(name, where, n).tolist()
        for name, given in study.inputs.items()
        if len(given.axes) == 1 and given.axes[0] in step.axes and name not in study.graph.loops
    }
    return index, coords
