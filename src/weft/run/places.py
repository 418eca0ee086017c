"""Which elements are meant: positions as keywords, values of inputs as ``sel={...}``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from weft.errors import InvalidInput
from weft.model.step import nearest
from weft.plan.blocks import Positions
from weft.study.arrays import Values
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
        given = inputs.get(label)
        if given is None or len(given.axes) != 1 or given.axes[0] not in axes:
            labels = [n for n, v in inputs.items() if len(v.axes) == 1 and v.axes[0] in axes]
            raise InvalidInput(
                f"{what!r} has no coordinate {label!r}. Its coordinates: {', '.join(labels) or 'none'}."
            )
        axis = given.axes[0]
        places = _matching(label, values.whole(label).array(), value)
        found[axis] = places if axis not in found else _both(found[axis], places)
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


def _both(first: Any, second: Any) -> list[int]:
    return [int(p) for p in np.intersect1d(first, second)]
