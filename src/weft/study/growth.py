"""Axes of a study against their record: which positions are known, which are new."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from weft.plan.axes import Axis, match
from weft.store.record import AxisRecord, Change, InputRecord, RunDirectory
from weft.study.study import Input
from weft.values.columns import Column, TypedColumn, concat
from weft.values.content import digest_bytes


def column_digest(column: Column, shape: tuple[int, ...] = ()) -> str:
    """Digest of a mapped input: all its values, their types and order."""
    meta, buffers = column.parts()
    return digest_bytes(
        json.dumps([meta, list(shape)], sort_keys=True).encode(),
        *(bytes(memoryview(b).cast("B")) for b in buffers),
    )


def grown(
    directory: RunDirectory,
    inputs: Mapping[str, Input],
    axes: dict[str, Axis],
    old: Change | None,
) -> tuple[dict[str, Axis], dict[str, AxisRecord]]:
    """Match every axis that inputs open against its record: which positions are known, which are new."""
    found: dict[str, Axis] = {}
    records: dict[str, AxisRecord] = {}
    for name, axis in axes.items():
        on_axis = {n: v for n, v in inputs.items() if v.axes == (name,)}
        wide = {n: v for n, v in inputs.items() if name in v.axes and len(v.axes) > 1}
        before = old.axes.get(name) if old else None
        if axis.opener is not None and not on_axis and not wide:
            found[name], records[name] = axis, AxisRecord(None, axis.opener)
            continue
        moved = before is not None and any(
            _moved(directory, v, old.inputs.get(n), name) for n, v in wide.items() if old
        )
        born: Mapping[str, str] = {n: v.digest for n, v in on_axis.items()}
        if before is None or before.size is None:
            selection, size = None, axis.size or 0
        elif moved or (on_axis and not set(on_axis) & set(before.born)):
            selection, size = before.size + np.arange(axis.size or 0), before.size + (axis.size or 0)
            born = _born(directory, before, on_axis, selection, np.arange(axis.size or 0))
        elif on_axis:
            selection, size, born = _matched(directory, before, on_axis)
        else:
            size = max(before.size, axis.size or 0)
            selection = None if size == axis.size else np.arange(axis.size or 0)
        kept = None
        if selection is not None:
            column = TypedColumn(selection, "int")
            kept = column_digest(column)
            directory.put_column(kept, column)
        found[name] = Axis(name, size, selection, axis.opener)
        records[name] = AxisRecord(size, axis.opener, kept, born)
    return found, records


def _matched(
    directory: RunDirectory, before: AxisRecord, on_axis: Mapping[str, Input]
) -> tuple[Any, int, Mapping[str, str]]:
    """Selection, size and storage order of an axis whose inputs may have grown, shrunk or moved."""
    digests = {n: v.digest for n, v in on_axis.items()}
    if digests == dict(before.born):
        return None, int(before.size or 0), before.born
    common = sorted(set(on_axis) & set(before.born))
    old = [directory.column(before.born[n]) for n in common]
    new = [v.column for n in common if (v := on_axis[n]).column is not None]
    selection, born = match(old, new)
    n_old, n_new = len(old[0]), len(new[0])
    if selection is None and n_new < n_old:
        selection = np.arange(n_new)
    size = n_old + len(born)
    if selection is None and set(on_axis) == set(before.born):
        return None, size, digests
    return selection, size, _born(directory, before, on_axis, selection, born)


def _born(
    directory: RunDirectory, before: AxisRecord, on_axis: Mapping[str, Input], selection: Any, born: Any
) -> dict[str, str]:
    """Keep the values of an axis's inputs in storage order; returns their digests."""
    found = {}
    for name, given in on_axis.items():
        assert given.column is not None
        if name in before.born:
            if not len(born):
                found[name] = before.born[name]
                continue
            column = concat([directory.column(before.born[name]), given.column.take(born)])
        else:
            # An input that is new on the axis: what it was where no longer selected is not known.
            places = np.zeros(int(before.size or 0) + len(born), np.int64)
            places[selection if selection is not None else np.arange(len(places))] = np.arange(
                len(given.column)
            )
            column = given.column.take(places)
        found[name] = column_digest(column)
        directory.put_column(found[name], column)
    return found


def _moved(directory: RunDirectory, given: Input, before: InputRecord | None, axis: str) -> bool:
    """Whether an input of several axes holds other values where it held some; told on its first axis."""
    if before is None or before.digest == given.digest or given.axes[0] != axis or before.axes != given.axes:
        return False
    overlap = tuple(slice(0, min(a, b)) for a, b in zip(before.shape, given.shape, strict=True))
    old = directory.column(before.digest)
    places = np.arange(len(old)).reshape(before.shape)[overlap].reshape(-1)
    assert given.column is not None
    now = np.arange(len(given.column)).reshape(given.shape)[overlap].reshape(-1)
    return not np.array_equal(old.take(places).element_digests(), given.column.take(now).element_digests())
