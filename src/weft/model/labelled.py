"""What a step may ask for instead of an array: values with their labels, and values loaded when asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Labelled(Generic[T]):
    """A value and where it stands; a parameter annotated ``list[weft.Labelled]`` gets a list of them.

    Attributes
    ----------
    value
        The value, as it was given or returned.
    coords
        The values of the inputs that lie along its axes, by name.
    index
        The position on each axis, by name.

    Examples
    --------
    >>> import weft
    >>> square = weft.step("y", mapspec="x[i] -> y[i]")(lambda x: x * x)
    >>> @weft.step("best")
    ... def best(y: list[weft.Labelled]) -> float:
    ...     return max(y, key=lambda found: found.value).coords["x"]
    >>> weft.Pipeline([square, best])(x=[1.0, -3.0, 2.0])["best"]
    -3.0
    """

    value: T
    coords: Mapping[str, Any] = field(default_factory=dict)
    index: Mapping[str, int] = field(default_factory=dict)


class Lazy(Generic[T]):
    """A whole array that is read when it is asked for; a parameter annotated ``weft.Lazy[T]`` gets one.

    ``load()`` gives what a parameter annotated `T` gets.
    """

    def __init__(self, load: Callable[[], T]) -> None:
        self._load = load

    def load(self) -> T:
        """Read the value; each call reads anew, and what it returns is the caller's own."""
        return self._load()

    def __repr__(self) -> str:
        return "(not loaded)"

    def __reduce__(self) -> tuple[Any, ...]:
        return _carried, (self.load(),)


def _carried(value: T) -> Lazy[T]:
    return Lazy(lambda: value)
