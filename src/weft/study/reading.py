"""What a step reads that its identity does not tell: whole values, and elements that may be made again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from weft.model.annotations import wants
from weft.model.step import Parameter, Step
from weft.plan.blocks import Positions
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
        if not self.reads_whole(step):
            return np.zeros((n, 16), np.uint8)
        states = [hashlib.blake2b(digest_size=16) for _ in range(n)] if n else []
        shared = hashlib.blake2b(digest_size=16)
        single = True
        annotations = {p.name: p.annotation for p in step.parameters}
        for name in self.reads_whole(step):
            indices = self.study.graph.read(step, name).indices
            if coarse.stretched(self.study.graph, step, name):
                single = False
                rows = coarse.digests(coarse.read(self.values, step, name, where))
                for state, row in zip(states, rows, strict=True):
                    state.update(row)
                continue
            if not any(indices):
                streamed = bool(indices) and wants(annotations[name]) in STREAMED
                shared.update(self.values.content_digest(name, streamed))
                continue
            single = False
            for axis, index in zip(self.study.graph.axes[name], indices, strict=True):
                if index is None:
                    shared.update(self.values.axis_digest(axis))
            digests = self.parts(name, indices, where, n).rows().element_digests()
            for state, row in zip(states, digests, strict=True):
                state.update(row.tobytes())
        if single:
            return np.broadcast_to(np.frombuffer(shared.digest(), np.uint8), (n, 16))
        common = shared.digest()
        for state in states:
            state.update(common)
        return np.frombuffer(b"".join(s.digest() for s in states), np.uint8).reshape(n, 16)

    def parts(
        self, name: str, indices: Sequence[str | None], where: Mapping[str, Positions], n: int
    ) -> Parts:
        """For each of `n` elements the part of an array along the axes that are taken whole."""
        axes = self.study.graph.axes[name]
        chosen: dict[str, Positions] = {}
        along: list[Positions | None] = []
        for axis, index in zip(axes, indices, strict=True):
            if index is None:
                along.append(None)
            else:
                chosen[axis], inverse = np.unique(where[axis], return_inverse=True)
                along.append(np.broadcast_to(inverse, (n,)))
        free = [axis for axis, index in zip(axes, indices, strict=True) if index is None]
        return Parts(self.values.assemble(name, chosen), along, reach(self.study, name, free, where, n))
