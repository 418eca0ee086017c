"""What a configuration says, checked against what there is: names, types, inputs, backends."""

from __future__ import annotations

import collections.abc as abc
import types
from collections.abc import Iterator, Mapping
from typing import Any, Union, get_args, get_origin, get_type_hints

from weft.backends import get_backend
from weft.configuration.document import SECTIONS, Document, Place
from weft.errors import InvalidInput
from weft.model.configuring import configured
from weft.model.graph import Graph
from weft.model.step import Step, nearest
from weft.model.sweep import Sweep
from weft.pipeline import Pipeline

_WORDS: dict[Any, str] = {
    int: "a whole number", float: "a number", bool: "true or false", str: "text", types.NoneType: "null",
    abc.Mapping: "a mapping", tuple: "a list", abc.Iterable: "a list", abc.Callable: "a function",
}  # fmt: skip
_NOT_SAID = ("function", "output_name", "loops", "aliases", "reads")  # or in other words, or by loops
_PLAIN = (int, float, bool, str, types.NoneType)


def step_options() -> dict[str, Any]:
    """The options of a step that a file can say, with their types."""
    hints = get_type_hints(Step)
    return {"function": Any, "output": str | tuple[str, ...]} | {
        name: hint for name, hint in hints.items() if name not in _NOT_SAID
    }


def run_options() -> dict[str, Any]:
    """The options of `Pipeline.run` that a file says under ``run``, with their types."""
    hints = get_type_hints(Pipeline.run, localns={"Run": Any})
    apart = ("inputs", "sweep", "backend_options", "return")
    return {name: hint for name, hint in hints.items() if name not in apart}


def check_known(document: Document, place: Place, given: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """Refuse a key that is not known."""
    for key in given:
        if key not in known:
            hint = nearest(str(key), known) or f" Known: {', '.join(known)}."
            raise document.refusal((*place, str(key)), f"{key!r} is not known here.{hint}")


def check_types(document: Document, place: Place, given: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """Refuse a value that is not of its type."""
    for key, value in given.items():
        if key in known and not _fits(value, known[key]):
            raise document.refusal((*place, str(key)), f"{key} is {_words(known[key])}, got {value!r}.")


def check_run(document: Document, options: Mapping[str, Any], graph: Graph) -> None:
    """Refuse options of a run that are unknown, mistyped, or that no run would take."""
    from weft.engine.session import Options, check_store
    from weft.study.compare import check_choice, forced_steps

    place, known = ("run",), run_options()
    check_types(document, place, options, known)
    own = {n: v for n, v in options.items() if n in ("n_jobs", "on_error", "block_size")}
    with document.located(place, options):
        Options(**own)
        check_store(options.get("store", "auto"), options.get("run_dir"))
        check_choice(options.get("on_change", "error"))
        forced_steps(graph, options.get("force"))
    wanted = options.get("backend", "auto")
    for name, backend in (wanted if isinstance(wanted, Mapping) else {"": wanted}).items():
        inner = (*place, "backend", *([name] if isinstance(wanted, Mapping) else []))
        there = [*graph.steps, *graph.producer]
        if name and name not in there:
            raise document.refusal(inner, f"There is no step or output {name!r}.{nearest(name, there)}")
        check_backend(document, inner, backend)
    default = wanted.get("", "auto") if isinstance(wanted, Mapping) else wanted
    for name in options.keys() - known:
        try:
            get_backend("loky" if default == "auto" else default, **{name: options[name]})
        except InvalidInput as error:
            known_there = get_backend("loky" if default == "auto" else default).options
            told = "" if name in known_there else f"{name!r} is no option of a run.{nearest(name, known)} "
            raise document.refusal((*place, name), f"{told}{error}") from error


def check_backend(document: Document, place: Place, given: Any) -> None:
    """Refuse a backend that does not exist or is not installed."""
    if given not in ("auto", None):
        with document.located(place):
            get_backend(given)


def check_inputs(
    document: Document, graph: Graph, inputs: Mapping[str, Any], sweep: Sweep | None, ready: Mapping[str, Any]
) -> None:
    """Refuse inputs that no step takes, that are given twice, or that are not what annotations say.

    Parameters
    ----------
    ready
        Inputs that were given as Python values: only their names count.
    """
    graph, _, configs = configured(graph)
    varied = {} if sweep is None else sweep.values
    injected = {p.name for step in graph.order for p in step.parameters if p.injected}
    known = [name for name in [*graph.inputs, *injected] if name not in configs]
    for name, values, section in [
        *((name, value, "inputs") for name, value in inputs.items()),
        *((name, value, "sweep") for name, value in varied.items()),
    ]:
        place = document.find(section, name)
        if name in graph.producer:
            raise document.refusal(place, f"{name!r} is made by step {graph.producer[name].name!r}.")
        if name in configs:
            raise document.refusal(place, f"{name!r} is given by the config of its step already.")
        if name not in known:
            hint = nearest(name, known) or nearest(name.partition(".")[0], SECTIONS)
            told = f"There is no input {name!r}.{hint} Inputs: {', '.join(graph.inputs) or 'none'}."
            raise document.refusal(place, told)
        if section == "inputs" and name in varied:
            told = f"{name!r} is varied by the sweep too: say it in one of them, or sweep.{name}=[...]."
            raise document.refusal(place, told)
        axes = graph.axes.get(name, ())
        along = [*axes, name] if section == "sweep" else axes
        for inner, value in _each(place, values, len(along)) if name not in ready else ():
            _check_value(document, inner, graph, name, value)


def _each(place: Place, value: Any, depth: int) -> Iterator[tuple[Place, Any]]:
    if depth == 0:
        yield place, value
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _each((*place, str(number)), item, depth - 1)


def _check_value(document: Document, place: Place, graph: Graph, name: str, value: Any) -> None:
    """Refuse a plain value where a step's annotation says another plain type."""
    if type(value) not in (*_PLAIN, list, dict):
        return
    for step, parameter in graph.inputs.get(name, ()):
        hint = parameter.annotation
        if not all(part in _PLAIN for part in _parts(hint)) or (value is None and parameter.default is None):
            continue
        if not _fits(value, hint):
            cure = " Many: a mapspec, or the sweep." if isinstance(value, list) else ""
            told = f"step {step.name!r} takes {name!r} as {_words(hint)}, got {value!r}.{cure}"
            raise document.refusal(place, told)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is what a type says; a list or text may stand for a tuple, an int for a float."""
    origin = get_origin(hint) or hint
    if origin is Any:
        return True
    if origin in (Union, types.UnionType):
        return any(_fits(value, part) for part in get_args(hint))
    if origin in (int, float):
        return isinstance(value, (int, origin)) and not isinstance(value, bool)
    if origin in (tuple, abc.Iterable):
        return isinstance(value, (list, tuple, str))
    return not isinstance(origin, type) or isinstance(value, origin)


def _parts(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _words(hint: Any) -> str:
    """A type in words."""
    kinds = [get_origin(part) or part for part in _parts(hint)]
    return " or ".join(_WORDS[kind] for kind in kinds if kind in _WORDS)
