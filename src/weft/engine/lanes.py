"""The one loop that calls users' functions: element by element through a chain of fused steps.

A `Lane` is one step within the chain. Its results grow in a plain list, whose length is the mark of the
current element: another thread may read it at any time, to commit what is done or to see who runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice, repeat
from typing import Any

import numpy as np

from weft.engine.calls import IMMUTABLE, Cells
from weft.engine.failures import describe
from weft.model.step import Step
from weft.store.commits import Failure
from weft.values.columns import Column, Unstorable, concat, pack, rows

FIRST_CHUNK = 1
CHUNK_SECONDS = 0.05
LARGEST_CHUNK = 16384


class Hole:
    """Stands in a lane's results where an element failed, or was blocked by a failure before it."""


HOLE = Hole()


class Held:
    """A value that could have changed after it was returned, stored at once."""

    __slots__ = ("column",)

    def __init__(self, column: Column) -> None:
        self.column = column


class Fetch:
    """Arguments fetched one by one, from something that may fail for one and go on with the next."""

    def __init__(self, source: Any, position: int = 0) -> None:
        self.source = source
        self.position = position
        self.over = False

    def end(self) -> None:
        """Give nothing more."""
        self.over = True

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self.over:
            raise StopIteration
        self.position += 1
        return self.source[self.position - 1]


