"""Sweeps: study axes and the values along them. Pure; `Pipeline.vary` makes them flow through the steps."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from weft.errors import InvalidInput


class Default:
    """Stands in a table of points where an input keeps its default."""

    def __repr__(self) -> str:
        return "(the default)"


DEFAULT = Default()


@dataclass(frozen=True, eq=False)
class StudyAxis:
    """One study axis: its name, and the values of each input that varies along it, of equal lengths."""

    name: str
    values: Mapping[str, Sequence[Any]]

    def __post_init__(self) -> None:
        if not self.values:
            raise InvalidInput(f"The axis {self.name!r} of a sweep varies nothing: name an input for it.")

    def __len__(self) -> int:
        return len(next(iter(self.values.values())))


@dataclass(frozen=True, eq=False)
class Sweep:
    """Study axes and their values, made by `grid`, `zipped` and `points`.

    ``a * b`` crosses two sweeps, ``a + b`` puts their points one after the other on one axis, named ``point``
    unless both have it. `len` is the number of combinations, and iteration gives each as a dict, the last
    axis fastest.

    Examples
    --------
    >>> import weft
    >>> sweep = weft.grid(lr=[0.1, 0.01]) * weft.zipped(depth=[2, 3], width=[8, 16])
    >>> sweep.names, len(sweep)
    (('lr', 'depth_width'), 4)
    >>> next(iter(sweep))
    {'lr': 0.1, 'depth': 2, 'width': 8}
    """

    axes: tuple[StudyAxis, ...]

    def __post_init__(self) -> None:
        varied = [name for axis in self.axes for name in axis.values]
        for name in varied:
            if varied.count(name) > 1:
                raise InvalidInput(
                    f"The sweep varies {name!r} twice. Give its values once, or put them on one axis."
                )
        if len(set(self.names)) != len(self.names):
            raise InvalidInput(
                f"Two axes of the sweep have one name ({', '.join(self.names)}). Rename one: .named(...)."
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the axes, the outermost first."""
        return tuple(axis.name for axis in self.axes)

    @property
    def values(self) -> dict[str, Sequence[Any]]:
        """The values of each input along its axis."""
        return {name: values for axis in self.axes for name, values in axis.values.items()}

    def __len__(self) -> int:
        return math.prod(len(axis) for axis in self.axes)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        names = list(self.values)
        rows = [list(zip(*axis.values.values(), strict=True)) for axis in self.axes]
        lacking = any(value is DEFAULT for axis in rows for row in axis for value in row)
        for combination in itertools.product(*rows):
            point = dict(zip(names, itertools.chain.from_iterable(combination), strict=True))
            yield {n: v for n, v in point.items() if v is not DEFAULT} if lacking else point

    def __mul__(self, other: Any) -> Sweep:
        return Sweep(self.axes + other.axes) if isinstance(other, Sweep) else NotImplemented

    def __add__(self, other: Any) -> Sweep:
        if not isinstance(other, Sweep):
            return NotImplemented
        name = self.names[0] if len(self.axes) == 1 and self.names == other.names else "point"
        return Sweep((_table(name, dict.fromkeys([*self.values, *other.values]), [*self, *other]),))

    def named(self, name: str) -> Sweep:
        """The same with another name for its axis.

        Raises
        ------
        InvalidInput
            If it has several axes.
        """
        if len(self.axes) != 1:
            raise InvalidInput(f"named() is for a sweep of one axis; this one has {', '.join(self.names)}.")
        return Sweep((StudyAxis(name, self.axes[0].values),))

    def __repr__(self) -> str:
        axes = " × ".join(f"{axis.name} ({len(axis)})" for axis in self.axes)
        return f"<Sweep of {len(self)}: {axes}>"


def axis_name(names: Iterable[str]) -> str:
    """What the axis of some inputs is called; a scoped input has a dot, and no index of a mapspec has."""
    return "_".join(names).replace(".", "_")


def grid(**values: Iterable[Any]) -> Sweep:
    """Every combination: an axis for each input, the first one outermost.

    Examples
    --------
    >>> import weft
    >>> len(weft.grid(lr=[0.1, 0.01], batch=[16, 32, 64]))
    6
    """
    return Sweep(
        tuple(StudyAxis(axis_name([name]), {name: _listed(name, given)}) for name, given in values.items())
    )


def zipped(**values: Iterable[Any]) -> Sweep:
    """Inputs that vary together along one axis.

    Raises
    ------
    InvalidInput
        If their lengths differ.
    """
    listed = {name: _listed(name, given) for name, given in values.items()}
    lengths = {name: len(given) for name, given in listed.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} has {n}" for name, n in lengths.items())
        raise InvalidInput(f"zipped values have one length: {told}. For all combinations use weft.grid(...).")
    return Sweep((StudyAxis(axis_name(listed), listed),)) if listed else Sweep(())


def points(table: Any) -> Sweep:
    """Combinations one by one, along one axis named ``point``: dicts, or the rows of a DataFrame.

    An input that a dict lacks keeps its default there; values keep their types.
    """
    if hasattr(table, "columns") and hasattr(table, "to_dict"):
        listed: dict[str, Sequence[Any]] = {str(name): list(table[name]) for name in table.columns}
        return Sweep((StudyAxis("point", listed),))
    rows = list(table)
    if not all(isinstance(row, Mapping) and all(isinstance(name, str) for name in row) for row in rows):
        raise InvalidInput("points takes dicts of values by name, or a DataFrame.")
    return Sweep((_table("point", dict.fromkeys(name for row in rows for name in row), rows),))


def _table(axis: str, names: Iterable[str], rows: Sequence[Mapping[str, Any]]) -> StudyAxis:
    return StudyAxis(axis, {name: [row.get(name, DEFAULT) for row in rows] for name in names})


def _listed(name: str, given: Any) -> Sequence[Any]:
    single = getattr(given, "ndim", 1) == 0 or not hasattr(given, "__iter__")
    if single or isinstance(given, (str, bytes, Mapping, set)):
        raise InvalidInput(
            f"The values of {name!r} in a sweep are a list, got {given!r}. One value: [{given!r}]."
        )
    return given if hasattr(given, "__len__") and hasattr(given, "__getitem__") else list(given)
