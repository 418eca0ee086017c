"""Drawings of the wiring: mermaid for documents, layers of text for a terminal, a page with a picture."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from weft.errors import InvalidInput
from weft.model.graph import Graph
from weft.model.step import Step, nearest

KINDS = ("mermaid", "text", "html")
WIDTH, HEIGHT, GAP_X, GAP_Y = 150, 38, 30, 62  # of a box and between boxes, in pixels


@dataclass(frozen=True)
class Drawing:
    """A drawing: as text it is what its kind says, in a notebook it is a picture."""

    kind: str
    text: str
    picture: str

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return self.text

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        found = {"text/plain": self.text}
        if self.kind == "mermaid":
            found["text/vnd.mermaid"] = self.text
        if self.kind != "text":
            found["text/html"] = self.picture
        return found


@dataclass(frozen=True)
class Edge:
    """An array on its way: from a step or an input to a step, or to the end."""

    source: str
    target: str
    label: str


def draw(graph: Graph, kind: str = "mermaid") -> Drawing:
    """Draw the wiring.

    Parameters
    ----------
    kind
        ``"mermaid"``, ``"text"`` (layers for a terminal) or ``"html"`` (a page that needs no network).

    Raises
    ------
    InvalidInput
        For another kind.
    """
    if kind not in KINDS:
        raise InvalidInput(
            f"There is no drawing of kind {kind!r}.{nearest(str(kind), KINDS)} Kinds: {', '.join(KINDS)}."
        )
    picture = _svg(graph)
    if kind == "html":
        head = "<head><meta charset='utf-8'><title>weft</title></head>"
        return Drawing(kind, f"<!doctype html>\n<html>{head}<body>{picture}</body></html>", picture)
    return Drawing(kind, _mermaid(graph) if kind == "mermaid" else _layers(graph), picture)


def _named(name: str, indices: tuple[str | None, ...]) -> str:
    return f"{name}[{', '.join(i or ':' for i in indices)}]" if indices else name


def _taken(graph: Graph, step: Step) -> Iterator[tuple[str, str]]:
    """Names of what a step takes, and how: ``y`` as ``y[i, :]``."""
    for p in step.inputs:
        yield p.name, _named(p.name, graph.read(step, p.name).indices)


def _made(graph: Graph, name: str) -> str:
    return _named(name, graph.axes.get(name, ()))


def _edges(graph: Graph) -> Iterator[Edge]:
    for step in graph.order:
        for name, label in _taken(graph, step):
            made = graph.producer.get(name)
            yield Edge(f"step {made.name}" if made else f"input {name}", f"step {step.name}", label)
        for name in step.after:
            yield Edge(f"step {graph.find(name).name}", f"step {step.name}", "")
    for name in graph.leaves:
        yield Edge(f"step {graph.producer[name].name}", f"output {name}", _made(graph, name))


def _depths(graph: Graph) -> dict[str, int]:
    """How many steps at most stand before each step."""
    found: dict[str, int] = {}
    for step in graph.order:
        found[step.name] = 1 + max((found[n.name] for n in graph.needs(step)), default=0)
    return found


def _mermaid(graph: Graph) -> str:
    edges = list(_edges(graph))
    nodes = dict.fromkeys(
        [*(f"step {s}" for s in graph.steps), *(e.source for e in edges), *(e.target for e in edges)]
    )
    ids = {node: f"{node[0]}{place}" for place, node in enumerate(nodes)}
    lines = ["flowchart TD"]
    for node, short in ids.items():
        kind, _, name = node.partition(" ")
        before, after = ("[", "]") if kind == "step" else ("([", "])")
        lines.append(f'    {short}{before}"{_entities(name)}"{after}')
    for edge in edges:
        arrow = f'-->|"{_entities(edge.label)}"|' if edge.label else "-.->"
        lines.append(f"    {ids[edge.source]} {arrow} {ids[edge.target]}")
    return "\n".join(lines)


def _entities(text: str) -> str:
    """Text as mermaid can hold it in quotes; it writes entities with ``#``."""
    named = {"#": "#35;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "&": "#amp;", "`": "#96;", "\n": " "}
    return "".join(named.get(character, character) for character in text)


def _layers(graph: Graph) -> str:
    depths = _depths(graph)
    inputs = ", ".join(_made(graph, name) for name in graph.inputs) or "none"
    rows = []
    for step in sorted(graph.order, key=lambda s: depths[s.name]):
        taken = ", ".join(label for _, label in _taken(graph, step)) or "nothing"
        makers = dict.fromkeys(n.name for n in graph.needs(step))
        before = f"   after {', '.join(makers)}" if makers else ""
        rows.append(
            (depths[step.name], step.name, taken, ", ".join(_made(graph, o) for o in step.outputs), before)
        )
    names = max((len(row[1]) for row in rows), default=0)
    width = min(48, max((len(row[2]) for row in rows), default=0))
    makes = max((len(row[3]) for row in rows), default=0)
    lines = [f"inputs: {inputs}"]
    last = 0
    for depth, name, taken, made, before in rows:
        lines += [] if depth == last else ["  │"]
        several = sum(row[0] == depth for row in rows) > 1
        glyph = "├" if depth == last else "┬" if several else "─"
        last = depth
        taken, made = taken.ljust(width), made.ljust(makes)
        lines.append(f"{depth:2}{glyph} {name.ljust(names)}   {taken} → {made}{before}".rstrip())
    return "\n".join(lines)


def _svg(graph: Graph) -> str:
    """Boxes in layers from top to bottom; each box as near to what it takes as its layer allows."""
    depths = _depths(graph)
    edges = list(_edges(graph))
    layer = {f"step {name}": depth for name, depth in depths.items()}
    layer |= {e.source: layer[e.target] - 1 for e in reversed(edges) if e.source.startswith("input ")}
    layer |= {e.target: layer[e.source] + 1 for e in edges if e.target.startswith("output ")}
    rows: dict[int, list[str]] = {}
    place: dict[str, float] = {}
    for node, depth in sorted(layer.items(), key=lambda item: item[1]):
        rows.setdefault(depth, []).append(node)
    for depth in sorted(rows):
        above = {
            n: [place[e.source] for e in edges if e.target == n and e.source in place] for n in rows[depth]
        }
        rows[depth].sort(key=lambda n: sum(above[n]) / len(above[n]) if above[n] else 0.0)
        place |= {n: i - (len(rows[depth]) - 1) / 2 for i, n in enumerate(rows[depth])}
    widest = max((len(row) for row in rows.values()), default=1)
    top = min(rows, default=0)
    at = {
        n: ((x + (widest - 1) / 2) * (WIDTH + GAP_X) + 10, (layer[n] - top) * (HEIGHT + GAP_Y) + 10)
        for n, x in place.items()
    }
    size = widest * (WIDTH + GAP_X), len(rows) * (HEIGHT + GAP_Y)
    parts = [_line(at[e.source], at[e.target], e.label) for e in edges] + [
        _box(node, *xy) for node, xy in at.items()
    ]
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {size[0]} {size[1]}' width='{size[0]}' "
        f"font-family='sans-serif' font-size='12'>{''.join(parts)}</svg>"
    )


