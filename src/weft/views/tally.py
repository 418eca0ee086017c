"""The state of a run as its events tell it: what every display shows. Pure: time is passed in."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from weft.contracts import Count, Event

MOST_SAMPLES = 64
FEW = 10
MOST_FAILURES = 10  # that displays tell of; there may be millions


@dataclass
class StepState(Count):
    """Elements of a step by state, and how fast they come."""

    samples: list[tuple[float, int]] = field(default_factory=list)

    def sample(self, now: float) -> None:
        """Remember how far it is."""
        n = self.done + self.failed
        if self.samples and (self.samples[0][1] == n or (self.open == 0 and self.samples[-1][1] == n)):
            return  # its clock runs from the first result to the last
        self.samples.append((now, n))
        if len(self.samples) > MOST_SAMPLES:
            del self.samples[1:-1:2]

    def rate(self) -> float | None:
        """Elements per second in the latter half of the time so far, or in all of it while they are few."""
        if len(self.samples) < 2:
            return None
        first, (now, n) = self.samples[0], self.samples[-1]
        since = next(s for s in reversed(self.samples) if s[0] <= (first[0] + now) / 2)
        if n - since[1] < FEW:
            since = first
        return (n - since[1]) / (now - since[0]) if now > since[0] else None

    def left(self) -> float | None:
        """Seconds until it is complete, if it goes on like this."""
        rate = self.rate()
        return None if not rate or self.open is None else self.open / rate


@dataclass
class WorkerState:
    """What a worker did last, and how much in all."""

    step: str
    n: int = 0
    seconds: float = 0.0


class Tally:
    """Takes events, cheaply; displays read it when they are drawn."""

    def __init__(self) -> None:
        self.name = ""
        self.path: str | None = None
        self.started = 0.0
        self.ended: float | None = None
        self.steps: dict[str, StepState] = {}
        self.workers: dict[str, WorkerState] = {}
        self.under_way: dict[str, str] = {}
        self._failures = 0
        self._news: deque[tuple[str, str]] = deque()
        self._sent: dict[str, float] = {}
        self.idle = False  # whether it ended without a job, for all that was wanted was there

    def __call__(self, event: Event) -> None:
        """Take an event."""
        data = event.data
        if event.kind == "run-started":
            self.name, self.path, self.started = data["name"], data["path"], event.time
            self.steps = {step: StepState() for step in data["steps"]}
        elif event.kind == "job-sent":
            self.under_way[data["token"]] = event.step
            self._sent.setdefault(event.step, event.time)
        elif event.kind == "job-ended":
            self.under_way.pop(data["token"], None)
            worker = self.workers.setdefault(data["worker"], WorkerState(event.step))
            worker.step = event.step
            worker.n += data["n"]
            worker.seconds += data["seconds"]
            for step in data["counts"]:
                state = self.steps.setdefault(step, StepState())
                if not state.samples:
                    state.samples.append((self._sent.get(event.step, event.time), state.done + state.failed))
        elif event.kind == "element-failed":
            self._failed(data["message"], data["traceback"])
        elif event.kind == "worker-died":
            self._note(f"a worker died while it ran {event.step}; what it had is run again, alone")
        elif event.kind == "stopping":
            self._note("stopping: what is running ends and is kept")
        elif event.kind == "note":
            self._note(data["message"])
        elif event.kind == "run-ended":
            self.ended = event.time
        self.count(data.get("counts", {}))
        if event.kind == "run-ended":
            self.idle = not data.get("jobs", 1) and all(state.open == 0 for state in self.steps.values())

    def _failed(self, message: str, traceback: str) -> None:
        self._failures += 1
        if self._failures == 1 and traceback:
            self._news.append(("traceback", traceback.rstrip()))
        if self._failures <= MOST_FAILURES:
            self._news.append(("failure", message.splitlines()[0]))
        elif self._failures == MOST_FAILURES + 1:
            self._news.append(("failure", "more elements fail: see run.errors"))

    def _note(self, text: str) -> None:
        self._news.append(("note", text))

    def news(self) -> list[tuple[str, str]]:
        """What happened since the last call: ``traceback``, ``failure`` or ``note``, and the text.

        Of failures ten, the first with its traceback.
        """
        # One by one: events come from another thread.
        return [self._news.popleft() for _ in range(len(self._news))]

    def count(self, counts: Mapping[str, Mapping[str, Any]]) -> None:
        """Take counts by step."""
        for step, found in counts.items():
            state = self.steps.setdefault(step, StepState())
            state.done, state.failed, state.blocked = found["done"], found["failed"], found["blocked"]
            state.total, state.skipped = found["total"], found.get("skipped", 0)

    def sample(self, now: float) -> None:
        """Remember how far every step is."""
        for state in list(self.steps.values()):
            if state.samples:
                state.sample(now)


def clock(seconds: float | None) -> str:
    """Seconds as ``1:02:03`` or ``02:03``; nothing for None.

    Examples
    --------
    >>> clock(3723), clock(63)
    ('1:02:03', '01:03')
    """
    if seconds is None:
        return ""
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"


def per_second(rate: float | None) -> str:
    """A rate as ``1,234/s``, ``2.5/s``, or ``3/min`` for slow ones."""
    if rate is None:
        return ""
    if rate < 0.2:
        return f"{rate * 60:.2g}/min"
    return f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.2g}/s"
