"""Opening a study: in memory, in a run directory that may hold it already, or from its record alone."""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import platform
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from weft.errors import InvalidInput, StoreError, WiringError
from weft.model.graph import Graph
from weft.model.looping import beside
from weft.model.step import Step
from weft.plan.axes import Axis
from weft.store.artifacts import keeping_files, with_copies
from weft.store.files import FilesStore
from weft.store.fs import FileSystem
from weft.store.memory import MemoryStore
from weft.store.record import Change, InputRecord, RunDirectory, StepRecord, refusals
from weft.study import compare
from weft.study.growth import column_digest, grown
from weft.study.resolve import axes_of, by_name, inputs_of
from weft.study.study import Input, RecordedInput, Study
from weft.study.whole import check_packages
from weft.values.codecs import adopt, registered
from weft.values.content import digest, digest_bytes


def memory_study(
    graph: Graph, given: Any, name: str, seed: int, forced: frozenset[str] = frozenset()
) -> Study:
    """A study whose results stay in this process."""
    check_packages(graph)
    inputs = inputs_of(graph, given)
    axes = axes_of(graph, inputs)
    records = {step.name: StepRecord("memory", "", forced=step.name in forced) for step in graph.order}
    return Study(graph, inputs, axes, records, MemoryStore(), name, seed)


def open_study(
    directory: RunDirectory, graph: Graph, given: Any, name: str, seed: int | None, on_change: str, force: Any
) -> Study:
    """A study in a run directory, made or continued there.

    Parameters
    ----------
    seed
        None for the recorded one, 0 in a new run.

    Raises
    ------
    InvalidInput
        If the directory holds something else.
    RunMismatch
        If code or whole inputs differ from the record and `on_change` is ``"error"``.
    """
    check_packages(graph)
    with refusals(directory.path):
        known = directory.exists()
        if known:
            refuse_other(directory, graph, name)
    for _ in range(20):
        with refusals(directory.path):
            if known:
                directory.settle()
            old = directory.change() if known else None
            study = _attempt(directory, graph, given, name, seed, on_change, force, old)
        if study is not None:
            return study
        known = True
    raise StoreError(
        f"{directory.path}: other drivers keep changing the study; try again when they are done."
    )


def refuse_other(directory: RunDirectory, graph: Graph, name: str) -> None:
    """Refuse a directory that holds the run of another pipeline."""
    info = directory.info()
    if info.get("name") != name and not set(info.get("steps", ())) & set(graph.steps):
        raise InvalidInput(
            f"{directory.path} holds the run of another pipeline, {info.get('name')!r}, which has no step in "
            f"common with {name!r}. Choose another run_dir."
        )


def _attempt(
    directory: RunDirectory, graph: Graph, given: Any, name: str, seed: int | None, on_change: str,
    force: Any, old: Change | None,
) -> Study | None:  # fmt: skip
    seed = seed if seed is not None else (old.seed if old else 0)
    graph, given = completed(directory, graph, given, old)
    inputs = _digested(inputs_of(graph, given))
    axes = axes_of(graph, inputs)
    store = FilesStore(directory.path, directory.fs, directory.trust)
    described = compare.described(graph, inputs, seed)
    forced = compare.forced_steps(graph, force)
    records, generation, reason = compare.settle(
        graph, described, old, on_change, forced, compare.cost_in(store)
    )
    if old is None:
        _create(directory, graph, name, seed)
    axes, axis_records = grown(directory, inputs, axes, old)
    input_records = {n: InputRecord(v.digest, v.axes, v.shape) for n, v in inputs.items()}
    kept_inputs = {**(old.inputs if old else {}), **input_records}
    kept_steps = _kept(old, graph, records)
    if reason is None and old is not None:
        same = kept_inputs == old.inputs and axis_records == {
            n: old.axes[n] for n in axis_records if n in old.axes
        }
        reason = None if same and seed == old.seed else "growth"
    if reason is None and old is not None:
        number, resets, made = old.number, old.resets, old.made
    else:
        made = time.time()
        _put_inputs(directory, inputs)
        number, resets = (old.number + 1 if old else 1), (old.resets if old else ())
        change = Change(
            str(reason), made, seed, keep_code(directory, graph), kept_steps, kept_inputs,
            {**(old.axes if old else {}), **axis_records}, resets, generation, packages(), number,
        )  # fmt: skip
        for step, record in records.items():
            if record.bases and (block := store.grid(step, record.bases[0])):
                store.set_grid(step, record.identity, block)
        if directory.add_change(change) is None:
            return None
    return Study(
        graph, inputs, axes, records, store, name, seed, number, resets, forced, directory.path, f"{made}",
        generation,
    )  # fmt: skip


