"""From what the user gave to inputs and axes: every check that can be made before work starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from weft.errors import InvalidInput, ShapeError, kind_of, nearest
from weft.model.annotations import scalar_annotation
from weft.model.graph import Graph
from weft.plan.axes import Axis, coarsened
from weft.study.study import Input
from weft.values.columns import from_input, nested


def inputs_of(graph: Graph, given: Any) -> dict[str, Input]:
    """Check the inputs of a run, and take the mapped ones apart.

    Parameters
    ----------
    given
        A mapping by name, a DataFrame whose columns share one axis, or None.

    Raises
    ------
    InvalidInput
        For a missing or unknown input, or a value that cannot be what its step takes.
    ShapeError
        For nested lists of unequal lengths.
    """
    values = by_name(graph, given)
    for name in graph.loops:
        if name in values:
            raise InvalidInput(f"{name!r} is the iteration of a loop: it counts by itself, from 0.")
    unknown = [name for name in values if name not in graph.inputs and not _wanted_injection(graph, name)]
    if unknown:
        name = unknown[0]
        if name in graph.producer:
            raise InvalidInput(
                f"{name!r} is made by step {graph.producer[name].name!r}, so it cannot be an input. To start "
                "from it, drop that step: pipe.drop(...)."
            )
        raise InvalidInput(
            f"There is no input {name!r}.{nearest(name, map(graph.said, graph.inputs))} "
            f"Inputs: {_listed(graph)}."
        )
    missing = [
        name
        for name, taken in graph.inputs.items()
        if name not in values and (graph.axes.get(name) or any(p.required for _, p in taken))
    ]
    if missing:
        name = missing[0]
        where = ", ".join(step.name for step, _ in graph.inputs[name])
        name = graph.said(name)
        raise InvalidInput(
            f"The input {name!r} of step {where!r} is missing."
            f"{nearest(name, [v for v in values if v not in graph.inputs])} "
            f"Give it by name: pipe.run({{{name!r}: ...}})."
        )
    for name in graph.started:  # what a loop starts with has no parameter of its own to keep a default
        if name not in values:
            values[name] = next(p.default for _, p in graph.inputs[name] if not p.required)
    found = {
        name: Input(name, (name,), from_input(range(loop.n)), (loop.n,), range(loop.n))
        for name, loop in graph.loops.items()
    }
    for name, value in values.items():
        axes = graph.axes.get(name, ())
        if axes:
            column, shape = _mapped(name, value, len(axes))
            found[name] = Input(name, axes, column, shape, value)
        else:
            _check_whole(graph, name, value)
            found[name] = Input(name, value=value)
    return found


def by_name(graph: Graph, given: Any) -> dict[str, Any]:
    """What was given as inputs, by the names that they have in the graph."""
    if given is None:
        return {}
    if isinstance(given, Mapping):
        bad = [name for name in given if not isinstance(name, str)]
        if bad:
            raise InvalidInput(f"Inputs are given by name, got the key {bad[0]!r}.")
        values: dict[str, Any] = dict(given)
        return {graph.firsts.get(name, name): value for name, value in values.items()}
    if type(given).__module__.partition(".")[0] == "pandas" and hasattr(given, "columns"):
        return by_name(graph, {str(name): given[name] for name in given.columns})
    raise InvalidInput(f"inputs is a mapping of names to values, or a DataFrame; got {type(given).__name__}.")


def _wanted_injection(graph: Graph, name: str) -> bool:
    return any(p.name == name and p.injected for step in graph.order for p in step.parameters)


def _listed(graph: Graph) -> str:
    return ", ".join(map(graph.said, graph.inputs)) or "none"


def _mapped(name: str, value: Any, depth: int) -> tuple[Any, tuple[int, ...]]:
    try:
        return nested(value, depth)
    except (InvalidInput, ShapeError) as error:
        raise type(error)(f"input {name!r}: {error}") from None
    except TypeError as error:
        raise InvalidInput(f"input {name!r} cannot be mapped over: {error}") from error


def _check_whole(graph: Graph, name: str, value: Any) -> None:
    if isinstance(value, Iterator) and type(value).__module__ in ("builtins", "itertools"):
        raise InvalidInput(
            f"input {graph.said(name)!r}: {kind_of(value)} can be read only once, but several steps, "
            "attempts or runs may take it; give a list of its values."
        )
    if isinstance(value, (str, bytes)) or not (isinstance(value, (list, tuple, range)) or _is_array(value)):
        return
    for step, parameter in graph.inputs.get(name, []):
        if parameter.annotation is not parameter.__class__ and scalar_annotation(parameter.annotation):
            kind, name = getattr(parameter.annotation, "__name__", parameter.annotation), graph.said(name)
            raise InvalidInput(
                f"step {step.name!r} takes {name!r} as one {kind}, but was given {kind_of(value)} of "
                f"{len(value)}. "
                f'Run along it as data: mapspec="{name}[i] -> {step.outputs[0]}[i]"; or '
                f"as a study: sweep=weft.grid({name}=[...])."
            )


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.ndim > 0


def axes_of(graph: Graph, inputs: Mapping[str, Input]) -> dict[str, Axis]:
    """The axes of a run in the order of the steps, their lengths as far as they are known.

    Raises
    ------
    ShapeError
        If arrays on one axis have different lengths, or a declared size differs.
    """
    lengths: dict[str, tuple[int, str]] = {}
    for given in inputs.values():
        for axis, length in zip(given.axes, given.shape, strict=True):
            known, where = lengths.setdefault(axis, (length, f"input {given.name!r}"))
            if known != length:
                raise ShapeError(
                    f"Axis {axis!r} has length {known} in {where}, but {length} in input {given.name!r}. "
                    "Arrays on one axis have one length; for all combinations give them axes of their own."
                )
    for step in graph.order:
        for axis, size in step.sizes.items():
            known, where = lengths.setdefault(axis, (size, f"sizes of step {step.name!r}"))
            if known != size:
                raise ShapeError(
                    f"Axis {axis!r} has length {known} in {where}, but sizes of {step.name!r} says {size}."
                )
    found: dict[str, Axis] = {}
    names = [axis for step in graph.order for axis in (step.spec.output_indices if step.spec else ())]
    for name in [*names, *(axis for axes in graph.axes.values() for axis in axes)]:
        if name in found:
            continue
        opener = graph.openers.get(name)
        extent = lengths[name][0] if name in lengths else None
        found[name] = Axis(name, extent, None, opener.name if opener else None)
    return found | coarsened(found, graph.coarse)
