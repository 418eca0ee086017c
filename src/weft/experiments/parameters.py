"""The kinds of parameters that a domain has."""

from __future__ import annotations

import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from weft.errors import InvalidInput

Unit = np.ndarray[Any, np.dtype[np.float64]]


class Parameter(ABC):
    """What the kinds of parameters share: coordinates in the unit cube, and levels on a grid."""

    @property
    def width(self) -> int:
        """How many coordinates a value has."""
        return 1

    @abstractmethod
    def values(self, unit: Unit) -> list[Any]:
        """The values at points of the unit cube, an array of shape (n, width) with entries in [0, 1)."""

    @abstractmethod
    def levels(self, n: int | None) -> list[Any]:
        """Values spread over the parameter, ends included: `n`, or all there are."""


@dataclass(frozen=True)
class Float(Parameter):
    """A float in [low, high]; with `log` its logarithm is spread evenly.

    Raises
    ------
    InvalidInput
        If low ≥ high, a bound is not finite, or low ≤ 0 with `log`.
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        _bounds(self, _finite)
        if self.log and self.low <= 0:
            raise InvalidInput(
                f"{self}: there is no logarithm of {self.low}. Let low be above 0, or log=False."
            )

    def values(self, unit: Unit) -> list[Any]:
        return list(map(float, _between(self, unit[:, 0])))

    def levels(self, n: int | None) -> list[Any]:
        if n is None:
            raise InvalidInput(f"A grid needs a number of levels for {self}.")
        return list(map(float, _between(self, np.linspace(0, 1, n))))


@dataclass(frozen=True)
class Int(Parameter):
    """One of the ints low, low + step, … up to `high`, which is included where a step meets it.

    Raises
    ------
    InvalidInput
        If low ≥ high, or a step is not within 1 … high - low.
    """

    low: int
    high: int
    step: int = 1

    def __post_init__(self) -> None:
        _bounds(self, _whole)
        object.__setattr__(self, "step", _whole(self, self.step))
        if not 1 <= self.step <= self.high - self.low:
            raise InvalidInput(f"{self}: a step is between 1 and high - low, {self.high - self.low}.")

    @property
    def _all(self) -> range:
        return range(self.low, self.high + 1, self.step)

    def values(self, unit: Unit) -> list[Any]:
        return _picked(self._all, unit)

    def levels(self, n: int | None) -> list[Any]:
        return list(self._all) if n is None else _spread(self._all, n)


@dataclass(frozen=True, init=False)
class Category(Parameter):
    """One of some values of any type: ``Category("adam", "sgd", None)``; on a grid always all of them."""

    choices: tuple[Any, ...]

    def __init__(self, *choices: Any) -> None:
        if not choices:
            raise InvalidInput("A Category needs values: Category('a', 'b').")
        if len(choices) == 1 and isinstance(choices[0], (list, set, dict)):
            raise InvalidInput(
                f"Category takes its values one by one, got {choices[0]!r} alone: write Category(*values)."
            )
        object.__setattr__(self, "choices", choices)

    def values(self, unit: Unit) -> list[Any]:
        return _picked(self.choices, unit)

    def levels(self, n: int | None) -> list[Any]:
        return list(self.choices)


@dataclass(frozen=True)
class Constant(Parameter):
    """A value that is the same in every point."""

    value: Any

    @property
    def width(self) -> int:
        return 0

    def values(self, unit: Unit) -> list[Any]:
        return [self.value] * len(unit)

    def levels(self, n: int | None) -> list[Any]:
        return [self.value]


@dataclass(frozen=True)
class Array(Parameter):
    """An array of floats in [low, high]; a grid gives each of its entries its own levels.

    Raises
    ------
    InvalidInput
        If low ≥ high, a bound is not finite, or a length is not positive.
    """

    shape: tuple[int, ...]
    low: float
    high: float

    def __post_init__(self) -> None:
        shape = self.shape if isinstance(self.shape, Sequence) else (self.shape,)
        object.__setattr__(self, "shape", tuple(_whole(self, length) for length in shape))
        if not self.shape or min(self.shape) < 1:
            raise InvalidInput(f"{self}: a shape has positive lengths, as in Array((3, 2), 0, 1).")
        _bounds(self, _finite)

    @property
    def width(self) -> int:
        return math.prod(self.shape)

    def values(self, unit: Unit) -> list[Any]:
        return [row.reshape(self.shape) for row in _between(self, unit)]

    def levels(self, n: int | None) -> list[Any]:
        along = Float(self.low, self.high).levels(n)
        cube = np.stack(np.meshgrid(*[along] * self.width, indexing="ij"), axis=-1)
        return [row.reshape(self.shape).copy() for row in cube.reshape(-1, self.width)]


def _between(parameter: Float | Array, unit: Unit) -> Unit:
    """Values between the bounds, which 0 and 1 stand for."""
    low, high = parameter.low, parameter.high
    if isinstance(parameter, Float) and parameter.log:
        made = np.exp(np.log(low) * (1 - unit) + np.log(high) * unit)
        made = np.select([unit == 0, unit == 1], [low, high], made)
    else:
        made = low * (1 - unit) + high * unit  # high - low may be infinite
    found: Unit = np.clip(made, low, high)
    return found


def _picked(choices: Sequence[Any], unit: Unit) -> list[Any]:
    last = len(choices) - 1
    return [choices[min(int(u * (last + 1)), last)] for u in unit[:, 0].tolist()]


def _spread(choices: Sequence[Any], n: int) -> list[Any]:
    """At most `n` choices, first and last among them, evenly between."""
    last = len(choices) - 1
    places = dict.fromkeys(round(k * last / max(n - 1, 1)) for k in range(min(n, last + 1)))
    return list(choices) if n > last else [choices[place] for place in places]


def _bounds(parameter: Any, check: Any) -> None:
    for name in ("low", "high"):
        object.__setattr__(parameter, name, check(parameter, getattr(parameter, name)))
    if parameter.low >= parameter.high:
        raise InvalidInput(
            f"{parameter}: low is not below high. A value that stays the same is Constant({parameter.low!r})."
        )


def _finite(parameter: Any, value: Any) -> float:
    try:
        found = math.nan if isinstance(value, (bool, str)) else float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise InvalidInput(f"{parameter}: bounds are finite numbers, got {value!r}.")
    return found


def _whole(parameter: Any, value: Any) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise InvalidInput(f"{parameter}: {value!r} is not a whole number.")
    return operator.index(value)
