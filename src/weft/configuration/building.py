"""From a document to a pipeline, its inputs and the options of its run."""

from __future__ import annotations

import contextlib
import functools
import operator
import os
from collections.abc import Iterator, Mapping
from typing import Any, get_type_hints

from weft.configuration.checks import (
    check_backend,
    check_inputs,
    check_known,
    check_run,
    check_types,
    step_options,
)
from weft.configuration.document import SECTIONS, Document, Place, meant
from weft.configuration.importing import importable, imported, is_own, pipeline
from weft.errors import WeftError
from weft.model.configuring import configured
from weft.model.loop import Loop
from weft.model.step import Step as AnyStep
from weft.model.sweep import Sweep, grid, points, zipped
from weft.pipeline import Pipeline, Step

_CALLABLES = ("output_picker", "resources")  # options of a step that may name a function


def built(
    document: Document, folder: str, given: Mapping[str, Any]
) -> tuple[Pipeline, dict[str, Any], dict[str, Any]]:
    """Everything that a document says, checked: the pipeline, its inputs, and the options of its run."""
    check_known(document, (), document.content, dict.fromkeys(SECTIONS))
    check_types(document, (), document.content, {"name": str | None, "pipeline": str})
    importable(folder)
    builder = _Builder(document, folder)
    pipe = builder.pipeline()
    inputs = builder.made(("inputs",), builder.mapping("inputs")) | dict(given)
    options = builder.made(("run",), builder.mapping("run"))
    check_run(document, options, pipe.graph)
    sweep = builder.sweep(("sweep",), builder.made(("sweep",), document.content.get("sweep")))
    check_inputs(document, pipe.graph, inputs, sweep, given)
    return pipe, inputs, options | ({} if sweep is None else {"sweep": sweep})


