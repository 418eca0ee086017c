"""The seams of weft on one page: what a backend must do, and what happens on the way.

A third party implements `Backend`, or listens with an observer; nothing else is asked of it. What a store of
commits must do stands where commits are known: `weft.store.results.CommitStore`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

Observer = Callable[["Event"], None]


@dataclass(frozen=True)
class Event:
    """Something that happened in a run.

    Attributes
    ----------
    kind
        ``run-started, run-ended, step-started, job-sent, job-ended, element-failed, worker-died, stopping,
        note``.
    time
        Seconds since the epoch.
    step
        The step it is about, or an empty string.
    data
        Facts by name: counts (``done, failed, blocked, total``), ``seconds``, ``worker``, ``message``.
    """

    kind: str
    time: float
    step: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Count:
    """Elements of a step by state; `total` is None while its shape is unknown."""

    total: int | None = None
    done: int = 0
    failed: int = 0
    blocked: int = 0
    skipped: int = 0
    seconds: float = 0.0

    @property
    def settled(self) -> int:
        """Elements of which nothing more will come."""
        return self.done + self.failed + self.blocked + self.skipped

    @property
    def open(self) -> int | None:
        """Elements of which something may come; None while nobody knows how many there are."""
        return None if self.total is None else max(0, self.total - self.settled)

    def told(self, *states: str) -> list[str]:
        """Such states as any element is in, in words: ``3 failed``."""
        return [f"{n:,} {state}" for state in states if (n := getattr(self, state))]


class Backend(Protocol):
    """Where jobs run: anything that can make a `concurrent.futures.Executor`.

    Attributes
    ----------
    name, description
        For `weft.list_backends`.
    requires
        Package that must be installed, or an empty string.
    options
        Names of the options it takes; any other is refused before work starts.
    separate
        Whether jobs run in other processes: then everything must be picklable, and a death is survivable.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    requires: ClassVar[str]
    options: ClassVar[tuple[str, ...]]
    separate: ClassVar[bool]

    def __init__(self, **options: Any) -> None: ...

    def start(self, n_jobs: int) -> Executor:
        """An executor with `n_jobs` workers, new or warm."""

    def stop(self, executor: Executor, kill: bool = False) -> None:
        """Let go of the executor; with `kill`, end its workers at once, whatever they do."""
