"""Opening a study: in memory, in a run directory that may hold it already, or from its record alone."""

from __future__ import annotations

import inspect
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from weft.engine import compare
from weft.engine.resolve import axes_of, inputs_of
from weft.engine.study import Input, Study
from weft.errors import InvalidInput, StoreError, WiringError
from weft.model.columns import Column, TypedColumn, concat
from weft.model.content import digest, digest_bytes
from weft.model.graph import Graph
from weft.model.step import Step
from weft.plan.axes import Axis, match
from weft.store.files import FilesStore
from weft.store.fs import FileSystem
from weft.store.memory import MemoryStore
from weft.store.record import AxisRecord, Change, InputRecord, RunDirectory, StepRecord


def memory_study(graph: Graph, given: Any, name: str, seed: int) -> Study:
    """A study whose results stay in this process."""
    inputs = inputs_of(graph, given)
    axes = axes_of(graph, inputs)
    records = {step.name: StepRecord("memory", "") for step in graph.order}
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
    known = directory.exists()
    info = directory.info() if known else {}
    if info and info.get("name") != name and not set(info.get("steps", ())) & set(graph.steps):
        raise InvalidInput(
            f"{directory.path} holds the run of another pipeline, {info.get('name')!r}, which has no step in common "
            f"with {name!r}. Choose another run_dir."
        )
    for _ in range(20):
        old = directory.change() if known else None
        study = _attempt(directory, graph, given, name, seed, on_change, force, old)
        if study is not None:
            return study
        known = True
    raise StoreError(f"{directory.path}: other drivers keep changing the study; try again when they are done.")


def _attempt(
    directory: RunDirectory, graph: Graph, given: Any, name: str, seed: int | None, on_change: str, force: Any,
    old: Change | None,
) -> Study | None:  # fmt: skip
    seed = seed if seed is not None else (old.seed if old else 0)
    graph, given = completed(directory, graph, given, old)
    inputs = _digested(inputs_of(graph, given))
    axes = axes_of(graph, inputs)
    store = FilesStore(directory.path, directory.fs, directory.trust)
    described = compare.described(graph, inputs, seed)
    forced = compare.forced_steps(graph, force)
    records, generation, reason = compare.settle(graph, described, old, on_change, forced, compare.cost_in(store))
    if old is None:
        _create(directory, graph, name, seed)
    axes, axis_records = _grown(directory, graph, inputs, axes, old)
    input_records = {n: InputRecord(v.digest, v.axes, v.shape) for n, v in inputs.items()}
    kept_inputs = {**(old.inputs if old else {}), **input_records}
    kept_steps = _kept(old, graph, records)
    if reason is None and old is not None:
        same = kept_inputs == old.inputs and axis_records == {n: old.axes[n] for n in axis_records if n in old.axes}
        reason = None if same and seed == old.seed else "growth"
    if reason is None and old is not None:
        number, resets = old.number, old.resets
    else:
        _put_inputs(directory, inputs)
        number, resets = (old.number + 1 if old else 1), (old.resets if old else ())
        change = Change(
            str(reason), time.time(), seed, _put_code(directory, graph), kept_steps, kept_inputs,
            {**(old.axes if old else {}), **axis_records}, resets, generation, packages(), number,
        )  # fmt: skip
        for step, record in records.items():
            if record.bases and (block := store.grid(step, record.bases[0])):
                store.set_grid(step, record.identity, block)
        if directory.add_change(change) is None:
            return None
    return Study(graph, inputs, axes, records, store, name, seed, number, resets, forced, directory.path)


def completed(directory: RunDirectory, graph: Graph, given: Any, old: Change | None) -> tuple[Graph, Any]:
    """A part of the recorded pipeline, completed by recorded steps and inputs that it lacks."""
    if old is None:
        return graph, given
    values = dict(given) if isinstance(given, Mapping) else given
    lacking = [n for n in graph.inputs if not isinstance(values, dict) or n not in values] if values is None or isinstance(values, dict) else []
    makers = {output: name for name, record in old.steps.items() for output in record.outputs}
    if any(name in makers and makers[name] not in graph.steps for name in lacking):
        recorded = {step.name: step for step in load_code(directory, old.code)}
        taken = {output for step in graph.order for output in step.outputs}
        added = [s for s in recorded.values() if s.name not in graph.steps and not taken & set(s.outputs)]
        graph = Graph([*added, *graph.order])
        lacking = [n for n in graph.inputs if values is None or n not in values]
    values = {} if values is None else values
    for name in lacking:
        record = old.inputs.get(name)
        if record is not None and isinstance(values, dict):
            values[name] = recorded_value(directory, record)
    return graph, values


