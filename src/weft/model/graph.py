"""The wiring of steps: who makes what, along which axes, in which order. Pure, checked when built."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from weft.errors import WiringError
from weft.model.annotations import fits, scalar_annotation
from weft.model.step import REQUIRED, Parameter, Step, nearest


@dataclass(frozen=True)
class Read:
    """How a step takes one named value.

    `indices` has one entry for each dimension of the array: the axis along which the step takes single
    elements, or None where it takes the dimension whole. It is empty for a value without axes.
    """

    step: str
    name: str
    indices: tuple[str | None, ...]

    @property
    def elementwise(self) -> bool:
        """Whether no dimension is taken whole."""
        return None not in self.indices


class Graph:
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
        self.steps: dict[str, Step] = {}
        self.producer: dict[str, Step] = {}
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
        self._check_defaults()
        self._check_annotations()
        self._check_reduce()

    def _add(self, step: Step) -> None:
        if step.name in self.steps:
            raise WiringError(
                f"Two steps are named {step.name!r}. Give one another name: weft.step(..., name=...)."
            )
        for output in step.outputs:
            if output in self.producer:
                raise WiringError(
                    f"{output!r} is made by step {self.producer[output].name!r} and by {step.name!r}. "
                    "Rename one: weft.step(...) with another output name, or renames={...}."
                )
            self.producer[output] = step
        for parameter in step.inputs:
            if parameter.name in step.outputs:
                raise WiringError(f"Step {step.name!r} takes its own output {parameter.name!r}: a cycle.")
        self.steps[step.name] = step

    def needs(self, step: Step) -> tuple[Step, ...]:
        """Steps whose outputs, or whose end (``after``), this step waits for."""
        found = {
            self.producer[p.name].name: self.producer[p.name]
            for p in step.parameters
            if p.name in self.producer and not step.is_bound(p)
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
        waiting = {name: {n.name for n in self.needs(step)} for name, step in self.steps.items()}
        followers: dict[str, list[str]] = {name: [] for name in waiting}
        for name, needed in waiting.items():
            for other in needed:
                followers[other].append(name)
        ready = deque(name for name, needed in waiting.items() if not needed)
        order = []
        while ready:
            name = ready.popleft()
            order.append(self.steps[name])
            for follower in followers[name]:
                waiting[follower].discard(name)
                if not waiting[follower]:
                    ready.append(follower)
        if len(order) < len(self.steps):
            raise WiringError(
                f"The steps form a cycle: {self._cycle(waiting)}. One of these inputs must come from outside."
            )
        return tuple(order)

    @staticmethod
    def _cycle(waiting: dict[str, set[str]]) -> str:
        name = next(n for n, needed in waiting.items() if needed)
        path: list[str] = []
        while name not in path:
            path.append(name)
            name = sorted(waiting[name])[0]
        circle = [*path[path.index(name) :], name]
        return " → ".join(reversed(circle))

    def _axes(self) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[list[str | None], str]] = {}
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

    def _check_reduce(self) -> None:
        for step in self.order:
            known = {axis for p in step.inputs for axis in self.axes.get(p.name, ())}
            for axis in step.reduce:
                if axis in step.axes or axis in known:
                    raise WiringError(
                        f"step {step.name!r}: {axis!r} in reduce is a data axis, not a study axis. "
                        "To take it whole, say ':' in the mapspec."
                    )

    def _check_defaults(self) -> None:
        seen: dict[str, tuple[Any, str]] = {}
        for step in self.order:
            for p in step.inputs:
                if p.name in self.producer or p.default is REQUIRED:
                    continue
                default, where = seen.setdefault(p.name, (p.default, step.name))
                if default is not p.default and not _same(default, p.default):
                    raise WiringError(
                        f"{p.name!r} is one input, but its default is {default!r} in step {where!r} and "
                        f"{p.default!r} in step {step.name!r}. Make them equal (defaults=...), or rename one "
                        "(renames=...)."
                    )

    def _check_annotations(self) -> None:
        for step in self.order:
            for p in step.inputs:
                whole = None in self.read(step, p.name).indices
                if whole and not (step.reduce or step.batch) and scalar_annotation(p.annotation):
                    axes = ", ".join(self.axes[p.name])
                    raise WiringError(
                        f"Step {step.name!r} takes {p.name!r} whole along {axes}, but annotates it as one "
                        f"{_plain(p.annotation)}. Give it a mapspec, or annotate what it gets: np.ndarray."
                    )
                made = self.producer.get(p.name)
                if made is None or len(made.outputs) > 1 or made.output_picker or made.batch or step.batch:
                    continue
                produced = made.annotations.get("return", REQUIRED)
                if (
                    REQUIRED in (produced, p.annotation)
                    or made.opened
                    or step.reduce
                    or not self.read(step, p.name).elementwise
                ):
                    continue
                if not fits(produced, p.annotation):
                    raise WiringError(
                        f"Step {made.name!r} returns {_plain(produced)} as {p.name!r}, but step "
                        f"{step.name!r} takes {_plain(p.annotation)}. Change one of the annotations, or the "
                        "wiring."
                    )

    @cached_property
    def inputs(self) -> dict[str, list[tuple[Step, Parameter]]]:
        """Names that must come from outside (or have defaults), with everyone who takes them."""
        found: dict[str, list[tuple[Step, Parameter]]] = {}
        for step in self.order:
            for p in step.inputs:
                if p.name not in self.producer:
                    found.setdefault(p.name, []).append((step, p))
        return found

    def supplied(self, given: Any) -> Any:
        """Inputs with those that steps bring along themselves, such as the indices of a stream."""
        own: dict[str, Any] = {}
        for step in self.order:
            own |= step.function.own_inputs() if hasattr(step.function, "own_inputs") else {}
        more = {} if given is None or not own else {name: given[name] for name in given}
        return {**own, **more} if own else given

    @property
    def has_config(self) -> bool:
        """Whether a step has a config, which becomes inputs and study axes before a run."""
        return any(step.config is not None for step in self.order)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Every output, in the order of the steps."""
        return tuple(output for step in self.order for output in step.outputs)

    @cached_property
    def leaves(self) -> tuple[str, ...]:
        """Outputs that no step takes."""
        taken = {p.name for s in self.order for p in s.inputs}
        return tuple(o for o in self.outputs if o not in taken)

    def read(self, step: Step, name: str) -> Read:
        """How `step` takes `name`: along which axes element by element, along which whole."""
        spec = step.input_spec(name)
        if spec is None:
            return Read(step.name, name, (None,) * len(self.axes.get(name, ())))
        return Read(step.name, name, tuple(i if i in step.axes else None for i in spec.indices))

    @cached_property
    def volatile(self) -> frozenset[str]:
        """Steps whose elements may be made again with other values while they stay the same elements.

        They take something whole, or what a volatile step makes: an axis may grow, elements be reset.
        """
        found: set[str] = set()
        for step in self.order:
            names = [p.name for p in step.parameters if not step.is_bound(p)]
            whole = any(
                None in self.read(step, name).indices or (name in self.producer and not self.axes.get(name))
                for name in names
            )
            if whole or any(name in self.producer and self.producer[name].name in found for name in names):
                found.add(step.name)
        return frozenset(found)

    def traced(self, step: Step) -> tuple[str, ...]:
        """What a step takes element by element of volatile steps: its results record what that was."""
        return tuple(
            p.name
            for p in step.parameters
            if p.name in self.producer
            and not step.is_bound(p)
            and self.producer[p.name].name in self.volatile
            and self.axes.get(p.name)
            and self.read(step, p.name).elementwise
        )

    def find(self, name: str) -> Step:
        """The step of that name, or the one that makes the output of that name."""
        step = self.steps.get(name) or self.producer.get(name)
        if step is None:
            known = [*self.steps, *self.producer]
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
                stack.extend(self.needs(step))
        return (step for step in self.order if step.name in wanted)

    def descendants(self, step: Step) -> tuple[Step, ...]:
        """The step and everything that follows from it, in running order."""
        found = {step.name}
        for other in self.order:
            if any(n.name in found for n in self.needs(other)):
                found.add(other.name)
        return tuple(s for s in self.order if s.name in found)


def _same(a: Any, b: Any) -> bool:
    from weft.values.content import digest

    try:
        return digest(a) == digest(b)
    except TypeError:
        return False


def _plain(annotation: Any) -> str:
    return getattr(annotation, "__name__", None) or str(annotation)
