"""Wherever a run stops, whatever is left: results are right or missing, and resuming completes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest
from tests.crash.machine import (
    KINDS,
    QUIET,
    RUN,
    Machine,
    assert_complete,
    assert_right_or_missing,
    each_crash,
    machine,
    opened,
    present,
)

import weft

pytestmark = pytest.mark.crash

TIDE = {"height": 0}
"""What the functions read behind weft's back, so that what was made again after `force` differs."""


@weft.step("y", mapspec="x[i] -> y[i]", version="1")
def scaled(x: int, k: int) -> int:
    return 10 * x + k + TIDE["height"]


@weft.step("s", version="1")
def total(y: Any) -> int:
    return int(y.sum())


PIPE = weft.Pipeline([scaled, total], name="tides")
FIRST = [1, 2, 3, 4, 5]


def expected(x: list[int], k: int, tide: int = 0) -> dict[str, list[int]]:
    y = [10 * value + k + tide for value in x]
    return {"y": y, "s": [sum(y)]}


def run(x: list[int], k: int = 1, **options: Any) -> weft.Run:
    return PIPE.run({"x": x, "k": k}, **{"backend": "sequential", **QUIET, **options})


def recorded(found: weft.Run, tide: int = 0) -> dict[str, list[int]]:
    """What the run must show, given what it says of its own inputs."""
    return expected([int(v) for v in found.inputs["x"]], found.inputs["k"], tide)


@pytest.fixture
def computer() -> Iterator[Machine]:
    TIDE["height"] = 0
    with machine() as made:
        yield made
    TIDE["height"] = 0