def _kept(old: Change | None, graph: Graph, records: Mapping[str, StepRecord]) -> dict[str, StepRecord]:
    """The steps in force: those given, and recorded ones beside them that do not contradict them."""
    others = {n: r for n, r in old.steps.items() if n not in records} if old else {}
    others = {n: r for n, r in others.items() if not set(r.outputs) & set(graph.producer)}
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
        if given.column is None:
            found[name] = replace(given, digest=digest(given.value))
        else:
            found[name] = replace(given, digest=column_digest(given.column, given.shape))
    return found


def column_digest(column: Column, shape: tuple[int, ...] = ()) -> str:
    """Digest of a mapped input: all its values, their types and order."""
    import json

    meta, buffers = column.parts()
    return digest_bytes(json.dumps([meta, list(shape)], sort_keys=True).encode(), *(bytes(memoryview(b).cast("B")) for b in buffers))


def _create(directory: RunDirectory, graph: Graph, name: str, seed: int) -> None:
    from weft import __version__

    directory.create(
        {
            "weft": __version__, "name": name, "seed": seed, "created": time.time(), "host": platform.node(),
            "steps": {s.name: {"mapspec": s.spec and str(s.spec), "outputs": list(s.outputs)} for s in graph.order},
            "environment": packages(),
        }  # fmt: skip
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
        try:
            if given.column is None:
                directory.put_value(given.digest, given.value)
            else:
                directory.put_column(given.digest, given.column)
        except TypeError as error:
            raise InvalidInput(
                f"The input {given.name!r} ({type(given.value).__name__}) cannot be kept in a run directory, nor sent to "
                f"other processes: {error}"
            ) from error


def _put_code(directory: RunDirectory, graph: Graph) -> str:
    import cloudpickle

    try:
        data = cloudpickle.dumps(list(graph.order))
    except Exception as error:
        raise InvalidInput(
            f"The steps cannot be pickled, so neither kept nor sent to other processes: {error}. Functions must not "
            "hold open files, locks or connections; open them inside."
        ) from error
    name = digest_bytes(data)
    directory.put_code(name, data)
    return name


def load_code(directory: RunDirectory, name: str) -> list[Step]:
    """The steps as they were recorded; functions of importable modules as those modules are now.

    Raises
    ------
    StoreError
        If a module that they need cannot be imported here.
    """
    import pickle

    try:
        steps: list[Step] = pickle.loads(directory.code(name))
    except Exception as error:
        raise StoreError(
            f"The recorded functions of {directory.path} cannot be loaded here: {error!r}. Make their module importable, "
            "or pass pipeline=."
        ) from error
    return steps


def _grown(
    directory: RunDirectory, graph: Graph, inputs: Mapping[str, Input], axes: dict[str, Axis], old: Change | None
) -> tuple[dict[str, Axis], dict[str, AxisRecord]]:
    """Match every axis that inputs open against its record: which positions are known, which are new."""
    found: dict[str, Axis] = {}
    records: dict[str, AxisRecord] = {}
    for name, axis in axes.items():
        on_axis = {n: v for n, v in inputs.items() if v.axes == (name,)}
        wide = {n: v for n, v in inputs.items() if name in v.axes and len(v.axes) > 1}
        before = old.axes.get(name) if old else None
        if axis.opener is not None and not on_axis and not wide:
            found[name], records[name] = axis, AxisRecord(None, axis.opener)
            continue
        moved = before is not None and any(_moved(directory, v, old.inputs.get(n), name) for n, v in wide.items() if old)
        born = {n: v.digest for n, v in on_axis.items()}
        if before is None or before.size is None:
            selection, size = None, axis.size or 0
        elif moved or (on_axis and not set(on_axis) & set(before.born)):
            selection, size = before.size + np.arange(axis.size or 0), before.size + (axis.size or 0)
            born = _born(directory, before, on_axis, selection, np.arange(axis.size or 0))
        elif on_axis:
            selection, size, born = _matched(directory, before, on_axis)
        else:
            size = max(before.size, axis.size or 0)
            selection = None if size == axis.size else np.arange(axis.size or 0)
        kept = None
        if selection is not None:
            column = TypedColumn(selection, "int")
            kept = column_digest(column)
            directory.put_column(kept, column)
        found[name] = Axis(name, size, selection, axis.opener)
        records[name] = AxisRecord(size, axis.opener, kept, born)
    return found, records


def _matched(
    directory: RunDirectory, before: AxisRecord, on_axis: Mapping[str, Input]
) -> tuple[Any, int, Mapping[str, str]]:
    """Selection, size and storage order of an axis whose inputs may have grown, shrunk or moved."""
    digests = {n: v.digest for n, v in on_axis.items()}
    if digests == dict(before.born):
        return None, int(before.size or 0), before.born
    common = sorted(set(on_axis) & set(before.born))
    old = [directory.column(before.born[n]) for n in common]
    new = [v.column for n in common if (v := on_axis[n]).column is not None]
    selection, born = match(old, new)
    n_old, n_new = len(old[0]), len(new[0])
    if selection is None and n_new < n_old:
        selection = np.arange(n_new)
    size = n_old + len(born)
    if selection is None and set(on_axis) == set(before.born):
        return None, size, digests
    return selection, size, _born(directory, before, on_axis, selection, born)


def _born(
    directory: RunDirectory, before: AxisRecord, on_axis: Mapping[str, Input], selection: Any, born: Any
) -> dict[str, str]:
    """Keep the values of an axis's inputs in storage order; returns their digests."""
    found = {}
    for name, given in on_axis.items():
        assert given.column is not None
        if name in before.born:
            column = concat([directory.column(before.born[name]), given.column.take(born)]) if len(born) else None
            if column is None:
                found[name] = before.born[name]
                continue
        else:
            # An input that is new on the axis: what it was where no longer selected is not known.
            places = np.zeros(int(before.size or 0) + len(born), np.int64)
            places[selection if selection is not None else np.arange(len(places))] = np.arange(len(given.column))
            column = given.column.take(places)
        found[name] = column_digest(column)
        directory.put_column(found[name], column)
    return found


def _moved(directory: RunDirectory, given: Input, before: InputRecord | None, axis: str) -> bool:
    """Whether an input of several axes holds other values where it held some before; told on its first axis."""
    if before is None or before.digest == given.digest or given.axes[0] != axis or before.axes != given.axes:
        return False
    overlap = tuple(slice(0, min(a, b)) for a, b in zip(before.shape, given.shape, strict=True))
    old = directory.column(before.digest)
    places = np.arange(len(old)).reshape(before.shape)[overlap].reshape(-1)
    assert given.column is not None
    now = np.arange(len(given.column)).reshape(given.shape)[overlap].reshape(-1)
    return not np.array_equal(old.take(places).element_digests(), given.column.take(now).element_digests())


class RecordedFunction:
    """Stands for a function whose code was not loaded: it has its signature, and refuses to run."""

    def __init__(self, name: str, arguments: tuple[str, ...]) -> None:
        self.__name__ = name
        self.arguments = arguments
        plain = [a.rpartition(".")[2] for a in arguments]
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
        scoped = {a.rpartition(".")[2]: a for a in record.inputs if "." in a}
        steps.append(
            Step(
                RecordedFunction(name, record.inputs), record.outputs if len(record.outputs) > 1 else record.outputs[0],
                record.mapspec, name, renames=scoped, after=record.after,
            )  # fmt: skip
        )
    return Graph(steps)


def load_study(path: str, fs: FileSystem, number: int | None = None, code: bool = False, trust: bool = True) -> Study:
    """A study from its record.

    Parameters
    ----------
    number
        The change that is meant; None for the last.
    code
        Whether to load the functions, as a worker must.
    """
    directory = RunDirectory(path, fs, trust)
    info = directory.info()
    change = directory.change(number)
    if change is None:
        raise StoreError(f"{path} holds a run that was never started: run it once more.")
    graph = Graph(load_code(directory, change.code)) if code else _skeleton(change.steps)
    inputs = {}
    for name, record in change.inputs.items():
        if name not in graph.inputs:
            continue
        column = directory.column(record.digest) if record.axes else None
        value = None if record.axes else directory.value(record.digest)
        inputs[name] = Input(name, record.axes, column, record.shape, value, record.digest)
    axes = {}
    for name, axis in change.axes.items():
        selection = directory.column(axis.selection).to_array().astype(np.int64) if axis.selection else None
        axes[name] = Axis(name, axis.size, selection, axis.opener)
    store = FilesStore(directory.path, fs, trust)
    return Study(
        graph, inputs, axes, change.steps, store, info["name"], change.seed, change.number, change.resets,
        frozenset(n for n, r in change.steps.items() if r.forced), directory.path,
    )  # fmt: skip


def absolute(path: str | os.PathLike[str]) -> str:
    """The path of a run directory, whole."""
    return os.path.abspath(os.path.expanduser(os.fspath(path)))
