"""From a document to a pipeline, its inputs and the options of its run."""

from __future__ import annotations

import contextlib
import functools
import operator
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, get_type_hints

from weft.configuration.checks import check_backend, check_inputs, check_keys, check_run, step_options
from weft.configuration.document import SECTIONS, Node, meant
from weft.configuration.importing import importable, imported, is_own, pipeline
from weft.errors import WeftError, kind_of
from weft.model.configuring import configured
from weft.model.loop import Loop
from weft.model.step import Step as AnyStep
from weft.model.sweep import Sweep, grid, points, zipped
from weft.pipeline import Pipeline, Step

_CALLABLES = ("output_picker", "resources")  # options of a step that may name a function
_RENAMED = {"output": "output_name"}


def built(top: Node, given: Mapping[str, Any]) -> tuple[Pipeline, dict[str, Any], dict[str, Any]]:
    """Everything that a document says, checked: the pipeline, its inputs, and the options of its run."""
    check_keys(top, dict.fromkeys(SECTIONS, Any) | {"name": str | None, "pipeline": str})
    importable(top.document.folder)
    pipe = _pipeline(top)
    inputs = made(top.at("inputs").named()).value | dict(given)
    options = made(top.at("run").named())
    check_run(options, pipe.graph)
    sweep = _sweep(made(top.at("sweep")))
    check_inputs(top, pipe.graph, inputs, sweep, given)
    return pipe, inputs, options.value | ({} if sweep is None else {"sweep": sweep})


def _pipeline(top: Node) -> Pipeline:
    if ("steps" in top.value) == ("pipeline" in top.value):
        raise top.refusal("A study says either steps or pipeline: one of the two.")
    name = top.value.get("name")
    if "steps" in top.value:
        steps, placed = top.at("steps"), Placed()
        parts = _parts(steps, placed)
        with _located(replace(steps, value={}), placed):
            pipe = Pipeline(parts, name or os.path.splitext(os.path.basename(top.document.path))[0])
            configured(pipe.graph)
    else:
        with top.at("pipeline").located():
            found = pipeline(top.value["pipeline"], top.document.folder)
        pipe = Pipeline([found], name or found.name)
    configure = top.at("configure").named()
    for step in configure.value:
        options = made(configure.at(step).named())
        check_keys(options, step_options(), others=True)
        with options.located():
            pipe = pipe.configure({step: options.value})
    return pipe


Placed = dict[str, Node]
"""What says each step, by its name."""


@contextlib.contextmanager
def _located(options: Node, placed: Placed) -> Iterator[None]:
    """Put in front of an error about several steps where the option is that it is about, else the step.

    That is the one that the message begins with, else the last that it names: the one that came too much.
    """
    try:
        yield
    except WeftError as error:
        told = str(error)
        first = [name for name in placed if told.startswith(f"step {name!r}")]
        named = first or [name for name in placed if repr(name) in told]
        with (placed[named[-1]] if named and meant(options, told) == options.place else options).located():
            raise


def _parts(node: Node, placed: Placed) -> list[Any]:
    """Steps, loops and pipelines of a list, or of a mapping by name."""
    if not isinstance(node.value, (list, dict)) or not node.value:
        raise node.refusal(f"steps are a list, or a mapping by name; got {node.value!r}.")
    by_name = isinstance(node.value, dict)
    found = []
    for inner in (node.named() if by_name else node).inner():
        part = _entry(inner, inner.place[-1] if by_name else "", placed)
        placed |= dict.fromkeys(part.steps if isinstance(part, Pipeline) else [part.name], inner)
        found.append(part)
    return found


def _loop(node: Node, name: str, placed: Placed) -> Loop:
    """The loop that an entry with a key ``loop`` says, with steps of its own."""
    known = get_type_hints(Loop)
    check_keys(node.named(), known | {"steps": Any})
    options = replace(node, value={key: said for key, said in node.value.items() if key != "steps"})
    inside = Placed()
    parts = _parts(node.at("steps"), inside)
    placed |= inside
    with _located(options, inside):
        return Loop(parts, **options.value | ({"name": name} if name else {}))


