"""Domains: named parameters, what each may be, and how a point of the unit cube becomes values."""

from __future__ import annotations

import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from weft.errors import InvalidInput
from weft.values.table import Table

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
        return [self._at(u) for u in unit[:, 0].tolist()]

    def levels(self, n: int | None) -> list[Any]:
        if n is None:
            raise InvalidInput(f"A grid needs a number of levels for {self}.")
        return [self._at(k / max(n - 1, 1)) for k in range(n)]

    def _at(self, u: float) -> float:
        if u in (0, 1):
            return self.high if u else self.low
        if self.log:
            found = math.exp(math.log(self.low) * (1 - u) + math.log(self.high) * u)
        else:
            found = self.low * (1 - u) + self.high * u  # high - low may be infinite
        return min(max(found, self.low), self.high)


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
        made = np.clip(self.low * (1 - unit) + self.high * unit, self.low, self.high)
        return [row.reshape(self.shape).copy() for row in made]

    def levels(self, n: int | None) -> list[Any]:
        along = Float(self.low, self.high).levels(n)
        cube = np.stack(np.meshgrid(*[along] * self.width, indexing="ij"), axis=-1)
        return [row.reshape(self.shape).copy() for row in cube.reshape(-1, self.width)]


@dataclass(frozen=True, init=False, eq=False)
class Domain(Mapping[str, Parameter]):
    """Named parameters, to be sampled; read-only, otherwise like a dict. ``a | b`` has those of both.

    Parameters
    ----------
    parameters, **more
        By name; a mapping is for names that are no identifiers.

    Examples
    --------
    >>> from weft.experiments import Category, Domain, Float, Int
    >>> domain = Domain(lr=Float(1e-4, 1e-1, log=True), depth=Int(2, 10, step=2), kind=Category("a", "b"))
    >>> domain.sample({"lr": 2, "depth": 2}, "grid")[:3]
    [{'lr': 0.0001, 'depth': 2, 'kind': 'a'}, {'lr': 0.0001, 'depth': 2, 'kind': 'b'},
     {'lr': 0.0001, 'depth': 10, 'kind': 'a'}]
    """

    parameters: Mapping[str, Parameter]

    def __init__(self, parameters: Mapping[str, Parameter] | None = None, /, **more: Parameter) -> None:
        found = {**(parameters or {}), **more}
        for name, parameter in found.items():
            if not isinstance(name, str):
                raise InvalidInput(f"Parameters of a domain have names, got {name!r}.")
            if not isinstance(parameter, Parameter):
                raise InvalidInput(
                    f"{name!r} of a domain is a Float, Int, Category, Constant or Array, got {parameter!r}. "
                    f"A value that stays the same is Constant({parameter!r})."
                )
        object.__setattr__(self, "parameters", found)

    def __getitem__(self, name: str) -> Parameter:
        return self.parameters[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.parameters)

    def __len__(self) -> int:
        return len(self.parameters)

    def __or__(self, other: Mapping[str, Parameter]) -> Domain:
        return Domain({**self.parameters, **other})

    def sample(self, n: int | Mapping[str, int], method: str = "random", seed: int = 0) -> Table:
        """Points of the domain: a row for each, which prints as a table and goes into `weft.points`.

        Parameters
        ----------
        n
            How many points. For a grid, how many levels: of every parameter, or by name (floats and arrays
            need a number; ints have all their values without one, and categories always).
        method
            ``"random"``, ``"latin"`` (latin hypercube), ``"sobol"`` or ``"halton"`` (both scrambled), or
            ``"grid"``. Fewer points of random, sobol or halton are the first ones of more.
        seed
            The same seed gives the same points; a grid needs none.

        Raises
        ------
        InvalidInput
            For a method that does not exist, or a number of points that cannot be.
        ImportError
            For latin, sobol and halton, if SciPy is not installed.
        """
        from weft.experiments.sampling import sampled

        return sampled(self, n, method, seed)


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
