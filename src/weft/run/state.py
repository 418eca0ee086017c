"""How a run stands: counts for each step, and the elements that failed."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from weft.contracts import Count
from weft.engine.blame import located
from weft.engine.calls import positional
from weft.engine.failures import at_place
from weft.engine.worker import call_arguments
from weft.plan.blocks import Positions
from weft.store.commits import Commit, Failure
from weft.study.arguments import Item
from weft.study.survey import Survey
from weft.values.table import Table

if TYPE_CHECKING:
    from weft.run.handle import Handle

STATES = ("open", "queued", "running", "done", "failed", "blocked", "skipped")


class Status(dict[str, dict[str, Any]]):
    """The state of a run, and for each step how many of its elements are in which.

    Attributes
    ----------
    state
        ``"running"``; else ``"complete"``, ``"failed"`` (something failed) or ``"open"`` (something is left).
    """

    def __init__(self, state: str, steps: Mapping[str, dict[str, Any]]) -> None:
        super().__init__(steps)
        self.state = state

    @property
    def table(self) -> Table:
        """A row for each step; states that no element is in are left out."""
        used = [state for state in STATES if any(row[state] for row in self.values())]
        return Table(
            {
                "step": name,
                **{s: row[s] for s in used},
                "total": "?" if row["total"] is None else row["total"],
            }
            for name, row in self.items()
        )

    def __repr__(self) -> str:
        return f"{self.state}\n{self.table!r}"

    def _repr_html_(self) -> str:
        return f"<p>{self.state}</p>{self.table._repr_html_()}"


def status_of(counts: Mapping[str, Count], sent: Iterable[tuple[str, int, bool]], live: bool) -> Status:
    """Status from counts by step, and jobs under way: step, elements, and whether a worker has begun."""
    steps: dict[str, dict[str, Any]] = {
        name: {"open": count.open or 0, "queued": 0, "running": 0, **vars(count)}
        for name, count in counts.items()
    }
    for name, n, begun in sent:
        if name in steps:
            row = steps[name]
            moved = min(n, row["open"])
            row["open"] -= moved
            row["running" if begun else "queued"] += moved
    if live:
        return Status("running", steps)
    if all(count.done + count.skipped == count.total for count in counts.values()):
        return Status("complete", steps)
    return Status("failed" if any(row["failed"] for row in steps.values()) else "open", steps)


@dataclass(frozen=True, eq=False)
class ElementError:
    """An element that failed, and why.

    Attributes
    ----------
    step, index, coords
        Which element: position on each axis, and the values of the inputs along them.
    type, message, traceback
        Of the exception.
    cause
        ``exception, timeout, death, unpicklable`` or ``shape``.
    attempt, host, time
        Which attempt failed for good, where, and when it had started (seconds since the epoch).
    """

    step: str
    index: dict[str, int]
    coords: dict[str, Any]
    type: str
    message: str
    traceback: str
    cause: str
    attempt: int
    host: str
    time: float
    _run: Handle = field(repr=False)
    _item: Item = field(repr=False)

    def arguments(self) -> dict[str, Any]:
        """What the function was given, by the names of its arguments; random stream and context too."""
        study = self._run._executable(own=True)
        return call_arguments(study, study.graph.steps[self.step], self._item)

    def reproduce(self) -> Any:
        """Call the function once more, in this process, with the same arguments.

        Returns
        -------
        object
            What the function returns; nothing is committed. Raises what it raises.
        """
        study = self._run._executable(own=True)
        step = study.graph.steps[self.step]
        values = call_arguments(study, step, self._item)
        return positional(step, [p.name for p in step.parameters])(*values.values())

    def __str__(self) -> str:
        first = (self.message.strip().splitlines() or [""])[0]
        place = at_place(self.index, self.coords)
        return f"step {self.step!r}{place}: {self.type}{f': {first}' if first else ''}"

    def row(self) -> dict[str, Any]:
        """For a table."""
        return {
            "step": self.step, **self.index, **self.coords, "type": self.type, "message": self.message,
            "cause": self.cause, "attempt": self.attempt, "host": self.host, "time": self.time,
        }  # fmt: skip


class Errors(Sequence[ElementError]):
    """The failed elements of all steps, read from their commits when they are looked at."""

    def __init__(self, run: Handle, survey: Survey) -> None:
        self._run = run
        self._survey = survey
        self._read: tuple[str, dict[int, Failure]] = ("", {})  # of the commit that was looked at last

    @cached_property
    def _parts(self) -> list[tuple[Commit, Positions]]:
        """Commits that tell why elements failed, with those elements' local positions."""
        survey, found = self._survey, []
        for name, track in survey.tracks.items():
            for _, number in sorted(key for key in track.failed if key[0] == name):
                assert track.grid is not None
                state = survey.study.results[name].state(track.grid, track.grid.at(number))
                local = np.array(sorted(track.failed[name, number]))
                told = state.counting()[local]
                found += [(state.commits[k], local[told == k]) for k in np.unique(told)]
        return found

    @cached_property
    def _ends(self) -> list[int]:
        return list(accumulate(len(local) for _, local in self._parts))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @property
    def first(self) -> ElementError | None:
        """The first error; the others are not read."""
        return self[0] if self else None

    @overload
    def __getitem__(self, number: int) -> ElementError: ...
    @overload
    def __getitem__(self, number: slice) -> list[ElementError]: ...
    def __getitem__(self, number: int | slice) -> ElementError | list[ElementError]:
        """One error, or a list of some."""
        if isinstance(number, slice):
            return [self[place] for place in range(len(self))[number]]
        place = range(len(self))[number]
        part = bisect_right(self._ends, place)
        commit, local = self._parts[part]
        return self._error(commit, int(local[place - self._ends[part]]))

    def _failure(self, commit: Commit, local: int) -> Failure:
        if self._read[0] != commit.name:
            failures = self._survey.study.store.failures(commit)
            self._read = commit.name, {failure.local: failure for failure in failures}
        return self._read[1][local]

    def _error(self, commit: Commit, local: int) -> ElementError:
        study, track = self._survey.study, self._survey.tracks[commit.step]
        assert track.grid is not None
        failure = self._failure(commit, local)
        index, coords = located(study, commit.step, track.grid, commit.block, local)
        item = Item.of((commit.step,), commit.block, np.array([local]))
        return ElementError(
            commit.step, index, coords, failure.type, failure.message, failure.traceback, failure.cause,
            failure.attempt, commit.host, commit.started, self._run, item,
        )  # fmt: skip

    @property
    def table(self) -> Table:
        """A row for each."""
        return Table(error.row() for error in self)

    def to_dataframe(self) -> Any:
        """A row for each, as a `pandas.DataFrame`."""
        return self.table.to_dataframe()

    def __repr__(self) -> str:
        shown = Table(error.row() for error in self[:20])
        more = f"\n… {len(self) - 20} more" if len(self) > 20 else ""
        return f"{shown!r}{more}" if len(self) else "(no errors)"

    def _repr_html_(self) -> str:
        return Table(error.row() for error in self[:20])._repr_html_()