@dataclass
class Lane:
    """One step of a chain, over the elements of one piece of work.

    Attributes
    ----------
    call
        Takes the arguments by position; several outputs come back as a tuple.
    sources
        For each argument what has one value per element: a sequence, `Constant`, or `Upstream`.
    results
        For each element its value, a tuple of several outputs, or `HOLE`; for values, `Held` may stand.
    committed, spent
        How many elements are committed, and their seconds.
    attempts
        Attempts that an element may take in all.
    again
        Which attempt of an element runs, where it is not the first.
    alone
        Whether no other lane follows, so that what could change may be stored as soon as it is returned.
    """

    step: Step
    call: Callable[..., Any]
    sources: Sequence[Any]
    attempts: int
    live: bool
    again: dict[int, int]
    results: list[Any] = field(default_factory=list)
    holes: int = 0
    failures: dict[int, Failure] = field(default_factory=dict)
    exceptions: dict[int, BaseException] = field(default_factory=dict)
    columns: list[Any] = field(default_factory=list)
    fresh: list[Any] = field(default_factory=list)
    fresh_from: int = 0
    mutable: bool = False
    cutting: bool = False
    stop_at_failure: bool = False
    seconds: float = 0.0
    committed: int = 0
    spent: float = 0.0
    alone: bool = False
    plain: bool = True
    storing: bool = False
    skip: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.columns = [_iterator(source, 0) for source in self.sources]
        self.from_lanes = [s for s in self.sources if hasattr(s, "lane")]
        self.wide = len(self.step.outputs) > 1
        self.codecs = self.step.codecs
        self.settled = SETTLED if not self.codecs else frozenset({Hole, Cells})
        self.plain = not self.codecs

    def begin(self) -> None:
        """Start a chunk: what later lanes of the chain see is what is made from now on."""
        self.fresh_from = len(self.results)
        self.fresh = []

    def advance(self, high: int) -> None:
        """Run elements up to position `high`, or fewer if `cut` was called meanwhile."""
        low = len(self.results)
        self._run(high, self._unless_left_out if self.leaves_out else self.call)
        self._settle(low)

    @property
    def leaves_out(self) -> bool:
        """Whether elements may be left out: their loop has ended, or what they need has failed."""
        return bool(self.skip) or any(up.lane.holes for up in self.from_lanes)

    def _unless_left_out(self, *values: Any) -> Any:
        if len(self.results) not in self.skip and not any(value is HOLE for value in values):
            return self.call(*values)
        self.holes += 1
        return HOLE

    def cut(self) -> None:
        """End the chunk after the current element; called from another thread.

        The first column of arguments is put at its end, so the loop needs no check for each element.
        """
        self.cutting = True
        if self.columns and isinstance(self.columns[0], Fetch):
            self.columns[0].end()
        elif self.columns and hasattr(self.columns[0], "__setstate__"):
            self.columns[0].__setstate__(1 << 62)

    def _resume(self) -> list[Any]:
        """Iterators over the arguments from the current element on: a failure may leave them out of step."""
        position = len(self.results)
        self.columns = [_iterator(source, position) for source in self.sources]
        return self.columns

    def _run(self, high: int, call: Callable[..., Any]) -> None:
        results = self.results
        columns = self._resume() if self.from_lanes or self.cutting else self.columns
        self.cutting = False
        if not columns:
            columns = [repeat(())]
            inner = call
            call = lambda _: inner()  # noqa: E731
        while len(results) < high:
            try:
                # extend(map(...)) keeps what was appended before an exception, and costs 1.0 × a list
                # comprehension; a loop with try and a marker costs 2.1 ×.
                results.extend(map(call, islice(columns[0], high - len(results)), *columns[1:]))
                if self.cutting or len(results) == high:
                    return
                error: BaseException = RuntimeError("the function raised StopIteration")
            except (Exception, SystemExit) as raised:
                error = raised
            self._failed(len(results), error)
            columns = self._resume() or columns
            if self.cutting or self.stop_at_failure:
                self.cutting = True
                return

    def arguments(self, position: int) -> list[Any]:
        """The arguments of one element."""
        return [source[position] for source in self.sources]

    def _retry(self, position: int) -> Any:
        return self.call(*self.arguments(position))

    def _failed(self, position: int, error: BaseException) -> None:
        """Try an element again while it has attempts left; at last a hole."""
        attempt = 1
        while attempt < self.attempts and not isinstance(error, Unstorable):
            attempt += 1
            self.again[position] = attempt
            if self.step.retry_delay:
                time.sleep(self.step.retry_delay)
            try:
                self.results.append(self._retry(position))
                return
            except (Exception, SystemExit) as raised:
                error = raised
            finally:
                del self.again[position]
        self.results.append(self._hole(position, error, attempt))

    def _hole(self, position: int, error: BaseException, attempt: int = 1) -> Hole:
        self.failures[position] = describe(error, position, attempt)
        self.holes += 1
        if len(self.exceptions) < 3:
            self.exceptions[position] = error
        return HOLE

    def _settle(self, low: int) -> None:
        """Store at once what could change later; keep the values themselves for the lanes that follow."""
        fresh = self.results[low:]
        types = set(map(type, fresh))
        if self.wide and tuple in types:
            types = set(map(type, chain.from_iterable(v for v in fresh if type(v) is tuple)))
        self.plain = self.plain and types <= PLAIN
        self.fresh += fresh
        if self.storing:
            return
        self.mutable = not types <= self.settled
        if not self.mutable:
            return
        for position, value in enumerate(fresh, low):
            if type(value) in self.settled:
                continue
            try:
                self.results[position] = self._held(value)
            except Unstorable as error:
                hole = self._hole(position, error)
                self.results[position] = self.fresh[position - self.fresh_from] = hole
        if self.alone:
            self._store_at_once()

    def _store_at_once(self) -> None:
        """Store within the call from now on, to run elements in chunks again: an array takes 3 µs, not 10."""
        call, held = self.call, self._held

        def storing(*args: Any) -> Any:
            value = call(*args)
            return value if type(value) in self.settled else held(value)

        self.call, self.storing, self.mutable = storing, True, False

    def _held(self, value: Any) -> Any:
        if not self.wide:
            return self._one(self.step.outputs[0], value)
        return tuple(self._one(name, part) for name, part in zip(self.step.outputs, value, strict=True))

    def _one(self, output: str, value: Any) -> Any:
        kind, codec = type(value), self.codecs.get(output)
        if kind is Cells or (kind in IMMUTABLE and codec is None):
            return value
        if kind is np.ndarray and not value.dtype.hasobject and codec is None:
            return value.copy()
        try:
            return Held(pack([value], live=self.live, codec=codec))
        except Unstorable as error:
            raise Unstorable(
                0, f"the result {output!r} of step {self.step.name!r} cannot be stored ({error.reason})"
            ) from error

    def stored(self, low: int, high: int) -> tuple[list[Column], list[tuple[int, ...]], Sequence[int]]:
        """Columns of the done elements between two positions, lengths that they opened, and their places."""
        part = self.results[low:high]
        done: Sequence[int] = range(low, high)
        if self.holes:
            kept = [i for i, value in enumerate(part) if value is not HOLE]
            part, done = [part[i] for i in kept], [low + i for i in kept]
        names = self.step.outputs
        each = [part] if not self.wide else [[value[i] for value in part] for i in range(len(names))]
        columns, inner = [], []
        for values in each:
            column, shape = (pack(values, live=self.live), ()) if self.plain else _packed(values, self.live)
            if self.step.ragged:
                column, shape = rows([cells.column for cells in values]), ()
            columns.append(column)
            inner.append(shape)
        return columns, inner, done

    def value(self, output: str, position: int) -> Any:
        """What was made for an element, a copy if it could be changed; `HOLE` if there is nothing."""
        value = self.results[position]
        if self.wide and value is not HOLE:
            value = value[self.step.outputs.index(output)]
        return value.column.tolist()[0] if type(value) is Held else value

    def made(self, output: str, positions: Sequence[int]) -> Column:
        """The column of one output at some positions, all of them done."""
        place = self.step.outputs.index(output)
        values = [self.results[p][place] if self.wide else self.results[p] for p in positions]
        return _packed(values, self.live)[0]


