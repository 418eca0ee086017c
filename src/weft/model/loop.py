"""Loops as users write them: a body of steps that runs again, each iteration from the one before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from weft.errors import InvalidInput, WiringError, nearest
from weft.model.step import Step


@dataclass(frozen=True, eq=False)
class Loop:
    """Steps that are repeated, each iteration from what the one before it made.

    A step sees the latest value written before it in the body; else the carried one: what comes from outside
    at first, then what the iteration before wrote under that name.

    Parameters
    ----------
    steps
        The body, in its order: steps, and loops.
    n_iterations
        At most so many iterations, ≥ 1.
    name
        Names the loop's axis; a parameter of that name receives the iteration, ``0…n-1``.
    until
        A boolean that the body makes: true ends the loop after that iteration.
    carry
        ``{"state": "new_state"}``: after the first iteration ``state`` is what the one before made as
        ``new_state``. Outside, ``state`` stays the first value.
    collect
        Names of which steps outside take the history, with the loop's axis in front; of all others they take
        the last value.

    Raises
    ------
    WiringError
        For names that the body does not make, or makes twice.

    Examples
    --------
    >>> import weft
    >>> halve = weft.step("smaller")(lambda x: x / 2)
    >>> loop = weft.Loop([halve], n_iterations=3, carry={"x": "smaller"})
    >>> weft.Pipeline([loop])(x=8.0)["smaller"]
    array([4., 2., 1.])
    """

    steps: Sequence[Any]
    n_iterations: int = 1
    name: str = "iteration"
    until: str | None = None
    carry: Mapping[str, str] = field(default_factory=dict)
    collect: Iterable[str] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", tuple(flat(self.steps)))
        collect = (self.collect,) if isinstance(self.collect, str) else tuple(self.collect)
        object.__setattr__(self, "collect", collect)
        n = self.n_iterations
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise InvalidInput(f"loop {self.name!r}: n_iterations is a whole number ≥ 1, got {n!r}.")
        if not isinstance(self.name, str) or not self.name.isidentifier():
            raise WiringError(f"A loop's name is the name of its axis, got {self.name!r}.")
        if not self.steps:
            raise WiringError(f"loop {self.name!r} has no steps.")
        for step in self.steps:
            if not isinstance(step, (Step, Loop)):
                raise WiringError(
                    f"loop {self.name!r}: its body is made of steps and loops, got {step!r}. Make it one: "
                    "weft.step('output')(function)."
                )
        makers = self.makers
        for name, made in makers.items():
            if len(made) > 1:
                raise WiringError(
                    f"loop {self.name!r}: {name!r} is made by {' and by '.join(map(repr, made))}."
                )
        until = () if self.until is None else (self.until,)
        for option, names in (("until", until), ("carry", self.carry.values()), ("collect", collect)):
            for name in names:
                if name not in makers:
                    raise WiringError(
                        f"loop {self.name!r}: {option} names {name!r}, which its body does not make."
                        f"{nearest(str(name), makers)} It makes: {', '.join(makers)}."
                    )
        for name in self.carry:
            if name in makers:
                raise WiringError(
                    f"loop {self.name!r}: carry names {name!r}, which the body itself makes: then the "
                    "iteration before is what steps above it read, without carry."
                )
        direct = {output for step in self.steps if isinstance(step, Step) for output in step.outputs}
        if self.until is not None and self.until not in direct:
            raise WiringError(f"loop {self.name!r}: until names {self.until!r}, which an inner loop makes.")

    @property
    def makers(self) -> dict[str, list[str]]:
        """Every output of the body, inner loops included, and the steps that make it."""
        found: dict[str, list[str]] = {}
        for step in body(self.steps):
            for output in step.outputs:
                found.setdefault(output, []).append(step.name)
        return found

    def __repr__(self) -> str:
        inner = ", ".join(step.name for step in self.steps)
        return f"<Loop {self.name}: {self.n_iterations} × [{inner}]>"


def body(parts: Iterable[Any]) -> list[Step]:
    """Every step of some steps and loops, those in inner loops included."""
    return [each for part in parts for each in (body(part.steps) if isinstance(part, Loop) else (part,))]


def flat(steps: Iterable[Any]) -> list[Any]:
    """Steps and loops one by one, also those of pipelines among them."""
    given = [steps] if not isinstance(steps, Iterable) or hasattr(steps, "parts") else steps
    return [part for step in given for part in (step.parts if hasattr(step, "parts") else (step,))]


def changed(parts: Iterable[Any], new: Mapping[str, Any]) -> list[Any]:
    """Steps and loops with others in the place of those of some names, at any depth; None takes one out."""
    found = []
    for part in parts:
        if isinstance(part, Loop):
            inner = changed(part.steps, new)
            found += [replace(part, steps=tuple(inner))] if inner else []
        elif new.get(part.name, part) is not None:
            found.append(new.get(part.name, part))
    return found
