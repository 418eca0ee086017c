"""The committed results of one step: which elements are done, and their values by position."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np

from weft.errors import CorruptResult
from weft.plan.blocks import Block, Grid, Positions
from weft.store.commits import DONE, BlockState, Commit, Failure, Payload
from weft.store.record import Reset
from weft.values.columns import Column, RowsColumn, arranged

CACHE_BYTES = 256 << 20
KEPT_STATES = 128


class CommitStore(Protocol):
    """What keeps commits: `MemoryStore`, `FilesStore`."""

    durable: ClassVar[bool]

    def commit(self, commit: Commit, payload: Payload) -> Commit: ...
    def prepare(self, identities: Iterable[tuple[str, str]]) -> None: ...
    def names(self, step: str, identity: str) -> list[str]: ...
    def settle(self, step: str, identity: str) -> None: ...
    def header(self, step: str, identity: str, name: str) -> Commit: ...
    def columns(self, commit: Commit, outputs: Any) -> list[Column]: ...
    def digests(self, commit: Commit) -> np.ndarray[Any, np.dtype[np.uint8]] | None: ...
    def failures(self, commit: Commit) -> list[Failure]: ...
    def grid(self, step: str, identity: str) -> tuple[int, ...] | None: ...
    def set_grid(self, step: str, identity: str, block: Block) -> tuple[int, ...]: ...
    def set_aside(self, commit: Commit) -> None: ...


class ColumnCache:
    """The columns read last, up to so many bytes."""

    def __init__(self, limit: int = CACHE_BYTES) -> None:
        self.limit = limit
        self.held = 0
        self.columns: OrderedDict[tuple[str, str], Column] = OrderedDict()

    def get(self, store: CommitStore, commit: Commit, output: str) -> Column:
        """A column, read from the store if it is not here."""
        key = (commit.name, output)
        column = self.columns.pop(key, None)
        if column is None:
            try:
                column = store.columns(commit, [output])[0]
            except CorruptResult as error:
                error.commit = commit  # type: ignore[attr-defined]
                raise
            self.held += column.nbytes
        self.columns[key] = column
        while self.held > self.limit and len(self.columns) > 1:
            self.held -= self.columns.popitem(last=False)[1].nbytes
        return column


class Results:
    """Everything committed under a step's identity, and under those that it stands on.

    Parameters
    ----------
    identity, bases
        Where new results go; where done elements count too.
    resets
        Resets of this step.
    ragged
        Whether the elements are rows, each with its own number of cells.

    `version` is another number whenever there are other commits; `log` has all that were added, in order, and
    `removed` counts those that went.
    """

    def __init__(
        self,
        store: CommitStore,
        step: str,
        identity: str,
        bases: Sequence[str] = (),
        resets: Sequence[Reset] = (),
        ragged: bool = False,
    ) -> None:
        self.store = store
        self.step = step
        self.ragged = ragged
        self.identity = identity
        self.bases = tuple(bases)
        self.resets = [r for r in resets if r.step == step]
        self.commits: dict[Block, dict[str, Commit]] = {}
        self.damaged: dict[str, str] = {}
        self.inner: dict[str, tuple[int, ...]] = {}
        self.version = 0
        self.log: list[Commit] = []
        self.removed = 0
        self._states: dict[Block, BlockState] = {}
        self.cache = ColumnCache()

    def refresh(self) -> Results:
        """Look at the store again: headers of new commits are read, those of vanished ones forgotten."""
        known = {name: commit for commits in self.commits.values() for name, commit in commits.items()}
        there: set[str] = set()
        for identity in (*self.bases, self.identity):
            names = self.store.names(self.step, identity)
            there.update(names)
            for name in names:
                if name in known or name in self.damaged:
                    continue
                try:
                    commit = self.store.header(self.step, identity, name)
                except FileNotFoundError:
                    continue
                except CorruptResult as error:
                    self.damaged[name] = str(error)
                    continue
                if identity == self.identity or commit.n_done:
                    self.add(commit)
        for name in known.keys() - there:
            self.remove(known[name])
        self.damaged = {name: why for name, why in self.damaged.items() if name in there}
        return self

    def settle(self) -> Results:
        """Make durable what was seen, before anything is built upon it."""
        for identity in (*self.bases, self.identity):
            self.store.settle(self.step, identity)
        return self

    def add(self, commit: Commit) -> None:
        """Count a commit that was just made."""
        known = self.commits.setdefault(commit.block, {})
        if commit.name not in known:
            self.version ^= _number(commit)
            self.log.append(commit)
        known[commit.name] = commit
        self._states.pop(commit.block, None)
        if commit.n_done:
            for output, shape in commit.inner.items():
                # Of rows the longest counts: each may have another length.
                before = self.inner.get(output, shape) if self.ragged else shape
                self.inner[output] = tuple(max(pair) for pair in zip(before, shape, strict=True))

    def remove(self, commit: Commit) -> None:
        """Count a commit no more."""
        if self.commits.get(commit.block, {}).pop(commit.name, None) is not None:
            self.version ^= _number(commit)
            self.removed += 1
        self._states.pop(commit.block, None)

    def grid(self) -> tuple[int, ...] | None:
        """The recorded block shape, if there is one."""
        return self.store.grid(self.step, self.identity)

    def state(self, grid: Grid, block: Block) -> BlockState:
        """The union of a block's commits."""
        state = self._states.get(block)
        if state is None or state.capacity != grid.capacity:
            commits = list(self.commits.get(block, {}).values())
            state = self._states[block] = BlockState(
                grid.capacity, commits, self._outranked(grid, block, commits)
            )
            while len(self._states) > KEPT_STATES:  # a merged state takes 13 bytes an element
                self._states.pop(next(iter(self._states)), None)
        return state

    def _outranked(self, grid: Grid, block: Block, commits: Sequence[Commit]) -> list[tuple[int, Positions]]:
        if not self.resets or not commits:
            return []
        found = []
        for reset in self.resets:
            if all(c.epoch >= reset.epoch for c in commits):
                continue
            chosen = [None if p is None else np.array(sorted(p), np.int64) for p in reset.positions]
            local = grid.local(block, chosen if chosen else None)
            if len(local):
                found.append((reset.epoch, local))
        return found

    def read(
        self,
        grid: Grid,
        output: str,
        positions: Sequence[Positions],
        cell: Positions | None = None,
        cache: ColumnCache | None = None,
    ) -> Column:
        """Values of done elements at storage positions (one array for each axis of the step).

        Parameters
        ----------
        cell
            For axes that the step opens: which cell of each element.
        cache
            What keeps the columns that were read, instead of this object.
        """
        if positions:
            number, local = grid.locate(positions)
        else:
            number = local = np.zeros(1 if cell is None else len(cell), np.int64)
        pieces: list[Column] = []
        order: list[Positions] = []
        for block in np.unique(number).tolist():
            which = np.flatnonzero(number == block)
            state = self.state(grid, grid.at(block))
            for commit, places, part in state.sources(local[which]):
                column = (cache or self.cache).get(self.store, commit, output)
                if cell is not None and isinstance(column, RowsColumn):
                    places, column = column.offsets[places] + cell[which[part]], column.cells
                elif cell is not None:
                    width = int(np.prod(commit.inner[output]))
                    places = places * width + cell[which[part]]
                pieces.append(column.take(places))
                order.append(which[part])
        return arranged(pieces, order)

    def block(self, grid: Grid, block: Block, output: str, cache: ColumnCache | None = None) -> Column | None:
        """All values of a block in local order; None if some are not there.

        Several commits, as pilots and interruptions leave them, are put together within their block only:
        10^6 elements load in 5 ms, where an index for each took 105.
        """
        state, cache = self.state(grid, block), cache or self.cache
        if state.whole is not None and state.whole.done == ((0, grid.size(block)),):
            return cache.get(self.store, state.whole, output)
        local = grid.local(block)
        if not state.commits or bool((state.states()[local] != DONE).any()):
            return None
        sources = state.sources(local)
        pieces = [cache.get(self.store, commit, output).take(places) for commit, places, _ in sources]
        return arranged(pieces, [part for _, _, part in sources])

    def digests(self, commit: Commit) -> np.ndarray[Any, np.dtype[np.uint8]] | None:
        """What each done element of a commit read whole; None if nothing was."""
        try:
            return self.store.digests(commit)
        except CorruptResult as error:
            error.commit = commit  # type: ignore[attr-defined]
            raise

    def blocks(self, grid: Grid) -> list[Block]:
        """Blocks of the grid that have commits."""
        return [block for block in list(self.commits) if grid.holds(block)]


def _number(commit: Commit) -> int:
    """A commit's share in the version of its results: these are added in any order, at the same cost each."""
    return int.from_bytes(hashlib.blake2b(commit.name.encode(), digest_size=16).digest(), "big")
