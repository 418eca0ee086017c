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
from weft.study.ends import reach, uneven
from weft.study.study import Study
from weft.values.columns import Column, SequenceColumn, pack
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
        study = self.study
        return [
            p.name
            for p in step.parameters
            if not step.is_bound(p)
            and not injected(step, p, study)
            and None in study.graph.read(step, p.name).indices
            and (study.graph.made(p.name) or p.name in study.inputs)
        ] + [
            p.name
            for p in step.parameters
            if study.graph.made(p.name) and not step.is_bound(p) and not study.graph.axes.get(p.name)
        ]

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
                read = coarse.Stretches(self.values, step, name, where)
                for state, row in zip(states, read.digests(n), strict=True):
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
            for state, row in zip(
                states, self.rows(step, name, indices, where, n).element_digests(), strict=True
            ):
                state.update(row.tobytes())
        if single:
            return np.broadcast_to(np.frombuffer(shared.digest(), np.uint8), (n, 16))
        common = shared.digest()
        for state in states:
            state.update(common)
        return np.frombuffer(b"".join(s.digest() for s in states), np.uint8).reshape(n, 16)

    def rows(
        self, step: Step, name: str, indices: Sequence[str | None], where: Mapping[str, Positions], n: int
    ) -> Column:
        """For each element the part of an array along the axes that are taken whole."""
        axes = self.study.graph.axes[name]
        fixed = [a for a, index in zip(axes, indices, strict=True) if index is not None]
        unique, inverse = {}, {}
        for axis in fixed:
            unique[axis], inverse[axis] = np.unique(where[axis], return_inverse=True)
        part = self.values.assemble(name, unique)
        array = part.array()
        order = [axes.index(a) for a in fixed] + [i for i, index in enumerate(indices) if index is None]
        rest = list(range(len(axes), array.ndim))
        array = array.transpose(order + rest)
        picked = array[tuple(np.broadcast_to(inverse[a], (n,)) for a in fixed)]
        free = [axis for axis, index in zip(axes, indices, strict=True) if index is None]
        if part.absent or any(uneven(self.study, axis) for axis in free):
            rows = [row[reach(self.study, name, free, where, e)] for e, row in enumerate(picked)]
            return pack([_own(row, len(free)) for row in rows], live=True)
        # Each element gets a copy of its own: NumPy's views would let one change what another reads.
        return (
            SequenceColumn(_Copies(picked))
            if isinstance(picked, np.ma.MaskedArray) or picked.dtype.hasobject
            else pack(list(picked))
        )


def _own(row: Any, n_free: int) -> Any:
    """A copy of a row, masked only where something is missing."""
    if 0 in row.shape[:n_free]:
        # The type of its elements would be that of other rows, if any are read together with it.
        return np.empty(row.shape[:n_free])
    return row.copy() if np.ma.is_masked(row) else np.ma.getdata(row).copy()


class _Copies:
    """Parts of an array of objects, or of a masked one: each reader gets a copy of its own."""

    def __init__(self, parts: Any) -> None:
        self.parts = parts

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, position: int) -> Any:
        return self.parts[position].copy()
