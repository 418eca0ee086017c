"""What crosses iterations: names that stand for other arrays, and the reads that they come down to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from weft.model.coarse import Coarse
from weft.model.iterations import FIRST, Alias, Iterations
from weft.model.step import Parameter, Step


@dataclass(frozen=True)
class Source:
    """An array that a step reads, and how.

    Attributes
    ----------
    array
        What a step makes, or an input; or an alias of such, as the step itself says it.
    indices
        One for each of its dimensions: the axis along which the step takes single elements, or None where it
        takes the dimension whole. Empty for a value without axes.
    back
        Axes along which an element reads what stands one position before its own.
    first
        Axes of which only the first position reads it.
    """

    array: str
    indices: tuple[str | None, ...]
    back: frozenset[str] = frozenset()
    first: frozenset[str] = frozenset()

    @property
    def elementwise(self) -> bool:
        """Whether no dimension is taken whole."""
        return None not in self.indices


class Crossing:
    """The part of a graph that knows aliases and loops; without any, each name is itself."""

    steps: dict[str, Step]
    producer: dict[str, Step]
    order: tuple[Step, ...]
    axes: dict[str, tuple[str, ...]]
    aliases: dict[str, Alias]
    loops: dict[str, Iterations]
    coarse: dict[str, Coarse]

    def read(self, step: Step, name: str) -> Source:
        """How `step` takes `name`: along which axes element by element, along which whole."""
        spec = step.input_spec(name)
        indices = spec.indices if spec else (None,) * len(self.axes.get(name, ()))
        return Source(name, tuple(index if index in step.axes else None for index in indices))

    def runs(self, step: Step) -> Coarse | None:
        """The axis along which a step takes another run by run, if there is one."""
        return self.coarse[step.coarse.axis] if step.coarse else None

    def said(self, name: str) -> str:
        """What users call a name: a loop makes others of it."""
        alias = self.aliases.get(name)
        if alias is None:
            return name.removesuffix(FIRST)
        return self.base(name) if alias.initial is None else name.removeprefix(f"{alias.axis}.")

    def base(self, name: str) -> str:
        """The array that a name stands for: itself, unless it is an alias."""
        while name in self.aliases:
            name = self.aliases[name].of
        return name

    def made(self, name: str) -> bool:
        """Whether a step makes what the name stands for."""
        return self.base(name) in self.producer

    def makers(self, name: str) -> tuple[Step, ...]:
        """The steps that make what a name stands for before whoever reads it runs for the first time."""
        alias = self.aliases.get(name)
        if alias is not None:
            return self.makers(alias.of if alias.initial is None else alias.initial)
        return (self.producer[name],) if name in self.producer else ()

    def carriers(self, step: Step) -> tuple[Step, ...]:
        """Steps whose last iteration this step waits for: they make what it carries, or end its loops."""
        names = [alias.of for p in step.parameters if (alias := self.aliases.get(p.name)) and alias.initial]
        names += [loop.until for loop in step.loops if loop.until is not None]
        return tuple(
            {made.name: made for name in names for made in (self.producer[self.base(name)],)}.values()
        )

    def sources(self, read: Source) -> tuple[Source, ...]:
        """The arrays that a read comes down to: for an alias those that it stands for."""
        alias = self.aliases.get(read.array)
        if alias is None:
            return (read,)
        if alias.initial is None:
            place = self.axes[alias.of].index(alias.axis)
            return self.sources(Source(alias.of, (*read.indices[:place], None, *read.indices[place:])))
        taken = dict(zip(self.axes[read.array], read.indices, strict=True))
        along = {start: own for own, start in self.started_along[read.array].items()}
        start = Source(alias.initial, tuple(taken[along[a]] for a in self.axes.get(alias.initial, ())))
        return (
            *(replace(s, back=s.back | {alias.axis}) for s in self.sources(replace(read, array=alias.of))),
            *(replace(s, first=s.first | {alias.axis}) for s in self.sources(start)),
        )

    def reads(self, step: Step) -> list[Source]:
        """Every array that a step reads, the truths that end its loops among them."""
        found = [
            source
            for p in step.parameters
            if not step.is_bound(p)
            and (p.name in self.axes or p.name in self.producer or p.name in self.aliases)
            for source in self.sources(self.read(step, p.name))
        ]
        for loop in step.loops:
            if loop.until is not None:
                along = tuple(axis if axis in step.axes else None for axis in self.axes[loop.until])
                found.append(Source(loop.until, along, frozenset((loop.name,))))
        return found

    @cached_property
    def ragged(self) -> dict[str, Step]:
        """Axes along which each row has its own length, and the steps that open them."""
        return {step.ragged: step for step in self.order if step.ragged}

    @cached_property
    def started_along(self) -> dict[str, dict[str, str]]:
        """For each carried name the axes that what it starts with has, by its own axes."""
        found = {}
        for alias in self.aliases.values():
            if alias.initial is not None:
                own = [axis for axis in self.axes.get(alias.name, ()) if axis != alias.axis]
                theirs = list(self.axes.get(alias.initial, ()))
                same = [axis for axis in own if axis in theirs]
                # Study axes in front may be the carried value's alone: data axes match from behind.
                others = zip(
                    reversed([a for a in own if a not in same]),
                    reversed([a for a in theirs if a not in same]),
                    strict=False,
                )
                found[alias.name] = {**{axis: axis for axis in same}, **dict(others)}
        return found

    def read_from(self, step: Step) -> set[str]:
        """Names of the steps whose results a step reads, or that tell how many elements there are of them."""
        arrays = {source.array for source in self.reads(step)}
        axes = {axis for array in arrays for axis in self.axes.get(array, ())} | {*step.axes}
        arrays |= {until for axis in axes if axis in self.loops and (until := self.loops[axis].until)}
        openers = {self.ragged[axis].name for axis in axes if axis in self.ragged}
        return {self.producer[array].name for array in arrays if array in self.producer} | openers

    @cached_property
    def inputs(self) -> dict[str, list[tuple[Step, Parameter]]]:
        """Names that must come from outside (or have defaults), with everyone who takes them."""
        found: dict[str, list[tuple[Step, Parameter]]] = {}
        for step in self.order:
            for p in step.inputs:
                name = self.start(p.name)
                if name not in self.producer and name not in self.aliases and name not in self.loops:
                    found.setdefault(name, []).append((step, p))
        return found

    def start(self, name: str) -> str:
        """What a name stands for at first: of a carried one what comes from outside."""
        while name in self.aliases and (initial := self.aliases[name].initial) is not None:
            name = initial
        return name

    @property
    def started(self) -> list[str]:
        """Inputs that loops start with."""
        initials = {self.start(alias.name) for alias in self.aliases.values() if alias.initial is not None}
        return [name for name in self.inputs if name in initials]

    @cached_property
    def firsts(self) -> dict[str, str]:
        """What users call an input, where a loop makes that name itself, and the input's own name."""
        return {
            name.removesuffix(FIRST): name
            for name in self.inputs
            if name.endswith(FIRST) and name.removesuffix(FIRST) in self.producer
        }

    def whole_loop(self, step: Step) -> tuple[Step, ...]:
        """The steps of the outermost loop that a step is in; none if it is in none."""
        return self._bodies[step.loops[0].name] if step.loops else ()

    @cached_property
    def _bodies(self) -> dict[str, tuple[Step, ...]]:
        found: dict[str, tuple[Step, ...]] = {}
        for step in self.order:
            if step.loops:
                found[step.loops[0].name] = (*found.get(step.loops[0].name, ()), step)
        return found
