"""Axes that flow: carried through every step that depends on a varied input, up to where one reduces them.

What comes out are ordinary steps with longer mapspecs, so nothing downstream knows of study axes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from weft.errors import InvalidInput, WiringError, nearest
from weft.model.configuring import configured
from weft.model.graph import Graph
from weft.model.rewriting import in_front
from weft.model.step import Step
from weft.model.sweep import DEFAULT, Sweep


def varied(graph: Graph, axes: Mapping[str, Sequence[str]]) -> list[Step]:
    """The steps of a graph with study axes in front of what depends on some inputs.

    Parameters
    ----------
    axes
        For each new axis, the outermost first, the inputs that vary along it.

    Raises
    ------
    WiringError
        For an input that does not exist, or an axis name that does.
    """
    given: dict[str, tuple[str, ...]] = {}
    for axis, names in axes.items():
        if axis in graph.openers or any(axis in known for known in graph.axes.values()):
            raise WiringError(
                f'There is an axis {axis!r} already. Name the new one: vary({names[0]}="{names[0]}_study"), '
                "or of a sweep .named(...)."
            )
        for name in (graph.firsts.get(name, name) for name in names):
            if name not in graph.inputs:
                made = graph.producer.get(name)
                why = (
                    f"it is made by step {made.name!r}"
                    if made
                    else f"no step takes it.{nearest(name, map(graph.said, graph.inputs))}"
                )
                raise WiringError(f"{name!r} is no input that could be varied: {why}")
            given[name] = (*given.get(name, ()), axis)
    order = list(axes)
    carried = _flow(graph, given, order)
    return [_carry(graph, step, carried, order) for step in graph.order]


def _flow(
    graph: Graph, given: Mapping[str, tuple[str, ...]], order: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """Which of the new axes every name has: what a loop carries has those of all that goes into it."""
    found = dict(given)
    before: dict[str, tuple[str, ...]] = {}
    while found != before:
        before = dict(found)
        for step in graph.order:
            for alias in step.aliases:
                both = (*found.get(alias.of, ()), *found.get(alias.initial or "", ()))
                found[alias.name] = tuple(axis for axis in order if axis in both)
            kept = _kept(step, found, order)
            found |= dict.fromkeys(step.outputs, kept)
    return found


def _incoming(step: Step, carried: Mapping[str, tuple[str, ...]], order: Sequence[str]) -> list[str]:
    names = [p.name for p in step.parameters if not step.is_bound(p)]
    return [axis for axis in order if any(axis in carried.get(name, ()) for name in names)]


def _kept(step: Step, carried: Mapping[str, tuple[str, ...]], order: Sequence[str]) -> tuple[str, ...]:
    incoming = _incoming(step, carried, order)
    return () if "all" in step.reduce else tuple(axis for axis in incoming if axis not in step.reduce)


def swept(graph: Graph, sweep: Any, inputs: Any) -> tuple[list[Step], dict[str, Any]]:
    """The steps along the axes of a sweep and of their configs, and the inputs with the values along them.

    Raises
    ------
    InvalidInput
        For something that is no sweep, or an input that is given twice or lacks a default.
    """
    if sweep is None:
        sweep = Sweep(())
    if not isinstance(sweep, Sweep):
        raise InvalidInput(f"sweep is made by weft.grid, weft.zipped or weft.points, got {sweep!r}.")
    if inputs is not None and not isinstance(inputs, Mapping):
        raise InvalidInput("With a sweep or a config, inputs are a mapping by name.")
    graph, axes, values = configured(graph)
    for where, names in (("sweep", list(sweep.values)), ("config", list(values))):
        twice = [name for name in names if name in (inputs or {})]
        if twice:
            raise InvalidInput(
                f"{twice[0]!r} is an input and varied by the {where}: take it out of one of them."
            )
    own = {axis.name: list(axis.values) for axis in sweep.axes}
    if not own.keys().isdisjoint(axes) or not sweep.values.keys().isdisjoint(values):
        raise InvalidInput(
            f"The sweep varies what a config does: {', '.join(own)}. Take it out of one of them."
        )
    varying = {**values, **sweep.values}
    steps = varied(graph, {**own, **axes})
    along = {name for names in (*own.values(), *axes.values()) for name in names}
    found = {
        name: with_defaults(graph, name, values, "points") if name in along else values
        for name, values in varying.items()
    }
    return steps, {**(inputs or {}), **found}


def with_defaults(graph: Graph, name: str, values: Sequence[Any], where: str) -> Sequence[Any]:
    """The values of an input, in points (or rows) that leave it out its default."""
    if not any(value is DEFAULT for value in values):
        return values
    taken = graph.inputs[graph.firsts.get(name, name)]
    default = next((p.default for _, p in taken if not p.required), DEFAULT)
    if default is DEFAULT:
        raise InvalidInput(f"Some {where} lack {name!r}, which has no default. Give it in each of them.")
    return [default if value is DEFAULT else value for value in values]


def _carry(graph: Graph, step: Step, carried: Mapping[str, tuple[str, ...]], order: Sequence[str]) -> Step:
    incoming, kept = _incoming(step, carried, order), _kept(step, carried, order)
    if not incoming:
        return step
    front = {
        p.name: [axis if axis in kept else None for axis in carried.get(p.name, ())] for p in step.parameters
    }
    aliases = tuple(
        replace(alias, initial_axes=(*carried.get(alias.initial or "", ()), *alias.initial_axes))
        for alias in step.aliases
    )
    # An axis that is reduced now is an ordinary one for whoever varies the new steps again.
    left = tuple(axis for axis in step.reduce if axis not in incoming)
    options = in_front(graph, step, front, kept, step.hidden)
    return step.replace(
        **options, reduce=left, aliases=aliases, study=dict.fromkeys((*incoming, *step.study))
    )
