"""Axes of a run: logical order (what the user gave) over storage order (in which coordinates were born)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from weft.errors import InvalidInput
from weft.model.coarse import Coarse
from weft.values.columns import Column

Positions = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, eq=False)
class Axis:
    """One axis of a run.

    Attributes
    ----------
    size
        Number of positions in storage order; None while unknown.
    selection
        Storage position of each logical position; None when they are the same.
    opener
        Name of the step that opens it; None when inputs do.
    """

    name: str
    size: int | None
    selection: Positions | None = None
    opener: str | None = None

    @property
    def length(self) -> int | None:
        """Number of logical positions; None while unknown."""
        return self.size if self.selection is None else len(self.selection)

    @cached_property
    def positions(self) -> Positions:
        """Storage position of each logical position."""
        if self.selection is not None:
            return self.selection
        return np.arange(self.size or 0)

    @cached_property
    def wanted(self) -> Positions | None:
        """Selected storage positions, sorted, each once; None for all."""
        if self.selection is None:
            return None
        # np.unique hashes integers, which is many times slower than to sort them.
        ordered = np.sort(self.selection)
        return ordered[np.append(True, ordered[1:] != ordered[:-1])] if len(ordered) else ordered

    @cached_property
    def logical(self) -> Positions:
        """Logical position of each storage position; -1 for those no longer selected."""
        if self.selection is None:
            return np.arange(self.size or 0)
        inverse = np.full(self.size or 0, -1, np.int64)
        inverse[self.selection] = np.arange(len(self.selection))
        return inverse

    def select(self, chosen: Any) -> Positions:
        """Storage positions of an int, slice or list of logical positions; negative ones count from the end.

        Raises
        ------
        InvalidInput
            For a position outside the axis.
        """
        length = self.length or 0
        if isinstance(chosen, slice):
            # Of a long axis only what is chosen is ever made.
            sliced: Positions = np.arange(*chosen.indices(length))
            return sliced if self.selection is None else self.selection.take(sliced)
        listed = np.atleast_1d(np.asarray(chosen))
        if listed.dtype == bool and len(listed) == length:
            listed = np.flatnonzero(listed)
        if listed.size and listed.dtype.kind not in "iu":
            raise InvalidInput(
                f"axis {self.name!r}: positions are whole numbers, slices or lists, got {chosen!r}."
            )
        listed = listed.astype(np.int64)
        bad = listed[(listed < -length) | (listed >= length)]
        if bad.size:
            raise InvalidInput(f"axis {self.name!r} has {length} positions, there is no {int(bad[0])}.")
        found: Positions = listed % max(length, 1) if self.selection is None else self.selection[listed]
        return found


def match(old: Sequence[Column], new: Sequence[Column]) -> tuple[Positions | None, Positions]:
    """Find the coordinates of `new` among those already born.

    The coordinate of a position is the content of every input there, and its occurrence number: the second
    0 in ``[0, 0]`` is another coordinate than the first.

    Parameters
    ----------
    old
        The inputs on the axis in storage order, one column each.
    new
        The same inputs as given now, in logical order.

    Returns
    -------
    selection
        Storage position of each new position, None if they are ``0, 1, 2…``; those not yet born come last.
    born
        Logical positions that are not among the old ones, in storage order.
    """
    n_old, n_new = len(old[0]), len(new[0])
    if not n_old or (n_old <= n_new and all(_equal(a, b[:n_old]) for a, b in zip(old, new, strict=True))):
        return None, np.arange(n_old, n_new)
    places: dict[Any, int] = {}
    for position, key in enumerate(_counted(old)):
        places[key] = position
    selection = np.empty(n_new, np.int64)
    born: list[int] = []
    for position, key in enumerate(_counted(new)):
        place = places.get(key)
        if place is None:
            place = n_old + len(born)
            born.append(position)
        selection[position] = place
    return selection, np.array(born, np.int64)


def _equal(a: Column, b: Column) -> bool:
    """Whether they have the same bytes, 1 ns each; equal values may still have others, as a NaN has."""
    (meta, buffers), (other, others) = a.parts(), b.parts()
    return meta == other and list(map(bytes, buffers)) == list(map(bytes, others))


def _counted(columns: Sequence[Column]) -> list[Any]:
    """Coordinates as hashable keys: digests of the contents, and the occurrence number."""
    digests = [column.element_digests() for column in columns]
    joined = np.ascontiguousarray(np.concatenate(digests, axis=1)) if len(digests) > 1 else digests[0]
    seen: Counter[bytes] = Counter()
    keys = []
    for row in joined:
        key = row.tobytes()
        keys.append((key, seen[key]))
        seen[key] += 1
    return keys


def occurrences(columns: Sequence[Column]) -> Positions | None:
    """Occurrence number of each position among equal coordinates; None if all differ."""
    if not columns or len(columns[0]) == 0:
        return None
    if len(columns) == 1:
        values = columns[0].to_array()
        if values.ndim == 1 and values.dtype.kind in "iufc" and len(np.unique(values)) == len(values):
            return None
    counted = _counted(columns)
    numbers = np.array([number for _, number in counted], np.int64)
    return numbers if numbers.any() else None


def coarsened(axes: Mapping[str, Axis], coarse: Mapping[str, Coarse]) -> dict[str, Axis]:
    """Axes that are coarse over others, as long as those tell."""
    found = {}
    for name, each in coarse.items():
        fine = axes[each.of]
        size = None if fine.length is None else each.size(fine.length)
        found[name] = Axis(name, size, None, fine.opener or each.of)
    return found


def chosen(axes: Mapping[str, Axis], indices: Mapping[str, Any]) -> dict[str, Positions]:
    """Storage positions that an ``indices`` option selects, for each axis that it names."""
    unknown = [name for name in indices if name not in axes]
    if unknown:
        raise InvalidInput(
            f"indices names the axis {unknown[0]!r}; the axes are {', '.join(axes) or 'none'}."
        )
    return {name: np.unique(axes[name].select(value)) for name, value in indices.items()}
