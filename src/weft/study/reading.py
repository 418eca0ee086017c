"""What a step reads that its identity does not tell: whole values, and elements that may be made again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from weft.model.annotations import wants
from weft.model.step import Parameter, Step
from weft.plan.blocks import Block, Grid, Positions
from weft.study import coarse
from weft.study.arrays import Values
from weft.study.ends import reach
from weft.study.study import Study
from weft.study.whole import Parts
from weft.values.traces import joined, traced

STREAMED = ("iterator", "lazy")


def injected(step: Step, parameter: Parameter, study: Study) -> bool:
    """Whether weft makes the argument: annotated so, and no input of that name wins."""
    if parameter.injected is None or step.is_bound(parameter):
        return False
    return not study.graph.made(parameter.name) and parameter.name not in study.inputs


class Reading:
    """What the steps of a study read."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.values = Values(study)

    def reads_whole(self, step: Step) -> list[str]:
        """Names of the arrays, computed or mapped, of which the step takes a dimension whole."""
        graph, inputs = self.study.graph, self.study.inputs
        names = [p.name for p in step.parameters if not step.is_bound(p)]
        taken = [name for name in names if graph.made(name) or name in inputs]
        whole = [name for name in taken if None in graph.read(step, name).indices]
        return whole + [name for name in taken if graph.made(name) and not graph.axes.get(name)]

    def fingerprint(self, step: Step, box: Mapping[str, tuple[int, int]]) -> str:
        """Changes whenever what the step reads in a box of its axes may have changed.

        Empty if its identity tells all.
        """
        names = [*self.reads_whole(step), *self.study.graph.traced(step)]
        seen = "".join(coarse.fingerprint(self.values, step, name, box) for name in names)
        return hashlib.blake2b(seen.encode(), digest_size=16).hexdigest() if names else ""

    def read_digests(self, step: Step, where: Mapping[str, Positions], n: int) -> Any:
        """For each element the digest of what it read that its identity does not tell; shape ``(n, 16)``."""
        whole, names = self.whole_digests(step, where, n), self.study.graph.traced(step)
        if not names:
            return whole
        return joined(whole, [traced(self.values.elements(name, where, n)) for name in names])

    def whole_digests(self, step: Step, where: Mapping[str, Positions], n: int) -> Any:
        """For each element the digest of what it takes whole."""
        names, graph = self.reads_whole(step), self.study.graph
        if not names:
            return np.zeros((n, 16), np.uint8)
        annotations = {p.name: p.annotation for p in step.parameters}
        shared = hashlib.blake2b(digest_size=16)
        own: list[Iterable[Any]] = []
        for name in names:
            indices = graph.read(step, name).indices
            if coarse.stretched(graph, step, name):
                own.append(coarse.digests(coarse.read(self.values, step, name, where)))
            elif not any(indices):
                streamed = bool(indices) and wants(annotations[name]) in STREAMED
                shared.update(self.values.content_digest(name, streamed))
            else:
                for axis, index in zip(graph.axes[name], indices, strict=True):
                    if index is None:
                        shared.update(self.values.axis_digest(axis))
                own.append(self.parts(step, name, where, n).rows().element_digests())
        common = shared.digest()
        if not own:
            return np.broadcast_to(np.frombuffer(common, np.uint8), (n, 16))
        read = (b"".join(map(bytes, rows)) + common for rows in zip(*own, strict=True))
        found = b"".join(hashlib.blake2b(each, digest_size=16).digest() for each in read)
        return np.frombuffer(found, np.uint8).reshape(n, 16)

    def holding(self, step: Step, grid: Grid, block: Block, local: Positions, done: Any) -> Any:
        """Which of a block's done elements still hold: by its digest what they read is what is there."""
        study = self.study
        seen = self.fingerprint(step, dict(zip(step.axes, grid.box(block), strict=True)))
        results = study.results[step.name]
        state = results.state(grid, block)
        if not seen or all(c.reads == seen for c in state.commits if c.n_done):
            return done
        found = done.copy()
        where = dict(zip(step.axes, grid.storage(block, local), strict=True))
        for name in study.graph.traced(step):
            found &= self.values.present(name, where, len(local))
        at = np.flatnonzero(found)
        digests = self.read_digests(step, {axis: p[at] for axis, p in where.items()}, len(at))
        for commit, places, which in state.sources(local[at]):
            if commit.reads == seen:
                continue
            kept = results.digests(commit)
            found[at[which]] = False if kept is None else (kept[places] == digests[which]).all(axis=1)
        return found

    def parts(self, step: Step, name: str, where: Mapping[str, Positions], n: int) -> Parts:
        """For each of `n` elements the part of an array along the axes that are taken whole."""
        axes, indices = self.study.graph.axes[name], self.study.graph.read(step, name).indices
        chosen: dict[str, Positions] = {}
        along: list[Positions | None] = []
        for axis, index in zip(axes, indices, strict=True):
            if index is not None:
                chosen[axis], inverse = np.unique(where[axis], return_inverse=True)
            along.append(None if index is None else np.broadcast_to(inverse, (n,)))
        free = [axis for axis in axes if axis not in chosen]
        return Parts(self.values.assemble(name, chosen), along, reach(self.study, name, free, where, n))
