"""Workers that die: the element that did it fails, after its retries, and no other; on every backend."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import weft
from weft.testing import Calls

QUIET: dict[str, Any] = {"n_jobs": 2, "progress": False}


def deadly(calls: Calls, bad: Any, how: str = "exit", only_first: int = 10**6) -> Any:
    def f(x):
        if x == bad:
            calls("deadly")
            if len(calls) <= only_first:
                if how == "exit":
                    os._exit(1)
                os.kill(os.getpid(), signal.SIGKILL)
        return x * 2

    return f


@pytest.mark.parametrize(("n", "block_size"), [(6, "auto"), (3000, 3000)])
def test_only_the_deadly_element_fails(
    n: int, block_size: Any, processes: str, kept: dict[str, Any], calls: Calls
) -> None:
    bad = n * 2 // 3
    step = weft.step("y", mapspec="x[i] -> y[i]")(deadly(calls, bad))
    run = weft.Pipeline([step]).run(
        {"x": list(range(n))}, backend=processes, on_error="continue", block_size=block_size, **QUIET, **kept
    )
    found = run.get("y", missing=-1)
    assert found[bad] == -1 and (found == -1).sum() == 1
    assert np.delete(found, bad).tolist() == [2 * x for x in range(n) if x != bad]
    counts = run.status["f"]
    assert (counts["failed"], counts["done"]) == (1, n - 1)


def test_the_deadly_element_is_blamed(processes: str, kept: dict[str, Any], calls: Calls) -> None:
    step = weft.step("y", mapspec="x[i] -> y[i]")(deadly(calls, 700))
    with pytest.raises(weft.StepError, match="worker process died") as caught:
        weft.Pipeline([step]).run(
            {"x": list(range(1000))}, backend=processes, block_size=1000, **QUIET, **kept
        )
    assert (caught.value.step, caught.value.index, caught.value.coords) == ("f", {"i": 700}, {"x": 700})


def test_deaths_count_as_attempts(processes: str, calls: Calls) -> None:
    # Once with its neighbours, which charges nobody; then alone, with one retry.
    step = weft.step("y", mapspec="x[i] -> y[i]", retries=1)(deadly(calls, 3))
    run = weft.Pipeline([step]).run({"x": list(range(6))}, backend=processes, on_error="continue", **QUIET)
    assert run.get("y", missing=-1).tolist() == [0, 2, 4, -1, 8, 10]
    assert len(calls) == 3


def test_a_deadly_first_iteration_runs_alone_and_nowhere_else(processes: str, calls: Calls) -> None:
    step = weft.Step(deadly(calls, 0), "y", name="f")
    loop = weft.Loop([step], n_iterations=4, name="t", carry={"x": "y"})
    run = weft.Pipeline([loop]).run({"x": 0}, backend=processes, on_error="continue", **QUIET)
    counts = run.status["f"]
    assert (counts["failed"], counts["blocked"]) == (1, 3)
    assert len(calls) == 2


def test_an_element_that_lives_after_a_death_is_done(processes: str, calls: Calls) -> None:
    step = weft.step("y", mapspec="x[i] -> y[i]", retries=1)(deadly(calls, 3, "kill", only_first=2))
    run = weft.Pipeline([step]).run({"x": list(range(6))}, backend=processes, **QUIET)
    assert run.ok and run["y"].tolist() == [0, 2, 4, 6, 8, 10]


def test_a_dying_neighbour_is_not_charged(processes: str, calls: Calls, tmp_path: Path) -> None:
    """One element kills another's worker, once: nobody fails, though nobody has retries."""
    victim = tmp_path / "victim"

    def f(x):
        if x == 0 and not victim.exists():
            (tmp_path / "writing").write_text(str(os.getpid()))
            (tmp_path / "writing").rename(victim)
            while True:
                pass
        if x == 1:
            while not victim.exists():
                pass
            if not (tmp_path / "done").exists():
                (tmp_path / "done").touch()
                os.kill(int(victim.read_text()), signal.SIGKILL)
        return x

    step = weft.step("y", mapspec="x[i] -> y[i]")(f)
    run = weft.Pipeline([step]).run({"x": [0, 1, 2, 3]}, backend=processes, block_size=1, **QUIET)
    assert run.ok and run["y"].tolist() == [0, 1, 2, 3]


