"""Any sequence of runs, failures, crashes, twins, second drivers and changes, against a dictionary."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from random import Random
from typing import Any, ClassVar
from unittest import mock

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.crash.machine import RUN, Machine, machine, opened, present

import weft
from weft.engine.jobs import Job
from weft.engine.lease import Lease
from weft.engine.worker import run_job
from weft.store.fs import current
from weft.store.record import RunDirectory
from weft.study.arguments import Item
from weft.study.opening import load_study
from weft.study.study import Study
from weft.testing.disk import PowerLoss


@dataclass
class World:
    """What the function reads behind weft's back: how often all was forced, and each value reset."""

    forced: int = 0
    resets: dict[int, int] = field(default_factory=dict)

    def value(self, x: int, k: int) -> int:
        return 1_000_000 * self.forced + 10_000 * self.resets.get(x, 0) + 10 * x + k


class Now:
    """The world as it is, what fails in it, and what happens while an element runs."""

    world = World()
    bad: frozenset[int] = frozenset()
    executed: ClassVar[list[int]] = []
    meanwhile: ClassVar[list[Callable[[], None]]] = []


@weft.step("y", mapspec="x[i] -> y[i]", version="1")
def made(x: int, k: int) -> int:
    Now.executed.append(x)
    if Now.meanwhile:
        Now.meanwhile.pop()()
    if x in Now.bad:
        raise ValueError(f"{x} is bad")
    return Now.world.value(x, k)


@weft.step("z", mapspec="y[i] -> z[i]", version="1")
def next_of(y: int) -> int:
    return y + 1


@weft.step("s", version="1")
def total(y: Any) -> int:
    return int(y.sum())


PIPE = weft.Pipeline([made, next_of, total], name="machine")

stops = st.one_of(
    st.none(), st.none(), st.tuples(st.integers(1, 110), st.sampled_from(["clean", "strict", "random"]))
)
values = st.lists(st.integers(0, 7), min_size=1, max_size=7, unique=True)