def completed(directory: RunDirectory, graph: Graph, given: Any, old: Change | None) -> tuple[Graph, Any]:
    """A part of the recorded pipeline, completed by recorded steps and inputs that it lacks."""
    if old is None:
        return graph, given
    values = by_name(graph, given)
    lacking = [name for name in graph.inputs if name not in values]
    makers = {output: name for name, record in old.steps.items() for output in record.outputs}
    if any(name in makers and makers[name] not in graph.steps for name in lacking):
        recorded = {step.name: step for step in load_code(directory, old.code)}
        taken = {output for step in graph.order for output in step.outputs}
        added = [s for s in recorded.values() if s.name not in graph.steps and not taken & set(s.outputs)]
        graph = Graph([*added, *beside(graph.order, recorded.values())])
        lacking = [name for name in graph.inputs if name not in values]
    found = {name: recorded_value(directory, old.inputs[name]) for name in lacking if name in old.inputs}
    return graph, values | found


def _kept(old: Change | None, graph: Graph, records: Mapping[str, StepRecord]) -> dict[str, StepRecord]:
    """The steps in force: those given, and recorded ones beside them that do not contradict them."""
    others = {n: r for n, r in old.steps.items() if n not in records} if old else {}
    others = {n: r for n, r in others.items() if not graph.producer.keys() & set(r.outputs)}
    if not others:
        return dict(records)
    try:
        _skeleton({**others, **records})
    except WiringError:
        return dict(records)
    return {**others, **records}


def recorded_value(directory: RunDirectory, record: InputRecord) -> Any:
    """An input as it was recorded: the value itself, or an array or list of what was mapped."""
    if not record.axes:
        return directory.value(record.digest)
    column = directory.column(record.digest)
    if len(record.shape) == 1:
        return column
    return column.to_array().reshape(record.shape)


def _digested(inputs: Mapping[str, Input]) -> dict[str, Input]:
    found = {}
    for name, given in inputs.items():
        with _keepable(given):
            column = given.column
            content = digest(given.value) if column is None else column_digest(column, given.shape)
            found[name] = replace(given, digest=content)
    return found


@contextlib.contextmanager
def _keepable(given: Input) -> Iterator[None]:
    """Say which input it is that cannot be pickled."""
    try:
        yield
    except TypeError as error:
        raise InvalidInput(
            f"The input {given.name!r} ({type(given.value).__name__}) cannot be kept in a run directory, nor "
            f"sent to other processes: {error}"
        ) from error


def _create(directory: RunDirectory, graph: Graph, name: str, seed: int) -> None:
    from weft import __version__

    directory.create(
        {
            "weft": __version__,
            "name": name,
            "seed": seed,
            "created": time.time(),
            "host": platform.node(),
            "steps": {
                s.name: {"mapspec": s.spec and str(s.spec), "outputs": list(s.outputs)} for s in graph.order
            },
            "environment": packages(),
        }
    )


def packages() -> dict[str, str]:
    """Versions of Python, weft and the packages that results most often depend on, if they are loaded."""
    import sys

    found = {"python": platform.python_version()}
    for name in ("weft", "numpy", "scipy", "pandas", "sklearn", "torch", "jax"):
        module = sys.modules.get(name)
        if module is not None:
            found[name] = str(getattr(module, "__version__", "?"))
    return found


def _put_inputs(directory: RunDirectory, inputs: Mapping[str, Input]) -> None:
    for given in inputs.values():
        with _keepable(given), keeping_files(directory.path, directory.fs):
            if given.column is None:
                directory.put_value(given.digest, given.value)
            else:
                directory.put_column(given.digest, with_copies(given.column))


def keep_code(directory: RunDirectory, graph: Graph) -> str:
    """Keep the steps as they are now, options included; returns the name to load them by.

    Raises
    ------
    InvalidInput
        If they cannot be pickled.
    """
    import cloudpickle

    try:
        data = cloudpickle.dumps((list(graph.order), registered()))
    except Exception as error:
        raise InvalidInput(
            f"The steps cannot be pickled, so neither kept nor sent to other processes: {error}. Functions "
            "must not hold open files, locks or connections; open them inside."
        ) from error
    name = digest_bytes(data)
    directory.put_code(name, data)
    return name