def _entry(node: Node, name: str, placed: Placed) -> Any:
    """A step or a loop, or a ready pipeline among the steps."""
    if isinstance(node.value, dict) and "loop" in node.value:
        check_keys(node, {"loop": Any})
        return _loop(node.at("loop"), name, placed)
    if isinstance(node.value, str) or (isinstance(node.value, dict) and "_target_" in node.value):
        node = replace(node, value={"function": node.value})
    if not isinstance(node.value, dict) or not node.value:
        raise node.refusal(
            f"a step is the path of one, or a mapping with function and options; got {node.value!r}."
        )
    known = {key: hint for key, hint in step_options().items() if not (name and key == "name")}
    check_keys(node, dict.fromkeys(known, Any))
    if "function" not in node.value:
        raise node.refusal("this step has no function: package.module:name.")
    said = made(node)
    function = _callable(said.at("function"))
    for key in _CALLABLES:
        if isinstance(said.value.get(key), str):
            said.value[key] = _callable(said.at(key))
    check_keys(said, known)
    check_backend(said.at("backend"))
    options = {_RENAMED.get(key, key): value for key, value in said.value.items() if key != "function"}
    options |= {"name": name} if name else {}
    with node.located():
        return _with_options(node, function, options)


def _with_options(node: Node, function: Any, options: dict[str, Any]) -> Any:
    if isinstance(function, AnyStep):
        return function.replace(**options) if options else function
    if isinstance(function, (Pipeline, Loop)):
        if options:
            kind = type(function).__name__.lower()
            told = f"is a {kind}: it has no options, and stands in a list of steps."
            raise node.refusal(f"{node.value['function']} {told}")
        return function
    if "output_name" not in options:
        told = "is a function, not a step: say what it makes, output: NAME."
        raise node.refusal(f"{node.value['function']} {told}")
    return Step(function, **options)


def _callable(node: Node) -> Any:
    found = node.value
    if isinstance(found, str):
        with node.located():
            found = imported(found, node.document.folder)
    if not callable(found) and not isinstance(found, (AnyStep, Pipeline, Loop)):
        raise node.refusal(f"{node.value!r} is {kind_of(found)}, not a function.")
    return found


def made(node: Node) -> Node:
    """The same, with whatever says ``_target_`` made by Hydra."""
    return replace(node, value=_made(node))


def _made(node: Node) -> Any:
    value = node.value
    if isinstance(value, list):
        return [_made(inner) for inner in node.inner()]
    if not isinstance(value, dict):
        return value
    if "_target_" not in value:
        return {key: _made(node.at(key)) for key in value}
    from hydra.utils import instantiate

    folder = node.document.folder
    with node.located():
        for target in _targets(node):
            if is_own(target, folder):
                imported(target, folder)
    try:
        return instantiate(value, _convert_="all")
    except Exception as error:
        cause = error.__cause__ or error
        told = " ".join(str(cause).split())
        raise node.refusal(f"{value['_target_']} cannot be made: {type(cause).__name__}: {told}") from error


def _targets(node: Node) -> Iterator[str]:
    """Every ``_target_`` in a value."""
    if isinstance(node.value, dict) and isinstance(node.value.get("_target_"), str):
        yield node.value["_target_"]
    for inner in node.inner():
        yield from _targets(inner)


def _sweep(node: Node) -> Sweep | None:
    """The product of the entries of a list; of a mapping's forms, and an axis for each other key."""
    given = node.value
    if given is None or isinstance(given, Sweep):
        return given
    with node.located():
        if isinstance(given, list):
            return _folded(operator.mul, node)
        parts = [_form(key, node.at(key)) for key in node.named().value if key != "named"]
        found = functools.reduce(operator.mul, parts, Sweep(()))
        return found.named(str(given["named"])) if "named" in given else found


def _form(key: str, node: Node) -> Sweep:
    with node.located():
        if key == "grid":
            return grid(**node.named().value)
        if key == "zipped":
            return zipped(**node.named().value)
        if key == "points":
            return points(node.value)
        if key == "sum":
            return _folded(operator.add, node)
        return grid(**{key: node.value})


def _folded(join: Any, node: Node) -> Sweep:
    if not isinstance(node.value, list) or not node.value:
        raise node.refusal(f"{node.place[-1]} is a list of sweeps, got {node.value!r}.")
    parts = [_sweep(part) for part in node.inner()]
    return functools.reduce(join, [Sweep(()) if part is None else part for part in parts])
