"""Arrays with their labels, for xarray and pandas: what exports and arguments share."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from weft.values.columns import objects, pack

Array = np.ndarray[Any, Any]
Placed = Mapping[str, tuple[Sequence[str], Array]]  # the axes along which an array lies, and the array


def needed(package: str, extra: str) -> Any:
    """An optional package.

    Raises
    ------
    ImportError
        If it is not installed; it says what to install.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ImportError(f"This needs {package}: pip install 'weft[{extra}]'") from error


def dims(name: str, axes: Sequence[str], array: Array) -> tuple[str, ...]:
    """Names of an array's dimensions: its axes, and ``NAME_d0``… for those of elements that are arrays."""
    return (*axes, *(f"{name}_d{k}" for k in range(array.ndim - len(axes))))


def leaves(name: str, array: Array) -> dict[str, Array]:
    """The parts of values that are all dicts, by names such as ``train.opt.lr``; None where one lacks it."""
    if array.ndim != 1 or array.dtype != object or not all(isinstance(v, Mapping) for v in array):
        return {}
    found: dict[str, Array] = {}
    for key in dict.fromkeys(key for value in array for key in value):
        part = pack([value.get(key) for value in array], live=True).to_array()
        inner = objects([{} if value is None else value for value in part]) if part.dtype == object else part
        found |= leaves(f"{name}.{key}", inner) or ({f"{name}.{key}": part} if part.ndim == 1 else {})
    return found


def coordinates(inputs: Placed, taken: Iterable[str] = ()) -> dict[str, Any]:
    """Coordinates for xarray, of inputs; the only one on an axis is its index too.

    Parameters
    ----------
    taken
        Names that are variables already.
    """
    found: dict[str, Any] = {}
    for name, (axes, array) in inputs.items():
        if name not in taken:
            found[name] = (dims(name, axes, array), array)
            found |= {leaf: (tuple(axes), part) for leaf, part in leaves(name, array).items()}
        alone = sum(tuple(other) == tuple(axes) for other, _ in inputs.values()) == 1
        if len(axes) == 1 and axes[0] not in taken and alone and array.ndim == 1 and _indexable(array):
            found[axes[0]] = (tuple(axes), array)
    return found


def columns(axes: Sequence[str], shape: tuple[int, ...], inputs: Placed, arrays: Placed) -> dict[str, Any]:
    """The columns of a tidy table, a row for each element: positions where no input tells, inputs, arrays."""
    labelled = {own[0] for own, _ in inputs.values() if len(own) == 1}
    found: dict[str, Any] = {}
    for place, axis in enumerate(axes):
        if axis not in labelled:
            found[axis] = _spread(np.arange(shape[place]), (axis,), axes, shape)
    inner = {leaf: (own, p) for n, (own, array) in inputs.items() for leaf, p in leaves(n, array).items()}
    for name, (own, array) in [*inputs.items(), *inner.items(), *arrays.items()]:
        found[name] = _spread(cells(array, len(own)), own, axes, shape)
    return found


def filled(array: Any) -> Array:
    """An array with NaN, or NaT, in its holes."""
    if not isinstance(array, np.ma.MaskedArray):
        return np.asarray(array)
    values, holes, kind = np.array(array.data), np.ma.getmaskarray(array), array.dtype.kind
    if not holes.any():
        return values
    if kind in "mM":
        values[holes] = np.array("NaT", values.dtype)
        return values
    if kind in "iu":
        values = values.astype(np.float64)
    elif kind not in "fc":
        values = values.astype(object)
    values[holes] = np.nan
    return values


def cells(array: Array, n_axes: int) -> Array:
    """One object for each element that is an array itself."""
    if array.ndim == n_axes:
        return array
    shape = array.shape[:n_axes]
    flat = array.reshape(math.prod(shape), *array.shape[n_axes:])
    held = np.empty(len(flat), object)
    for place, part in enumerate(flat):
        held[place] = part
    return held.reshape(shape)


def _indexable(array: Array) -> bool:
    if array.dtype != object:
        return True
    try:
        return len({hash(value) for value in array}) >= 0
    except TypeError:
        return False


def _spread(array: Array, own: Sequence[str], axes: Sequence[str], shape: tuple[int, ...]) -> Array:
    """Values of an array along some axes, repeated along the others: one for each row."""
    order = [own.index(axis) for axis in axes if axis in own]
    placed = array.transpose(order).reshape(
        [n if axis in own else 1 for axis, n in zip(axes, shape, strict=True)]
    )
    return np.broadcast_to(placed, shape).reshape(-1)
