"""Several steps folded into one, which keeps nothing between them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from weft.engine.calls import positional, returning
from weft.errors import WiringError
from weft.model.graph import Graph
from weft.model.mapspec import ArraySpec, MapSpec
from weft.model.step import REQUIRED, Parameter, Step


class Nested:
    """The function of a nested step: what its steps do one after the other, for an element or for everything.

    Parameters
    ----------
    steps
        In running order.
    outputs
        What it returns, in this order.
    whole
        Whether the steps run along axes inside: then they run as a study in memory.
    """

    def __init__(self, name: str, steps: Sequence[Step], outputs: Sequence[str], whole: bool) -> None:
        self.__name__ = name
        # What travels by value, as what is in __main__ does, is not looked for in a module of weft.
        modules = [str(getattr(step.function, "__module__", "__main__")) for step in steps]
        self.__module__ = "__main__" if "__main__" in modules else modules[0]
        self.steps, self.outputs, self.whole = tuple(steps), tuple(outputs), whole
        # The options that decide results: the identity of this object rests on its public attributes.
        self.options = {
            s.name: [s.bound, s.version, str(s.spec), s.outputs, s.output_picker, s.batch] for s in steps
        }
        parameters = _parameters(self.steps, whole)
        self.names = {argument: p.name for argument, p in parameters.items()}
        self.__signature__ = inspect.Signature(
            [
                inspect.Parameter(
                    argument, inspect.Parameter.KEYWORD_ONLY, default=p.default, annotation=p.annotation
                )
                for argument, p in parameters.items()
            ]
        )
        self.__annotations__ = {
            a: p.annotation for a, p in parameters.items() if p.annotation is not REQUIRED
        }

    def __call__(self, **arguments: Any) -> Any:
        """Compute the outputs: one value, or a tuple."""
        values = {self.names[argument]: value for argument, value in arguments.items()}
        if self.whole:
            values = self._study(values)
        else:
            for call, names, outputs, bound in self._calls:
                made = call(*[bound[n] if n in bound else values[n] for n in names])
                values.update(zip(outputs, made if len(outputs) > 1 else (made,), strict=True))
        found = tuple(values[name] for name in self.outputs)
        return found if len(found) > 1 else found[0]

    @cached_property
    def _calls(self) -> list[tuple[Callable[..., Any], list[str], tuple[str, ...], dict[str, Any]]]:
        """Each step's function, bound once to positions."""
        known = {name for step in self.steps for name in step.outputs} | set(self.names.values())
        calls = []
        for step in self.steps:
            names = [p.name for p in step.parameters if step.is_bound(p) or p.name in known]
            bound = {p.name: step.bound_value(p) for p in step.parameters if step.is_bound(p)}
            calls.append((returning(step, positional(step, names), {}), names, step.outputs, bound))
        return calls

    def _study(self, values: Mapping[str, Any]) -> dict[str, Any]:
        from weft.engine.session import Options, Session
        from weft.study.arrays import Values
        from weft.study.opening import memory_study

        graph = Graph(self.steps)
        seed = int(values["rng"].integers(2**62)) if "rng" in values and "rng" not in graph.inputs else 0
        given = {name: value for name, value in values.items() if name in graph.inputs}
        study = memory_study(graph, given, self.__name__, seed)
        Session(study, Options("sequential"), [], lambda: None).run()
        found = {name: Values(study).assemble(name) for name in self.outputs}
        return {n: v.array() if graph.axes.get(n) else v.column.tolist()[0] for n, v in found.items()}

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key != "_calls"}


def _parameters(steps: Sequence[Step], whole: bool) -> dict[str, Parameter]:
    """What must come from outside, by the argument's name."""
    made = {output for step in steps for output in step.outputs}
    mapped = Graph(steps).axes if whole else {}
    found: dict[str, Parameter] = {}
    for step in steps:
        for p in step.parameters:
            if step.is_bound(p) or p.name in made or (whole and p.injected not in (None, "rng")):
                continue
            argument = "rng" if whole and p.injected == "rng" else p.name.replace(".", "_")
            if p.name in mapped:
                p = replace(p, annotation=REQUIRED)
            known = found.get(argument)
            if known is None or (known.required and not p.required):
                found[argument] = p
    return found


