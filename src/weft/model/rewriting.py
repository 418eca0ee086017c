"""Steps rewritten: inputs read by other names, and further axes in front of what goes in and comes out.

Loops, sweeps and configs come down to these two, so nothing downstream knows of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from weft.model.graph import Graph
from weft.model.mapspec import ArraySpec, MapSpec
from weft.model.step import Step


def reading(step: Step, names: Mapping[str, str]) -> dict[str, Any]:
    """Options of a step that reads some names by others; nothing if it reads none of them.

    What was said of an input by its name is said of its argument now.
    """
    taken = {p.argument: p.name for p in step.parameters if not step.is_bound(p) and p.name in names}
    if all(names[name] == name for name in taken.values()):
        return {}
    arguments = {name: argument for argument, name in taken.items()}
    spec = step.spec
    if spec is not None:
        spec = MapSpec(tuple(array.renamed(names) for array in spec.inputs), spec.outputs)
    return {
        "reads": _reads(step, {argument: names[name] for argument, name in taken.items()}),
        "defaults": {arguments.get(name, name): value for name, value in step.defaults.items()},
        "ignore": [arguments.get(name, name) for name in step.ignore],
        "mapspec": spec,
    }


def in_front(
    graph: Graph,
    step: Step,
    inputs: Mapping[str, Sequence[str | None]],
    own: Sequence[str],
    hidden: Sequence[str],
    ragged: bool = False,
) -> dict[str, Any]:
    """Options of a step with further axes.

    Parameters
    ----------
    inputs
        The axes in front of some inputs; None for those that it takes whole.
    own
        The axes in front of what it makes.
    hidden
        Axes that it runs along though no argument lies along them.
    ragged
        Whether the last axis of what it makes has its own length in each row from now on.
    """
    arrays = [ArraySpec(name, (name,)) for name in hidden]
    for p in step.parameters:
        given = step.input_spec(p.name)
        front = () if step.is_bound(p) else tuple(inputs.get(p.name, ()))
        if p.name not in hidden and (given is not None or any(front)):
            behind = given.indices if given else (None,) * len(graph.axes.get(p.name, ()))
            arrays.append(ArraySpec(p.name, (*front, *behind)))
    made = step.spec.outputs[0].indices if step.spec else ()
    if not arrays and not own and not made:
        return {"mapspec": None}
    outputs = tuple(ArraySpec(name, (*own, *made), ragged or bool(step.ragged)) for name in step.outputs)
    return {"mapspec": MapSpec(tuple(arrays), outputs), "reads": _reads(step, {})}


def _reads(step: Step, taken: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """By argument the names of inputs that the function's signature does not tell any more."""
    return tuple(
        {**{p.argument: p.name for p in step.parameters if p.keyword}, **dict(step.reads), **taken}.items()
    )
