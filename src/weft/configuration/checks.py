"""What a configuration says, checked against what there is: names, types, inputs, backends."""

from __future__ import annotations

import collections.abc as abc
import types
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Union, get_args, get_origin, get_type_hints

from weft.backends import get_backend
from weft.configuration.document import SECTIONS, Node
from weft.errors import InvalidInput, nearest
from weft.model.configuring import configured
from weft.model.graph import Graph
from weft.model.step import Step
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


def check_keys(node: Node, known: Mapping[str, Any], others: bool = False) -> None:
    """Refuse a key of a mapping that is not known, unless there may be others, and values of other types."""
    for key, value in node.value.items():
        if key in known and not _fits(value, known[key]):
            raise node.at(key).refusal(f"{key} is {_words(known[key])}, got {value!r}.")
        if key not in known and not others:
            hint = nearest(str(key), known) or f" Known: {', '.join(known)}."
            raise node.at(key).refusal(f"{key!r} is not known here.{hint}")


def check_run(options: Node, graph: Graph) -> None:
    """Refuse options of a run that are unknown, mistyped, or that no run would take."""
    from weft.engine.session import Options, check_store
    from weft.study.compare import check_choice, forced_steps

    known, said = run_options(), options.value
    check_keys(options, known, others=True)
    with options.located():
        Options(**{n: v for n, v in said.items() if n in ("n_jobs", "on_error", "block_size")})
        check_store(said.get("store", "auto"), said.get("run_dir"), graph)
        check_choice(said.get("on_change", "error"))
        forced_steps(graph, said.get("force"))
    backend, there = options.at("backend"), [*graph.steps, *graph.producer]
    of = {one.place[-1]: one for one in backend.inner()} if isinstance(backend.value, dict) else {"": backend}
    for name, one in of.items():
        if name and name not in there:
            raise one.refusal(f"There is no step or output {name!r}.{nearest(name, there)}")
        check_backend(one)
    default = of[""].value if "" in of else None
    main = "loky" if default in ("auto", None) else default
    for name in said.keys() - known:
        try:
            get_backend(main, **{name: said[name]})
        except InvalidInput as error:
            known_there = name in get_backend(main).options
            told = "" if known_there else f"{name!r} is no option of a run.{nearest(name, known)} "
            raise options.at(name).refusal(f"{told}{error}") from error


def check_backend(node: Node) -> None:
    """Refuse a backend that does not exist or is not installed."""
    if node.value not in ("auto", None):
        with node.located():
            get_backend(node.value)


def check_inputs(
    top: Node, graph: Graph, inputs: Mapping[str, Any], sweep: Sweep | None, ready: Mapping[str, Any]
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
    both = [("inputs", *said) for said in inputs.items()] + [("sweep", *said) for said in varied.items()]
    for section, name, values in both:
        node = replace(top.at(section).find(name) or top.at(section), value=values)
        if name in graph.producer:
            raise node.refusal(f"{name!r} is made by step {graph.producer[name].name!r}.")
        if name in configs:
            raise node.refusal(f"{name!r} is given by the config of its step already.")
        if name not in known:
            hint = nearest(name, known) or nearest(name.partition(".")[0], SECTIONS)
            raise node.refusal(
                f"There is no input {name!r}.{hint} Inputs: {', '.join(graph.inputs) or 'none'}."
            )
        if section == "inputs" and name in varied:
            raise node.refusal(
                f"{name!r} is varied by the sweep too: say it in one of them, or sweep.{name}=[...]."
            )
        depth = len(graph.axes.get(name, ())) + (section == "sweep")
        if name not in ready:
            _check_values(node, depth, graph, name)


def _check_values(node: Node, depth: int, graph: Graph, name: str) -> None:
    """Refuse a plain value, in lists of lists, where a step's annotation says another plain type."""
    value = node.value
    if depth:
        for inner in node.inner():
            _check_values(inner, depth - 1, graph, name)
        return
    if type(value) not in (*_PLAIN, bytes, list, dict):
        return
    for step, parameter in graph.inputs.get(name, ()):
        hint = parameter.annotation
        if not all(part in _PLAIN for part in _parts(hint)) or (value is None and parameter.default is None):
            continue
        if not _fits(value, hint):
            cure = " Many: a mapspec, or the sweep." if isinstance(value, list) else ""
            raise node.refusal(f"step {step.name!r} takes {name!r} as {_words(hint)}, got {value!r}.{cure}")


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