def test_what_follows_a_dead_element_is_blocked(processes: str, calls: Calls) -> None:
    first = weft.step("y", mapspec="x[i] -> y[i]")(deadly(calls, 2))
    second = weft.step("z", mapspec="y[i] -> z[i]", name="g")(lambda y: y + 1)
    total = weft.step("s")(lambda z: sum(z))
    run = weft.Pipeline([first, second, total]).run(
        {"x": [0, 1, 2, 3]}, backend=processes, on_error="continue", **QUIET
    )
    assert run.get("z", missing=-1).tolist() == [1, 3, -1, 7]
    assert run.status["g"]["blocked"] == 1 and run.status["s"]["blocked"] == 1


def test_death_in_a_later_step_of_a_chain(processes: str, calls: Calls) -> None:
    first = weft.step("x", mapspec="n[i] -> x[i]", name="first")(lambda n: n)
    second = weft.step("y", mapspec="x[i] -> y[i]")(deadly(calls, 2))
    with pytest.raises(weft.StepError) as caught:
        weft.Pipeline([first, second]).run({"n": [0, 1, 2, 3]}, backend=processes, **QUIET)
    assert caught.value.step == "f" and caught.value.index == {"i": 2}


def ready() -> None:
    os.environ["WEFT_TEST_READY"] = "yes"


def test_what_runs_alone_is_initialized_too(processes: str, calls: Calls) -> None:
    kill = deadly(calls, 2)
    step = weft.step("y", mapspec="x[i] -> y[i]")(lambda x: (os.environ["WEFT_TEST_READY"], kill(x)))
    run = weft.Pipeline([step]).run(
        {"x": [0, 1, 2, 3]}, backend=processes, on_error="continue", initializer=ready, block_size=4, **QUIET
    )
    assert [(error.index["i"], error.cause) for error in run.errors] == [(2, "death")]


def test_a_run_goes_on_after_deaths(processes: str, calls: Calls, tmp_path: Path) -> None:
    step = weft.step("y", mapspec="x[i] -> y[i]")(deadly(calls, 2, only_first=2))
    pipe = weft.Pipeline([step])
    options: dict[str, Any] = {"backend": processes, "run_dir": tmp_path / "run", **QUIET}
    with pytest.raises(weft.StepError):
        pipe.run({"x": [0, 1, 2, 3]}, **options)
    assert pipe.run({"x": [0, 1, 2, 3]}, **options)["y"].tolist() == [0, 2, 4, 6]


def test_two_deadly_elements(processes: str, calls: Calls) -> None:
    def f(x):
        if x in (3, 8):
            os._exit(3)
        return x

    step = weft.step("y", mapspec="x[i] -> y[i]")(f)
    run = weft.Pipeline([step]).run({"x": list(range(12))}, backend=processes, on_error="continue", **QUIET)
    found = run.get("y", missing=-1)
    assert np.flatnonzero(found == -1).tolist() == [3, 8]


def test_every_element_is_deadly(processes: str) -> None:
    step = weft.step("y", mapspec="x[i] -> y[i]")(lambda x: os._exit(1))
    run = weft.Pipeline([step]).run({"x": [1, 2, 3]}, backend=processes, on_error="continue", **QUIET)
    assert run.status["y"]["failed"] == 3


@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGKILL])
def test_a_signal_to_idle_workers_does_not_break_the_runs_after_it(kill: signal.Signals) -> None:
    pipe = weft.Pipeline([weft.step("pid", mapspec="x[i] -> pid[i]")(lambda x: os.getpid())])
    workers = set(pipe.run({"x": range(8)}, backend="loky", block_size=1, **QUIET)["pid"].tolist())
    for pid in workers:
        os.kill(pid, kill)
    for _ in range(2):
        assert pipe.run({"x": range(8)}, backend="loky", block_size=1, **QUIET).ok
