"""Going on with a run: the rest of it, what failed, or some of it again."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

from weft.engine.lease import ask_to_stop
from weft.engine.remote import check_code
from weft.engine.retrying import Retry
from weft.errors import InvalidInput, StoreError, nearest
from weft.model.configuring import configured
from weft.model.graph import Graph
from weft.model.step import Step
from weft.plan.blocks import Positions
from weft.run.driving import OPTIONS, drive, options_from
from weft.run.handle import Handle, frozen
from weft.run.made_files import gone
from weft.store.record import Reset
from weft.study.opening import open_study
from weft.study.study import Study

FIXED = ("run_dir", "store", "shared")
RECORDED = ("inputs", "force", "on_change", "seed")


class GoingOn(Handle):
    """The part of `Run` that goes on with it."""

    def resume(self, *, pipeline: Any = None, **options: Any) -> Self:
        """Run what is open or failed, with the recorded code and inputs.

        Parameters
        ----------
        pipeline
            Its code instead of the recorded one; ``on_change=`` says what becomes of results of other code.
        **options
            As for `Pipeline.run`; the place is the run's own.

        Returns
        -------
        Run
            The same run, driven further.

        Raises
        ------
        StepError
            When an element failed, unless ``on_error="continue"``.
        RunMismatch
            If a module that the recorded code imports was edited since.
        """
        self._changeable()
        for name in FIXED:
            if name in options:
                raise InvalidInput(f"resume goes on where the run is; {name!r} cannot be given.")
        if pipeline is not None:
            pipeline = self._varied(pipeline, options.get("inputs") or {})
        if self.path is not None and pipeline is not None:
            made: Self = pipeline.run(options.pop("inputs", None), run_dir=self.path, **options)
            return made
        self.reopen_gone(self._executable().graph)
        study = self._study_to_run(pipeline, {n: options.pop(n) for n in RECORDED if n in options})
        return self._driven(study, options, pipeline)

    def retry(self, step: str | None = None, /, *, resources: Any = None, **where: Any) -> Self:
        """Run again what failed, and what was blocked by it, with the recorded code.

        Parameters
        ----------
        step
            Only failed elements of this step; of all steps by default.
        resources
            Other resources for them.
        **where
            Only those elements: positions on axes, values as ``sel={"x": 0.5}``; also options of
            `Pipeline.run`, such as ``on_error``.
        """
        self._changeable()
        axes = self._step(step).axes if step is not None else tuple(self._study.axes)
        known = (*OPTIONS, "progress", "wait")
        options = {name: where.pop(name) for name in list(where) if name in known and name not in axes}
        study = self._study_to_run(None, {})
        name = self._step(step).name if step is not None else None
        chosen = self._chosen(step or "the run", axes, where)
        if resources is not None:
            target = [
                s.replace(resources=resources) if name in (None, s.name) else s for s in study.graph.order
            ]
            study = frozen(study, Graph(target))
        return self._driven(study, options, hold=Retry(study, name, chosen))

    def _driven(self, study: Study, options: dict[str, Any], pipeline: Any = None, hold: Any = None) -> Self:
        progress, wait = options.pop("progress", "auto"), options.pop("wait", True)
        session = drive(study, options_from(options), progress, wait, hold)
        return type(self)(study, session, self._trust, pipeline or self._pipeline)

    def cancel(self) -> bool:
        """Ask whoever drives the run to stop: what is running ends and is committed.

        Returns
        -------
        bool
            Whether there was anybody to ask. A driver in another process looks about every second.
        """
        if self._session is not None and self._live:
            self._session.stop()
            return True
        if self.path is None or self._sealed:
            return False
        return ask_to_stop(self.path, self._directory().fs)

    def reset(self, step: str | None = None, /, **where: Any) -> Self:
        """Reopen elements, and those that follow from them: the next `resume` makes them again.

        Parameters
        ----------
        step
            A step or output; all steps by default.
        **where
            Which elements: positions on axes, values of inputs as ``sel={"x": 0.5}``.

        Raises
        ------
        RunLocked
            While a driver is at work.
        """
        return self._reopen([(step, where)])

    def reopen_gone(self, steps: Graph) -> None:
        """Reopen the elements of these steps that made files which are no longer there."""
        lacking = gone(self._sync(), steps)
        if lacking:
            self._reopen(lacking)

    def _reopen(self, wanted: Sequence[tuple[str | None, Mapping[str, Any]]]) -> Self:
        self._changeable()
        if self.path is None:
            study = self._study
            study.epoch += 1
            study.resets += self._resets(study, wanted, study.epoch)
            study.results |= frozen(study).results
            return self
        with self._alone() as directory:
            for _ in range(20):
                study, change = self._sync(), directory.change()
                assert change is not None
                number = change.number + 1
                resets = change.resets + self._resets(study, wanted, number)
                new = replace(change, reason="reset", made=time.time(), number=number, resets=resets)
                if directory.add_change(new) is not None:
                    self._sync()
                    return self
        raise StoreError(f"{self.path}: others keep changing the run; try again when they are done.")

    def _resets(
        self, study: Study, wanted: Sequence[tuple[str | None, Mapping[str, Any]]], epoch: int
    ) -> tuple[Reset, ...]:
        """Resets of elements and of those that follow from them one by one.

        What takes a whole axis needs none: the digest of what it read tells.
        """
        targets: dict[str, list[Mapping[str, Positions]]] = {}
        for step, where in wanted:
            if step is not None:
                made = self._step(step)
                targets.setdefault(made.name, []).append(self._chosen(step, made.axes, where))
                continue
            chosen = self._chosen("the run", tuple(study.axes), where)
            for s in study.graph.order:
                if set(chosen) <= set(s.axes):
                    targets.setdefault(s.name, []).append(chosen)
        found: dict[Reset, None] = {}
        reopened: dict[str, list[Mapping[str, Positions]]] = {}
        for s in study.graph.order:
            parts = list(targets.get(s.name, ()))
            for before in _followed(study.graph, s):
                parts += [{a: p for a, p in part.items() if a in s.axes} for part in reopened.get(before, [])]
            for part in parts:
                positions = tuple(tuple(part[a].tolist()) if a in part else None for a in s.axes)
                found[Reset(s.name, epoch, positions)] = None
            reopened[s.name] = parts
        for reset in list(found):
            for later in _later(study, reset):
                found[later] = None
        return tuple(found)

    def _varied(self, pipeline: Any, given: Any) -> Any:
        """A pipeline with the run's study axes where it lacks them.

        Raises
        ------
        InvalidInput
            If it would take whole what lies along a data axis: it would be called with the list.
        """
        graph, _, configs = configured(pipeline.graph)
        study = {axis for step in self._study.graph.order for axis in step.study}
        axes: dict[str, list[str]] = {}
        for name in graph.inputs:
            recorded = self._study.graph.axes.get(name, ())
            more = recorded[: max(0, len(recorded) - len(graph.axes.get(name, ())))]
            if not more or name not in self._study.inputs or name in given or name in configs:
                continue
            if not set(more) <= study:
                raise InvalidInput(
                    f"In the run {name!r} lies along the axis {more[0]!r}; the pipeline takes it whole. Give "
                    f"its step a mapspec, or go on with pipeline.vary({name}={more[0]!r})."
                )
            for axis in more:
                axes.setdefault(axis, []).append(name)
        ordered = {axis: axes[axis] for axis in self._study.axes if axis in axes}
        return pipeline.vary(ordered) if ordered else pipeline

    def _study_to_run(self, pipeline: Any, changes: Mapping[str, Any]) -> Study:
        """The study with functions, ready for a driver."""
        study = self._executable()
        if self.path is None:
            if changes:
                name = next(iter(changes))
                raise InvalidInput(
                    f"A run in memory goes on as it is; {name!r} needs a new run: pipeline.run(...)."
                )
            if pipeline is None:
                return study
            known: dict[str, Step] = pipeline.graph.steps
            missing = [s.name for s in study.graph.order if s.name not in known]
            if missing:
                raise InvalidInput(f"The pipeline has no step {missing[0]!r}.{nearest(missing[0], known)}")
            return frozen(study, Graph([known[s.name] for s in study.graph.order]))
        if not changes:
            if study is not self._study:
                check_code(study)
            return study
        return open_study(
            self._directory(), study.graph, changes.get("inputs"), study.name, changes.get("seed"),
            changes.get("on_change", "error"), changes.get("force"),
        )  # fmt: skip


def _later(study: Study, reset: Reset) -> Iterator[Reset]:
    """Resets of the iterations after one that was reset, of everything in its loop."""
    step = study.graph.steps[reset.step]
    for loop in step.loops:
        chosen = dict(zip(step.axes, reset.positions, strict=False))
        at = chosen.get(loop.name)
        if at is None:
            continue
        chosen[loop.name] = tuple(range(min(at, default=0) + 1, study.axes[loop.name].size or 0))
        for other in study.graph.whole_loop(step):
            if loop in other.loops:
                yield Reset(other.name, reset.epoch, tuple(chosen.get(axis) for axis in other.axes))


def _followed(graph: Graph, step: Step) -> list[str]:
    """The steps of which a step takes single elements."""
    return [
        graph.producer[p.name].name
        for p in step.inputs
        if p.name in graph.producer and graph.axes.get(p.name) and graph.read(step, p.name).elementwise
    ]
