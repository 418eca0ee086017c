"""Who is blamed, what else runs, and what is said: the same on every backend."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import weft
from weft.testing import Calls

Go = Callable[..., weft.Run]
QUIET: dict[str, Any] = {"n_jobs": 2, "progress": False}


def one_over(x):
    return 1 // x


def fails_at(bad: Any) -> Any:
    def f(x, k=1):
        if x == bad:
            raise ValueError(f"no {x}")
        return x * k

    return weft.step("y", mapspec="x[i] -> y[i]")(f)


@pytest.mark.parametrize("block_size", ["auto", 1000, 7])
def test_the_guilty_of_a_thousand_is_blamed(backend: str, kept: dict[str, Any], block_size: Any) -> None:
    xs = [*range(1, 1000), 0]
    xs[7], xs[-1] = xs[-1], xs[7]
    with pytest.raises(weft.StepError) as caught:
        weft.Pipeline([fails_at(0)]).run({"x": xs}, backend=backend, block_size=block_size, **QUIET, **kept)
    error = caught.value
    assert (error.step, error.index, error.coords) == ("f", {"i": 7}, {"x": 0})
    assert isinstance(error.__cause__, ValueError) and str(error.__cause__) == "no 0"
    assert isinstance(error, RuntimeError)
    assert "step 'f'" in str(error) and "i=7" in str(error) and "x=0" in str(error) and "no 0" in str(error)


def test_int_division_fails_at_zero_and_types_hold(backend: str, kept: dict[str, Any]) -> None:
    kind = weft.step("k", mapspec="y[i] -> k[i]")(lambda y: type(y).__name__)
    pipe = weft.Pipeline([weft.step("y", mapspec="x[i] -> y[i]")(one_over), kind])
    for xs, name in (([1, 0, 2], "int"), (np.array([1, 0, 2]), "int64")):
        options = {k: Path(str(v) + name) for k, v in kept.items()}
        with np.errstate(divide="ignore"):
            run = pipe.run({"x": xs}, backend=backend, on_error="continue", **QUIET, **options)
        if name == "int64":
            assert run["k"].tolist() == ["int64"] * 3 and run["y"].tolist() == [1, 0, 0]
            continue
        assert run.get("k", missing="").tolist() == ["int", "", "int"]
        with pytest.raises(weft.StepError) as caught:
            pipe.run({"x": xs}, backend=backend, **QUIET, **options)
        assert caught.value.index == {"i": 1} and isinstance(caught.value.__cause__, ZeroDivisionError)


def test_coords_and_index_of_several_axes(backend: str) -> None:
    def f(a, b, whole):
        if (a, b) == (2, "z"):
            raise KeyError("both")
        return 1

    step = weft.step("y", mapspec="a[i], b[j] -> y[j, i]")(f)
    with pytest.raises(weft.StepError) as caught:
        weft.Pipeline([step]).run({"a": [1, 2], "b": ["x", "y", "z"], "whole": 5}, backend=backend, **QUIET)
    assert caught.value.index == {"j": 2, "i": 1}
    assert caught.value.coords == {"a": 2, "b": "z"}


@pytest.mark.parametrize("on_error", ["stop", "cancel", "continue"])
def test_a_fused_chain_blames_the_step_that_failed(on_error: str, backend: str, kept: dict[str, Any]) -> None:
    second = weft.step("z", mapspec="y[i] -> z[i]")(lambda y: 10 // (y - 3))
    steps = [fails_at(None), second, weft.step("s")(lambda z: sum(z))]
    pipe = weft.Pipeline(steps)
    if on_error == "continue":
        run = pipe.run({"x": [1, 2, 3, 4]}, backend=backend, on_error=on_error, **QUIET, **kept)
        assert run["y"].tolist() == [1, 2, 3, 4]
        assert run.get("z", missing=0).tolist() == [-5, -10, 0, 10]
        assert not run.ok and run.get("s", missing="mask") is np.ma.masked
        with pytest.raises(weft.MissingResult, match="1 failed"):
            run["z"]
        with pytest.raises(weft.MissingResult, match="1 blocked"):
            run["s"]
        return
    with pytest.raises(weft.StepError) as caught:
        pipe.run({"x": [1, 2, 3, 4]}, backend=backend, on_error=on_error, **QUIET, **kept)
    assert caught.value.step == "z" and caught.value.index == {"i": 2} and caught.value.coords == {"x": 3}


@pytest.mark.parametrize("on_error", ["stop", "cancel"])
def test_no_new_element_once_a_failure_is_known(
    on_error: str, backend: str, kept: dict[str, Any], calls: Calls
) -> None:
    def f(x):
        calls(x)
        if x == 7:
            raise ValueError("seven")
        time.sleep(0.1)
        return x

    step = weft.step("y", mapspec="x[i] -> y[i]")(f)
    with pytest.raises(weft.StepError) as caught:
        weft.Pipeline([step]).run(
            {"x": list(range(1000))}, backend=backend, block_size=1000 if backend == "sequential" else 50,
            on_error=on_error, **QUIET, **kept,
        )  # fmt: skip
    ended = time.time()
    made = calls.made()
    assert caught.value.index == {"i": 7}
    # At 0.1 s an element and two workers, two seconds after the failure are 40 elements.
    assert len(made) - made.index("7") < 60
    assert time.time() - ended < 5
    assert len(calls.made()) == len(made), "an element started after the run had ended"


def test_what_ran_is_committed_before_stop(backend: str, go: Go, calls: Calls) -> None:
    def f(x):
        calls(x)
        if x == 5:
            raise ValueError("five")
        return x

    step = weft.step("y", mapspec="x[i] -> y[i]")(f)
    with pytest.raises(weft.StepError):
        go([step], {"x": list(range(6))}, backend=backend, n_jobs=2, block_size=3)
    before = calls.take()
    run = go([step], {"x": list(range(6))}, backend=backend, n_jobs=2, on_error="continue")
    assert sorted([*before, *calls.take()]) == sorted([*map(str, range(6)), "5"])
    assert run.get("y", missing=-1).tolist() == [0, 1, 2, 3, 4, -1]


def test_retries_and_attempts(backend: str, kept: dict[str, Any], calls: Calls) -> None:
    def f(x, ctx: weft.Context):
        calls(x, ctx.attempt)
        if x == 1 and ctx.attempt < 3:
            raise ValueError("not yet")
        return ctx.attempt

    step = weft.step("y", mapspec="x[i] -> y[i]", retries=2)(f)
    run = weft.Pipeline([step]).run({"x": [0, 1, 2]}, backend=backend, **QUIET, **kept)
    assert run["y"].tolist() == [1, 3, 1]
    assert sorted(calls.made()) == ["0 1", "1 1", "1 2", "1 3", "2 1"]


def test_retries_run_out(backend: str, calls: Calls) -> None:
    def f(x):
        calls(x)
        raise ValueError("never")

    step = weft.step("y", mapspec="x[i] -> y[i]", retries=2, retry_delay=0.01)(f)
    with pytest.raises(weft.StepError, match="never"):
        weft.Pipeline([step]).run({"x": [1]}, backend=backend, **QUIET)
    assert calls.made() == ["1"] * 3


def test_retry_delay_lies_between_attempts(calls: Calls) -> None:
    def f(x):
        calls(time.monotonic())
        if len(calls) < 3:
            raise ValueError("again")
        return x

    step = weft.step("y", mapspec="x[i] -> y[i]", retries=2, retry_delay=0.05)(f)
    weft.Pipeline([step])(x=[1])
    times = [float(t) for t in calls.made()]
    assert all(b - a >= 0.05 for a, b in pairwise(times))


class Odd(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__("odd one")


def raises_exit(x):
    if x == 1:
        sys.exit(3)
    return x


def raises_stop(x):
    if x == 1:
        raise StopIteration
    return x


def raises_odd(x):
    if x == 1:
        raise Odd(1, 2)
    return x


def raises_group(x):
    if x == 1:
        raise ExceptionGroup("several", [ValueError("a"), TypeError("b")])
    return x


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (raises_exit, "SystemExit: 3"),
        (raises_stop, "StopIteration"),
        (raises_odd, "Odd: odd one"),
        (raises_group, "ExceptionGroup: several"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_strange_exceptions_are_failures_of_their_element(
    function: Any, said: str, backend: str, kept: dict[str, Any]
) -> None:
    step = weft.step("y", mapspec="x[i] -> y[i]")(function)
    run = weft.Pipeline([step]).run(
        {"x": [0, 1, 2, 3]}, backend=backend, on_error="continue", **QUIET, **kept
    )
    assert run.get("y", missing=-1).tolist() == [0, -1, 2, 3]
    options = {k: Path(str(v) + "2") for k, v in kept.items()}
    with pytest.raises(weft.StepError) as caught:
        weft.Pipeline([step]).run({"x": [0, 1, 2, 3]}, backend=backend, **QUIET, **options)
    assert caught.value.index == {"i": 1} and said in str(caught.value)
    assert caught.value.__cause__ is not None


def test_an_exception_that_cannot_be_pickled_is_named_as_such(processes: str, kept: dict[str, Any]) -> None:
    def f(x):
        error = ValueError("with a lock")
        error.lock = threading.Lock()  # type: ignore[attr-defined]
        raise error

    step = weft.step("y", mapspec="x[i] -> y[i]")(f)
    with pytest.raises(weft.StepError, match="with a lock") as caught:
        weft.Pipeline([step]).run({"x": [1]}, backend=processes, **QUIET, **kept)
    cause = str(caught.value.__cause__)
    assert "ValueError: with a lock" in cause and "cannot be pickled" in cause and "raise error" in cause


def test_a_result_that_cannot_be_stored_is_named_as_such(backend: str, kept: dict[str, Any]) -> None:
    def f(x):
        return threading.Lock() if x == 2 else x

    step = weft.step("y", mapspec="x[i] -> y[i]")(f)
    if backend in ("sequential", "thread_pool") and not kept:
        run = weft.Pipeline([step]).run({"x": [1, 2, 3]}, backend=backend, **QUIET)
        assert type(run["y"][1]).__name__ == "lock"
        return
    with pytest.raises(weft.StepError) as caught:
        weft.Pipeline([step]).run({"x": [1, 2, 3]}, backend=backend, **QUIET, **kept)
    assert caught.value.index == {"i": 1} and caught.value.coords == {"x": 2}
    text = str(caught.value)
    assert "'y'" in text and "lock" in text and ("stored" in text or "pickled" in text)


def test_an_argument_that_cannot_be_pickled_is_named_as_such(backend: str, kept: dict[str, Any]) -> None:
    step = weft.step("y", mapspec="x[i] -> y[i]")(lambda x, lock: x)
    inputs = {"x": [1, 2, 3], "lock": threading.Lock()}
    if backend in ("sequential", "thread_pool") and not kept:
        assert weft.Pipeline([step]).run(inputs, backend=backend, **QUIET)["y"].tolist() == [1, 2, 3]
        return
    with pytest.raises(weft.InvalidInput) as caught:
        weft.Pipeline([step]).run(inputs, backend=backend, **QUIET, **kept)
    assert "lock" in str(caught.value) and "pickle" in str(caught.value)


def test_a_mapped_argument_that_cannot_be_pickled_is_named_as_such(
    backend: str, kept: dict[str, Any]
) -> None:
    step = weft.step("y", mapspec="x[i] -> y[i]")(lambda x: 1)
    inputs = {"x": [1, threading.Lock(), 3]}
    if backend in ("sequential", "thread_pool") and not kept:
        assert weft.Pipeline([step]).run(inputs, backend=backend, **QUIET)["y"].tolist() == [1, 1, 1]
        return
    with pytest.raises(weft.InvalidInput) as caught:
        weft.Pipeline([step]).run(inputs, backend=backend, **QUIET, **kept)
    assert "'x'" in str(caught.value) and "lock" in str(caught.value)


def test_a_function_that_cannot_be_pickled_is_named_as_such(processes: str) -> None:
    lock = threading.Lock()
    step = weft.step("y", mapspec="x[i] -> y[i]")(lambda x: lock and x)
    with pytest.raises(weft.InvalidInput, match="pickled"):
        weft.Pipeline([step]).run({"x": [1, 2]}, backend=processes, **QUIET)


def busy(x):
    while x == 1:
        pass
    return x


def asleep(x):
    if x == 1:
        time.sleep(60 if threading.current_thread() is threading.main_thread() else 1.5)
    return x


def swallows(x):
    deadline = time.monotonic() + 20
    while x == 1 and time.monotonic() < deadline:
        try:
            time.sleep(0.01)
        except Exception:
            pass
    return x


@pytest.mark.parametrize("function", [busy, asleep, swallows])
def test_timeout(function: Any, backend: str, kept: dict[str, Any]) -> None:
    step = weft.step("y", mapspec="x[i] -> y[i]", timeout=0.3)(function)
    started = time.monotonic()
    run = weft.Pipeline([step]).run(
        {"x": [0, 1, 2, 3]}, backend=backend, on_error="continue", **QUIET, **kept
    )
    assert time.monotonic() - started < 15
    assert run.get("y", missing=-1).tolist() == [0, -1, 2, 3]
    options = {k: Path(str(v) + "2") for k, v in kept.items()}
    with pytest.raises(weft.StepError, match=r"timeout of 0\.3 s") as caught:
        weft.Pipeline([step]).run({"x": [1]}, backend=backend, **QUIET, **options)
    assert caught.value.index == {"i": 0}


def test_a_timeout_is_charged_and_retried(backend: str, calls: Calls) -> None:
    def f(x, ctx: weft.Context):
        calls(ctx.attempt)
        while ctx.attempt == 1:
            pass
        return x

    step = weft.step("y", mapspec="x[i] -> y[i]", timeout=0.3, retries=1)(f)
    run = weft.Pipeline([step]).run({"x": [5]}, backend=backend, **QUIET)
    assert run["y"].tolist() == [5] and calls.made() == ["1", "2"]


# Batches


def test_a_failing_batch_is_halved_until_the_guilty_is_found(
    backend: str, kept: dict[str, Any], calls: Calls
) -> None:
    def f(x):
        calls(len(x))
        if 700 in x:
            raise ValueError("seven hundred")
        return x * 2

    step = weft.step("y", mapspec="x[i] -> y[i]", batch=True)(f)
    xs = np.arange(1000)
    run = weft.Pipeline([step]).run(
        {"x": xs}, backend=backend, block_size=1000, on_error="continue", **QUIET, **kept
    )
    found = run.get("y", missing=-1)
    assert found[700] == -1 and (np.delete(found, 700) == np.delete(xs * 2, 700)).all()
    assert len(calls) < 30
    with pytest.raises(weft.StepError) as caught:
        weft.Pipeline([step]).run({"x": xs}, backend=backend, block_size=1000, **QUIET)
    assert caught.value.index == {"i": 700} and caught.value.coords == {"x": 700}


def test_a_batch_must_return_as_many() -> None:
    step = weft.step("y", mapspec="x[i] -> y[i]", batch=True)(lambda x: x[:-1])
    with pytest.raises(
        weft.StepError, match="given 1 elements at once and must return as many values of 'y'"
    ):
        weft.Pipeline([step])(x=[1, 2, 3])


def test_a_batch_gets_lists_of_streams_and_positions(backend: str) -> None:
    def f(x, rng: np.random.Generator, ctx: weft.Context):
        assert isinstance(rng, list) and len(rng) == len(x) == len(ctx.index["i"]) == len(ctx.coords["x"])
        return [[i, c, r.random()] for i, c, r in zip(ctx.index["i"], ctx.coords["x"], rng)]

    def one(x, rng: np.random.Generator, ctx: weft.Context):
        return [ctx.index["i"], ctx.coords["x"], rng.random()]

    batched = weft.step("y", mapspec="x[i] -> y[i]", batch=True, name="f")(f)
    single = weft.step("y", mapspec="x[i] -> y[i]", name="f")(one)
    xs = [5, 6, 7, 7]
    found = weft.Pipeline([batched]).run({"x": xs}, backend=backend, **QUIET)["y"]
    assert [list(v) for v in found] == [list(v) for v in weft.Pipeline([single])(x=xs)["y"]]


# What else a function is given


def test_context_fields(backend: str, kept: dict[str, Any]) -> None:
    def f(x, k, ctx: weft.Context, res: weft.Resources):
        os.makedirs(ctx.dir, exist_ok=True)
        with open(f"{ctx.dir}/note", "w") as file:
            file.write("kept")
        assert os.path.isdir(ctx.scratch)
        ctx.log.info("here")
        ctx.progress(1, 2)
        return {
            "step": ctx.step, "run": ctx.run_name, "index": dict(ctx.index), "coords": dict(ctx.coords),
            "attempt": ctx.attempt, "forced": ctx.forced, "stop": ctx.stop_requested, "id": ctx.id,
            "cpus": (ctx.resources.cpus, res.cpus, res.memory), "iteration": dict(ctx.iteration),
            "device": ctx.device,
        }  # fmt: skip

    step = weft.step("y", mapspec="x[i] -> y[i]", resources={"cpus": 2, "memory": "1G"})(f)
    pipe = weft.Pipeline([step], name="study")
    run = pipe.run({"x": [5, 6], "k": 1}, backend=backend, **QUIET, **kept)
    first, second = run["y"]
    ids = {first.pop("id"), second.pop("id")}
    assert len(ids) == 2
    assert second == {
        "step": "f", "run": "study", "index": {"i": 1}, "coords": {"x": 6}, "attempt": 1, "forced": False,
        "stop": False, "cpus": (2, 2, weft.Resources(memory="1G").memory), "iteration": {}, "device": None,
    }  # fmt: skip
    if kept:
        assert [v["forced"] for v in pipe.run(force="f", backend=backend, **QUIET, **kept)["y"]] == [
            True,
            True,
        ]


def test_resources_of_an_element(backend: str) -> None:
    def f(n, res: weft.Resources):
        return res.cpus

    step = weft.step("y", mapspec="n[i] -> y[i]", resources=lambda kw: {"cpus": kw["n"]})(f)
    assert weft.Pipeline([step]).run({"n": [1, 2, 1]}, backend=backend, **QUIET)["y"].tolist() == [1, 2, 1]


def test_an_input_of_that_name_wins(backend: str) -> None:
    def f(x, rng: np.random.Generator):
        return rng.random()

    mine = weft.Pipeline([weft.step("y")(f)]).run(
        {"x": 1, "rng": np.random.default_rng(3)}, backend=backend, **QUIET
    )
    assert mine["y"] == np.random.default_rng(3).random()


@pytest.mark.parametrize("n", [1, 20])
def test_elements_that_all_lack_one_value_are_blocked(n: int, backend: str, kept: dict[str, Any]) -> None:
    model = weft.step("model")(lambda a: 1 // a)
    score = weft.step("score", mapspec="x[i] -> score[i]")(lambda x, model: x * model)
    other = weft.step("other", mapspec="x[i] -> other[i]")(lambda x: x)
    pipe = weft.Pipeline([model, score, other])
    inputs = {"a": 0, "x": list(range(n))}
    run = pipe.run(inputs, backend=backend, on_error="continue", **QUIET, **kept)
    assert run.status["score"]["blocked"] == n
    assert run["other"].tolist() == inputs["x"]


def test_allow_missing_gets_a_masked_array(backend: str, kept: dict[str, Any]) -> None:
    def s(y):
        return type(y).__name__, y.mask.tolist(), int(y.sum())

    summed = weft.step("s", allow_missing=True)(s)
    strict = weft.step("t")(lambda y: 1)
    run = weft.Pipeline([fails_at(2), summed, strict]).run(
        {"x": [1, 2, 3]}, backend=backend, on_error="continue", **QUIET, **kept
    )
    assert run["s"] == ("MaskedArray", [False, True, False], 4)
    assert run.get("t", missing="mask") is np.ma.masked


def test_allow_missing_runs_again_when_the_hole_is_filled(go: Go, tmp_path: Path) -> None:
    cure = tmp_path / "cure"

    def f(x):
        if x == 2 and not cure.exists():
            raise ValueError("two")
        return x

    steps = [
        weft.step("y", mapspec="x[i] -> y[i]")(f),
        weft.step("s", allow_missing=True)(lambda y: int(y.sum())),
    ]
    assert go(steps, {"x": [1, 2, 3]}, on_error="continue")["s"] == 4
    cure.touch()
    assert go(steps, {"x": [1, 2, 3]})["s"] == 6
