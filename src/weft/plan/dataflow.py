"""Which steps travel together, and which blocks wait for which. Pure index arithmetic."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass

from weft.model.coarse import Coarse
from weft.model.crossing import Source
from weft.model.graph import Graph
from weft.model.step import Step
from weft.plan.blocks import Grid, Layout


@dataclass(frozen=True)
class Need:
    """What a group of steps reads from another group: along which axes block by block, along which whole.

    `along` are the axes shared element by element; with `producer` over other axes too, those are read
    whole. A need for order only (``after``) has no shared axes. With `back`, an axis, what is read stands one
    position before along it. With `coarse`, an axis that the consumer takes in runs, so is its fine one.
    """

    producer: str
    along: tuple[str, ...]
    whole: bool
    back: str = ""
    coarse: Coarse | None = None

    @property
    def shared(self) -> tuple[str, ...]:
        """Axes of the producer of which a block needs a part only."""
        return (*self.along, self.coarse.of) if self.coarse else self.along


@dataclass(frozen=True)
class Group:
    """Steps that one job carries an element through, committed together (fusion).

    `chain` is the axis of a loop whose whole body they are: a job carries an element through its iterations.
    """

    steps: tuple[Step, ...]
    chain: str = ""

    @property
    def name(self) -> str:
        """Name of the group: that of its first step."""
        return self.steps[0].name

    @property
    def axes(self) -> tuple[str, ...]:
        """Axes that all its steps run along."""
        return self.steps[0].axes

    @property
    def layout(self) -> Layout:
        """How its blocks lie: along loops an iteration waits for the one before, unless a job chains them."""
        single = {loop.name for loop in self.steps[0].loops} - {self.chain}
        order = [place for place, axis in enumerate(self.axes) if axis not in single]
        return Layout(tuple(sorted(order, key=lambda place: self.axes[place] == self.chain)))


def fuse(
    graph: Graph, kind: Callable[[Step], Hashable], blocks: Mapping[str, tuple[int, ...]] | None = None
) -> tuple[Group, ...]:
    """Put consecutive steps with the same axes, and the same `kind`, into groups.

    Parameters
    ----------
    kind
        What must be equal for steps to share a job: their backend, resources, and so on.
    blocks
        Block shapes that are chosen already: where they reach across iterations, a body stays together.
    """
    chains = {name: loop for loop in graph.loops for name in _chain(graph, loop, kind, blocks or {})}
    first: dict[str, int] = {}
    groups: list[list[Step]] = []
    home: dict[str, int] = {}
    above: list[int] = []  # for each group those before it, as bits: sets would grow with the square
    for step in graph.order:
        needed = {home[n.name] for n in graph.needs(step)}
        between = functools.reduce(operator.or_, (above[g] for g in needed), 0)
        earlier = between | sum(1 << g for g in needed)
        chain = chains.get(step.name, "")
        chosen = next(
            (
                group
                for group in sorted(needed, reverse=True)
                if not between >> group & 1 and _joins(graph, step, groups[group], kind)
            ),
            None,
        )
        if chain:
            chosen = first.setdefault(chain, len(groups))
            chosen = None if chosen == len(groups) else chosen
        if chosen is None:
            home[step.name] = len(groups)
            groups.append([step])
            above.append(earlier)
        else:
            home[step.name] = chosen
            groups[chosen].append(step)
            new = earlier & ~(1 << chosen)
            if new & ~above[chosen]:
                above = [a | new if g == chosen or a >> chosen & 1 else a for g, a in enumerate(above)]
    order = sorted(range(len(groups)), key=lambda group: (above[group].bit_count(), group))
    return tuple(Group(tuple(groups[g]), chains.get(groups[g][0].name, "")) for g in order)


def _chain(
    graph: Graph, loop: str, kind: Callable[[Step], Hashable], blocks: Mapping[str, tuple[int, ...]]
) -> list[str]:
    """The body of a loop, if one job can carry an element through all of it, and through iterations."""
    body = [step for step in graph.order if any(each.name == loop for each in step.loops)]
    first, inside = body[0], {step.name for step in body}
    for step in body:
        if step.axes != first.axes or step.batch or step.opened or step.after or step.loops[-1].name != loop:
            return []
        for source in graph.reads(step):
            made = graph.producer.get(source.array)
            if (
                made is not None
                and made.name in inside
                and not (source.elementwise and step.axes == made.axes)
            ):
                return []
    place = first.axes.index(loop)
    together = any(blocks[name][place] > 1 for name in inside if name in blocks)
    return list(inside) if together or len({kind(step) for step in body}) == 1 else []


def _joins(graph: Graph, step: Step, group: list[Step], kind: Callable[[Step], Hashable]) -> bool:
    first = group[0]
    if not step.axes or step.axes != first.axes or step.batch != first.batch or kind(step) != kind(first):
        return False
    members = {s.name for s in group}
    if any(graph.find(n).name in members for n in step.after):
        return False
    for parameter in step.parameters:
        made = graph.producer.get(parameter.name)
        if made is None or made.name not in members:
            continue
        read = graph.read(step, parameter.name)
        if not read.elementwise or made.opened:
            return False
    return True


def unkept(graph: Graph, steps: Iterable[Step]) -> frozenset[str]:
    """Steps with ``keep=False`` that only these fused steps read: their results need not be stored at all."""
    steps = list(steps)
    inside = {step.name for step in steps}
    found = set()
    carried = {alias.of for alias in graph.aliases.values()} | {loop.until for loop in graph.loops.values()}
    for step in steps:
        if not step.keep and carried.isdisjoint(step.outputs):
            readers = {s.name for s in graph.order if any(n.name == step.name for n in graph.needs(s))}
            if readers and readers <= inside:
                found.add(step.name)
    return frozenset(found)


def reads(graph: Graph, group: Group) -> list[tuple[Step, Source]]:
    """What the steps of a group read from steps outside it, and from iterations before."""
    inside = {s.name for s in group.steps}
    return [
        (step, source)
        for step in group.steps
        for source in graph.reads(step)
        if source.array in graph.producer and (source.back or graph.producer[source.array].name not in inside)
    ]


def needs(graph: Graph, group: Group, home: dict[str, str]) -> tuple[Need, ...]:
    """Whom a group waits for, and along which axes; `home` is each step's group."""
    found: dict[Need, None] = {}
    for step, source in reads(graph, group):
        made = graph.producer[source.array]
        runs = None if source.elementwise else graph.runs(step)
        runs = runs if runs and runs.of in made.axes else None
        along = tuple(
            axis
            for axis, taken in zip(graph.axes.get(source.array, ()), source.indices, strict=True)
            if taken is not None and axis in made.axes
        )
        whole = any(axis not in along for axis in made.axes) or None in source.indices
        found[Need(home[made.name], along, whole, next(iter(source.back), ""), runs)] = None
    for step in group.steps:
        for name in step.after:
            other = graph.find(name)
            shared = tuple(loop.name for loop in step.loops if loop.name in other.axes)
            found[Need(home[other.name], shared, True)] = None
    return tuple(found)


def begins(need: Need, axes: Iterable[str], box: tuple[tuple[int, int], ...], own: bool) -> bool:
    """Whether a block (its axes and box) is the first of iterations, with nothing before it to wait for."""
    if not need.back:
        return False
    low, high = dict(zip(axes, box, strict=True))[need.back]
    return low == 0 and (own or high == 1)


def required(
    need: Need, group_axes: Iterable[str], box: tuple[tuple[int, int], ...], axes: tuple[str, ...],
    grid: Grid, own: bool = False,
) -> tuple[slice, ...]:  # fmt: skip
    """Blocks of a producer (its `axes` and `grid`) that a consumer's block (its axes and box) waits for.

    With `own` the producer is the consumer: within its block it waits for itself.
    """
    spans = dict(zip(group_axes, box, strict=True))
    if need.back:
        low, high = spans[need.back]
        spans[need.back] = (max(low - 1, 0), low if own else high - 1)
    if need.coarse:
        spans[need.coarse.of] = need.coarse.span(*spans[need.coarse.axis])
    return grid.covering([spans[a] if a in need.shared else None for a in axes])
