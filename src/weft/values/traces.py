"""What a result read, in 16 bytes for each element: they change whenever a value that it read does."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from weft.values.columns_kinds import Array, Column, DeferredColumn, TypedColumn
from weft.values.content import digest
from weft.values.content_arrays import canonical_rows
from weft.values.content_digest import short_hash
from weft.values.packing import pack

WIDTH = 16


def traced(column: Column) -> Array:
    """Bytes for each value, shape (n, 16), that are equal where content and type are.

    A number is its own bytes behind a hash of its type, 10 ns each; anything else is hashed. A value that has
    no digest, as only memory can hold one, is never seen to change.
    """
    if isinstance(column, DeferredColumn):
        column = column.whole()
    rows = np.zeros((len(column), WIDTH), np.uint8)
    data = column.data if isinstance(column, TypedColumn) else None
    if data is not None and data.ndim == 1 and data.dtype.kind in "iuf" and data.dtype.itemsize <= 8:
        tag = hashlib.blake2b(repr(column.signature).encode(), digest_size=8).digest()
        content = canonical_rows(data)
        rows[:, :8] = np.frombuffer(tag, np.uint8)
        rows[:, 8 : 8 + content.shape[1]] = content
        return rows
    if data is not None:
        return column.element_digests()
    for row, value in zip(rows, column.tolist(), strict=True):
        row[:] = _one(value)
    return rows


def joined(whole: Array, parts: Sequence[Array]) -> Array:
    """The bytes of each element from those of all that it read; each of shape (n, 16)."""
    if len(parts) == 1:
        found: Array = whole ^ parts[0]  # `whole` is a hash or nothing: no need of another
        return found
    together = np.ascontiguousarray(np.concatenate([whole, *parts], axis=1))
    found = np.empty_like(whole, shape=whole.shape)
    for row, given in zip(found, together, strict=True):
        row[:] = np.frombuffer(short_hash(given.data), np.uint8)
    return found


def _one(value: Any) -> Array:
    # Alone as among its like: the same value may stand in columns of different kinds.
    if type(value) in (int, float) or isinstance(value, np.generic):
        alone = pack([value], live=True)
        if isinstance(alone, TypedColumn):
            row: Array = traced(alone)[0]
            return row
    try:
        return np.frombuffer(bytes.fromhex(digest(value)), np.uint8)
    except TypeError:
        return np.zeros(WIDTH, np.uint8)
