"""Which steps travel together, and which blocks wait for which. Pure index arithmetic."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass

from weft.model.crossing import Read
from weft.model.graph import Graph
from weft.model.step import Step
from weft.plan.blocks import Grid


@dataclass(frozen=True)
class Need:
    """What a group of steps reads from another group: along which axes block by block, along which whole.

    `along` are the axes shared element by element; with `producer` over other axes too, those are read
    whole. A need for order only (``after``) has no shared axes.
    """

    producer: str
    along: tuple[str, ...]
    whole: bool


@dataclass(frozen=True)
class Group:
    """Steps that one job carries an element through, committed together (fusion)."""

    steps: tuple[Step, ...]

    @property
    def name(self) -> str:
        """Name of the group: that of its first step."""
        return self.steps[0].name

    @property
    def axes(self) -> tuple[str, ...]:
        """Axes that all its steps run along."""
        return self.steps[0].axes


def fuse(graph: Graph, kind: Callable[[Step], Hashable]) -> tuple[Group, ...]:
    """Put consecutive steps with the same axes, and the same `kind`, into groups.

    Parameters
    ----------
    kind
        What must be equal for steps to share a job: their backend, resources, and so on.
    """
    groups: list[list[Step]] = []
    home: dict[str, int] = {}
    above: list[int] = []  # for each group those before it, as bits: sets would grow with the square
    for step in graph.order:
        needed = {home[n.name] for n in graph.needs(step)}
        between = functools.reduce(operator.or_, (above[g] for g in needed), 0)
        earlier = between | sum(1 << g for g in needed)
        chosen = next(
            (
                group
                for group in sorted(needed, reverse=True)
                if not between >> group & 1 and _joins(graph, step, groups[group], kind)
            ),
            None,
        )
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
    return tuple(Group(tuple(groups[group])) for group in order)


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
    for step in steps:
        if not step.keep:
            readers = {s.name for s in graph.order if any(n.name == step.name for n in graph.needs(s))}
            if readers and readers <= inside:
                found.add(step.name)
    return frozenset(found)


def reads(graph: Graph, group: Group) -> list[Read]:
    """What a group reads from steps outside itself."""
    inside = {s.name for s in group.steps}
    return [
        graph.read(step, p.name)
        for step in group.steps
        for p in step.parameters
        if p.name in graph.producer and graph.producer[p.name].name not in inside and not step.is_bound(p)
    ]


def needs(graph: Graph, group: Group, home: dict[str, str]) -> tuple[Need, ...]:
    """Whom a group waits for, and along which axes; `home` is each step's group."""
    found: dict[Need, None] = {}
    for read in reads(graph, group):
        made = graph.producer[read.name]
        along = tuple(
            axis
            for axis, taken in zip(graph.axes.get(read.name, ()), read.indices, strict=True)
            if taken is not None and axis in made.axes
        )
        whole = any(axis not in along for axis in made.axes) or None in read.indices
        found[Need(home[made.name], along, whole)] = None
    for step in group.steps:
        for name in step.after:
            found[Need(home[graph.find(name).name], (), True)] = None
    return tuple(found)


def required(
    need: Need, group_axes: Iterable[str], box: tuple[tuple[int, int], ...], axes: tuple[str, ...], grid: Grid
) -> tuple[slice, ...]:
    """Blocks of a producer (its `axes` and `grid`) that a consumer's block (its axes and box) waits for."""
    spans = dict(zip(group_axes, box, strict=True))
    return grid.covering([spans[a] if a in need.along else None for a in axes])