def nested_step(
    graph: Graph, inside: Sequence[Step], rest: Sequence[Step], wanted: Sequence[str], name: str
) -> dict[str, Any]:
    """The options of the step that stands for the steps `inside`.

    It runs along their axes if they all run along the same ones, element by element; else it takes its inputs
    whole, and runs them in memory.

    Raises
    ------
    WiringError
        If a step of the `rest` needs what would be hidden, or if axes that differ would have to be opened.
    """
    for step in inside:
        if step.config is not None:
            raise WiringError(
                f"Step {step.name!r} has a config, whose axes nest would hide in {name!r}: give its values "
                "as a sweep, or nest other steps."
            )
    hidden = {output for step in inside for output in step.outputs if output not in wanted}
    for step in rest:
        lost = [p.name for p in step.inputs if p.name in hidden] + [
            n for n in step.after if n in {s.name for s in inside} | hidden
        ]
        if lost:
            raise WiringError(
                f"Step {step.name!r} needs {lost[0]!r}, which nest would hide in {name!r}. Name it among the "
                f"outputs: pipe.nest([{', '.join(map(repr, [*wanted, lost[0]]))}], {name!r})."
            )
    whole = not _elementwise(graph, inside)
    if whole:
        mapspec = _opening(graph, rest, wanted, name)
    elif inside[0].axes:
        taken = _taken(inside)
        mapspec = str(MapSpec(tuple(taken.values()), tuple(ArraySpec(o, inside[0].axes) for o in wanted)))
    else:
        mapspec = None
    function = Nested(name, inside, wanted, whole)
    outputs = tuple(wanted) if len(wanted) > 1 else wanted[0]
    return {
        "function": function, "output_name": outputs, "mapspec": mapspec,
        "name": name, "renames": {a: n for a, n in function.names.items() if a != n},
        "ignore": tuple(n for n in function.names.values() if _ignored(inside, n)),
        "retries": max(step.retries for step in inside), "cache": all(step.cache for step in inside),
        "codec": {n: c.name for step in inside for n, c in step.codecs.items() if n in wanted},
    }  # fmt: skip


def _ignored(inside: Sequence[Step], name: str) -> bool:
    takers = [(step, p) for step in inside for p in step.inputs if p.name == name]
    return bool(takers) and all(step.ignores(p) for step, p in takers)


def _taken(inside: Sequence[Step]) -> dict[str, ArraySpec]:
    """How the mapspecs take what comes from outside."""
    made = {output for step in inside for output in step.outputs}
    return {a.name: a for step in inside if step.spec for a in step.spec.inputs if a.name not in made}


def _elementwise(graph: Graph, inside: Sequence[Step]) -> bool:
    """Whether all steps run along the same axes, taking from one another only their own element."""
    made = {output for step in inside for output in step.outputs}
    takes: dict[str, tuple[str | None, ...]] = {}
    for step in inside:
        if step.axes != inside[0].axes or step.opened or step.batch:
            return False
        for p in step.inputs:
            indices = graph.read(step, p.name).indices
            same = takes.setdefault(p.name, indices) == indices
            if not same or (p.name in made and indices != step.axes):
                return False
    return True


def _opening(graph: Graph, rest: Sequence[Step], wanted: Sequence[str], name: str) -> str | None:
    """The mapspec of a step that computes whole arrays: it opens the axes that steps outside run along."""
    mapped = [o for o in wanted if any(step.input_spec(o) for step in rest)]
    if not mapped:
        return None
    axes = graph.axes[mapped[0]]
    differs = next((o for o in wanted if graph.axes.get(o, ()) != axes), None)
    if differs is not None:
        raise WiringError(
            f"{name!r} would have to open the axes of {mapped[0]!r}, which {differs!r} does not have: one "
            f"step gives all its outputs the same axes. Nest {mapped[0]!r} and {differs!r} apart."
        )
    return str(MapSpec((), tuple(ArraySpec(o, axes) for o in wanted)))