class _Builder:
    """Makes a study of a document."""

    def __init__(self, document: Document, folder: str) -> None:
        self.document, self.folder, self.content = document, folder, document.content
        # The names of each part of steps, where it is, and what is said there.
        self.placed: list[tuple[list[str], Place, Any]] = []

    # Steps

    def pipeline(self) -> Pipeline:
        if ("steps" in self.content) == ("pipeline" in self.content):
            raise self.document.refusal((), "A study says either steps or pipeline: one of the two.")
        name = self.content.get("name")
        if "steps" in self.content:
            pipe = self._wired(name or os.path.splitext(os.path.basename(self.document.path))[0])
        else:
            with self.document.located(("pipeline",)):
                found = pipeline(self.content["pipeline"], self.folder)
            pipe = Pipeline([found], name or found.name)
        for step in self.mapping("configure"):
            place = ("configure", step)
            options = self.made(place, self.mapping(*place))
            check_types(self.document, place, options, step_options())
            with self.document.located(place, options):
                pipe = pipe.configure({step: options})
        return pipe

    def _wired(self, name: str) -> Pipeline:
        parts = self._parts(("steps",), self.content["steps"])
        with self._located(("steps",), {}):
            pipe = Pipeline(parts, name)
            configured(pipe.graph)
        return pipe

    @contextlib.contextmanager
    def _located(self, place: Place, options: Mapping[str, Any]) -> Iterator[None]:
        """Put in front of an error about several steps where the option is that it is about, else the step.

        That is the one that the message begins with, else the last that it names: the one that came too much.
        """
        try:
            yield
        except WeftError as error:
            told = str(error)
            inside = [part for part in reversed(self.placed) if part[1][: len(place)] == place]
            first = [part for part in inside if any(told.startswith(f"step {name!r}") for name in part[0])]
            named = first or [part for part in inside if any(repr(name) in told for name in part[0])]
            if not named or meant(place, options, told) != place:
                named = [([], place, options)]
            with self.document.located(*named[0][1:]):
                raise

    def _parts(self, place: Place, given: Any) -> list[Any]:
        """Steps, loops and pipelines of a list, or of a mapping by name."""
        if not isinstance(given, (list, dict)) or not given:
            raise self.document.refusal(place, f"steps are a list, or a mapping by name; got {given!r}.")
        found = []
        named = self.named(place, given).items() if isinstance(given, dict) else (("", b) for b in given)
        for number, (key, body) in enumerate(named):
            inner = (*place, key or str(number))
            part = self._entry(inner, body, key)
            self.placed.append((list(part.steps) if isinstance(part, Pipeline) else [part.name], inner, body))
            found.append(part)
        return found

    def _loop(self, place: Place, given: Any, name: str) -> Loop:
        """The loop that an entry with a key ``loop`` says, with steps of its own."""
        body, known = self.named(place, given), get_type_hints(Loop)
        check_known(self.document, place, body, known)
        options = {key: value for key, value in body.items() if key != "steps"}
        check_types(self.document, place, options, known)
        parts = self._parts((*place, "steps"), body.get("steps"))
        with self._located(place, options):
            return Loop(parts, **options | ({"name": name} if name else {}))

    def _entry(self, place: Place, body: Any, name: str = "") -> Any:
        """A step or a loop, or a ready pipeline among the steps."""
        if isinstance(body, dict) and "loop" in body:
            check_known(self.document, place, body, {"loop": Any})
            return self._loop((*place, "loop"), body["loop"], name)
        if isinstance(body, str) or (isinstance(body, dict) and "_target_" in body):
            body = {"function": body}
        if not isinstance(body, dict) or not body:
            raise self.document.refusal(
                place, f"a step is the path of one, or a mapping with function and options; got {body!r}."
            )
        known = {key: hint for key, hint in step_options().items() if not (name and key == "name")}
        check_known(self.document, place, body, known)
        if "function" not in body:
            raise self.document.refusal(place, "this step has no function: package.module:name.")
        options = self.made(place, body)
        function = self._callable((*place, "function"), options.pop("function"))
        for key in _CALLABLES:
            if isinstance(options.get(key), str):
                options[key] = self._callable((*place, key), options[key])
        check_types(self.document, place, options, known)
        check_backend(self.document, (*place, "backend"), options.get("backend"))
        if "output" in options:
            options["output_name"] = options.pop("output")
        if name:
            options["name"] = name
        with self.document.located(place, body):
            if isinstance(function, AnyStep):
                return function.replace(**options) if options else function
            if isinstance(function, (Pipeline, Loop)):
                if options:
                    kind = type(function).__name__.lower()
                    told = f"is a {kind}: it has no options, and stands in a list of steps."
                    raise self.document.refusal(place, f"{body['function']} {told}")
                return function
            if "output_name" not in options:
                told = f"{body['function']} is a function, not a step: say what it makes, output: NAME."
                raise self.document.refusal(place, told)
            return Step(function, **options)

    def _callable(self, place: Place, given: Any) -> Any:
        found = given
        if isinstance(given, str):
            with self.document.located(place):
                found = imported(given, self.folder)
        if not callable(found) and not isinstance(found, (AnyStep, Pipeline, Loop)):
            raise self.document.refusal(place, f"{given!r} is a {type(found).__name__}, not a function.")
        return found

    # Values

    def made(self, place: Place, value: Any) -> Any:
        """A value, with whatever says ``_target_`` made by Hydra."""
        if isinstance(value, list):
            return [self.made((*place, str(number)), item) for number, item in enumerate(value)]
        if not isinstance(value, dict):
            return value
        if "_target_" not in value:
            return {key: self.made((*place, str(key)), item) for key, item in value.items()}
        from hydra.utils import instantiate

        with self.document.located(place):
            for target in _targets(value):
                if is_own(target, self.folder):
                    imported(target, self.folder)
        try:
            return instantiate(value, _convert_="all")
        except Exception as error:
            cause = error.__cause__ or error
            told = " ".join(str(cause).split())
            raise self.document.refusal(
                place, f"{value['_target_']} cannot be made: {type(cause).__name__}: {told}"
            ) from error

    def mapping(self, *place: str) -> dict[str, Any]:
        """The mapping at a place; empty if there is none."""
        found: Any = self.content
        for part in place:
            found = found.get(part)
        return {} if found is None else self.named(place, found)

    def named(self, place: Place, given: Any) -> dict[str, Any]:
        """The same, if it is a mapping by names."""
        if isinstance(given, dict) and all(isinstance(name, str) for name in given):
            return given
        raise self.document.refusal(place, f"{place[-1]} is a mapping by name, got {given!r}.")

    def sweep(self, place: Place, given: Any) -> Sweep | None:
        """The product of the entries of a list; of a mapping's forms, and an axis for each other key."""
        if given is None or isinstance(given, Sweep):
            return given
        with self.document.located(place, given):
            if isinstance(given, list):
                return self._folded(operator.mul, place, given)
            parts = [
                self._form((*place, key), key, value)
                for key, value in self.named(place, given).items()
                if key != "named"
            ]
            found = functools.reduce(operator.mul, parts, Sweep(()))
            return found.named(str(given["named"])) if "named" in given else found

    def _form(self, place: Place, key: str, given: Any) -> Sweep:
        with self.document.located(place, given):
            if key == "grid":
                return grid(**self.named(place, given))
            if key == "zipped":
                return zipped(**self.named(place, given))
            if key == "points":
                return points(given)
            if key == "sum":
                return self._folded(operator.add, place, given)
            return grid(**{key: given})

    def _folded(self, join: Any, place: Place, given: Any) -> Sweep:
        if not isinstance(given, list) or not given:
            raise self.document.refusal(place, f"{place[-1]} is a list of sweeps, got {given!r}.")
        parts = [self.sweep((*place, str(number)), part) for number, part in enumerate(given)]
        return functools.reduce(join, [Sweep(()) if part is None else part for part in parts])


def _targets(value: Any) -> Iterator[str]:
    """Every ``_target_`` in a value."""
    if isinstance(value, dict):
        if isinstance(value.get("_target_"), str):
            yield value["_target_"]
        value = list(value.values())
    for item in value if isinstance(value, list) else ():
        yield from _targets(item)
