"""Drawings of the wiring: mermaid for documents, layers of text for a terminal, a page with a picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from weft.errors import InvalidInput, nearest
from weft.model.graph import Graph
from weft.model.step import Step
from weft.plan.picture import svg
from weft.plan.wording import Layers, edges, layered, made, named, taken

KINDS = ("mermaid", "text", "html")


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
    picture = svg(graph, edges(graph))
    if kind == "html":
        head = "<head><meta charset='utf-8'><title>weft</title></head>"
        return Drawing(kind, f"<!doctype html>\n<html>{head}<body>{picture}</body></html>", picture)
    return Drawing(kind, _mermaid(graph) if kind == "mermaid" else _text(graph), picture)


def _mermaid(graph: Graph) -> str:
    drawn = edges(graph)
    nodes = dict.fromkeys(
        [*(f"step {s}" for s in graph.steps), *(e.source for e in drawn), *(e.target for e in drawn)]
    )
    ids = {node: f"{node[0]}{place}" for place, node in enumerate(nodes)}
    lines = ["flowchart TD", *_boxes(layered(graph), ids, "    ")]
    for node, short in ids.items():
        kind, _, name = node.partition(" ")
        if kind != "step":
            lines.append(f'    {short}(["{_entities(name)}"])')
    for edge in drawn:
        arrow = "-.->" if edge.loop or not edge.label else "-->"
        label = f'|"{_entities(edge.label)}"|' if edge.label else ""
        lines.append(f"    {ids[edge.source]} {arrow}{label} {ids[edge.target]}")
    return "\n".join(lines)


def _boxes(layers: Layers, ids: dict[str, str], indent: str) -> Iterator[str]:
    for part in (part for _, parts in layers for part in parts):
        if isinstance(part, Step):
            yield f'{indent}{ids[f"step {part.name}"]}["{_entities(part.name)}"]'
        else:
            yield f'{indent}subgraph loop_{part.loop.name}["{_entities(part.title)}"]'
            yield from _boxes(part.layers, ids, indent + "    ")
            yield f"{indent}end"


def _entities(text: str) -> str:
    """Text as mermaid can hold it in quotes; it writes entities with ``#``."""
    named = {"#": "#35;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "&": "#amp;", "`": "#96;", "\n": " "}
    return "".join(named.get(character, character) for character in text)


@dataclass(frozen=True)
class _Row:
    """A line of text: a step in its layer, or the frame of a loop."""

    frame: str
    mark: str
    name: str = ""
    taken: str = ""
    made: str = ""
    after: str = ""


def _text(graph: Graph) -> str:
    inputs = ", ".join(named(graph.said(name), graph.axes.get(name, ())) for name in graph.inputs) or "none"
    rows = list(_rows(graph, layered(graph), 0, ""))
    names = max((len(row.frame) + len(row.name) for row in rows), default=0)
    width = min(48, max((len(row.taken) for row in rows), default=0))
    makes = max((len(row.made) for row in rows), default=0)
    lines = [f"inputs: {inputs}"]
    for row in rows:
        name = row.name.ljust(names - len(row.frame))
        what = f" {name}   {row.taken.ljust(width)} → {row.made.ljust(makes)}{row.after}" if row.name else ""
        lines.append(f"{row.frame}{row.mark}{what}".rstrip())
    return "\n".join(lines)


def _rows(graph: Graph, layers: Layers, before: int, frame: str) -> Iterator[_Row]:
    for place, (depth, parts) in enumerate(layers):
        if place or not frame:
            yield _Row(frame, "  │")
        steps = [part for part in parts if isinstance(part, Step)]
        for number, step in enumerate(steps):
            glyph = "├" if number else "┬" if len(steps) > 1 else "─"
            makers = dict.fromkeys(maker.name for maker in graph.needs(step))
            yield _Row(
                frame,
                f"{before + depth:2}{glyph}",
                step.name,
                ", ".join(dict.fromkeys(taken(graph, step, p.name) for p in step.inputs)) or "nothing",
                ", ".join(made(graph, step, output) for output in step.outputs),
                f"   after {', '.join(makers)}" if makers else "",
            )
        for part in parts:
            if not isinstance(part, Step):
                again = f" again: {', '.join(part.carried)}" if part.carried else ""
                yield _Row(frame, f"  ╭ {part.title}")
                yield from _rows(graph, part.layers, before + depth - 1, f"{frame}  │")
                yield _Row(frame, f"  ╰{again}")
