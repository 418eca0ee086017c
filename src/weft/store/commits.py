"""What a commit is, and how the state of a block follows from the union of its commits."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from weft.errors import CorruptResult
from weft.plan.blocks import Block, Positions, positions
from weft.values.columns import Column

OPEN, DONE, FAILED, BLOCKED = 0, 1, 2, 3
SKIPPED = 4
STATES = ("open", "done", "failed", "blocked", "skipped")


@dataclass(frozen=True)
class Failure:
    """Why an element failed, as kept on disk.

    `local` is its position in the block; `error` the pickled exception, or None if it could not be;
    `cause` is one of ``exception, timeout, death, unpicklable, shape``.
    """

    local: int
    type: str
    message: str
    traceback: str
    attempt: int = 1
    cause: str = "exception"
    error: bytes | None = None

    @property
    def summary(self) -> str:
        """One line: the exception's type and the first line of its message."""
        first = self.message.strip().splitlines()[0] if self.message.strip() else ""
        return f"{self.type}: {first}" if first else self.type


@dataclass(frozen=True)
class Commit:
    """Results of some elements of one block of one step, written at once and never changed.

    Attributes
    ----------
    done, failed
        ``[low, high)`` ranges of local positions. Values lie in the columns in the order of `done`.
    inner
        For each output the lengths of the dimensions that the step opens, ``()`` if none.
    reads
        Fingerprint of what was taken whole, if anything was: a quick proof that it is unchanged.
    epoch
        Number of the change under which the job was sent: a later reset of an element outranks it.
    peak
        The most bytes that were resident in the worker's process; 0 if that is not known.
    """

    step: str
    identity: str
    block: Block
    done: tuple[tuple[int, int], ...]
    failed: tuple[tuple[int, int], ...] = ()
    epoch: int = 0
    inner: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    reads: str = ""
    started: float = 0.0
    seconds: float = 0.0
    attempt: int = 1
    host: str = ""
    worker: str = ""
    code: str = ""
    forced: bool = False
    peak: int = 0
    name: str = ""
    nbytes: int = 0

    def named(self) -> Commit:
        """The same commit under a unique file name, from which block and kind can be told."""
        where = "-".join(map(str, self.block)) or "all"
        kind = "f" if self.failed and not self.done else "d"
        return replace(self, name=f"{where}.{self.epoch}{kind}.{secrets.token_hex(8)}")

    @property
    def n_done(self) -> int:
        """Number of done elements."""
        return sum(high - low for low, high in self.done)

    @property
    def n_failed(self) -> int:
        """Number of failed elements."""
        return sum(high - low for low, high in self.failed)


@dataclass(frozen=True)
class Payload:
    """What a commit carries besides its header.

    `digests` has a row of 16 bytes for each done element of a step that takes computed values whole: the
    digest of what it read.
    """

    columns: Mapping[str, Column]
    failures: Sequence[Failure] = ()
    digests: np.ndarray[Any, np.dtype[np.uint8]] | None = None


def _refuse_missing(missing: Any) -> None:
    if missing:
        raise CorruptResult(
            "Results that were there a moment ago are not: a damaged file was set aside. Run again to make "
            "them again."
        )


class BlockState:
    """The union of the commits of one block: done wins over failed, later over earlier.

    Parameters
    ----------
    capacity
        Elements of a full block.
    commits
        In any order.
    outranked
        ``(epoch, local positions)`` of resets: commits of these elements from before that epoch do not count.
    """

    def __init__(
        self, capacity: int, commits: Iterable[Commit], outranked: Sequence[tuple[int, Positions]] = ()
    ) -> None:
        self.commits = sorted(commits, key=lambda c: (c.epoch, c.started, c.name))
        self.capacity = capacity
        self.outranked = outranked

    @cached_property
    def whole(self) -> Commit | None:
        """The one commit that alone makes the state of the block, if there is such a one."""
        if (
            len(self.commits) == 1
            and not self.outranked
            and not self.commits[0].failed
            and len(self.commits[0].done) == 1
        ):
            return self.commits[0]
        return None

    @cached_property
    def _merged(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        states = np.zeros(self.capacity, np.uint8)
        source = np.full(self.capacity, -1, np.int32)
        place = np.zeros(self.capacity, np.int64)
        for number, commit in enumerate(self.commits):
            done = positions(commit.done)
            kept = self._counts(commit, done)
            done, order = done[kept], np.flatnonzero(kept)
            states[done], source[done], place[done] = DONE, number, order
            failed = positions(commit.failed)
            failed = failed[self._counts(commit, failed)]
            failed = failed[states[failed] != DONE]
            states[failed], source[failed] = FAILED, number
        return states, source, place

    def _counts(self, commit: Commit, local: Positions) -> np.ndarray[Any, np.dtype[np.bool_]]:
        counts = np.ones(len(local), bool)
        for epoch, reset in self.outranked:
            if commit.epoch < epoch:
                counts &= ~np.isin(local, reset)
        return counts

    def states(self) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """State of each local position: `OPEN`, `DONE` or `FAILED`."""
        return self._merged[0]

    def counting(self) -> np.ndarray[Any, np.dtype[np.int32]]:
        """For each local position the number of the commit that makes its state; -1 where none does."""
        return self._merged[1]

    def sources(self, local: Positions) -> list[tuple[Commit, Positions, Positions]]:
        """Of done positions: commits that hold some, places in their columns, which of `local` they are."""
        if self.whole is not None:
            low, high = self.whole.done[0]
            _refuse_missing(len(local) and (local.min() < low or local.max() >= high))
            return [(self.whole, local - low, np.arange(len(local)))]
        states, source, place = self._merged
        _refuse_missing((states[local] != DONE).any())
        chosen = source[local]
        found = []
        for number in np.unique(chosen):
            which = np.flatnonzero(chosen == number)
            found.append((self.commits[int(number)], place[local[which]], which))
        return found
