"""What is sent to a worker, and what it sends back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from weft.plan.blocks import Layout, Positions
from weft.store.commits import Commit, Failure, Payload
from weft.study.arguments import Arguments, Item

FLUSH_SECONDS = 30.0  # nothing finished stays uncommitted for longer
PILOT_SECONDS = 0.01  # after which a pilot has measured enough


@dataclass(frozen=True)
class Settings:
    """How a run is driven; never part of what its results are."""

    on_error: str = "stop"
    block_size: int | None = None
    flush_seconds: float = FLUSH_SECONDS
    chosen: Mapping[str, Positions] | None = None
    steps: frozenset[str] | None = None


@dataclass(frozen=True)
class Pilot:
    """Asks a worker to run a few elements, choose the blocks from what they take, and hand back the rest.

    The choice depends on its attributes, besides time and size.
    """

    workers: int
    n_elements: int
    layout: Layout


@dataclass(frozen=True)
class Job:
    """A run of blocks, or of open elements in them, for one worker.

    Attributes
    ----------
    token
        Unique within the run.
    stop
        A file whose existence asks the worker to stop; None in the driver's own process.
    mark
        File in which a careful worker marks the current element.
    attempts
        How often the elements died already, for the count of their attempts.
    arguments
        Fetched by the driver, where the worker has no access to the store.
    unkept
        Steps whose results are not stored.
    driver
        Host and process of the driver, where the worker is another process.
    threads
        The cpus that its step asks for; None if it does not, or the user's environment has a say.
    """

    token: str
    items: tuple[Item, ...]
    epoch: int
    on_error: str = "stop"
    pilot: Pilot | None = None
    stop: str | None = None
    mark: str | None = None
    flush_seconds: float = FLUSH_SECONDS
    attempts: int = 0
    arguments: tuple[Arguments, ...] | None = None
    unkept: frozenset[str] = frozenset()
    driver: tuple[str, int] | None = None
    threads: int | None = None


@dataclass
class Report:
    """What came of a job.

    Attributes
    ----------
    commits
        Headers of what was committed; `payloads` beside them where the worker has no store.
    failures
        The first failures: step, block, local position, and why.
    exceptions
        The exceptions themselves, where the worker shares the driver's process.
    blocks
        Block shape that stands, if the job was a pilot.
    problem
        What ended the job, if it was neither a failure of an element nor a wish to stop.
    """

    commits: list[Commit] = field(default_factory=list)
    payloads: list[Payload] = field(default_factory=list)
    failures: list[tuple[str, tuple[int, ...], Failure]] = field(default_factory=list)
    exceptions: dict[tuple[str, tuple[int, ...], int], BaseException] = field(default_factory=dict)
    blocks: tuple[int, ...] | None = None
    seconds: float = 0.0
    n: int = 0
    host: str = ""
    worker: str = ""
    problem: BaseException | None = None
