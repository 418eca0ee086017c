"""What every part of a `Run` stands on: the study, who drives it, and how the two are kept up to date."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from weft.engine.lease import Lease
from weft.engine.session import Session
from weft.errors import InvalidInput, RunLocked, UnsafePayload, nearest
from weft.model.graph import Graph
from weft.model.step import Step
from weft.plan.blocks import Positions
from weft.run import places
from weft.store.fs import current
from weft.store.record import RunDirectory, refusals
from weft.study.arguments import Fetcher
from weft.study.arrays import Values
from weft.study.assembled import Assembled
from weft.study.compare import code_of
from weft.study.opening import RecordedFunction, load_code, load_study
from weft.study.study import Study
from weft.study.survey import Survey
from weft.values.columns import concat


class Handle:
    """A study in the hand.

    Parameters
    ----------
    session
        The driver at work in this process, if it is or was here.
    pipeline
        Where the run came from, for its functions.
    sealed
        Why this run cannot be changed: what it is instead of a run directory.
    """

    def __init__(
        self,
        study: Study,
        session: Session | None = None,
        trust: bool = True,
        pipeline: Any = None,
        sealed: str = "",
    ) -> None:
        self._study = study
        self._session = session
        self._trust = trust
        self._pipeline = pipeline
        self._sealed = sealed
        self._values = Values(study)

    @property
    def name(self) -> str:
        """Name of the pipeline."""
        return self._study.name

    @property
    def path(self) -> str | None:
        """The run directory; None in memory."""
        return self._study.path

    @property
    def _live(self) -> bool:
        return self._session is not None and not self._session.over.is_set()

    def _directory(self) -> RunDirectory:
        if self.path is None:
            raise InvalidInput("This run is in memory; only a run with a run_dir has files.")
        return RunDirectory(self.path, current(), self._trust)

    def _sync(self) -> Study:
        """The study as it is now on disk; in memory, and in a snapshot, as it is."""
        study = self._study
        if self._live or self._sealed:
            return study
        if study.path is not None and self._directory().numbers()[-1:] != [study.epoch]:
            self._study = study = load_study(study.path, current(), trust=self._trust)
            self._values = Values(study)
        study.refresh()
        return study

    def _still(self) -> Study:
        """The study as it is now, which no driver in this process changes while it is looked at."""
        study = self._sync()
        return frozen(study) if self._live else study

    def _survey(self) -> Survey:
        return Survey(self._still())

    def _known(self, name: str) -> None:
        graph = self._study.graph
        if name not in graph.producer and name not in self._study.inputs:
            raise KeyError(
                f"There is no result {name!r}.{nearest(name, graph.producer)} "
                f"Results: {', '.join(graph.outputs)}."
            )

    def _assembled(self, name: str, chosen: Mapping[str, Any] | None = None) -> Assembled:
        self._known(name)
        study = self._sync()
        step = study.graph.producer.get(name)
        shape = study.array_shape(name)
        if shape is None or (step is not None and study.grid(step) is None and 0 not in shape):
            return Assembled(concat([]), shape or (1,), np.empty(0, np.int64))
        may_be_stale = step is not None and Fetcher(study).reads_whole(step)
        holds = Survey(study).holding(step) if step is not None and may_be_stale else None
        return self._values.assemble(name, chosen, holds)

    def _shown(self, name: str, found: Assembled) -> Any:
        if not self._study.graph.axes.get(name):
            given = self._study.inputs.get(name)
            return given.value if given is not None else found.column.tolist()[0]
        array = found.array()
        return array.copy() if not array.flags.writeable else array

    def _step(self, name: str) -> Step:
        graph = self._study.graph
        found = graph.steps.get(name) or graph.producer.get(name)
        if found is None:
            raise InvalidInput(
                f"There is no step {name!r}.{nearest(name, graph.steps)} Steps: {', '.join(graph.steps)}."
            )
        return found

    def _chosen(self, what: str, axes: Sequence[str], where: Mapping[str, Any]) -> dict[str, Positions]:
        return places.chosen(self._study, self._values, what, axes, where)

    def _executable(self, own: bool = False) -> Study:
        """The study with its functions.

        Parameters
        ----------
        own
            Those of the pipeline that the run came from, also where their code is not the recorded one.

        Raises
        ------
        UnsafePayload
            If recorded code would have to be loaded and the run was opened untrusted.
        StoreError
            If it cannot be loaded here.
        """
        study = self._sync()
        graph = study.graph
        if not any(isinstance(step.function, RecordedFunction) for step in graph.order):
            return study
        known: dict[str, Step] = {
            step.name: step
            for step in (self._pipeline.graph.order if self._pipeline is not None else ())
            if step.name in graph.steps and (own or code_of(step) == study.records[step.name].code)
        }
        if not set(graph.steps) <= set(known):
            if not self._trust:
                raise UnsafePayload(
                    f"{self.path} was opened with trust=False, and its functions are code: "
                    "open it with trust=True."
                )
            change = self._directory().change(study.epoch)
            assert change is not None
            known = {**{step.name: step for step in load_code(self._directory(), change.code)}, **known}
        return frozen(study, Graph([known.get(step.name, step) for step in graph.order]))

    @contextlib.contextmanager
    def _alone(self) -> Iterator[RunDirectory]:
        """Hold the lease of the run directory while something is changed in it.

        Raises
        ------
        InvalidInput
            If there is no directory to change.
        RunLocked
            If a driver is at work.
        StoreError
            If the directory cannot be written.
        """
        self._changeable()
        directory = self._directory()
        with refusals(directory.path):
            lease = Lease(directory.path, directory.fs).take()
        try:
            yield directory
        finally:
            lease.release()

    def _changeable(self) -> None:
        if self._sealed:
            raise InvalidInput(
                f"This is {self._sealed}: it can be read, not changed. Open the run directory itself."
            )
        if self._live:
            raise RunLocked(
                "This run is being driven by this process. Wait for it, run.wait(), or stop it, run.cancel()."
            )


def frozen(study: Study, graph: Graph | None = None) -> Study:
    """A copy of a study with what is committed now, which others' commits do not change."""
    copied = replace(
        study,
        graph=graph or study.graph,
        axes=dict(study.axes),
        blocks=dict(study.blocks),
        results={},
        memory={},
    )
    for name, results in copied.results.items():
        held = study.results[name]
        results.commits = {block: dict(commits) for block, commits in list(held.commits.items())}
        results.inner, results.damaged, results.cache = dict(held.inner), dict(held.damaged), held.cache
        results.log, results.version, results.removed = list(held.log), held.version, held.removed
    return copied
