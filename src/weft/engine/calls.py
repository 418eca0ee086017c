"""From a step's function to one that takes its arguments by position and returns what is to be kept.

All adapting is done once, before the loop over elements: what is left in the loop is the call itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from weft.engine.failures import brief
from weft.errors import ShapeError
from weft.model.classes import reused
from weft.model.step import Step
from weft.values.columns import Column, nested, pack

# Values of these types cannot change after they were returned, so they need not be copied at once.
IMMUTABLE = frozenset(
    {float, int, bool, complex, str, bytes, type(None), np.float64, np.float32, np.int64, np.int32, np.bool_}
)


@dataclass(frozen=True, slots=True)
class Cells:
    """What one call returned for the axes that its step opens: the cells in C order, and their shape."""

    column: Column
    shape: tuple[int, ...]


def positional(
    step: Step, names: Sequence[str], instances: dict[str, Any] | None = None
) -> Callable[..., Any]:
    """The step's function, taking the arguments `names` (in that order) by position.

    Keyword-only arguments, and orders that the function does not have, go through a compiled lambda: 40 ns
    a call, where a dictionary of keywords costs 200. `instances` hold what class steps reuse.
    """
    function = reused(step.callee, step.name, instances) if step.reuse else step.callee
    by_name = {p.name: p for p in step.parameters}
    front = [p.name for p in step.parameters if not p.keyword][: len(names)]
    if list(names) == front:
        return function
    taken = [f"a{i}" for i in range(len(names))]
    passed = []
    for argument, name in zip(taken, names, strict=True):
        passed.append((not by_name[name].keyword and name in front, by_name[name].argument, argument))
    given = ", ".join(f"{parameter}={argument}" for _, parameter, argument in passed)
    namespace = {"function": function}
    call: Callable[..., Any] = eval(f"lambda {', '.join(taken)}: function({given})", namespace)
    return call


def returning(
    step: Step,
    call: Callable[..., Any],
    sizes: Mapping[str, int],
    remember: Callable[[Callable[..., Any]], Callable[..., Any]] = lambda call: call,
) -> Callable[..., Any]:
    """`call`, made to return a tuple for several outputs, and `Cells` for axes that the step opens.

    A returned value that does not fit raises: it is the element's failure. `remember` wraps what makes the
    values, whose lengths are compared each time.
    """
    outputs, given = step.outputs, step.outputs_as_given
    picked = call
    if step.output_picker is not None:
        picker = step.output_picker

        def picked(*args: Any) -> Any:
            value = call(*args)
            parts = tuple(picker(value, name) for name in given)
            return parts if len(parts) > 1 else parts[0]

    elif len(outputs) > 1:

        def picked(*args: Any) -> Any:
            value = call(*args)
            if isinstance(value, dict) and set(given) <= value.keys():
                return tuple(value[name] for name in given)
            if isinstance(value, (tuple, list)) and len(value) == len(outputs):
                return tuple(value)
            raise TypeError(
                f"step {step.name!r} must return a tuple of {len(outputs)} values, or a dict with the keys "
                f"{', '.join(given)}; it returned {type(value).__name__} {brief(value)}."
            )

    if not step.opened:
        return remember(picked)
    lengths = [sizes.get(axis) for axis in step.opened]

    def opened(*args: Any) -> Any:
        value = picked(*args)
        if len(outputs) > 1:
            return tuple(_cells(step, name, part) for name, part in zip(outputs, value, strict=True))
        return _cells(step, outputs[0], value)

    made = remember(opened)

    def fitting(*args: Any) -> Any:
        value = made(*args)
        for output, cells in zip(outputs, value if len(outputs) > 1 else (value,), strict=True):
            _fit(step, output, cells.shape, lengths)
        return value

    return fitting


def _cells(step: Step, output: str, value: Any) -> Cells:
    if not hasattr(value, "__len__"):
        if not hasattr(value, "__iter__"):
            raise TypeError(
                f"step {step.name!r} opens axis {', '.join(step.opened)!r} with {output!r}, so it must "
                f"return something with a length; it returned {type(value).__name__} {brief(value)}."
            )
        value = list(value)
    column, shape = nested(value, len(step.opened))
    codec = step.codecs.get(output)
    return Cells(column if codec is None else pack(column.tolist(), codec=codec), tuple(shape))


def _fit(step: Step, output: str, shape: tuple[int, ...], lengths: list[int | None]) -> None:
    for place, (axis, found) in enumerate(zip(step.opened, shape, strict=True)):
        expected = lengths[place]
        if axis == step.ragged:
            continue
        if expected is None:
            lengths[place] = found
        elif found != expected:
            raise ShapeError(
                f"Axis {axis!r} has length {expected}, but step {step.name!r} returned {found} values of "
                f"{output!r} along it."
            )
