"""A run in the hand: a read-only mapping of results, its state, and ways to go on."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Mapping
from typing import Any

import numpy as np

from weft.errors import CorruptResult, MissingResult
from weft.run import places
from weft.run.care import unpacked
from weft.run.export import Export
from weft.run.going_on import GoingOn
from weft.run.made_files import MadeFiles
from weft.run.state import Errors
from weft.run.tables import Tables
from weft.store.fs import current
from weft.store.record import RunDirectory
from weft.study.opening import absolute, load_study
from weft.study.survey import Survey
from weft.values.table import Table


class Run(Tables, MadeFiles, Export, GoingOn, Mapping[str, Any]):
    """The results of a pipeline by name, finished or not.

    A run in a directory follows what happens there: another process may be at work on it.

    Examples
    --------
    >>> import weft
    >>> run = weft.step("y", mapspec="x[i] -> y[i]")(lambda x: 2 * x).run({"x": [1, 2]})
    >>> run["y"]
    array([2, 4])
    """

    # What it is

    @property
    def pipeline(self) -> Any:
        """The pipeline that made it, along the axes of its sweep; of an opened run, with recorded functions.

        Raises
        ------
        StoreError
            If the recorded functions cannot be loaded here.
        UnsafePayload
            If they would have to be loaded and the run was opened untrusted.
        """
        if self._pipeline is None:
            import weft

            self._pipeline = weft.Pipeline(self._executable().graph.order, self.name)
        return self._pipeline

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
        found, graph = {}, self._study.graph
        own = {first: name for name, first in graph.firsts.items()}
        for name, given in self._study.inputs.items():
            name = own.get(name, name)
            if name in graph.loops:
                continue
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

    def __iter__(self) -> Iterator[str]:
        return iter(self._study.graph.outputs)

    def __len__(self) -> int:
        return len(self._study.graph.outputs)

    def __contains__(self, name: object) -> bool:
        return name in self._study.graph.producer

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
            ``"mask"`` for a masked array, ``"nan"`` for NaN (the dtype becomes float), any other value to be
            put in the holes, or ``"raise"``.
        """
        if name not in self and name not in self._study.inputs:
            return default
        found = self._assembled(name)
        if isinstance(missing, str) and missing == "raise":
            return self[name]
        if not found.n_missing:
            return self._shown(name, found)
        hole = missing
        if isinstance(missing, str):
            hole = {"mask": np.ma.masked, "nan": np.nan}.get(missing, missing)
        if not self._study.graph.axes.get(name):
            return hole
        array: Any = np.ma.asarray(found.array())
        if hole is np.ma.masked:
            return array
        dtype = array.dtype if array.dtype == object else np.result_type(array.dtype, np.asarray(hole).dtype)
        filled = np.ma.getdata(array).astype(dtype)
        # Not ``filled``: it takes None for its own default.
        filled[np.ma.getmaskarray(array)] = hole
        return filled

    def _missing(self, name: str) -> MissingResult | CorruptResult:
        """Why a result is not complete: damage on disk, if that can be why."""
        study = self._study
        step = study.graph.producer[name]
        for needed in study.graph.ancestors([step]):
            for told in study.results[needed.name].damaged.values():
                return CorruptResult(
                    f"{name!r} is not complete, and a file that may hold what is missing is damaged. {told} "
                    "run.verify(repair=True) sets it aside, and run.resume() makes its elements again."
                )
        if not step.keep and not study.results[step.name].commits:
            return MissingResult(
                f"{name!r} is not kept: step {step.name!r} has keep=False. Run with keep=True to have it."
            )
        survey = Survey(self._still())
        count = survey.counts()[step.name]
        total = "an unknown number" if count.total is None else f"{count.total:,}"
        parts = count.told("failed", "blocked")
        parts += [f"{count.open or 0:,} not run yet"] if count.open != 0 else []
        error = Errors(self, survey).first
        cause = f" First cause: {error}." if error is not None else ""
        return MissingResult(
            f"{name!r} is not complete: of {total} element(s) {count.done:,} are done, {', '.join(parts)}."
            f"{cause} Take what is there with run.get({name!r}, missing='mask'), or go on with run.resume()."
        )

    def isel(self, name: str, /, **where: Any) -> Any:
        """A part of a result by positions on its axes: ints drop the axis, slices and lists keep it."""
        self._known(name)
        study = self._sync()
        axes = study.graph.axes.get(name, ())
        places.check_axes(name, axes, where)
        back = places.backwards(study, where)
        chosen = {a: places.selected(study, a, value) for a, value in where.items() if a not in back}
        at, short = places.from_end(study, name, chosen, back) if back else ({}, None)
        chosen |= {axis: np.unique(at[axis]) for axis in back}
        found = self._assembled(name, chosen)
        if found.n_missing:
            raise self._missing(name)
        if not axes:
            return self._shown(name, found)
        array = self._shown(name, found)
        if back:
            ranks = [np.searchsorted(chosen[a], at[a]) if a in back else None for a in axes]
            array = places.picked(array, ranks, short)
        single = tuple(0 if isinstance(where.get(axis), (int, np.integer)) else slice(None) for axis in axes)
        return array[single]

    def sel(self, name: str, /, **where: Any) -> Any:
        """A part of a result by values of inputs: ``run.sel("y", x=0.5)``; lists and slices of values too.

        Raises
        ------
        KeyError
            For a value that is not there.
        """
        self._known(name)
        axes = self._study.graph.axes.get(name, ())
        return self.isel(name, **places.by_value(self._values, name, axes, where))

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
        import asyncio  # 12 ms, a tenth of importing weft

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
    whole, sealed = absolute(path), ""
    if os.path.isfile(whole):
        whole, sealed = unpacked(whole), f"an archive ({whole})"
    return Run(load_study(whole, current(), trust=trust).refresh(), trust=trust, sealed=sealed)


def list_runs(directory: str | os.PathLike[str] = "runs") -> Table:
    """The runs in a directory: path, name and time of each, newest first."""
    found = Table()
    root = absolute(directory)
    for entry in sorted(os.listdir(root)) if os.path.isdir(root) else []:
        path = os.path.join(root, entry)
        if os.path.exists(os.path.join(path, "run.json")):
            info = RunDirectory(path, current()).info()
            found.append({"path": path, "name": info["name"], "created": info["created"]})
    return Table(sorted(found, key=lambda run: float(run["created"]), reverse=True))
