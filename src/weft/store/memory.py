"""A store in the driver's memory, and one that carries a worker's results home."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from weft.plan.blocks import Block
from weft.store.commits import Commit, Failure, Payload
from weft.values.columns import Column


class MemoryStore:
    """Commits in memory. Values that cannot be stored are kept as they are, by reference."""

    durable: ClassVar[bool] = False

    def __init__(self) -> None:
        self._commits: dict[tuple[str, str], dict[str, tuple[Commit, Payload]]] = {}
        self._grids: dict[tuple[str, str], tuple[int, ...]] = {}

    def commit(self, commit: Commit, payload: Payload) -> Commit:
        """Keep a commit; returns it under its unique name."""
        named = commit if commit.name else commit.named()
        named = replace(named, nbytes=sum(c.nbytes for c in payload.columns.values()))
        self._commits.setdefault((commit.step, commit.identity), {})[named.name] = (named, payload)
        return named

    def prepare(self, identities: Iterable[tuple[str, str]]) -> None:
        """Nothing needs a place here."""

    def names(self, step: str, identity: str) -> list[str]:
        """Names of the commits of a step's identity."""
        return list(self._commits.get((step, identity), {}))

    def settle(self, step: str, identity: str) -> None:
        """Nothing here outlives the process."""

    def header(self, step: str, identity: str, name: str) -> Commit:
        """A commit without its values."""
        return self._commits[step, identity][name][0]

    def columns(self, commit: Commit, outputs: Iterable[str]) -> list[Column]:
        """Values of a commit's done elements, one column for each output."""
        payload = self._commits[commit.step, commit.identity][commit.name][1]
        return [payload.columns[output] for output in outputs]

    def digests(self, commit: Commit) -> np.ndarray[Any, np.dtype[np.uint8]] | None:
        """What each done element read whole, as digests; None if nothing was."""
        return self._commits[commit.step, commit.identity][commit.name][1].digests

    def failures(self, commit: Commit) -> list[Failure]:
        """Why the failed elements of a commit failed."""
        return list(self._commits[commit.step, commit.identity][commit.name][1].failures)

    def grid(self, step: str, identity: str) -> tuple[int, ...] | None:
        """The block shape recorded for a step's identity."""
        return self._grids.get((step, identity))

    def set_grid(self, step: str, identity: str, block: Block) -> tuple[int, ...]:
        """Record the block shape unless one is recorded; returns the one that stands."""
        return self._grids.setdefault((step, identity), tuple(block))

    def set_aside(self, commit: Commit) -> None:
        """Take a damaged commit out of the store."""
        self._commits[commit.step, commit.identity].pop(commit.name, None)


class Courier(MemoryStore):
    """Collects what a worker in another process made, to be sent to the driver's memory."""

    sends: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[tuple[Commit, Payload]] = []

    def commit(self, commit: Commit, payload: Payload) -> Commit:
        """Keep a commit for the way home."""
        named = commit.named()
        self.sent.append((named, payload))
        return named
