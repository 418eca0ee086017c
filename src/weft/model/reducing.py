"""A `Reduction` as two ordinary steps: one for the states of runs of an axis, one that merges them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from weft.errors import WiringError
from weft.model.coarse import Coarse
from weft.model.expansion import names_in
from weft.model.graph import Graph
from weft.model.loop import body
from weft.model.mapspec import ArraySpec, MapSpec
from weft.model.reduction import Joining, Reduction, Streaming, Updating, parameters
from weft.model.step import Parameter, Step


def reduced(graph: Graph) -> Graph:
    """The graph without reductions.

    ``y[i]`` made one ``total`` becomes ``total.parts[total_run]``, in which a position of ``total_run`` is a
    run of positions of ``i``, and the merging step ``total``, which takes these states whole.

    Raises
    ------
    WiringError
        For a reduction that takes no array along an axis, or arrays along different ones.
    """
    if not any(isinstance(step.function, Reduction) for step in graph.order):
        return graph
    steps: list[Step] = []
    for step in graph.order:
        steps += _reduced(graph, step) if isinstance(step.function, Reduction) else [step]
    return Graph(steps)


def cut(graph: Graph, parts: Iterable[Any]) -> list[Any]:
    """Parts of a pipeline: a reduction whose array nobody makes any more keeps the axes that it knew."""
    parts = list(parts)
    made = {output for step in body(parts) for output in step.outputs}
    found: list[Any] = []
    for part in parts:
        lost = (
            isinstance(part, Step)
            and isinstance(part.function, Reduction)
            and not graph.steps[part.name].aliases
        )
        lost = lost and any(p.name in graph.producer and p.name not in made for p in part.inputs)
        names = (f"{part.name}.parts", part.name)
        found += [graph.steps[name] for name in names if name in graph.steps] if lost else [part]
    return found


def _reduced(graph: Graph, step: Step) -> list[Step]:
    if step.batch:
        raise WiringError(f"step {step.name!r}: a weft.Reduction takes value by value, without batch=True.")
    reduction: Reduction = step.function  # type: ignore[assignment]
    streams, whole = _streams(graph, step)
    arguments = [p.argument for p in streams]
    returned = not whole and not all(p.name in graph.inputs for p in streams)
    if returned or step.loops or any(axis in graph.loops or axis in graph.ragged for axis in whole):
        return [step.replace(function=Streaming(reduction, arguments))]
    axis = re.sub(r"\W", "_", f"{step.name}_run")
    while any(axis in axes for axes in graph.axes.values()):
        axis += "_"
    own = (*step.axes, *whole[:-1])
    fine = whole[-1] if whole else f"{streams[0].name}_dim0"  # as an axis is called that nobody names
    coarse = Coarse(axis, fine, reduction.run_length)
    output = f"{step.outputs[0]}.parts"
    parts = step.replace(
        function=Updating(reduction, arguments), output_name=output, name=f"{step.name}.parts", coarse=coarse,
        mapspec=MapSpec(
            (ArraySpec(axis, (axis,)), *_taken(graph, step, streams, whole)),
            (ArraySpec(output, (*own, axis)),),
        ),
        renames={key: name for key, name in step.renames.items() if key not in step.outputs_as_given},
        sizes={}, output_picker=None, reduce=(),
    )  # fmt: skip
    return [parts, _joining(step, reduction, output, len(own) - len(step.axes) + 1)]


def _joining(step: Step, reduction: Reduction, states: str, n_whole: int) -> Step:
    """The step that merges: all states in order, the last axis of an array fastest."""
    spec = None
    if step.spec is not None:
        inputs = (ArraySpec(states, (*step.axes, *[None] * n_whole)),) if step.axes else ()
        spec = MapSpec(inputs, step.spec.outputs)
    given = step.outputs_as_given
    outer = {key: name for key, name in step.renames.items() if key in given}
    return step.replace(
        function=Joining(reduction), mapspec=spec, renames={**outer, "states": states}, defaults={}, bound={},
        ignore=(), config=None, allow_missing=False, reads=(), aliases=(), after=(),
    )  # fmt: skip


def _streams(graph: Graph, step: Step) -> tuple[list[Parameter], tuple[str, ...]]:
    """What is read value by value, and the axes that it is taken whole along."""
    whole = {
        p.name: tuple(
            axis
            for axis, index in zip(graph.axes.get(p.name, ()), graph.read(step, p.name).indices, strict=True)
            if index is None
        )
        for p in step.inputs
    }
    taken = {name: axes for name, axes in whole.items() if axes}
    streams = [p for p in step.inputs if p.name in taken]
    if not streams:  # nobody says that there is an axis: what has no default lies along one
        fixed = () if step.config is None else [step.configurable(key).name for key in names_in(step.config)]
        streams = [
            p for p in step.inputs if p.required and not graph.axes.get(p.name) and p.name not in fixed
        ]
    if not streams:
        raise WiringError(
            f"step {step.name!r}: a weft.Reduction takes an array along an axis, and nothing that its update "
            "takes has one. Say ':' in the mapspec for the axis to be reduced."
        )
    given, read = parameters(step.function.update), [p.argument for p in streams]  # type: ignore[attr-defined]
    if [p.name for p in given if p.kind is not p.KEYWORD_ONLY][: len(read)] != read:
        raise WiringError(
            f"step {step.name!r}: update takes {', '.join(p.name for p in given)} behind the state, and of "
            f"these {', '.join(read)} value by value: put these first."
        )
    if len(set(taken.values())) > 1:
        shown = " and ".join(f"{name!r} along {', '.join(axes)}" for name, axes in taken.items())
        raise WiringError(f"step {step.name!r} takes {shown}: values are taken together along the same axes.")
    return streams, next(iter(taken.values()), ())


def _taken(graph: Graph, step: Step, streams: Sequence[Parameter], whole: Sequence[str]) -> list[ArraySpec]:
    """How the states' step takes its arrays: element by element, but for the axis that is read in runs."""
    found = []
    read = {p.name for p in streams}
    for p in step.inputs:
        spec = step.input_spec(p.name)
        if p.name in read:
            axes, indices = graph.axes.get(p.name, ("",)), graph.read(step, p.name).indices or (None,)
            outer: Mapping[str, Any] = {axis: axis for axis in whole[:-1]}
            along = tuple(index or outer.get(axis) for axis, index in zip(axes, indices, strict=True))
            found.append(ArraySpec(p.name, along))
        elif spec is not None:
            found.append(spec)
    return found
