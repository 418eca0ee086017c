"""A computer with a simulated disk: it stops where a test wants, loses what it may lose, and boots again."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from random import Random
from typing import Any
from unittest import mock

import numpy as np

import weft
from weft.engine import lease
from weft.errors import InvalidInput, StoreError
from weft.testing.disk import Crash, PowerLoss, SimulatedDisk
from weft.testing.machine import simulated_disk

RUN = "/sim/run"
QUIET = {"run_dir": RUN, "block_size": 2, "progress": False}


class Machine:
    """Boots count: a process that held a lease before a crash is not there after it, whatever its number."""

    def __init__(self, disk: SimulatedDisk) -> None:
        self.disk = disk
        self.boots = 0

    def crash(self, random: Random, kind: Crash) -> None:
        """Stop, lose what this kind of crash loses, and boot."""
        self.disk.crash(random, kind)
        self.boots += 1

    def operations(self, work: Callable[[], object]) -> int:
        """How many operations that change something `work` does; all is as before afterwards."""
        before = self.disk.snapshot()
        self.disk.operations.clear()
        work()
        n = len(self.disk.operations)
        self.disk.restore(before)
        return n

    def stopped(self, work: Callable[[], object], at: int, torn: bool = False) -> bool:
        """Do `work` until the operation `at`; whether that was reached."""
        self.disk.stop_at(at, torn)
        try:
            work()
        except PowerLoss:
            return True
        self.disk.restart()
        return False


@contextlib.contextmanager
def machine() -> Iterator[Machine]:
    """A new machine, whose disk all runs use for a while."""
    with simulated_disk() as disk:
        made = Machine(disk)
        with mock.patch.object(lease, "_born", lambda pid: str(made.boots)):
            yield made


KINDS: list[tuple[Crash, int]] = [("strict", 0), ("random", 1), ("clean", 0), ("random", 2)]


def each_crash(computer: Machine, work: Callable[[], object], kinds: int = 2) -> Iterator[int]:
    """Stop `work` at each of its operations and crash, always in the strict kind too; at which it was."""
    n = computer.operations(work)
    assert n > 20
    start = computer.disk.snapshot()
    for at in range(1, n + 1):
        computer.disk.restore(start)
        if not computer.stopped(work, at, torn=at % 4 < 2):
            continue  # threads may do it in fewer operations than they did the first time
        stopped = computer.disk.snapshot()
        for number in range(kinds):
            kind, seed = KINDS[number if number == 0 or kinds == len(KINDS) else 1 + at % 3]
            computer.disk.restore(stopped)
            computer.crash(Random(1000 * seed + at), kind)
            yield at


def opened() -> weft.Run | None:
    """The run as a reader finds it; None if there is none yet, which it must say clearly."""
    try:
        return weft.open_run(RUN)
    except (InvalidInput, StoreError) as error:
        assert "holds no run" in str(error) or "never started" in str(error), error
        return None


def present(run: weft.Run, name: str) -> list[Any]:
    """The values of a result in order, None where one is missing."""
    found = run.get(name, missing="mask")
    return [None if value is np.ma.masked else value for value in np.ma.atleast_1d(found)]


def assert_right_or_missing(run: weft.Run, expected: dict[str, list[Any]]) -> None:
    """Nothing that the run shows is wrong."""
    for name, values in expected.items():
        seen = present(run, name)
        assert len(seen) == len(values), (name, seen, values)
        assert all(s is None or s == v for s, v in zip(seen, values, strict=True)), (name, seen, values)


def assert_complete(run: weft.Run, expected: dict[str, list[Any]]) -> None:
    """All is there, and right."""
    for name, values in expected.items():
        assert present(run, name) == values, name
