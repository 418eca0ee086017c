"""A run in the hand: a read-only mapping of results, its state, and ways to go on."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Generator, Iterator, Mapping
from typing import Any

import numpy as np

from weft.engine.arguments import Fetcher
from weft.engine.opening import absolute, load_study
from weft.engine.session import Session
from weft.engine.study import Study
from weft.engine.survey import Survey, without_stale
from weft.engine.values import Assembled, Values
from weft.errors import InvalidInput, MissingResult
from weft.model.columns import concat
from weft.model.step import nearest
from weft.run.care import Care
from weft.run.export import Export
from weft.run.going_on import GoingOn
from weft.run.tables import Tables
from weft.store.fs import current
from weft.store.record import RunDirectory


class Run(Tables, Export, GoingOn, Care, Mapping[str, Any]):
    """The results of a pipeline by name, finished or not.

    A run in a directory follows what happens there: another process may be at work on it.

    Examples
    --------
    >>> import weft
    >>> run = weft.step("y", mapspec="x[i] -> y[i]")(lambda x: 2 * x).run({"x": [1, 2]})
    >>> run["y"]
    array([2, 4])
    """

    def __init__(
        self, study: Study, session: Session | None = None, trust: bool = True, pipeline: Any = None
    ) -> None:
        self._study = study
        self._session = session
        self._trust = trust
        self._pipeline = pipeline
        self._values = Values(study)

    # What it is

    @property
    def path(self) -> str | None:
        """The run directory; None in memory."""
        return self._study.path

    @property
    def name(self) -> str:
        """Name of the pipeline."""
        return self._study.name

    @property
    def seed(self) -> int:
        """The root of every random stream."""
        return self._study.seed

    @property
    def store(self) -> Any:
        """Where payloads are kept."""
        return self._study.store

    @property
    def inputs(self) -> dict[str, Any]:
        """The inputs: as they were given, or as they were recorded."""
        found = {}
        for name, given in self._study.inputs.items():
            if given.value is None and given.column is not None:
                array = given.column.to_array()
                found[name] = array.reshape(given.shape + array.shape[1:])
            else:
                found[name] = given.value
        return found

    @property
    def info(self) -> dict[str, Any]:
        """Name, seed, environment and times, as the run directory records them."""
        if self.path is None:
            return {"name": self.name, "seed": self.seed, "steps": {s: {} for s in self._study.graph.steps}}
        return RunDirectory(self.path, current()).info()

    # Values

    def _sync(self) -> Study:
        """The study as it is now on disk; in memory as it is."""
        study = self._study
        if study.path is None or (self._session is not None and not self._session.over.is_set()):
            return study
        directory = RunDirectory(study.path, current(), self._trust)
        if directory.numbers()[-1:] != [study.epoch]:
            self._study = study = load_study(study.path, current(), trust=self._trust)
            self._values = Values(study)
        study.refresh()
        return study

    def __iter__(self) -> Iterator[str]:
        return iter(self._study.graph.outputs)

    def __len__(self) -> int:
        return len(self._study.graph.outputs)

    def __contains__(self, name: object) -> bool:
        return name in self._study.graph.producer

    def _known(self, name: str) -> None:
        graph = self._study.graph
        if name not in graph.producer and name not in self._study.inputs:
            raise KeyError(
                f"There is no result {name!r}.{nearest(name, graph.producer)} Results: {', '.join(graph.outputs)}."
            )

    def __getitem__(self, name: str) -> Any:
        """One value, or an array of native dtype with its axes in order.

        Raises
        ------
        KeyError
            For a name that no step makes.
        MissingResult
            If anything of it is missing, with counts and the first cause.
        CorruptResult
            If bytes on disk do not match their checksum.
        """
        found = self._assembled(name)
        if found.n_missing:
            raise self._missing(name)
        return self._shown(name, found)

    def get(self, name: str, default: Any = None, *, missing: Any = "raise") -> Any:
        """A result, also where some of it is missing.

        Parameters
        ----------
        default
            Returned for a name that no step makes.
        missing
            ``"mask"`` for a masked array, ``"nan"`` for NaN (the dtype becomes float), any other value to be put
            in the holes, or ``"raise"``.
        """
        if name not in self and name not in self._study.inputs:
            return default
        found = self._assembled(name)
        if isinstance(missing, str) and missing == "raise":
            return self[name]
        if not found.n_missing:
            return self._shown(name, found)
        if not self._study.graph.axes.get(name):
            return np.ma.masked if missing == "mask" else (np.nan if missing == "nan" else missing)
        array = np.ma.asarray(found.array())
        if isinstance(missing, str) and missing == "mask":
            return array
        hole = np.nan if isinstance(missing, str) and missing == "nan" else missing
        if array.dtype != object:
            array = array.astype(np.result_type(array.dtype, np.asarray(hole).dtype))
        return array.filled(hole)

    def _assembled(self, name: str, chosen: Mapping[str, Any] | None = None) -> Assembled:
        self._known(name)
        study = self._sync()
        step = study.graph.producer.get(name)
        shape = study.array_shape(name)
        if shape is None or (step is not None and study.grid(step) is None and 0 not in shape):
            return Assembled(concat([]), shape or (1,), np.empty(0, np.int64))
        found = self._values.assemble(name, chosen)
        if step is not None and Fetcher(study).reads_whole(step):
            return without_stale(Survey(study), step.name, name, found, chosen)
        return found

    def _shown(self, name: str, found: Assembled) -> Any:
        if not self._study.graph.axes.get(name):
            given = self._study.inputs.get(name)
            return given.value if given is not None else found.column.tolist()[0]
        array = found.array()
        return array.copy() if not array.flags.writeable else array

    def _missing(self, name: str) -> MissingResult:
        step = self._study.graph.producer[name]
        count = Survey(self._study).counts()[step.name]
        total = "an unknown number" if count.total is None else str(count.total)
        parts = [f"{n} {word}" for n, word in ((count.failed, "failed"), (count.blocked, "blocked")) if n]
        left = (count.total or 0) - count.done - count.failed - count.blocked
        parts += [f"{left} not run yet"] if left > 0 or count.total is None else []
        errors = self.errors
        cause = f" First cause: {errors[0]}." if len(errors) else ""
        return MissingResult(
            f"{name!r} is not complete: of {total} element(s) {count.done} are done, {', '.join(parts)}.{cause} "
            f"Take what is there with run.get({name!r}, missing='mask'), or go on with run.resume()."
        )

    def isel(self, name: str, /, **where: Any) -> Any:
        """A part of a result by positions on its axes: ints drop the axis, slices and lists keep it."""
        self._known(name)
        study = self._sync()
        axes = study.graph.axes.get(name, ())
        self._check_axes(name, where)
        chosen = {axis: study.axes[axis].select(value) for axis, value in where.items()}
        found = self._assembled(name, chosen)
        if found.n_missing:
            raise self._missing(name)
        if not axes:
            return self._shown(name, found)
        array = self._shown(name, found)
        single = tuple(0 if isinstance(where.get(axis), (int, np.integer)) else slice(None) for axis in axes)
        return array[single] if array.dtype != object or any(s != 0 for s in single) else array[single]

    def sel(self, name: str, /, **where: Any) -> Any:
        """A part of a result by values of inputs: ``run.sel("y", x=0.5)``; lists and slices of values too.

        Raises
        ------
        KeyError
            For a value that is not there.
        """
        return self.isel(name, **self._positions(name, where))

    def _positions(self, name: str, where: Mapping[str, Any]) -> dict[str, Any]:
        found = {}
        axes = self._study.graph.axes.get(name, ())
        for label, wanted in where.items():
            given = self._study.inputs.get(label)
            if given is None or len(given.axes) != 1 or given.axes[0] not in axes:
                labels = [n for n, v in self._study.inputs.items() if len(v.axes) == 1 and v.axes[0] in axes]
                raise InvalidInput(
                    f"{name!r} has no coordinate {label!r}. Its coordinates: {', '.join(labels) or 'none'}."
                )
            values = self._values.whole(label).array()
            found[given.axes[0]] = _where(label, values, wanted)
        return found

    def _check_axes(self, name: str, where: Mapping[str, Any]) -> None:
        axes = self._study.graph.axes.get(name, ())
        for axis in where:
            if axis not in axes:
                raise InvalidInput(
                    f"{name!r} has no axis {axis!r}.{nearest(axis, axes)} Its axes: {', '.join(axes) or 'none'}."
                )

    # Live

    def wait(self, timeout: float | None = None) -> Run:
        """Wait for the end; raises what ``run`` would have raised.

        Raises
        ------
        TimeoutError
            If it takes longer than `timeout` seconds; the run goes on.
        """
        if self._session is not None:
            if not self._session.over.wait(timeout):
                raise TimeoutError(f"The run has not ended within {timeout} s; it goes on.")
            if self._session.error is not None:
                raise self._session.error
        return self

    def __await__(self) -> Generator[Any, None, Run]:
        return asyncio.to_thread(self.wait).__await__()

    def __repr__(self) -> str:
        from weft.run.display import text

        return text(self)

    def _repr_html_(self) -> str:
        from weft.run.display import html

        return html(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__


def _where(label: str, values: Any, wanted: Any) -> Any:
    if isinstance(wanted, slice):
        low = values >= wanted.start if wanted.start is not None else np.ones(len(values), bool)
        high = values <= wanted.stop if wanted.stop is not None else np.ones(len(values), bool)
        return np.flatnonzero(low & high).tolist()
    many = isinstance(wanted, (list, tuple, np.ndarray))
    positions = []
    for value in wanted if many else [wanted]:
        hits = [i for i, v in enumerate(values.tolist()) if v == value]
        if not hits:
            raise KeyError(f"No element has {label}={value!r}.")
        positions += hits
    return positions if many or len(positions) > 1 else positions[0]


def open_run(path: str | os.PathLike[str], trust: bool = True) -> Run:
    """Open a run directory, from any process, while it runs or years later. Never writes to it.

    Parameters
    ----------
    path
        A run directory, or an archive of one.
    trust
        Whether values that only code can restore (pickle) may be loaded.

    Raises
    ------
    InvalidInput
        If there is no run.
    """
    from weft.run.care import unpacked

    whole = absolute(path)
    if os.path.isfile(whole):
        whole = unpacked(whole)
    return Run(load_study(whole, current(), trust=trust).refresh(), trust=trust)


def list_runs(directory: str | os.PathLike[str] = "runs") -> list[dict[str, Any]]:
    """The runs in a directory: path, name and time of each, newest first."""
    found = []
    root = absolute(directory)
    for entry in sorted(os.listdir(root)) if os.path.isdir(root) else []:
        path = os.path.join(root, entry)
        if os.path.exists(os.path.join(path, "run.json")):
            info = RunDirectory(path, current()).info()
            found.append({"path": path, "name": info["name"], "created": info["created"]})
    return sorted(found, key=lambda run: float(run["created"]), reverse=True)