class Runs(RuleBasedStateMachine):
    """`done` is the dictionary: for each `k` and count of forces, the elements that must be there."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = contextlib.ExitStack()
        self.machine: Machine = self.stack.enter_context(machine())
        Now.world, Now.bad, Now.meanwhile = World(), frozenset(), []
        Now.executed.clear()
        self.random = Random(0)
        self.begun = False
        self.x: list[int] = [0]
        self.k = 1
        self.done: dict[tuple[int, int], set[int]] = {}
        self.late: tuple[Study, World] | None = None

    def teardown(self) -> None:
        self.stack.close()

    @property
    def here(self) -> set[int]:
        """What must be there under the identity in force."""
        return self.done.setdefault((self.k, Now.world.forced), set())

    def attempt(self, work: Callable[[], object], stop: tuple[int, Any] | None) -> bool:
        """Do something, to its end or until the power fails; whether it came to its end."""
        Now.executed.clear()
        disk = self.machine.disk
        if stop is not None:
            disk.stop_at(stop[0], torn=stop[0] % 2 == 0)
        try:
            work()
            disk.restart()
            return True
        except PowerLoss:
            assert stop is not None
            self.machine.crash(self.random, stop[1])
            return False
        finally:
            Now.meanwhile = []

    def run(self, **options: Any) -> None:
        PIPE.run(
            {"x": options.pop("x", self.x), "k": options.pop("k", self.k)}, run_dir=RUN, block_size=3,
            backend="sequential", on_error="continue", progress=False, **options,
        )  # fmt: skip

    def study(
        self, stop: Any, before: World, x: list[int] | None = None, k: int | None = None, **options: Any
    ) -> None:
        """Run a changed study: afterwards either the change is recorded and counts, or nothing of it."""
        x, k = self.x if x is None else x, self.k if k is None else k
        after = Now.world
        ended = self.attempt(lambda: self.run(x=x, k=k, **options), stop)
        found = opened()
        self.begun = found is not None
        recorded = found is not None and (
            (found.inputs["x"].tolist(), found.inputs["k"], forces(found)) == (x, k, after.forced)
        )
        if recorded:
            self.x, self.k = x, k
        else:
            assert not ended
            Now.world = before
        self.compare(ended and "indices" not in options)

    def compare(self, ended: bool) -> None:
        """What is shown is right, what was there is still there, and was not made again."""
        found = opened()
        if found is None:
            assert not self.begun
            return
        assert not self.here & set(Now.executed), "what was done is made again"
        assert found.inputs["x"].tolist() == self.x
        y, z, s = present(found, "y"), present(found, "z"), present(found, "s")[0]
        right = [Now.world.value(x, self.k) for x in self.x]
        assert all(shown is None or shown == value for shown, value in zip(y, right, strict=True)), (y, right)
        assert all(shown is None or shown == value + 1 for shown, value in zip(z, right, strict=True)), (
            z,
            right,
        )
        assert s is None or (None not in y and s == sum(right)), (s, y)
        there = {x for x, shown in zip(self.x, y, strict=True) if shown is not None}
        assert self.here & set(self.x) <= there, "what was done is gone"
        if ended:
            assert there == {x for x in self.x if x in self.here or x not in Now.bad}
            assert [shown is None for shown in z] == [shown is None for shown in y]
            assert (s is None) == (None in y)
        self.here.update(there)

    @initialize(x=values, stop=stops)
    def start(self, x: list[int], stop: Any) -> None:
        self.x = x
        self.study(stop, Now.world)

    @rule(stop=stops)
    def resume(self, stop: Any) -> None:
        self.study(stop, Now.world)

    @rule(stop=stops, data=st.data())
    def put(self, stop: Any, data: st.DataObject) -> None:
        chosen = data.draw(st.lists(st.integers(0, len(self.x) - 1), min_size=1, unique=True))
        self.study(stop, Now.world, indices={"i": sorted(chosen)})

    @rule(x=values, stop=stops)
    def grow(self, x: list[int], stop: Any) -> None:
        self.study(stop, Now.world, x=x)

    @rule(x=st.integers(0, 7), at=st.integers(0, 7), stop=stops)
    def insert(self, x: int, at: int, stop: Any) -> None:
        if x not in self.x:
            self.study(stop, Now.world, x=[*self.x[:at], x, *self.x[at:]])

    @rule(k=st.integers(1, 3), stop=stops)
    def rerun(self, k: int, stop: Any) -> None:
        self.study(stop, Now.world, k=k, on_change="rerun")

    @precondition(lambda self: self.begun)
    @rule(stop=stops)
    def force(self, stop: Any) -> None:
        before, Now.world = Now.world, World(Now.world.forced + 1, dict(Now.world.resets))
        self.study(stop, before, force="all")

    @rule(bad=st.frozensets(st.integers(0, 7), max_size=2))
    def fail(self, bad: frozenset[int]) -> None:
        Now.bad = bad

    @precondition(lambda self: self.begun)
    @rule(stop=stops)
    def retry(self, stop: Any) -> None:
        self.attempt(lambda: weft.open_run(RUN).retry(on_error="continue", progress=False), stop)
        self.compare(False)

    @precondition(lambda self: self.begun)
    @rule(data=st.data(), stop=stops)
    def reset(self, data: st.DataObject, stop: Any) -> None:
        at = data.draw(st.integers(0, len(self.x) - 1))
        n = len(weft.open_run(RUN)._study.resets)
        ended = self.attempt(lambda: weft.open_run(RUN).reset("y", i=at), stop)
        if len(weft.open_run(RUN)._study.resets) > n:
            x = self.x[at]
            Now.world = World(Now.world.forced, {**Now.world.resets, x: Now.world.resets.get(x, 0) + 1})
            for done in self.done.values():
                done.discard(x)
        else:
            assert not ended
        self.compare(False)

    @precondition(lambda self: self.begun)
    @rule(other=values, stop=stops, forced=st.booleans())
    def two_drivers(self, other: list[int], stop: Any, forced: bool) -> None:
        """While an element of one driver runs, a second one, heedless of the lease, runs another study."""
        first = deepcopy(Now.world)
        second = World(first.forced + forced, dict(first.resets))
        was = set(self.here)

        def meanwhile() -> None:
            Now.world = second
            with mock.patch.object(Lease, "take", lambda lease: lease):
                self.run(x=other, **({"force": "all"} if forced else {}))
            Now.world = first

        def work() -> None:
            Now.meanwhile = [meanwhile]
            self.run()

        ended = self.attempt(work, stop)
        assert forced or not was & set(Now.executed)
        Now.executed.clear()
        found = weft.open_run(RUN)
        Now.world = second if forces(found) == second.forced else first
        assert found.inputs["x"].tolist() in (self.x, other)
        self.x = found.inputs["x"].tolist()
        self.compare(False)
        if ended:
            self.study(None, Now.world)

    @precondition(lambda self: self.begun)
    @rule()
    def remember(self) -> None:
        """A job was sent, and its worker hangs."""
        change = RunDirectory(RUN, current()).change()
        assert change is not None
        self.late = (load_study(RUN, current(), code=change.code).refresh(), deepcopy(Now.world))

    @precondition(lambda self: self.late is not None)
    @rule(data=st.data(), stop=stops, twice=st.booleans())
    def twin(self, data: st.DataObject, stop: Any, twice: bool) -> None:
        """It goes on, maybe twice, for it was queued again; whatever happened meanwhile."""
        assert self.late is not None
        study, world = self.late
        grid = study.grid(study.graph.steps["made"])
        if grid is None or not grid.n_blocks:
            return
        number = data.draw(st.integers(0, grid.n_blocks - 1))
        block = grid.at(number)
        now, Now.world = Now.world, world

        def work() -> None:
            for token in ("first", "second")[: 1 + twice]:
                local = np.unique(grid.local(block, study.selection(study.graph.steps["made"])))
                if not len(local):
                    return
                report = run_job(
                    study, Job(token, (Item.of(("made",), block, local),), study.epoch, "continue")
                )
                if report.problem is not None:
                    raise report.problem

        self.attempt(work, stop)
        Now.world = now
        Now.executed.clear()
        self.compare(False)

    @invariant()
    def no_wrong_states(self) -> None:
        """The counts that a reader sees agree with the values that it sees."""
        found = opened()
        if found is not None:
            shown = sum(value is not None for value in present(found, "y"))
            assert found.status["made"]["done"] == shown


def forces(found: weft.Run) -> int:
    return found._study.records["made"].forced


@pytest.mark.crash
def test_state_machine() -> None:
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(Runs, settings=settings(max_examples=25, stateful_step_count=15, deadline=None))
