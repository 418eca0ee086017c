"""Files that elements made outside of the run directory: who made which, and whether they are still there."""

from __future__ import annotations

import os
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from weft.errors import UnsafePayload
from weft.model.graph import Graph
from weft.model.stages import PATHS, STAGES, STAMPS
from weft.model.step import Step
from weft.run.care import Care
from weft.run.contents import owner, walk
from weft.study.arrays import Values
from weft.study.study import Study
from weft.values.columns import ObjectColumn
from weft.values.files import File, compared, files_in
from weft.values.table import Table


@dataclass(frozen=True)
class MadeFile:
    """A file that an element made, as it was then; `place` is its path from the root.

    With `copied` the run holds a copy, and what becomes of the file itself does not matter.
    """

    step: str
    index: dict[str, int]
    path: str
    place: str
    size: int
    modified: int
    copied: bool = False

    @property
    def state(self) -> str:
        """``"gone"``, ``"changed"``, or empty."""
        return "" if self.copied else compared(self.place, self.size, self.modified)


class MadeFiles(Care):
    """The part of `Run` that knows of files."""

    def files(self, path: str | os.PathLike[str] | None = None) -> Table:
        """The files of the run: those in its directory, and those that its elements made.

        Parameters
        ----------
        path
            Only this file, or what is below this folder; relative to the run directory, or to the current
            one.

        Returns
        -------
        Table
            A row for each: path, bytes, the step that it belongs to; and for one that an element made, or
            that is its own, the element's position on each axis.
        """
        study, rows = self._sync(), Table()
        if self.path is not None:
            directory = self._directory()
            below = os.path.relpath(os.path.join(directory.path, path or ""), directory.path)
            for name in walk(directory):
                if below in (".", name) or name.startswith(f"{below}/"):
                    step, where = owner(study, name)
                    index = {axis: int(study.axes[axis].logical[at[0]]) for axis, at in where.items()}
                    size = directory.fs.size(f"{directory.path}/{name}")
                    rows.append({"path": name, "bytes": size, "step": step and step.name, **index})
        wanted = os.path.abspath(path) if path is not None else ""
        for made in made_files(study):
            if made.place == wanted or made.place.startswith(f"{wanted.rstrip('/')}/"):
                rows.append({"path": made.path, "bytes": made.size, "step": made.step, **made.index})
        return rows

    def changed_on_disk(self) -> Table:
        """What is no longer as this run left it, or as this object last saw it.

        Files that elements made are compared by size and time of change. Those that are gone are made again
        by the next run in this directory; those that were changed are left as they are, until their elements
        are reset.

        Returns
        -------
        Table
            A row for each: path, what (gone, changed), step and position of its element; and one for the run
            directory, if it has changes or results that this object has not looked at yet. Empty, and so
            false, if there is nothing to tell.
        """
        rows = Table()
        if self._has_news():
            rows.append({"path": self.path, "what": "new results or changes"})
        for made in made_files(self._study if self._sealed else self._still()):
            if made.state:
                rows.append({"path": made.path, "what": made.state, "step": made.step, **made.index})
        return rows


def makes_files(steps: Graph) -> bool:
    """Whether a step says that it makes files."""
    return any(_is_stream(step) or _says_files(step) for step in steps.order)


def made_files(study: Study, steps: Graph | None = None) -> Iterator[MadeFile]:
    """The files that done elements made.

    Parameters
    ----------
    steps
        Look only at those of these that say by their annotation that they make files, and at streams.
    """
    for step in study.graph.order:
        if study.grid(step) is None:
            continue
        if _is_stream(step):
            yield from _of_stream(study, step)
        elif steps is None or (step.name in steps.steps and _says_files(steps.steps[step.name])):
            for output in step.outputs:
                yield from _of_values(study, step, output)


def gone(study: Study, steps: Graph) -> list[tuple[str, dict[str, Any]]]:
    """Which elements made files that are no longer there: steps, and where as `Run.reset` takes it."""
    found: list[tuple[str, dict[str, Any]]] = []
    along: dict[tuple[str, str], list[int]] = {}
    for made in made_files(study, steps):
        if made.state == "gone":
            if len(made.index) == 1:
                ((axis, position),) = made.index.items()
                along.setdefault((made.step, axis), []).append(position)
            else:
                found.append((made.step, made.index))
    return [*found, *((step, {axis: sorted(set(at))}) for (step, axis), at in along.items())]


def _is_stream(step: Step) -> bool:
    return step.outputs[:3] == (PATHS, STAMPS, STAGES)


def _says_files(step: Step) -> bool:
    def has(annotation: Any) -> bool:
        return annotation is File or any(map(has, typing.get_args(annotation)))

    return has(step.annotations.get("return"))


def _of_stream(study: Study, step: Step) -> Iterator[MadeFile]:
    values = Values(study)
    paths, stamps = values.assemble(PATHS), values.assemble(STAMPS)
    for position, written, seen in zip(
        paths.places.tolist(), paths.column.tolist(), stamps.column.tolist(), strict=True
    ):
        for path, stamp in zip(written, seen or (), strict=True):
            if stamp is not None:
                size, modified, *place = stamp
                copied = isinstance(path, File) and bool(path.kept)
                name = path.path if isinstance(path, File) else path
                whole = place[0] if place else name
                yield MadeFile(step.name, {step.axes[0]: position}, name, whole, size, modified, copied)


def _of_values(study: Study, step: Step, output: str) -> Iterator[MadeFile]:
    found = Values(study).assemble(output)
    if not isinstance(found.column, ObjectColumn):
        return
    try:
        column = found.column.tolist()
    except UnsafePayload:
        return
    for position, value in zip(found.places.tolist(), column, strict=True):
        for file in files_in(value):
            if file.seen is not None:
                at = np.unravel_index(position, found.shape) if step.axes else ()
                index = {axis: int(place) for axis, place in zip(step.axes, at, strict=False)}
                whole = os.path.abspath(file.path)
                yield MadeFile(step.name, index, file.path, whole, *file.seen[:2], bool(file.kept))