SETTLED = IMMUTABLE | {Hole, Cells}
PLAIN = IMMUTABLE | {Hole}


def _iterator(source: Any, position: int) -> Any:
    if isinstance(source, Constant):
        return repeat(source.value)
    if isinstance(source, Upstream):
        position -= source.lane.fresh_from
        source = source.fresh()
    if type(source) is list:
        values: Any = iter(source)
        values.__setstate__(position)
        return values
    return Fetch(source, position)


@dataclass(frozen=True)
class Constant:
    """An argument that is the same for all elements."""

    value: Any

    def __getitem__(self, position: int) -> Any:
        return self.value


@dataclass(frozen=True, eq=False)
class Upstream:
    """An argument that is what an earlier lane of the chain just made."""

    lane: Lane
    output: int

    def fresh(self) -> list[Any]:
        """The values of the current chunk."""
        values = self.lane.fresh
        if not self.lane.wide:
            return values
        return [value if value is HOLE else value[self.output] for value in values]

    def __getitem__(self, position: int) -> Any:
        value = self.lane.fresh[position - self.lane.fresh_from]
        return value[self.output] if self.lane.wide and value is not HOLE else value


def _packed(values: list[Any], live: bool) -> tuple[Column, tuple[int, ...]]:
    types = set(map(type, values))
    if Cells in types:
        return concat([cells.column for cells in values]), values[0].shape
    if Held not in types:
        return pack(values, live=live), ()
    if types == {Held}:
        return concat([held.column for held in values]), ()
    return concat([v.column if type(v) is Held else pack([v], live=live) for v in values]), ()


class Tempo:
    """How many elements to run between two looks at the clock and at the wish to stop."""

    def __init__(self, first: int = FIRST_CHUNK) -> None:
        self.size = first
        self.last = time.perf_counter()

    def next(self, left: int, single: bool) -> int:
        """Elements of the next chunk, out of those left; one if they must be stored one at a time."""
        return 1 if single else min(self.size, left)

    def tick(self, ran: int) -> None:
        """Adapt to how long the last chunk took."""
        now = time.perf_counter()
        spent = now - self.last
        self.last = now
        if spent < CHUNK_SECONDS / 4 and ran >= self.size:
            self.size = min(self.size * 4, LARGEST_CHUNK)
        elif spent > CHUNK_SECONDS and self.size > 1:
            self.size = max(1, self.size // 4)
