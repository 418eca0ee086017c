"""What a run would do, as a value that prints: steps, shapes, blocks, jobs, files. Nothing per element."""

from __future__ import annotations

import math
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from weft.model.graph import Graph
from weft.model.step import Step
from weft.plan.axes import Axis, Positions
from weft.plan.blocks import Grid, block_elements
from weft.plan.dataflow import Group
from weft.plan.drawing import Drawing, draw
from weft.values.table import Table

QUICK_ELEMENT = 1e-6  # seconds that an element is taken to need before the first ones have run


@dataclass(frozen=True)
class PlannedStep:
    """What a run would do with one step; None, shown as ``?``, is what only the run will tell.

    Attributes
    ----------
    axes
        Each axis that it runs along, with its length.
    shape
        Lengths of its outputs: of `axes`, and of the axes that it opens.
    group
        The fused steps that one job carries an element through.
    jobs
        Jobs of the whole group, told at its first step; 0 at the others.
    files, bytes
        In a run directory; bytes only where the annotation of what is returned tells them.
    waits_for
        The steps that open the axes of unknown length.
    done
        Elements that the run directory already has.
    """

    name: str
    mapspec: str | None
    axes: tuple[tuple[str, int | None], ...]
    shape: tuple[int | None, ...]
    n_elements: int | None
    blocks: int | None
    jobs: int | None
    files: int | None
    bytes: int | None
    group: tuple[str, ...]
    waits_for: tuple[str, ...] = ()
    done: int = 0


@dataclass(frozen=True)
class Plan:
    """What a run would do. The totals are None where a step's share is not known.

    Examples
    --------
    >>> import weft
    >>> double = weft.step("y", mapspec="x[i] -> y[i]")(lambda x: 2 * x)
    >>> plan = double.plan({"x": range(10**9)})
    >>> plan.n_elements
    1000000000
    """

    name: str
    steps: tuple[PlannedStep, ...]
    measured: bool = False
    graph: Graph | None = field(default=None, repr=False, compare=False)

    def _total(self, what: str) -> int | None:
        parts = [getattr(step, what) for step in self.steps]
        return None if None in parts else sum(parts)

    def _told(self, what: str, word: str) -> str:
        known = sum(getattr(step, what) or 0 for step in self.steps)
        more = " + ?" if self._total(what) is None else ""
        return f"{known:,}{more} {word}{'s' * (known != 1 or bool(more))}"

    @property
    def n_elements(self) -> int | None:
        """Elements of all steps."""
        return self._total("n_elements")

    @property
    def blocks(self) -> int | None:
        """Blocks of all steps."""
        return self._total("blocks")

    @property
    def jobs(self) -> int | None:
        """Jobs, where fused steps share theirs."""
        return self._total("jobs")

    @property
    def files(self) -> int | None:
        """Files of results."""
        return self._total("files")

    @property
    def bytes(self) -> int | None:
        """Bytes of results."""
        return self._total("bytes")

    @property
    def done(self) -> int:
        """Elements that the run directory already has."""
        return sum(step.done for step in self.steps)

    def __getitem__(self, name: str) -> PlannedStep:
        """The plan of one step."""
        for step in self.steps:
            if step.name == name:
                return step
        raise KeyError(
            f"The plan has no step {name!r}. Steps: {', '.join(step.name for step in self.steps)}."
        )

    def draw(self, kind: str = "mermaid") -> Drawing:
        """The wiring, see `Pipeline.draw`."""
        assert self.graph is not None
        return draw(self.graph, kind)

    def table(self) -> Table:
        """A row for each step, numbers as text."""
        return Table(_row(step, bool(self.done)) for step in self.steps)

    def notes(self) -> list[str]:
        """What the table alone does not tell."""
        found = []
        for step in self.steps:
            for opener in step.waits_for:
                unknown = ", ".join(axis for axis, length in step.axes if length is None)
                found.append(f"? {step.name}: axis {unknown} gets its length when {opener!r} has run.")
        for axis, coarse in self.graph.coarse.items() if self.graph else ():
            found.append(f"A position of {axis} is a run of {coarse.length:,} positions of {coarse.of}.")
        groups = dict.fromkeys(step.group for step in self.steps if len(step.group) > 1)
        found += [f"{' + '.join(group)}: one job carries an element through all of them." for group in groups]
        if self.measured:
            found.append(
                "Blocks and jobs are chosen from the first elements; here they are taken to be quick ones."
            )
        return found

    def __str__(self) -> str:
        totals = [
            f"{len(self.steps)} step{'s' * (len(self.steps) != 1)}",
            self._told("n_elements", "element"),
        ]
        totals += [f"{self.done:,} of them done"] if self.done else []
        totals += [self._told("jobs", "job"), self._told("files", "file")]
        totals += [_size(self.bytes)] if self.bytes is not None else []
        rows = self.table()
        lines = [list(rows.columns), *([row[c] for c in rows.columns] for row in rows)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(rows.columns))]
        text = [f"Plan of {self.name!r}: {', '.join(totals)}", ""]
        for line in lines:
            words = [
                c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))
            ]
            text.append("  ".join(words).rstrip())
        notes = self.notes()
        return "\n".join(text + ([""] if notes else []) + notes)

    def _repr_html_(self) -> str:
        import html

        notes = "".join(f"<li>{html.escape(note)}</li>" for note in self.notes())
        return f"<b>Plan of {html.escape(self.name)}</b>{self.table()._repr_html_()}<ul>{notes}</ul>"


