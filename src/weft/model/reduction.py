"""Reductions: an axis too large for memory made one value, run by run, and the runs' states as a tree."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from weft.errors import InvalidInput, WiringError
from weft.model.annotations import resolve_annotations
from weft.model.classes import refuse_async
from weft.model.project import is_project

RUN_LENGTH = 16384


def as_it_is(state: Any) -> Any:
    """The state itself."""
    return state


@dataclass(frozen=True, eq=False)
class Reduction:
    """What a step does to an axis that is too large for memory: one value after the other, by a state.

    As the function of a step it gets its values from where they are kept, a run of the axis at a time, and
    the runs in parallel. Called with values it computes the same in plain Python.

    Parameters
    ----------
    init
        What each run starts with, a value or a callable without arguments. It must change nothing when it is
        merged: 0 for a sum, ``[]`` for a list.
    update
        ``update(state, value)`` returns the new state; the name of `value` says what the step takes. With
        further names arrays along the same axis are taken together, position by position. What does not lie
        along the axis comes after those, and is given as it is.
    merge
        ``merge(a, b)`` makes the state of two neighbours, `a` before `b`, out of theirs. It must be
        associative, and need not be commutative.
    final
        Makes the result of the last state; the state itself by default.
    run_length
        Positions of the axis that one partial state holds: an element of the step ``NAME.parts``. Fewer for
        slow updates, more for large states.

    Raises
    ------
    WiringError
        If `update`, `merge` or `final` cannot be called so.

    Examples
    --------
    >>> import weft
    >>> mean = weft.Reduction(
    ...     init=(0, 0.0),
    ...     update=lambda state, y: (state[0] + 1, state[1] + y),
    ...     merge=lambda a, b: (a[0] + b[0], a[1] + b[1]),
    ...     final=lambda state: state[1] / state[0],
    ... )
    >>> mean([1.0, 2.0, 6.0])
    3.0
    >>> square = weft.step("y", mapspec="x[i] -> y[i]")(lambda x: x * x)
    >>> weft.Pipeline([square, weft.Step(mean, "mean")])(x=[1, 2, 4])["mean"]
    7.0
    """

    init: Any
    update: Callable[..., Any]
    merge: Callable[[Any, Any], Any]
    final: Callable[[Any], Any] = as_it_is
    run_length: int = RUN_LENGTH

    __name__ = ""  # a step of it is called as its output is

    def __post_init__(self) -> None:
        for option in ("update", "merge", "final"):
            if not callable(getattr(self, option)):
                raise WiringError(f"weft.Reduction: {option} is a function, got {getattr(self, option)!r}.")
            refuse_async(f"weft.Reduction: {option}", getattr(self, option))
        n = self.run_length
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise InvalidInput(f"weft.Reduction: run_length is a whole number ≥ 1, got {n!r}.")
        kind, none = inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.empty
        given = [p.replace(kind=kind, annotation=none) for p in parameters(self.update)]
        object.__setattr__(self, "__signature__", inspect.Signature(given))
        object.__setattr__(self, "__annotations__", {})  # what says one value says nothing of an axis

    def __call__(self, *values: Iterable[Any], **constants: Any) -> Any:
        """Reduce values, those of several arrays together; what is not read along the axis goes by keyword.

        Examples
        --------
        >>> import operator, weft
        >>> weft.Reduction("", lambda s, x, y: s + x + y, operator.add)("abc", "xyz")
        'axbycz'
        """
        if not values:
            raise TypeError("A reduction is called with values: reduction([1, 2, 3]).")
        return self.final(merged(self.merge, self._states(zip(*values, strict=True), constants), self.init))

    def _states(self, positions: Iterator[tuple[Any, ...]], constants: Mapping[str, Any]) -> Iterator[Any]:
        for first in positions:
            run = chain((first,), islice(positions, self.run_length - 1))
            yield folded(self.update, started(self.init), run, constants)


class Updating:
    """The state of one run, as a function of its values: the step ``NAME.parts``.

    Public attributes are what identifies the results.
    """

    def __init__(self, reduction: Reduction, streams: Sequence[str]) -> None:
        self.init, self.update, self.streams = reduction.init, reduction.update, tuple(streams)
        self.__name__ = ""
        self.__module__ = _module(reduction)
        self.__signature__ = reduction.__signature__  # type: ignore[attr-defined]
        hints = resolve_annotations(reduction.update)
        taken = {name: hints[name] for name in self.__signature__.parameters if name in hints}
        self.__annotations__ = {**taken, **dict.fromkeys(self.streams, Iterator[Any])}

    def __call__(self, **given: Any) -> Any:
        """The state after all values of the run."""
        values = [given.pop(name) for name in self.streams]
        return folded(self.update, started(self.init), zip(*values, strict=True), given)


class Joining:
    """The result, as a function of the states of all runs: the step ``NAME``."""

    def __init__(self, reduction: Reduction) -> None:
        self.init, self.merge, self.final = reduction.init, reduction.merge, reduction.final
        self.__name__ = ""
        self.__module__ = _module(reduction)
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        self.__signature__ = inspect.Signature([inspect.Parameter("states", kind)])
        self.__annotations__ = {"states": Iterator[Any]}

    def __call__(self, states: Iterable[Any]) -> Any:
        """Merge in order, and finish."""
        return self.final(merged(self.merge, states, self.init))


class Streaming(Updating):
    """The whole of a reduction by one element, where an axis cannot be cut into runs beforehand."""

    def __init__(self, reduction: Reduction, streams: Sequence[str]) -> None:
        super().__init__(reduction, streams)
        self.merge, self.final, self.run_length = reduction.merge, reduction.final, reduction.run_length

    def __call__(self, **given: Any) -> Any:
        """What the reduction makes of the values."""
        whole = Reduction(self.init, self.update, self.merge, self.final, self.run_length)
        return whole(*[given.pop(name) for name in self.streams], **given)


def started(init: Any) -> Any:
    """A fresh state: what a callable makes, or a copy of a value."""
    return init() if callable(init) else copy.deepcopy(init)


def folded(
    update: Callable[..., Any], state: Any, positions: Iterable[tuple[Any, ...]], constants: Mapping[str, Any]
) -> Any:
    """The state after an update for each position."""
    if constants:
        update = functools.partial(update, **constants)
    for values in positions:
        state = update(state, *values)
    return state


def merged(merge: Callable[[Any, Any], Any], states: Iterable[Any], init: Any) -> Any:
    """One state of many: neighbours first, as a tree, of which no more than a branch is held."""
    waiting: list[tuple[int, Any]] = []
    for state in states:
        height = 0
        while waiting and waiting[-1][0] == height:
            state = merge(waiting.pop()[1], state)
            height += 1
        waiting.append((height, state))
    if not waiting:
        return started(init)
    found = waiting.pop()[1]
    while waiting:
        found = merge(waiting.pop()[1], found)
    return found


def parameters(update: Callable[..., Any]) -> list[inspect.Parameter]:
    """What `update` takes besides the state.

    Raises
    ------
    WiringError
        If it takes nothing else, or does not tell by name what.
    """
    try:
        found = list(inspect.signature(update).parameters.values())
    except ValueError:  # a function of C that does not tell
        found = []
    if len(found) < 2 or any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in found):
        raise WiringError(
            "weft.Reduction: update takes the state and a value, whose name says what the step takes: "
            f"lambda state, y: state + y. Got {getattr(update, '__name__', update)!r}."
        )
    return found[1:]


def _module(reduction: Reduction) -> str:
    """Where its functions are from; ``__main__`` for what travels by value: nobody looks for it elsewhere."""
    functions = (reduction.init, reduction.update, reduction.merge, reduction.final)
    found = [str(one.__module__) for one in functions if callable(one) and is_project(one)]
    return "__main__" if "__main__" in found or not found else found[0]