@pytest.fixture(params=["sequential", "thread_pool"])
def backend(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {"backend": request.param, "n_jobs": 2}


def test_first_run(computer: Machine, backend: dict[str, Any]) -> None:
    def work() -> weft.Run:
        return run(FIRST, **backend)

    for _ in each_crash(computer, work, kinds=len(KINDS)):
        found = opened()
        if found is not None:
            assert_right_or_missing(found, expected(FIRST, 1))
        assert_complete(work(), expected(FIRST, 1))
    assert_complete(weft.open_run(RUN), expected(FIRST, 1))


@pytest.mark.parametrize(
    "later", [[9, 1, 2, 3, 4, 5, 6], [5, 3, 1], [2, 7, 1, 1]], ids=["insert", "select", "mixed"]
)
def test_growth(computer: Machine, later: list[int]) -> None:
    run(FIRST)
    for _ in each_crash(computer, lambda: run(later)):
        found = weft.open_run(RUN)
        assert_right_or_missing(found, recorded(found))
        assert_complete(run(later), expected(later, 1))


def test_growth_of_an_unfinished_run(computer: Machine) -> None:
    run(FIRST, indices={"i": [0, 3]})
    later = [0, *FIRST, 6]
    for _ in each_crash(computer, lambda: run(later)):
        found = weft.open_run(RUN)
        assert_right_or_missing(found, recorded(found))
        assert_complete(run(later), expected(later, 1))


@pytest.mark.parametrize("force", ["all", "scaled", "scaled+"])
def test_force(computer: Machine, force: str) -> None:
    """Values of before and after never stand side by side."""
    run(FIRST)
    TIDE["height"] = 1000
    for _ in each_crash(computer, lambda: run(FIRST, force=force)):
        found = weft.open_run(RUN)
        begun = found._study.epoch > 1
        assert_right_or_missing(found, recorded(found, 1000 if begun else 0))
        if not begun:
            assert present(found, "s") == expected(FIRST, 1)["s"]
        assert_complete(run(FIRST), expected(FIRST, 1, 1000 if begun else 0))


@pytest.mark.parametrize("on_change", ["rerun", "replace"])
def test_changed_input(computer: Machine, on_change: str) -> None:
    run(FIRST)
    for _ in each_crash(computer, lambda: run(FIRST, k=2, on_change=on_change)):
        found = weft.open_run(RUN)
        assert_right_or_missing(found, recorded(found))
        assert_complete(run(FIRST, k=2, on_change="rerun"), expected(FIRST, 2))


def test_changed_code(computer: Machine) -> None:
    """An interrupted rerun with other code, then one with a third: none shows what another made."""
    run(FIRST)

    def version(number: int) -> Callable[[], weft.Run]:
        other = weft.Step(
            lambda x, k: 10 * x + k + 1000 * number,
            "y",
            mapspec="x[i] -> y[i]",
            name="scaled",
            version=str(number),
        )
        pipe = PIPE.replace("scaled", other)
        return lambda: pipe.run({"x": FIRST, "k": 1}, on_change="rerun", backend="sequential", **QUIET)

    for at in each_crash(computer, version(2)):
        found = weft.open_run(RUN)
        assert_right_or_missing(found, expected(FIRST, 1, 2000 if found._study.epoch > 1 else 0))
        if at % 3 == 0:
            assert_complete(version(3)(), expected(FIRST, 1, 3000))
        assert_complete(version(2)(), expected(FIRST, 1, 2000))


def test_kept_results(computer: Machine) -> None:
    """With "keep" what was done keeps its old value and what was open gets the new one, wherever it stops."""
    run(FIRST, indices={"i": [0, 1]})
    mixed = {"y": [*expected(FIRST[:2], 1)["y"], *expected(FIRST[2:], 2)["y"]]}
    for _ in each_crash(computer, lambda: run(FIRST, k=2, on_change="keep")):
        found = weft.open_run(RUN)
        assert_right_or_missing(found, {"y": expected(FIRST, 1)["y"]} if found._study.epoch == 1 else mixed)
        assert_complete(run(FIRST, k=2, on_change="keep"), mixed)


def test_reset(computer: Machine) -> None:
    """What was reset is missing until it is made again; the others stay."""
    run(FIRST)
    TIDE["height"] = 1000
    mixed = [1011, 21, 31, 1041, 51]
    after = {"y": mixed, "s": [sum(mixed)]}

    def work() -> weft.Run:
        again = weft.open_run(RUN).reset("y", i=[0, 3])
        return again.resume(pipeline=PIPE, backend="sequential", block_size=2, progress=False)

    for _ in each_crash(computer, work):
        found = weft.open_run(RUN)
        begun = found._study.epoch > 1
        assert_right_or_missing(found, after if begun else expected(FIRST, 1))
        assert_complete(run(FIRST), after if begun else expected(FIRST, 1))
    assert begun


def test_killed_resumed_and_then_without_power(computer: Machine) -> None:
    """What a killed driver left unsynced is not built upon: the next loss of power takes it away."""
    random = Random(7)
    n = computer.operations(lambda: run(FIRST))
    start = computer.disk.snapshot()
    for at in range(1, n + 1):
        computer.disk.restore(start)
        computer.stopped(lambda: run(FIRST), at)
        computer.crash(random, "clean")
        computer.stopped(lambda: run(FIRST), random.randint(1, n))
        computer.crash(random, random.choice(["strict", "random"]))
        found = opened()
        if found is not None:
            assert_right_or_missing(found, expected(FIRST, 1))
        assert_complete(run(FIRST), expected(FIRST, 1))
        found = run([0, *FIRST], k=2, on_change="rerun")
        assert_complete(found, expected([0, *FIRST], 2))


def test_a_finished_run_survives_though_parts_are_of_killed_drivers(computer: Machine) -> None:
    n = computer.operations(lambda: run(FIRST))
    start = computer.disk.snapshot()
    for at in range(1, n + 1):
        computer.disk.restore(start)
        computer.stopped(lambda: run(FIRST), at)
        computer.crash(Random(at), "clean")
        run(FIRST)
        computer.crash(Random(at), "strict")
        assert_complete(weft.open_run(RUN), expected(FIRST, 1))
