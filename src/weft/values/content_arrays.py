"""Rules for NumPy: dtypes, scalars, arrays, masked arrays."""

from __future__ import annotations

import importlib
import math
from typing import Any

import numpy as np

from weft.values.content_rules import ARRAY, OBJECTS, SCALAR, NoRule, rule


def dtype_spec(dtype: np.dtype[Any]) -> Any:
    """A dtype as text and lists, good for JSON; `NoRule` where that would not bring it back."""
    if dtype.subdtype is not None:
        return ["sub", dtype_spec(dtype.subdtype[0]), list(dtype.subdtype[1])]
    if dtype.names is not None:
        fields = [dtype.fields[name] for name in dtype.names] if dtype.fields else []
        titles = [field[2] if len(field) > 2 else None for field in fields]
        formats = [dtype_spec(field[0]) for field in fields]
        offsets = [field[1] for field in fields]
        spec: Any = [
            "struct",
            list(dtype.names),
            formats,
            offsets,
            dtype.itemsize,
            dtype.isalignedstruct,
            titles,
        ]
    else:
        spec = dtype.str
    if read_dtype(spec) != dtype:
        raise NoRule  # an extension such as bfloat16, which calls itself void
    return spec


def read_dtype(spec: Any) -> np.dtype[Any]:
    """The dtype of a `dtype_spec`."""
    if isinstance(spec, str):
        try:
            return np.dtype(spec)
        except TypeError:
            raise NoRule from None
    if spec[0] == "sub":
        return np.dtype((read_dtype(spec[1]), tuple(spec[2])))
    _, names, formats, offsets, itemsize, aligned, titles = spec
    formats = [read_dtype(item) for item in formats]
    fields: Any = {"names": names, "formats": formats, "offsets": offsets, "itemsize": itemsize}
    if any(title is not None for title in titles):
        fields["titles"] = titles
    dtype: np.dtype[Any] = np.dtype(fields, align=aligned)
    return dtype


def raw(array: np.ndarray[Any, Any]) -> memoryview:
    """The bytes of an array in C order, without a copy where it is contiguous."""
    if array.nbytes == 0:
        return memoryview(b"")
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def from_raw(data: bytes | memoryview, dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """The array over these bytes, copied only if they lie where its dtype may not."""
    if len(data) != dtype.itemsize * math.prod(shape):
        raise ValueError(f"{len(data)} bytes for an array of shape {shape} and dtype {dtype}")
    if len(data) == 0:
        return np.ndarray(shape, dtype)
    array = np.frombuffer(data, dtype).reshape(shape)
    return array if array.flags.aligned else array.copy()


def canonical_rows(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Bytes of the content of each ``array[i]``, shape (n, bytes): every NaN alike, no padding."""
    count = len(array)
    if array.dtype.names is not None:
        rows = [canonical_rows(array[name]) for name in array.dtype.names]
        return np.concatenate([np.empty((count, 0), np.uint8), *rows], axis=1)
    if array.dtype.kind in "fc":
        array = np.ascontiguousarray(array)
        if array.dtype.kind == "c":
            array = array.view(array.real.dtype)
        where = np.isnan(array)
        if where.any():
            array = array.copy()
            array[where] = np.nan
    if array.nbytes == 0:
        return np.empty((count, 0), np.uint8)
    rows_ = np.ascontiguousarray(array).reshape(count, -1).view(np.uint8)
    if array.dtype.kind == "f" and array.itemsize > 8 and np.finfo(array.dtype).nmant == 63:
        # An x86 long double is 10 bytes, the rest of its 12 or 16 is whatever was in memory.
        rows_ = rows_.reshape(count, -1, array.itemsize)[:, :, :10].reshape(count, -1)
    return rows_


def _reduce_scalar(value: np.generic) -> list[Any]:
    if isinstance(value, np.str_):
        return ["str", str.__str__(value)]  # NumPy would cut NULs off its end
    if isinstance(value, np.bytes_):
        return ["bytes", bytes(value)]
    if value.dtype.hasobject:
        raise NoRule
    return [dtype_spec(value.dtype), value.tobytes()]


def _restore_scalar(parts: list[Any]) -> Any:
    if parts[0] in ("str", "bytes"):
        return np.str_(parts[1]) if parts[0] == "str" else np.bytes_(parts[1])
    return from_raw(parts[1], read_dtype(parts[0]), (1,)).copy()[0]


def _reduce_array(value: np.ndarray[Any, Any]) -> list[Any]:
    if value.dtype.hasobject:
        raise NoRule
    return [dtype_spec(value.dtype), list(value.shape), raw(value)]


def _restore_array(parts: list[Any]) -> np.ndarray[Any, Any]:
    return from_raw(parts[2], read_dtype(parts[0]), tuple(parts[1])).copy()


def _reduce_objects(value: np.ndarray[Any, Any]) -> list[Any]:
    """For arrays of Python objects, and of strings of variable length, whose bytes are pointers."""
    if value.dtype == np.dtype(object):
        how: dict[str, Any] | None = None
    elif value.dtype.kind == "T":
        how = {"coerce": value.dtype.coerce}
        if hasattr(value.dtype, "na_object"):
            how["na_object"] = value.dtype.na_object
    else:
        raise NoRule
    return [how, list(value.shape), *value.reshape(-1)]


def _restore_objects(parts: list[Any]) -> np.ndarray[Any, Any]:
    dtype: Any = object if parts[0] is None else np.dtypes.StringDType(**parts[0])
    flat = np.empty(len(parts) - 2, dtype)
    for i, item in enumerate(parts[2:]):
        flat[i] = item
    return flat.reshape(parts[1])


def _reduce_masked(value: Any) -> list[Any]:
    mask = value.mask
    fill = value._fill_value  # the property would invent one, and set it
    return [
        value.data,
        None if mask is importlib.import_module("numpy.ma").nomask else mask,
        None if fill is None else np.asarray(fill),
        bool(value.hardmask),
    ]


def _restore_masked(parts: list[Any]) -> Any:
    masked = importlib.import_module("numpy.ma")
    data, mask, fill, hard = parts
    value = masked.MaskedArray(data, mask=masked.nomask if mask is None else mask, hard_mask=hard)
    if fill is not None:
        value.fill_value = fill[()]
    return value


def _reduce_dtype(value: np.dtype[Any]) -> list[Any]:
    if value.kind == "T":
        raise NoRule
    return [dtype_spec(value)]


rule(50, "numpy.dtype", _reduce_dtype, lambda parts: read_dtype(parts[0]))
rule(51, "numpy.ma.MaskedArray numpy.ma.core.MaskedArray", _reduce_masked, _restore_masked, leaf=False)
rule(SCALAR, "numpy.generic", _reduce_scalar, _restore_scalar)
rule(ARRAY, "", _reduce_array, _restore_array)
rule(OBJECTS, "", _reduce_objects, _restore_objects, leaf=False)
