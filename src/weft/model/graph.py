"""The wiring of steps: who makes what, along which axes, in which order. Pure, checked when built."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import Any

from weft.errors import WiringError, nearest
from weft.model.crossing import Crossing
from weft.model.step import Parameter, Step
from weft.model.wiring import CHECKS, Known, name_reduced, unite


class Graph(Crossing):
    """Steps in the order in which they can run, and the axes of every array.

    Parameters
    ----------
    steps
        Any order; names and outputs must differ.

    Raises
    ------
    WiringError
        For duplicate names or outputs, cycles, mapspecs that disagree about an array, annotations that
        cannot fit, unknown steps in ``after``, and different defaults for one input.
    """

    def __init__(self, steps: Iterable[Step]) -> None:
        given = list(steps)
        self.steps, self.producer = {}, {}
        self.aliases, self.loops, self.coarse = {}, {}, {}
        for step in given:
            self._add(step)
        self.order: tuple[Step, ...] = self._sorted()
        self.steps = {step.name: step for step in self.order}
        self.axes: dict[str, tuple[str, ...]] = self._axes()
        self.openers: dict[str, Step] = {}
        for step in self.order:
            for axis in step.opened:
                other = self.openers.setdefault(axis, step)
                if other is not step:
                    raise WiringError(
                        f"Axis {axis!r} is opened by {other.name!r} and by {step.name!r}: their lengths need "
                        "not agree. Use another axis name in one of the mapspecs."
                    )
        for check in CHECKS:
            check(self)

    def _add(self, step: Step) -> None:
        if step.name in self.steps:
            raise WiringError(
                f"Two steps are named {step.name!r}. Give one another name: weft.step(..., name=...)."
            )
        for output in step.outputs:
            if output in self.producer:
                other = self.producer[output]
                looped = " A loop carries it instead: carry={...}." if step.loops or other.loops else ""
                raise WiringError(
                    f"{output!r} is made by step {other.name!r} and by {step.name!r}. "
                    f"Rename one: weft.step(...) with another output name, or renames={{...}}.{looped}"
                )
            self.producer[output] = step
        for parameter in step.inputs:
            if parameter.name in step.outputs:
                raise WiringError(f"Step {step.name!r} takes its own output {parameter.name!r}: a cycle.")
        self.steps[step.name] = step
        self.aliases |= {alias.name: alias for alias in step.aliases}
        self.loops |= {loop.name: loop for loop in step.loops}
        self.coarse |= {step.coarse.axis: step.coarse} if step.coarse else {}

    def needs(self, step: Step) -> tuple[Step, ...]:
        """Steps whose outputs, or whose end (``after``), this step waits for."""
        found = {
            made.name: made for p in step.parameters if not step.is_bound(p) for made in self.makers(p.name)
        }
        for name in step.after:
            other = self.steps.get(name) or self.producer.get(name)
            if other is None:
                raise WiringError(
                    f"Step {step.name!r} is after {name!r}, unknown.{nearest(name, self.steps)}"
                )
            found[other.name] = other
        return tuple(found.values())

    def _sorted(self) -> tuple[Step, ...]:
        needed = {name: {n.name for n in self.needs(step)} for name, step in self.steps.items()}
        bodies: dict[str, set[str]] = {}
        for name, step in self.steps.items():
            if step.loops:
                bodies.setdefault(step.loops[0].name, set()).add(name)
        sorter = TopologicalSorter(dict.fromkeys(self.steps, ()))
        for name in self.steps:
            sorter.add(name, *needed[name])
        for inside in bodies.values():  # a loop begins when all that goes into it is there
            outside = set().union(*(needed[name] for name in inside)) - inside
            for name in inside:
                sorter.add(name, *outside)
        try:
            return tuple(self.steps[name] for name in sorter.static_order())
        except CycleError as error:
            raise WiringError(
                f"The steps form a cycle: {' → '.join(error.args[1])}. One of these inputs must come from "
                "outside."
            ) from None

    def _axes(self) -> dict[str, tuple[str, ...]]:
        found: dict[str, Known] = {}
        for step in self.order:
            for array in (*step.spec.inputs, *step.spec.outputs) if step.spec else ():
                known, where = found.setdefault(array.name, ([None] * len(array.indices), step.name))
                if len(known) != len(array.indices):
                    raise WiringError(
                        f"{array.name!r} has {len(known)} dimension(s) in step {where!r} and "
                        f"{len(array.indices)} in step {step.name!r} ({array})."
                    )
                for place, index in enumerate(array.indices):
                    if index is None or known[place] == index:
                        continue
                    if known[place] is not None:
                        raise WiringError(
                            f"Dimension {place} of {array.name!r} is axis {known[place]!r} in step {where!r} "
                            f"and {index!r} in step {step.name!r}. An array has one axis name for each "
                            "dimension."
                        )
                    known[place] = index
        unite(self, found)
        name_reduced(self, found)
        for name, (axes, where) in found.items():
            made = self.producer.get(name)
            if made and not made.spec:
                raise WiringError(
                    f"Step {where!r} runs along the axes of {name!r}, but step {made.name!r}, which makes "
                    'it, has no mapspec. Say which axis it opens: mapspec="... -> '
                    f'{name}[{", ".join(a or ":" for a in axes)}]".'
                )
        return {
            name: tuple(axis or f"{name}_dim{place}" for place, axis in enumerate(axes))
            for name, (axes, _) in found.items()
        }

    def supplied(self, given: Any) -> Any:
        """Inputs with those that steps bring along themselves, such as the indices of a stream."""
        own: dict[str, Any] = {}
        for step in self.order:
            own |= step.function.own_inputs() if hasattr(step.function, "own_inputs") else {}
        return own | {name: given[name] for name in (() if given is None else given)} if own else given

    @property
    def outputs(self) -> tuple[str, ...]:
        """Every output, in the order of the steps."""
        return tuple(output for step in self.order for output in step.outputs)

    @cached_property
    def leaves(self) -> tuple[str, ...]:
        """Outputs that no step takes but to carry them on."""
        taken = {self.base(self.start(p.name)) for s in self.order for p in s.inputs}
        return tuple(o for o in self.outputs if o not in taken)

    @cached_property
    def volatile(self) -> frozenset[str]:
        """Steps whose elements may be made again with other values while they stay the same elements.

        They take something whole, or what a volatile step makes: an axis may grow, elements be reset.
        """
        found: set[str] = set()
        read: dict[str, set[str]] = {}
        for step in self.order:
            sources = self.reads(step)
            read[step.name] = {self.producer[s.array].name for s in sources if s.array in self.producer}
            whole = any(None in s.indices or (s.array in self.producer and not s.indices) for s in sources)
            if whole or any(self._starts_apart(p.name) for p in step.parameters):
                found.add(step.name)
        before = -1
        while len(found) > before:  # again for what is carried back, as far as a loop reaches
            before = len(found)
            for name, makers in read.items():
                found |= {name} if makers & found else set()
        return frozenset(found)

    def _starts_apart(self, name: str) -> bool:
        """Whether what is carried as `name` starts along an axis of its own, and is known by position."""
        return any(own != start for own, start in self.started_along.get(name, {}).items())

    def traced(self, step: Step) -> tuple[str, ...]:
        """What a step takes element by element of volatile steps: its results record what that was."""
        return self._traced[step.name]

    @cached_property
    def _traced(self) -> dict[str, tuple[str, ...]]:
        return {
            step.name: tuple(p.name for p in step.parameters if self._is_traced(step, p))
            for step in self.order
        }

    def _is_traced(self, step: Step, p: Parameter) -> bool:
        read = self.read(step, p.name)
        if step.is_bound(p) or not self.axes.get(p.name) or not read.elementwise or not self.made(p.name):
            return False
        alias = self.aliases.get(p.name)
        last = alias is not None and alias.initial is None  # another one whenever the loop goes on
        made = {self.producer[s.array].name for s in self.sources(read) if s.array in self.producer}
        return last or self._starts_apart(p.name) or not self.volatile.isdisjoint(made)

    def find(self, name: str) -> Step:
        """The step of that name, or the one that makes the output of that name."""
        step = self.steps.get(name) or self.producer.get(name)
        if step is None and name in self.loops:
            step = next(s for s in self.order if name in (loop.name for loop in s.loops))
        if step is None:
            known = list(dict.fromkeys([*self.steps, *self.producer]))
            raise WiringError(
                f"There is no step or output {name!r}.{nearest(name, known)} Known: {', '.join(known)}."
            )
        return step

    def ancestors(self, steps: Iterable[Step]) -> Iterator[Step]:
        """The steps and everything they need, in running order."""
        wanted, stack = set(), list(steps)
        while stack:
            step = stack.pop()
            if step.name not in wanted:
                wanted.add(step.name)
                stack.extend((*self.needs(step), *self.whole_loop(step)))
        return (step for step in self.order if step.name in wanted)

    def descendants(self, step: Step) -> tuple[Step, ...]:
        """The step and everything that follows from it, in running order."""
        found = {step.name, *(s.name for s in self.whole_loop(step))}
        for other in self.order:
            if any(n.name in found for n in self.needs(other)):
                found |= {other.name, *(s.name for s in self.whole_loop(other))}
        return tuple(s for s in self.order if s.name in found)
