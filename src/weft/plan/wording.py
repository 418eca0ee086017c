"""The wiring in its user's words: loops around their bodies, and names as they were written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from graphlib import TopologicalSorter

from weft.model.graph import Graph
from weft.model.iterations import Iterations
from weft.model.mapspec import ArraySpec
from weft.model.step import Step


@dataclass(frozen=True)
class Round:
    """A loop and its body."""

    loop: Iterations
    layers: Layers
    carried: tuple[str, ...]

    @property
    def title(self) -> str:
        """The loop in a line: ``round × 20, until converged``."""
        until = f", until {self.loop.until}" if self.loop.until else ""
        return f"{self.loop.name} × {self.loop.n}{until}"

    @property
    def height(self) -> int:
        """How many layers there are in the body."""
        return max(depth - 1 + height(part) for depth, parts in self.layers for part in parts)


Part = Step | Round
Layers = tuple[tuple[int, tuple[Part, ...]], ...]


def height(part: Part) -> int:
    """How many layers a step or a loop takes."""
    return part.height if isinstance(part, Round) else 1


def members(part: Part) -> Iterator[Step]:
    """The step, or every step of the loop, those in inner loops included."""
    if isinstance(part, Step):
        yield part
    else:
        for _, parts in part.layers:
            for each in parts:
                yield from members(each)


def layered(graph: Graph) -> Layers:
    """Steps and loops by how many layers at most stand before them, the first in layer 1."""
    return _layered(graph, graph.order, 0)


def _layered(graph: Graph, steps: Iterable[Step], level: int) -> Layers:
    groups: dict[tuple[bool, str], list[Step]] = {}
    home: dict[str, tuple[bool, str]] = {}
    for step in steps:
        looped = len(step.loops) > level
        home[step.name] = (looped, step.loops[level].name if looped else step.name)
        groups.setdefault(home[step.name], []).append(step)
    needs = {
        key: {home[need.name] for step in group for need in graph.needs(step) if need.name in home} - {key}
        for key, group in groups.items()
    }
    ends: dict[tuple[bool, str], int] = {}
    found: dict[int, list[Part]] = {}
    for key in TopologicalSorter(needs).static_order():
        part: Part = _round(graph, groups[key], level) if key[0] else groups[key][0]
        depth = 1 + max((ends[need] for need in needs[key]), default=0)
        ends[key] = depth - 1 + height(part)
        found.setdefault(depth, []).append(part)
    places = {step.name: place for place, step in enumerate(graph.order)}
    return tuple(
        (depth, tuple(sorted(found[depth], key=lambda part: min(places[s.name] for s in members(part)))))
        for depth in sorted(found)
    )


def _round(graph: Graph, body: list[Step], level: int) -> Round:
    loop = body[0].loops[level]
    carried: dict[str, str] = {}
    for name in (p.name for step in body for p in step.inputs):
        while (alias := graph.aliases.get(name)) is not None and alias.initial is not None:
            if alias.axis == loop.name:
                own, update = graph.said(name), graph.base(alias.of)
                carried[own] = own if own == update else f"{own} ← {update}"
            name = alias.initial
    return Round(loop, _layered(graph, body, level + 1), tuple(carried.values()))


def named(name: str, indices: Iterable[str | None]) -> str:
    """An array with its indices: ``y[i, :]``."""
    inner = ", ".join(index or ":" for index in indices)
    return f"{name}[{inner}]" if inner else name


def taken(graph: Graph, step: Step, name: str) -> str:
    """How a step takes a name: ``y[i, :]``, in its own iteration; ``y[-1]`` is the last of a loop."""
    return _read(graph, step, name, graph.read(step, name).indices)


def _read(graph: Graph, step: Step, name: str, indices: tuple[str | None, ...]) -> str:
    shown = graph.said(name)
    while (alias := graph.aliases.get(name)) is not None and alias.initial is None:
        place = graph.axes[alias.of].index(alias.axis)
        name, indices = alias.of, (*indices[:place], "-1", *indices[place:])
    own = {loop.name for loop in step.loops}
    return named(shown, (index for index in indices if index not in own))


def made(graph: Graph, step: Step, name: str) -> str:
    """What a step makes, as its body sees it: without the axes of its loops."""
    own = {loop.name for loop in step.loops}
    return named(name, (axis for axis in graph.axes.get(name, ()) if axis not in own))


@dataclass(frozen=True)
class Edge:
    """An array on its way: from a step or an input to a step, or to the end.

    `loop` is the one whose next iteration gets it.
    """

    source: str
    target: str
    label: str
    loop: str = ""


def edges(graph: Graph) -> list[Edge]:
    """Every way of a value, once."""
    found: dict[Edge, None] = {}
    for step in graph.order:
        for p in step.inputs:
            found |= dict.fromkeys(_ways(graph, step, p.name))
        for name in step.after:
            found[Edge(f"step {graph.find(name).name}", f"step {step.name}", "")] = None
    ends = {loop.until for loop in graph.loops.values()}
    for name in graph.leaves:
        if name not in ends:
            label = named(name, graph.axes.get(name, ()))
            found[Edge(f"step {graph.producer[name].name}", f"output {name}", label)] = None
    return list(found)


def _ways(graph: Graph, step: Step, name: str) -> Iterator[Edge]:
    """The ways by which a step gets a name; a carried one comes from outside, and back."""
    target, read = f"step {step.name}", graph.read(step, name)
    along = dict(zip(graph.axes.get(name, ()), read.indices, strict=True))
    while (alias := graph.aliases.get(name)) is not None and alias.initial is not None:
        label = _read(graph, step, name, tuple(along[axis] for axis in graph.axes.get(name, ())))
        yield Edge(f"step {graph.producer[graph.base(alias.of)].name}", target, label, alias.axis)
        name = alias.initial
    label = _read(graph, step, name, tuple(along[axis] for axis in graph.axes.get(name, ())))
    if graph.made(name):
        yield Edge(f"step {graph.producer[graph.base(name)].name}", target, label)
    elif name not in graph.loops:
        yield Edge(f"input {graph.said(name)}", target, label)


def spelled(graph: Graph, step: Step) -> str:
    """The mapspec of a step as its user wrote it, study axes in front; empty if there is none."""
    if step.spec is None or not (step.loops or step.aliases or step.coarse):
        return str(step.spec or "")
    own = {loop.name for loop in step.loops}

    def arrays(specs: Iterable[ArraySpec]) -> list[ArraySpec]:
        found = []
        for array in specs:
            indices = tuple(index for index in array.indices if index not in own)
            found.append(ArraySpec(graph.said(array.name), indices, array.ragged and len(indices) > 1))
        return found

    inputs = [a for a in arrays(step.spec.inputs) if a.indices and a.name not in graph.coarse]
    outputs = arrays(step.spec.outputs)
    if not any(index for array in (*inputs, *outputs) for index in array.indices):
        return ""
    after = ", ".join(str(array) if array.indices else array.name for array in outputs)
    return f"{', '.join(map(str, inputs)) or '...'} -> {after}"


def _inputs(graph: Graph, step: Step) -> str:
    return ", ".join(dict.fromkeys(graph.said(p.name) for p in step.inputs))


def rows(graph: Graph) -> Iterator[dict[str, str]]:
    """A row for each step."""
    for step in graph.order:
        row = {"step": step.name, "mapspec": spelled(graph, step), "inputs": _inputs(graph, step)}
        row |= {"outputs": ", ".join(step.outputs), "axes": ", ".join(step.axes)}
        loops = ", ".join(f"{loop.name} × {loop.n}" for loop in step.loops)
        yield row | ({"loop": loops} if graph.loops else {})


def lines(graph: Graph) -> Iterator[str]:
    """A line for each step and loop, in running order, bodies indented."""
    if graph.loops:
        yield from _lines(graph, layered(graph), "  ")
    else:
        yield from (f"  {_line(graph, step)}" for step in graph.order)


def _lines(graph: Graph, layers: Layers, indent: str) -> Iterator[str]:
    for part in (part for _, parts in layers for part in parts):
        if isinstance(part, Step):
            yield indent + _line(graph, part)
        else:
            yield f"{indent}{part.title}{': ' if part.carried else ''}{', '.join(part.carried)}"
            yield from _lines(graph, part.layers, indent + "  ")


def _line(graph: Graph, step: Step) -> str:
    plain = f"{_inputs(graph, step)} -> {', '.join(step.outputs)}"
    return f"{step.name}: {spelled(graph, step) or plain.strip()}"
