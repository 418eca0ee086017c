"""What a run tells of itself: its state, failures, elements, attempts, events, history and files."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from weft.engine.events import noted
from weft.engine.lease import holder
from weft.plan.axes import chosen as selected
from weft.plan.blocks import positions
from weft.run.explanation import Explanation, explain
from weft.run.handle import Handle
from weft.run.state import Errors, Status, status_of
from weft.store.commits import STATES
from weft.store.layout import EVENTS, LOGS
from weft.store.record import Change
from weft.study.compare import differences
from weft.study.survey import Survey
from weft.values.table import Table


class Tables(Handle):
    """The part of `Run` that tells of its state."""

    @property
    def ok(self) -> bool:
        """Whether everything that was asked for is done."""
        if self._live:
            return False
        study, session = self._sync(), self._session
        if session is None:
            survey = Survey(study)
        else:
            survey = Survey(study, selected(study.axes, session.options.indices), session.steps)
        return all(survey.complete(name) for name in survey.tracks)

    @property
    def status(self) -> Status:
        """The state of the run, and counts of elements by state for each step.

        Examples
        --------
        >>> import weft
        >>> run = weft.step("y", mapspec="x[i] -> y[i]")(lambda x: 2 * x).run({"x": [1, 2]})
        >>> run.status
        complete
        step  done  total
        y     2     2
        """
        study = self._sync()
        driver = self._session.driver if self._live and self._session is not None else None
        if driver is not None:
            counts = {name: count for track in driver.tracks for name, count in track.counts.items()}
            before: Counter[int] = Counter()  # jobs of each pool, in the order in which workers take them
            sent = []
            for one in list(driver.sent.values()):
                begun = before[id(one.pool)] < one.pool.n_jobs
                before[id(one.pool)] += 1
                for step in dict.fromkeys(name for item in one.job.items for name in item.steps):
                    sent.append((step, sum(i.n for i in one.job.items if step in i.steps), begun))
            return status_of(counts, sent, True)
        seen = (
            holder(study.path, self._directory().fs) if study.path is not None and not self._sealed else None
        )
        told = seen.get("status", {}) if seen else {}
        workers = told.get("workers", 1)
        under_way = [(step, n, k < workers) for k, (step, n) in enumerate(told.get("sent", {}).values())]
        return status_of(Survey(self._still()).counts(), under_way, self._live or seen is not None)

    @property
    def errors(self) -> Errors:
        """The elements that failed, over all steps; one that is done by now is none of them."""
        return Errors(self, self._survey())

    def elements(self, step: str, /, **where: Any) -> Table:
        """A row for each element of a step: positions, values of inputs, state.

        Parameters
        ----------
        step
            A step or one of its outputs.
        **where
            Positions on axes (int, slice, list), values of inputs as ``sel={"x": 0.5}``.
        """
        study = self._still()
        made = self._step(step)
        chosen = self._chosen(made.name, made.axes, where)
        parts = list(Survey(study).elements(made.name))
        if not parts:
            return Table()
        at = {axis: np.concatenate([part[axis] for part, _ in parts]) for axis in made.axes}
        states = np.concatenate([states for _, states in parts])
        kept = np.ones(len(states), bool)
        for axis, wanted in chosen.items():
            kept &= np.isin(at[axis], wanted)
        logical = {axis: study.axes[axis].logical[at[axis][kept]] for axis in made.axes}
        order = (
            np.lexsort([logical[axis] for axis in reversed(made.axes)])
            if made.axes
            else np.arange(kept.sum())
        )
        at = {axis: at[axis][kept][order] for axis in made.axes}
        columns: dict[str, list[Any]] = {axis: logical[axis][order].tolist() for axis in made.axes}
        for name, given in study.inputs.items():
            if len(given.axes) == 1 and given.axes[0] in made.axes:
                columns[name] = self._values.elements(name, at, len(order)).tolist()
        columns["state"] = [STATES[state] for state in states[kept][order].tolist()]
        return Table(dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))

    def attempts(self, step: str | None = None, /, **where: Any) -> Table:
        """A row for each commit: elements, their state, attempt, when, seconds, memory, host, worker, code.

        ``seconds`` are those of its elements together: of results from the cache, what they once took.
        ``peak_memory`` is the most bytes that the worker's process took, with all that runs in it: while
        these elements ran, where workers are processes; else since the process started.
        """
        study = self._still()
        rows = Table()
        for made in [self._step(step)] if step is not None else study.graph.order:
            asked = {a: v for a, v in where.items() if step is not None or a in made.axes or a == "sel"}
            chosen = self._chosen(made.name, made.axes, asked)
            grid, results = study.grid(made), study.results[made.name]
            for block, commits in sorted(results.commits.items()):
                for commit in sorted(commits.values(), key=lambda c: c.started):
                    local = positions(commit.done or commit.failed)
                    if chosen and grid is not None:
                        local = np.intersect1d(
                            local, grid.local(block, [chosen.get(axis) for axis in made.axes])
                        )
                    if not len(local):
                        continue
                    attempt = commit.attempt
                    if commit.failed:
                        attempt = max(f.attempt for f in study.store.failures(commit))
                    rows.append({
                        "step": made.name, "state": "failed" if commit.failed else "done",
                        "elements": len(local), "attempt": attempt, "started": commit.started,
                        "seconds": commit.seconds, "peak_memory": commit.peak, "host": commit.host,
                        "worker": commit.worker, "code": commit.code, "commit": commit.name,
                    })  # fmt: skip
        return rows

    def events(self) -> Table:
        """What happened in all sessions, in order; empty in memory."""
        if self.path is None:
            return Table()
        return Table(noted(self._directory().fs, f"{self.path}/{EVENTS}"))

    def submissions(self) -> Table:
        """A row for each job that a queue was given; empty on this machine."""
        return Table()

    def history(self) -> Table:
        """The changes to the run: number, time, reason, and what changed."""
        if self.path is None:
            return Table()
        directory = self._directory()
        rows, before = Table(), None
        for number in directory.numbers():
            change = directory.change(number)
            assert change is not None
            what = "; ".join(_changed(before, change))
            rows.append({"number": number, "time": change.made, "reason": change.reason, "what": what})
            before = change
        return rows

    def explain(self, name: str, /, **where: Any) -> Explanation:
        """What made a value: step, code, inputs and where they came from, random stream, file, host, time.

        Parameters
        ----------
        name
            An output.
        **where
            Which element of it; without, what holds for all of them.
        """
        made = self._step(name)
        return explain(self._still(), made, name, self._chosen(name, made.axes, where))

    def logs(self, step: str, /, **where: Any) -> Table:
        """What the elements of a step printed and logged: a row for each text; nothing is kept in memory."""
        made = self._step(step)
        chosen = self._chosen(made.name, made.axes, where)
        rows = Table()
        for record in noted(self._directory().fs, f"{self.path}/{LOGS}") if self.path is not None else ():
            at = dict(zip(made.axes, record["at"], strict=False))
            if record["step"] != made.name or not all(at.get(axis) in p for axis, p in chosen.items()):
                continue
            index = {axis: int(self._study.axes[axis].logical[p]) for axis, p in at.items()}
            told = {name: record[name] for name in ("time", "stream", "text")}
            rows.append({"step": made.name, **index, **told})
        return rows


def _changed(before: Change | None, now: Change) -> list[str]:
    """What differs between two changes, in words."""
    if before is None:
        sizes = [f"{name}: {axis.size}" for name, axis in now.axes.items() if axis.size is not None]
        return [f"steps {', '.join(now.steps)}", *sizes]
    found = []
    for name, record in now.steps.items():
        old = before.steps.get(name)
        if old is None:
            found.append(f"step {name} added")
        elif old.identity != record.identity:
            what = "forced" if record.forced > old.forced else "what it depends on changed"
            if different := differences(old, record):
                what = f"{', '.join(different)} changed"
            found.append(f"step {name}: {what}")
    found += [f"step {name} removed" for name in before.steps if name not in now.steps]
    for name, axis in now.axes.items():
        known = before.axes.get(name)
        if known is None or known.size != axis.size:
            found.append(f"axis {name}: {known.size if known else 0} → {axis.size} positions")
        elif known.selection != axis.selection:
            found.append(f"axis {name} reordered or reduced")
    found += [
        f"input {name} changed"
        for name, given in now.inputs.items()
        if name in before.inputs and before.inputs[name].digest != given.digest
    ]
    found += [f"step {reset.step} reset" for reset in now.resets if reset.epoch == now.number]
    return list(dict.fromkeys(found))
