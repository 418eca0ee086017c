"""A picture of the wiring: boxes in layers from top to bottom, a frame around the body of each loop."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from weft.model.graph import Graph
from weft.plan.wording import Edge, Part, Round, layered, members

WIDTH, HEIGHT, GAP_X, GAP_Y = 150, 38, 30, 62  # of a box and between boxes, in pixels
PAD, SIDE = 26, 70  # of a frame around its body; what goes back runs along its right side


@dataclass
class _Area:
    """What is drawn together: where its boxes and frames are, from its own corner."""

    width: float = 0.0
    height: float = 0.0
    at: dict[str, tuple[float, float]] = field(default_factory=dict)
    frames: list[tuple[str, float, float, float, float]] = field(default_factory=list)

    def add(self, other: _Area, x: float, y: float) -> None:
        """Put another area into this one."""
        self.at |= {node: (x + left, y + top) for node, (left, top) in other.at.items()}
        self.frames += [(title, x + left, y + top, w, h) for title, left, top, w, h in other.frames]


def svg(graph: Graph, edges: Sequence[Edge]) -> str:
    """The picture, as SVG text."""
    layers = layered(graph)
    depths = {step.name: depth for depth, parts in layers for part in parts for step in members(part)}
    ends: dict[int, list[Part | str]] = {depth: list(parts) for depth, parts in layers}
    last = max(ends, default=0)
    for edge in reversed(edges):
        if edge.source.startswith("input "):
            depths[edge.source] = min(
                depths.get(edge.source, last), depths[edge.target.removeprefix("step ")] - 1
            )
    for edge in edges:
        if edge.target.startswith("output "):
            depths[edge.target] = depths[edge.source.removeprefix("step ")] + 1
    for node, depth in depths.items():
        if node.startswith(("input ", "output ")):
            ends.setdefault(depth, []).append(node)
    before: dict[str, list[str]] = {}
    for edge in edges:
        if not edge.loop:
            before.setdefault(edge.target, []).append(edge.source)
    area = _laid(sorted(ends.items()), before)
    parts = [_frame(*frame) for frame in area.frames] + [
        _back(area, edge) if edge.loop else _line(area.at[edge.source], area.at[edge.target], edge.label)
        for edge in edges
    ]
    parts += [_box(node, *xy) for node, xy in area.at.items()]
    size = f"{area.width + 20:g} {area.height + 20:g}"
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='-10 -10 {size}' width='{area.width + 20:g}' "
        f"font-family='sans-serif' font-size='12'>{''.join(parts)}</svg>"
    )


def _laid(layers: Iterable[tuple[int, Sequence[Part | str]]], before: dict[str, list[str]]) -> _Area:
    """Layers below each other, each box as near to what it takes as its layer allows."""
    found, top = _Area(), 0.0
    rows: list[tuple[float, float, list[tuple[_Area, float]]]] = []
    middle: dict[str, float] = {}  # of the boxes so far, from the middle of the area
    for _, parts in layers:
        areas = [(_area(part, before), _above(part, before, middle)) for part in parts]
        areas.sort(key=lambda one: one[1])
        width = sum(area.width for area, _ in areas) + GAP_X * (len(areas) - 1)
        x, placed = -width / 2, []
        for area, _ in areas:
            placed.append((area, x))
            middle |= {node: x + left + WIDTH / 2 for node, (left, _) in area.at.items()}
            x += area.width + GAP_X
        rows.append((top, width, placed))
        top += max(area.height for area, _ in areas) + GAP_Y
    found.width = max((width for _, width, _ in rows), default=0.0)
    found.height = max(top - GAP_Y, 0.0)
    for y, _, placed in rows:
        for area, x in placed:
            found.add(area, x + found.width / 2, y)
    return found


def _area(part: Part | str, before: dict[str, list[str]]) -> _Area:
    if not isinstance(part, Round):
        node = part if isinstance(part, str) else f"step {part.name}"
        return _Area(WIDTH, HEIGHT, {node: (0.0, 0.0)})
    body = _laid(part.layers, before)
    found = _Area(body.width + PAD + SIDE, body.height + 2 * PAD)
    found.frames = [(part.title, 0.0, 0.0, found.width, found.height)]
    found.add(body, PAD, PAD)
    return found


def _above(part: Part | str, before: dict[str, list[str]], middle: dict[str, float]) -> float:
    nodes = [part] if isinstance(part, str) else [f"step {step.name}" for step in members(part)]
    known = [middle[source] for node in nodes for source in before.get(node, ()) if source in middle]
    return sum(known) / len(known) if known else 0.0


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


def _frame(title: str, x: float, y: float, width: float, height: float) -> str:
    return (
        f"<g><rect x='{x:g}' y='{y:g}' width='{width:g}' height='{height:g}' rx='8' fill='#4a6fa5' "
        f"fill-opacity='0.06' stroke='#4a6fa5' stroke-opacity='0.5'/><text x='{x + 10:g}' y='{y + 16:g}' "
        f"fill='#4a6fa5' font-weight='bold'>{html.escape(title)}</text></g>"
    )


def _line(start: tuple[float, float], end: tuple[float, float], label: str) -> str:
    x1, y1, x2, y2 = start[0] + WIDTH / 2, start[1] + HEIGHT, end[0] + WIDTH / 2, end[1]
    middle = (y1 + y2) / 2
    dashed = "" if label else " stroke-dasharray='4'"
    return _curve(f"M{x1:g},{y1:g} C{x1:g},{middle:g} {x2:g},{middle:g} {x2:g},{y2:g}", dashed) + _label(
        (x1 + x2) / 2, middle + 4, label
    )


def _back(area: _Area, edge: Edge) -> str:
    """From the right of one box around to the right of another, or of itself."""
    (x1, y1), (x2, y2) = area.at[edge.source], area.at[edge.target]
    x1, x2, y1, y2 = x1 + WIDTH, x2 + WIDTH, y1 + HEIGHT * 0.75, y2 + HEIGHT * 0.25
    out = max(x1, x2) + SIDE * 0.7
    path = f"M{x1:g},{y1:g} C{out:g},{y1:g} {out:g},{y2:g} {x2:g},{y2:g}"
    return _curve(path, " stroke-dasharray='4'") + _label(
        (x1 + x2) / 8 + out * 0.75, (y1 + y2) / 2 + 4, edge.label
    )


def _curve(path: str, dashed: str) -> str:
    return f"<path d='{path}' fill='none' stroke='#999'{dashed}/>"


def _label(x: float, y: float, text: str) -> str:
    return f"<text x='{x:g}' y='{y:g}' text-anchor='middle' fill='#555'>{html.escape(text)}</text>"
