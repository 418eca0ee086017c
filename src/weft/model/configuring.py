"""What ``Step(config=...)`` means: parameters of a step's own as inputs, and the study axes along them."""

from __future__ import annotations

import re
from typing import Any

from weft.errors import WiringError
from weft.model.expansion import axes_in
from weft.model.graph import Graph
from weft.model.rewriting import reading
from weft.model.step import Parameter, Step


def configured(graph: Graph) -> tuple[Graph, dict[str, list[str]], dict[str, Any]]:
    """A graph without configs: its steps, the inputs along each axis of a config, and their values.

    A parameter that a config names is an input ``step.parameter`` of its own. Axes are ``step_parameter``, as
    a mapspec has no dots in its indices.

    Raises
    ------
    WiringError
        If another step makes or takes what would be such an input.
    """
    steps: list[Step] = []
    axes: dict[str, list[str]] = {}
    values: dict[str, Any] = {}
    for step in graph.order:
        if step.config is None:
            steps.append(step)
            continue
        owner = re.sub(r"\W", "_", step.name.removesuffix(".parts") if step.coarse else step.name)
        along, fixed = axes_in(step.config)
        parameters = {
            key: step.configurable(key) for key in (*fixed, *(k for a in along.values() for k in a))
        }
        names = {key: f"{owner}.{p.argument}" for key, p in parameters.items()}
        for key, parameter in parameters.items():
            _check(graph, step, parameter, names[key])
        options = reading(step, {parameter.name: names[key] for key, parameter in parameters.items()})
        ignored = [p.argument for key, p in parameters.items() if key.startswith("_")]
        steps.append(
            step.replace(config=None, **options | {"ignore": [*options.get("ignore", step.ignore), *ignored]})
        )
        for label, columns in along.items():
            axis = f"{owner}_{label}"
            if axis in axes:
                raise WiringError(f"Two configs open an axis {axis!r}. Give one of the steps another name.")
            axes[axis] = [names[key] for key in columns]
            values |= {names[key]: column for key, column in columns.items()}
        values |= {names[key]: value for key, value in fixed.items()}
    return Graph(steps), axes, values


def _check(graph: Graph, step: Step, parameter: Parameter, name: str) -> None:
    made = graph.producer.get(parameter.name) or graph.producer.get(name)
    if made:
        raise WiringError(
            f"step {step.name!r}: config gives {parameter.name!r}, which step {made.name!r} makes. Take it "
            "out of the config, or rename one."
        )
    others = [other.name for other, _ in graph.inputs.get(name, ()) if other is not step]
    if others:
        raise WiringError(
            f"step {step.name!r}: its config makes the input {name!r}, which step {others[0]!r} takes too. "
            "Give one of the steps another name or scope."
        )
