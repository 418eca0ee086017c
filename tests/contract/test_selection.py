"""What to make: indices, outputs; axes that steps open; who runs what; runs that are not waited for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import weft
from weft.testing import Calls

Go = Callable[..., weft.Run]
QUIET: dict[str, Any] = {"n_jobs": 2, "progress": False}


def double(x):
    return 2 * x


@pytest.fixture
def steps(calls: Calls) -> list[Any]:
    return [
        weft.step("y", mapspec="x[i] -> y[i]")(lambda x: (calls("y", x), 2 * x)[1]),
        weft.step("z", mapspec="y[i] -> z[i]")(lambda y: (calls("z", y), y + 1)[1]),
        weft.step("s")(lambda z: (calls("s"), int(np.sum(z)))[1]),
    ]


CHOICES = {
    "int": (2, [2]),
    "negative": (-1, [4]),
    "slice": (slice(1, 4, 2), [1, 3]),
    "list": ([3, 0], [0, 3]),
    "none": ([], []),
}


@pytest.mark.parametrize("choice", CHOICES)
def test_indices_run_only_those_and_leave_the_rest_open(
    choice: str, backend: str, go: Go, steps: list[Any], calls: Calls
) -> None:
    given, chosen = CHOICES[choice]
    run = go(steps, {"x": [10, 20, 30, 40, 50]}, indices={"i": given}, backend=backend, n_jobs=2)
    xs = [10, 20, 30, 40, 50]
    assert sorted(calls.take()) == sorted([f"y {xs[i]}" for i in chosen] + [f"z {2 * xs[i]}" for i in chosen])
    # What was asked for is done; who opens the run later sees what is open.
    assert run.ok and not weft.open_run(str(run.path)).ok
    assert run.get("z", missing=-1).tolist() == [2 * x + 1 if i in chosen else -1 for i, x in enumerate(xs)]
    assert go(steps, {"x": xs}, backend=backend, n_jobs=2)["s"] == 305
    assert len([c for c in calls.take() if c[0] == "y"]) == 5 - len(chosen)


def test_outputs_run_only_what_they_need(
    backend: str, kept: dict[str, Any], steps: list[Any], calls: Calls
) -> None:
    run = weft.Pipeline(steps).run({"x": [1, 2]}, outputs="y", backend=backend, **QUIET, **kept)
    assert run["y"].tolist() == [2, 4] and sorted(calls.take()) == ["y 1", "y 2"]
    with pytest.raises(weft.MissingResult):
        run["z"]


def test_axes_that_steps_open(backend: str, kept: dict[str, Any]) -> None:
    steps = [
        weft.step("x", mapspec="... -> x[i]")(lambda n: list(range(n))),
        weft.step("w", mapspec="x[i] -> w[j, i]")(lambda x: np.array([x, 10 * x, 100 * x])),
        weft.step("v", mapspec="w[j, i] -> v[i, j]")(lambda w: w + 1),
        weft.step("r", mapspec="v[:, j] -> r[j]")(lambda v: int(np.sum(v))),
    ]
    run = weft.Pipeline(steps).run({"n": 4}, backend=backend, **QUIET, **kept)
    assert run["w"].tolist() == [[0, 1, 2, 3], [0, 10, 20, 30], [0, 100, 200, 300]]
    assert run["v"].tolist() == (run["w"].T + 1).tolist()
    assert run["r"].tolist() == [10, 64, 604]


def test_two_outputs_open_an_axis_together(backend: str) -> None:
    pair = weft.step(("a", "b"), mapspec="n[j] -> a[i, j], b[i, j]")(lambda n: ([n, n + 1], [-n, -n - 1]))
    run = weft.Pipeline([pair]).run({"n": [1, 5]}, backend=backend, **QUIET)
    assert run["a"].tolist() == [[1, 5], [2, 6]] and run["b"].tolist() == [[-1, -5], [-2, -6]]


def test_lengths_that_disagree(backend: str, kept: dict[str, Any]) -> None:
    ragged = weft.step("x", mapspec="n[j] -> x[i, j]")(lambda n: list(range(n)))
    with pytest.raises((weft.ShapeError, weft.StepError)) as caught:
        weft.Pipeline([ragged]).run({"n": [2, 3]}, backend=backend, **QUIET, **kept)
    text = str(caught.value)
    assert "'i'" in text and "'x'" in text and "2" in text and "3" in text


def test_an_opened_axis_must_fit_an_input_on_it(backend: str) -> None:
    opened = weft.step("x", mapspec="... -> x[i]")(lambda n: list(range(n)))
    both = weft.step("y", mapspec="x[i], w[i] -> y[i]")(lambda x, w: x * w)
    pipe = weft.Pipeline([opened, both])
    assert pipe.run({"n": 2, "w": [5, 6]}, backend=backend, **QUIET)["y"].tolist() == [0, 6]
    with pytest.raises((weft.ShapeError, weft.StepError), match="'i'"):
        pipe.run({"n": 3, "w": [5, 6]}, backend=backend, **QUIET)


def test_sizes_declared(backend: str) -> None:
    def pipe(size: int) -> weft.Pipeline:
        opened = weft.step("x", mapspec="... -> x[i]", sizes={"i": size})(lambda n: list(range(n)))
        return weft.Pipeline([opened, weft.step("y", mapspec="x[i] -> y[i]")(double)])

    assert pipe(3).run({"n": 3}, backend=backend, **QUIET)["y"].tolist() == [0, 2, 4]
    with pytest.raises((weft.ShapeError, weft.StepError), match=r"'i'.*5.*3|'i'.*3.*5"):
        pipe(5).run({"n": 3}, backend=backend, **QUIET)


@pytest.mark.parametrize("empty", [[], (), np.array([]), range(0)], ids=lambda v: type(v).__name__)
def test_empty_axes(empty: Any, backend: str, kept: dict[str, Any], calls: Calls, steps: list[Any]) -> None:
    run = weft.Pipeline(steps).run({"x": empty}, backend=backend, **QUIET, **kept)
    assert run["y"].shape == (0,) and run["s"] == 0 and run.ok and calls.made() == ["s"]
    grid = weft.step("c", mapspec="x[i], b[j] -> c[i, j]")(lambda x, b: x + b)
    assert weft.Pipeline([grid]).run({"x": empty, "b": [1, 2]}, backend=backend, **QUIET)["c"].shape == (0, 2)


def test_a_dict_of_backends(kept: dict[str, Any]) -> None:
    def here(x):
        return threading.get_ident()

    steps = [
        weft.step("a", mapspec="x[i] -> a[i]", name="first")(here),
        weft.step("b", mapspec="a[i] -> b[i]", name="second")(lambda a: threading.get_ident()),
    ]
    backends = {"": "sequential", "b": "thread_pool"}
    run = weft.Pipeline(steps).run({"x": [1, 2]}, backend=backends, **QUIET, **kept)
    assert (
        set(run["a"].tolist()) == {threading.get_ident()} and threading.get_ident() not in run["b"].tolist()
    )
    with pytest.raises((weft.InvalidInput, weft.WiringError, weft.UnknownBackend), match="thrid"):
        weft.Pipeline(steps).run({"x": [1]}, backend={"thrid": "loky"}, **QUIET)


@pytest.mark.parametrize("kind", [ThreadPoolExecutor, ProcessPoolExecutor])
def test_any_executor_is_used_and_left_open(kind: Any, kept: dict[str, Any], steps: list[Any]) -> None:
    with kind(2) as pool:
        for _ in range(2):
            assert weft.Pipeline(steps).run({"x": [1, 2, 3]}, backend=pool, **QUIET, **kept)["s"] == 15
        assert pool.submit(double, 4).result() == 8


def test_auto_runs_quick_work_here(calls: Calls) -> None:
    step = weft.step("y", mapspec="x[i] -> y[i]")(lambda x: threading.get_ident())
    run = weft.Pipeline([step]).run({"x": list(range(100))}, backend="auto", **QUIET)
    assert set(run["y"].tolist()) == {threading.get_ident()}


def test_a_run_that_is_not_waited_for(backend: str, kept: dict[str, Any]) -> None:
    events: list[weft.Event] = []
    step = weft.step("y", mapspec="x[i] -> y[i]")(double)
    run = weft.Pipeline([step]).run(
        {"x": [1, 2]}, backend=backend, wait=False, observers=[events.append], **QUIET, **kept
    )
    assert run.wait(60) is run and run["y"].tolist() == [2, 4]
    assert events[0].kind == "run-started" and events[-1].kind == "run-ended"


def test_waiting_raises_what_run_would_have() -> None:
    step = weft.step("y", mapspec="x[i] -> y[i]")(lambda x: 1 // x)
    run = weft.Pipeline([step]).run({"x": [1, 0]}, backend="thread_pool", wait=False, **QUIET)
    with pytest.raises(weft.StepError) as caught:
        run.wait(60)
    assert caught.value.index == {"i": 1}


def test_progress_is_seen_while_it_runs() -> None:
    gate = threading.Event()

    def held(x):
        if x == 1:
            assert gate.wait(60)
        return x

    step = weft.step("y", mapspec="x[i] -> y[i]")(held)
    run = weft.Pipeline([step]).run({"x": [0, 1]}, backend="thread_pool", block_size=1, wait=False, **QUIET)
    with pytest.raises(TimeoutError):
        run.wait(0.05)
    assert not run.ok
    gate.set()
    assert run.wait(60).ok and run["y"].tolist() == [0, 1]


def test_await() -> None:
    step = weft.step("y", mapspec="x[i] -> y[i]")(double)

    async def main() -> Any:
        one = weft.Pipeline([step]).run({"x": [1]}, backend="thread_pool", wait=False, **QUIET)
        two = weft.Pipeline([step]).run({"x": [2]}, backend="thread_pool", wait=False, **QUIET)
        done = await asyncio.gather(_awaited(one), _awaited(two))
        return [run["y"].tolist() for run in done]

    assert asyncio.run(main()) == [[2], [4]]


async def _awaited(run: weft.Run) -> weft.Run:
    return await run
