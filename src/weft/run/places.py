"""Which elements are meant: positions as keywords, values of inputs as ``sel={...}``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from weft.errors import InvalidInput, nearest
from weft.plan.blocks import Positions
from weft.study.arrays import Values
from weft.study.ends import last
from weft.study.ends import positions as all_positions
from weft.study.labels import leaves
from weft.study.study import Study


def check_axes(what: str, axes: Sequence[str], where: Mapping[str, Any]) -> None:
    """Refuse keywords that are no axes.

    Raises
    ------
    InvalidInput
        With the axes that there are.
    """
    for axis in where:
        if axis not in axes:
            raise InvalidInput(
                f"{what!r} has no axis {axis!r}.{nearest(axis, axes)} Its axes: {', '.join(axes) or 'none'}."
            )


def by_value(values: Values, what: str, axes: Sequence[str], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Logical positions on each axis, given values of the inputs that lie along it.

    Raises
    ------
    InvalidInput
        For a name that is no coordinate.
    KeyError
        For a value that is not there.
    """
    inputs = values.study.inputs
    found: dict[str, Any] = {}
    for label, value in wanted.items():
        label = values.study.graph.firsts.get(label, label)
        given = inputs.get(label)
        held = None if given is None else values.whole(label).array() if given.axes else None
        for name, other in inputs.items() if given is None else ():
            if len(other.axes) == 1 and label.startswith(f"{name}."):  # a part of a config
                held = leaves(name, values.whole(name).array()).get(label)
                given = None if held is None else other
        if given is None or len(given.axes) != 1 or given.axes[0] not in axes:
            labels = [n for n, v in inputs.items() if len(v.axes) == 1 and v.axes[0] in axes]
            raise InvalidInput(
                f"{what!r} has no coordinate {label!r}. Its coordinates: {', '.join(labels) or 'none'}."
            )
        axis = given.axes[0]
        places = _matching(label, held, value)
        found[axis] = places if axis not in found else np.intersect1d(found[axis], places).tolist()
    return found


def chosen(
    study: Study, values: Values, what: str, axes: Sequence[str], where: Mapping[str, Any]
) -> dict[str, Positions]:
    """Sorted storage positions on the axes that ``**where`` names."""
    given = dict(where)
    by_label = given.pop("sel", None) or {}
    check_axes(what, axes, given)
    given = {**by_value(values, what, axes, by_label), **given}
    return {axis: np.unique(study.axes[axis].select(value)) for axis, value in given.items()}


def selected(study: Study, axis: str, value: Any) -> Positions:
    """Storage positions; of a loop that ended by itself slices go as far as any ran."""
    if isinstance(value, slice) and axis in study.graph.loops:
        return all_positions(study, axis)[value]
    return study.axes[axis].select(value)


def backwards(study: Study, where: Mapping[str, Any]) -> dict[str, int]:
    """Axes of loops that end by themselves on which a position is counted from the end."""
    until = {name for name, loop in study.graph.loops.items() if loop.until is not None}
    return {a: int(v) for a, v in where.items() if a in until and isinstance(v, (int, np.integer)) and v < 0}


def from_end(
    study: Study, name: str, chosen: Mapping[str, Positions], back: Mapping[str, int]
) -> tuple[dict[str, Any], Any]:
    """For each element the positions that are counted back from where its own loops ended.

    Returns
    -------
    tuple
        Arrays of storage positions by axis, each with one dimension for each axis of the result, and which
        elements had fewer iterations.
    """
    axes = study.graph.axes[name]
    every = {axis: all_positions(study, axis)[: 1 if axis in back else None] for axis in axes}
    mesh = np.meshgrid(*({**every, **chosen}[axis] for axis in axes), indexing="ij")
    at: dict[str, Any] = dict(zip(axes, mesh, strict=True))
    short = np.zeros(mesh[0].shape, bool)
    for axis in axes:  # outer loops first: where they ended decides which inner ones are meant
        if axis in back:
            where = {other: place.reshape(-1) for other, place in at.items()}
            wanted = last(study, axis, where, short.size).reshape(short.shape) + 1 + back[axis]
            short |= wanted < 0
            at[axis] = np.maximum(wanted, 0)
    return at, short


def picked(array: Any, ranks: Sequence[Any], short: Any) -> Any:
    """One position for each element along the dimensions that have ranks; a mask where there is none."""
    grid = np.ogrid[tuple(slice(n) for n in short.shape)]
    found = array[tuple(own if rank is None else rank for own, rank in zip(grid, ranks, strict=True))]
    if not np.ma.getmaskarray(found).any() and not short.any():
        return np.ma.getdata(found)
    found = np.ma.array(found)
    found[short] = np.ma.masked
    return found


def _matching(label: str, values: Any, wanted: Any) -> Any:
    if isinstance(wanted, slice):
        low = values >= wanted.start if wanted.start is not None else np.ones(len(values), bool)
        high = values <= wanted.stop if wanted.stop is not None else np.ones(len(values), bool)
        return np.flatnonzero(low & high).tolist()
    many = isinstance(wanted, (list, tuple, np.ndarray))
    positions: list[int] = []
    listed = values.tolist()
    for value in wanted if many else [wanted]:
        hits = [i for i, v in enumerate(listed) if v == value]
        if not hits:
            raise KeyError(f"No element has {label}={value!r}.")
        positions += hits
    return positions if many or len(positions) > 1 else positions[0]