def plan_of(
    graph: Graph,
    name: str,
    axes: Mapping[str, Axis],
    groups: Sequence[Group],
    *,
    chosen: Mapping[str, Positions],
    wanted: frozenset[str] | None,
    block_size: int | None,
    workers: int,
    jobs_of: Callable[[int, int], int],
    blocks: Mapping[str, tuple[int, ...]],
    done: Mapping[str, int],
) -> Plan:
    """The plan of a run.

    Parameters
    ----------
    chosen
        Storage positions that are wanted of some axes; all of the others.
    wanted
        The steps that are to run; None for all.
    block_size
        Elements per block; None to guess what the first elements will tell.
    jobs_of
        The number of jobs for so many elements in so many blocks.
    blocks, done
        What a run directory says of steps: their block shapes, and how many elements are done.
    """
    planned = []
    measured = False
    for group in groups:
        members = [step for step in group.steps if wanted is None or step.name in wanted]
        for place, step in enumerate(members):
            lengths = tuple((a, len(chosen[a]) if a in chosen else axes[a].length) for a in step.axes)
            n = _product(length for _, length in lengths)
            n_blocks = None
            if n is not None:
                shape = [axes[a].size or 0 for a in step.axes]
                elements = block_size or block_elements(n, workers, QUICK_ELEMENT, 8.0)
                measured |= bool(step.axes) and block_size is None and step.name not in blocks
                n_blocks = _blocks(
                    step,
                    Grid(tuple(shape), blocks.get(step.name, group.layout.block(shape, elements))),
                    axes,
                    chosen,
                )
            finished = min(done.get(step.name, 0), n or 0)
            jobs = 0 if place else None if n is None or n_blocks is None else jobs_of(n - finished, n_blocks)
            opened = [axes[a].length for a in step.opened]
            cells = _product([n, *opened])
            each = _bytes_each(step)
            planned.append(
                PlannedStep(
                    step.name,
                    str(step.spec) if step.spec else None,
                    lengths,
                    (*(length for _, length in lengths), *opened),
                    n,
                    n_blocks,
                    jobs,
                    None if n_blocks is None else n_blocks + bool(step.axes),
                    None if each is None or cells is None else each * cells,
                    tuple(s.name for s in members),
                    tuple(dict.fromkeys(_opener(axes, a) for a, length in lengths if length is None)),
                    finished,
                )
            )
    order = {step.name: place for place, step in enumerate(graph.order)}
    return Plan(name, tuple(sorted(planned, key=lambda step: order[step.name])), measured, graph)


def _product(lengths: typing.Iterable[int | None]) -> int | None:
    known = list(lengths)
    return None if None in known else math.prod(n for n in known if n is not None)


def _blocks(step: Step, grid: Grid, axes: Mapping[str, Axis], chosen: Mapping[str, Positions]) -> int:
    counts = []
    for axis, length, count in zip(step.axes, grid.block, grid.counts, strict=True):
        wanted = chosen.get(axis, axes[axis].selection)
        counts.append(count if wanted is None else len(np.unique(wanted // length)))
    return math.prod(counts)


def _opener(axes: Mapping[str, Axis], axis: str) -> str:
    return axes[axis].opener or "?"


def _bytes_each(step: Step) -> int | None:
    """Bytes that an element's outputs take, where the annotation of what is returned says it."""
    returned = step.annotations.get("return")
    kinds = typing.get_args(returned) if len(step.outputs) > 1 else (returned,)
    sizes = {float: 8, int: 8, bool: 1, complex: 16}
    found = [sizes.get(k) or (np.dtype(k).itemsize if _is_scalar(k) else None) for k in kinds]
    return None if len(found) != len(step.outputs) or None in found else sum(size for size in found if size)


def _is_scalar(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, (np.number, np.bool_)) and kind.__module__ == "numpy"


def _row(step: PlannedStep, resumed: bool) -> dict[str, str]:
    along = " × ".join(f"{axis}: {_number(length)}" for axis, length in step.axes)
    row = {"step": step.name, "runs along": along or "once", "elements": _number(step.n_elements)}
    if resumed:
        row["done"] = f"{step.done:,}"
    shared = len(step.group) > 1 and step.group[0] != step.name
    jobs = f"with {step.group[0]}" if shared else _number(step.jobs)
    return {
        **row, "blocks": _number(step.blocks), "jobs": jobs,
        "files": _number(step.files), "size": _size(step.bytes),
    }  # fmt: skip


def _number(value: int | None) -> str:
    return "?" if value is None else f"{value:,}"


def _size(value: float | None) -> str:
    if value is None:
        return "?"
    units = ["B", "kB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:
        value /= 1000
        units.pop(0)
    return f"{value:.3g} {units[0]}"
