"""Axes that flow: carried through every step that depends on a varied input, up to where one reduces them.

What comes out are ordinary steps with longer mapspecs, so nothing downstream knows of study axes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from weft.errors import InvalidInput, WiringError
from weft.model.graph import Graph
from weft.model.mapspec import ArraySpec, MapSpec
from weft.model.step import Step, nearest
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
        For an input that does not exist, an axis name that does, or a data axis in ``reduce``.
    """
    carried: dict[str, tuple[str, ...]] = {}
    for axis, names in axes.items():
        if axis in graph.openers or any(axis in known for known in graph.axes.values()):
            raise WiringError(
                f'There is an axis {axis!r} already. Name the new one: vary({names[0]}="{names[0]}_study").'
            )
        for name in names:
            if name not in graph.inputs:
                made = graph.producer.get(name)
                why = (
                    f"it is made by step {made.name!r}"
                    if made
                    else f"no step takes it.{nearest(name, graph.inputs)}"
                )
                raise WiringError(f"{name!r} is no input that could be varied: {why}")
            carried[name] = (*carried.get(name, ()), axis)
    order = list(axes)
    found = []
    for step in graph.order:
        new = _carry(graph, step, carried, order)
        found.append(new)
    return found


def swept(graph: Graph, sweep: Any, inputs: Any) -> tuple[list[Step], dict[str, Any]]:
    """The steps along the axes of a sweep, and the inputs with its values.

    Raises
    ------
    InvalidInput
        For something that is no sweep, or an input that is given twice or lacks a default.
    """
    if not isinstance(sweep, Sweep):
        raise InvalidInput(f"sweep is made by weft.grid, weft.zipped or weft.points, got {sweep!r}.")
    if inputs is not None and not isinstance(inputs, Mapping):
        raise InvalidInput("With a sweep, inputs are a mapping by name.")
    twice = [name for name in sweep.values if name in (inputs or {})]
    if twice:
        raise InvalidInput(f"{twice[0]!r} is an input and varied by the sweep: take it out of one of them.")
    steps = varied(graph, {axis.name: list(axis.values) for axis in sweep.axes})
    values = {name: _with_defaults(graph, name, given) for name, given in sweep.values.items()}
    return steps, {**(inputs or {}), **values}


def _with_defaults(graph: Graph, name: str, values: Sequence[Any]) -> Sequence[Any]:
    """The values of a swept input, where points leave it out its default."""
    if not any(value is DEFAULT for value in values):
        return values
    default = next((p.default for _, p in graph.inputs[name] if not p.required), DEFAULT)
    if default is DEFAULT:
        raise InvalidInput(f"Some points lack {name!r}, which has no default. Give it in each of them.")
    return [default if value is DEFAULT else value for value in values]


def _carry(graph: Graph, step: Step, carried: dict[str, tuple[str, ...]], order: Sequence[str]) -> Step:
    names = [p.name for p in step.parameters if not step.is_bound(p) and carried.get(p.name)]
    incoming = [axis for axis in order if any(axis in carried[name] for name in names)]
    _check_reduce(graph, step)
    reduced = set(incoming) if "all" in step.reduce else set(step.reduce)
    kept = [axis for axis in incoming if axis not in reduced]
    for output in step.outputs:
        carried[output] = tuple(kept)
    if not incoming:
        return step
    inputs = []
    for p in step.parameters:
        given = step.input_spec(p.name)
        front = tuple(
            axis if axis in kept else None for axis in carried.get(p.name, ()) if not step.is_bound(p)
        )
        if given is None and not front:
            continue
        behind = given.indices if given else (None,) * len(graph.axes.get(p.name, ()))
        if any(index is not None for index in (*front, *behind)):
            inputs.append(ArraySpec(p.name, (*front, *behind)))
    outputs = tuple(
        ArraySpec(name, (*kept, *(_indices(step, name))), ragged=_ragged(step, name)) for name in step.outputs
    )
    if not inputs and not any(array.indices for array in outputs):
        return step.replace(mapspec=None)
    return step.replace(mapspec=MapSpec(tuple(inputs), outputs))


def _check_reduce(graph: Graph, step: Step) -> None:
    for axis in step.reduce:
        if axis in step.axes or any(axis in graph.axes.get(p.name, ()) for p in step.parameters):
            raise WiringError(
                f"step {step.name!r}: {axis!r} in reduce is a data axis, not a study axis. "
                "To take it whole, say ':' in the mapspec."
            )


def _indices(step: Step, output: str) -> tuple[str | None, ...]:
    return next((a.indices for a in step.spec.outputs if a.name == output), ()) if step.spec else ()


def _ragged(step: Step, output: str) -> bool:
    return any(a.ragged for a in step.spec.outputs if a.name == output) if step.spec else False