def load_code(directory: RunDirectory, name: str, worker: bool = False) -> list[Step]:
    """The steps as they were recorded; functions of importable modules as those modules are now.

    Raises
    ------
    StoreError
        If a module that they need cannot be imported here.
    """
    import pickle

    try:
        recorded = pickle.loads(directory.code(name))
    except Exception as error:
        raise StoreError(
            f"The recorded functions of {directory.path} cannot be loaded here: {error!r}. Make their module "
            "importable (on the command line: go to its folder), or pass pipeline= (--from FILE.py:PIPE)."
        ) from error
    if isinstance(recorded, list):  # before there were codecs
        return recorded
    steps: list[Step]
    steps, codecs = recorded
    adopt(codecs, worker)
    return steps


class RecordedFunction:
    """Stands for a function whose code was not loaded: it has its signature, and refuses to run."""

    def __init__(self, name: str, arguments: tuple[str, ...]) -> None:
        self.__name__ = name
        self.arguments = arguments
        plain = [a.replace(".", "__") for a in arguments]
        self.__signature__ = inspect.Signature(
            [inspect.Parameter(a, inspect.Parameter.KEYWORD_ONLY) for a in dict.fromkeys(plain)]
        )

    def __call__(self, **_: Any) -> Any:
        """Refuse."""
        raise StoreError(f"The code of step {self.__name__!r} was not loaded; pass pipeline= to run it.")


def _skeleton(records: Mapping[str, StepRecord]) -> Graph:
    """The wiring of recorded steps; their functions are not loaded, so that reading runs no code."""
    steps = []
    for name, record in records.items():
        scoped = {a.replace(".", "__"): a for a in record.inputs if "." in a}
        steps.append(
            Step(
                RecordedFunction(name, record.inputs),
                record.outputs if len(record.outputs) > 1 else record.outputs[0],
                record.mapspec,
                name,
                renames=scoped,
                after=record.after,
                keep=record.keep,
                allow_missing=record.allow_missing,
                loops=record.loops,
                aliases=record.aliases,
                study=record.study,
                coarse=record.coarse,
            )
        )
    return Graph(steps)


def load_study(
    path: str,
    fs: FileSystem,
    number: int | None = None,
    code: str | None = None,
    trust: bool = True,
    worker: bool = False,
) -> Study:
    """A study from its record.

    Parameters
    ----------
    number
        The change that is meant; None for the last.
    code
        Name of the functions to load, as a worker must; None for the wiring alone.
    worker
        Whether this process knows codecs and classes as the driver sends them.
    """
    directory = RunDirectory(path, fs, trust)
    info = directory.info()
    change = directory.change(number)
    if change is None:
        raise StoreError(f"{path} holds a run that was never started: run it once more.")
    graph = Graph(load_code(directory, code, worker)) if code else _skeleton(change.steps)
    inputs: dict[str, Input] = {}
    for name, record in change.inputs.items():
        if name not in graph.inputs and name not in graph.loops:
            continue
        if record.axes:
            column = directory.column(record.digest)
            inputs[name] = Input(name, record.axes, column, record.shape, None, record.digest)
        else:
            load = functools.partial(directory.value, record.digest)
            inputs[name] = RecordedInput.of(name, record.digest, load)
    axes = {}
    for name, axis in change.axes.items():
        selection = directory.column(axis.selection).to_array().astype(np.int64) if axis.selection else None
        axes[name] = Axis(name, axis.size, selection, axis.opener)
    store = FilesStore(directory.path, directory.fs, trust)
    return Study(
        graph, inputs, axes, change.steps, store, info["name"], change.seed, change.number, change.resets,
        frozenset(n for n, r in change.steps.items() if r.forced), directory.path, f"{change.made}",
        change.generation,
    )  # fmt: skip


def absolute(path: str | os.PathLike[str]) -> str:
    """The path of a run directory, whole.

    Raises
    ------
    InvalidInput
        For what is no path.
    """
    if not isinstance(path, (str, os.PathLike)) or not isinstance(text := os.fspath(path), str):
        raise InvalidInput(f"A place on disk is given as text or a pathlib.Path, got {path!r}.")
    if "\0" in text:
        raise InvalidInput(f"{text!r} cannot be a place on disk: there is a null character in it.")
    return os.path.abspath(os.path.expanduser(text))