def _box(node: str, x: float, y: float) -> str:
    kind, _, name = node.partition(" ")
    short = name if len(name) <= 20 else f"{name[:19]}…"
    style = "fill='#eef3fb' stroke='#4a6fa5'" if kind == "step" else "fill='#f7f5ef' stroke='#a89f85'"
    middle, low = x + WIDTH / 2, y + HEIGHT / 2 + 4
    return (
        f"<g><title>{html.escape(node)}</title><rect x='{x:g}' y='{y:g}' width='{WIDTH}' height='{HEIGHT}' "
        f"rx='{4 if kind == 'step' else HEIGHT / 2:g}' {style}/>"
        f"<text x='{middle:g}' y='{low:g}' text-anchor='middle'>{html.escape(short)}</text></g>"
    )


def _line(start: tuple[float, float], end: tuple[float, float], label: str) -> str:
    x1, y1, x2, y2 = start[0] + WIDTH / 2, start[1] + HEIGHT, end[0] + WIDTH / 2, end[1]
    middle = (y1 + y2) / 2
    dashed = "" if label else " stroke-dasharray='4'"
    return (
        f"<path d='M{x1:g},{y1:g} C{x1:g},{middle:g} {x2:g},{middle:g} {x2:g},{y2:g}' fill='none' "
        f"stroke='#999'{dashed}/><text x='{(x1 + x2) / 2:g}' y='{middle + 4:g}' text-anchor='middle' "
        f"fill='#555'>{html.escape(label)}</text>"
    )
