"""The same study is bit-identical, random streams included, however and however often it is run."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import weft

Go = Callable[..., weft.Run]
QUIET: dict[str, Any] = {"progress": False}
XS = [0.5, 1.5, 1.5, -2.0, 7.25, 0.1, 3.0, 1.5, 9.0, 4.0]


def draw(x, k, rng: np.random.Generator):
    return x + k * rng.normal(size=3)


def weigh(y, w, rng: np.random.Generator):
    return float((y * w).sum() * rng.random())


def overall(z, rng: np.random.Generator):
    return float(np.sin(z).sum() + rng.random())


PIPE = weft.Pipeline(
    [
        weft.step("y", mapspec="x[i] -> y[i]")(draw),
        weft.step("z", mapspec="y[i], w[j] -> z[i, j]")(weigh),
        weft.step("all")(overall),
    ],
    name="study",
)
INPUTS = {"x": XS, "k": 0.5, "w": [1.0, 2.0, 3.0]}


def bits(run: Any) -> list[bytes]:
    return [np.ascontiguousarray(run[name]).tobytes() for name in ("y", "z", "all")]


@pytest.fixture(scope="module")
def reference() -> list[bytes]:
    return bits(PIPE(**INPUTS))


WAYS = [
    (name, size, where)
    for name in ("sequential", "thread_pool")
    for size in (1, 3, 7, "auto")
    for where in ("", "run")
]
# Processes take a second to start: each block size once, on one of the stores.
WAYS += [
    (name, size, where)
    for name in ("process_pool", "loky")
    for size, where in ((1, ""), (3, "run"), (7, "run"), ("auto", ""))
]


@pytest.mark.parametrize(("name", "block_size", "where"), WAYS)
def test_backends_and_blocks(
    name: str, block_size: Any, where: str, reference: list[bytes], tmp_path: Path
) -> None:
    options = {"run_dir": tmp_path / where} if where else {}
    run = PIPE.run(INPUTS, backend=name, block_size=block_size, n_jobs=2, **QUIET, **options)
    assert bits(run) == reference
    if run.path:
        assert bits(weft.open_run(run.path)) == reference


def test_more_workers_and_other_executors(reference: list[bytes]) -> None:
    assert bits(PIPE.run(INPUTS, backend="thread_pool", n_jobs=7, block_size=2, **QUIET)) == reference
    with ThreadPoolExecutor(3) as pool:
        assert bits(PIPE.run(INPUTS, backend=pool, n_jobs=3, block_size=1, **QUIET)) == reference


def test_the_seed_decides(reference: list[bytes]) -> None:
    assert bits(PIPE.run(INPUTS, seed=0, **QUIET)) == reference
    other = bits(PIPE.run(INPUTS, seed=1, **QUIET))
    assert all(a != b for a, b in zip(other, reference))
    assert PIPE.run(INPUTS, seed=12345678901234567890, **QUIET).seed == 12345678901234567890


def test_order_does_not_matter() -> None:
    run = PIPE(**INPUTS)
    order = [8, 0, 9, 3, 4, 6, 5, 1, 2, 7]  # equal values keep their order among themselves
    shuffled = PIPE(**{**INPUTS, "x": [XS[i] for i in order], "w": [3.0, 1.0, 2.0]})
    assert (shuffled["y"] == run["y"][order]).all()
    assert (shuffled["z"] == run["z"][order][:, [2, 0, 1]]).all()


def test_other_steps_do_not_matter() -> None:
    alone = weft.Pipeline([PIPE.steps["draw"]])
    assert (alone(x=XS, k=0.5)["y"] == PIPE(**INPUTS)["y"]).all()


def test_streams_are_independent() -> None:
    def one(x, rng: np.random.Generator):
        return float(rng.random())

    def two(x, rng: np.random.Generator):
        return float(rng.random())

    steps = [weft.step("a", mapspec="x[i] -> a[i]")(one), weft.step("b", mapspec="x[i] -> b[i]")(two)]
    run = weft.Pipeline(steps)(x=[0] * 100)
    drawn = np.concatenate([run["a"], run["b"]])
    assert len(set(drawn.tolist())) == 200
    assert abs(np.corrcoef(run["a"], run["b"])[0, 1]) < 0.4


def test_old_elements_stay_when_axes_grow(go: Go) -> None:
    whole = PIPE(**INPUTS)
    for n, m in ((3, 1), (6, 1), (6, 3), (10, 3)):
        run = go(PIPE, {"x": XS[:n], "k": 0.5, "w": [1.0, 2.0, 3.0][:m]}, block_size=4)
        assert (run["y"] == whole["y"][:n]).all() and (run["z"] == whole["z"][:n, :m]).all()
    assert bits(run) == bits(whole)
    front = go(PIPE, {**INPUTS, "x": [11.0, *XS]})
    assert (front["y"][1:] == whole["y"]).all()


@pytest.mark.parametrize("stop_at", [0, 3, 9])
def test_after_an_interruption(
    stop_at: int, backend: str, go: Go, tmp_path: Path, reference: list[bytes]
) -> None:
    cure = tmp_path / "cure"

    def draw(x, k, rng: np.random.Generator, ctx: weft.Context):
        drawn = x + k * rng.normal(size=3)
        if ctx.index["i"] == stop_at and not cure.exists():
            raise RuntimeError("the power fails")
        return drawn

    pipe = PIPE.replace("draw", weft.step("y", mapspec="x[i] -> y[i]")(draw))
    with pytest.raises(weft.StepError):
        go(pipe, INPUTS, backend=backend, n_jobs=2, block_size=3)
    cure.touch()
    assert bits(go(pipe, INPUTS, backend="sequential")) == reference


def test_a_retry_draws_the_same(backend: str) -> None:
    def f(x, rng: np.random.Generator, ctx: weft.Context):
        drawn = rng.random()
        if ctx.attempt == 1:
            raise ValueError("once more")
        return drawn

    def g(x, rng: np.random.Generator):
        return rng.random()

    retried = weft.step("y", mapspec="x[i] -> y[i]", name="f", retries=1)(f)
    plain = weft.step("y", mapspec="x[i] -> y[i]", name="f")(g)
    found = weft.Pipeline([retried]).run({"x": XS}, backend=backend, n_jobs=2, **QUIET)["y"]
    assert (found == weft.Pipeline([plain])(x=XS)["y"]).all()


@pytest.mark.parametrize("block_size", [1, 3, 7, "auto"])
def test_a_batch_is_given_the_same_streams(backend: str, block_size: Any) -> None:
    def f(x, rng: np.random.Generator):
        return [r.random() for r in rng]

    def g(x, rng: np.random.Generator):
        return rng.random()

    batched = weft.step("y", mapspec="x[i] -> y[i]", name="f", batch=True)(f)
    single = weft.step("y", mapspec="x[i] -> y[i]", name="f")(g)
    found = weft.Pipeline([batched]).run(
        {"x": XS}, backend=backend, n_jobs=2, block_size=block_size, **QUIET
    )["y"]
    assert (found == weft.Pipeline([single])(x=XS)["y"]).all()


@settings(max_examples=15)
@given(
    xs=st.lists(st.sampled_from([0, 1, 2, 2.0, True, 5]), max_size=6),
    more=st.lists(st.sampled_from([0, 1, 2, 2.0, True, 5]), max_size=4),
    where=st.integers(0, 6),
    block_size=st.sampled_from([1, 2, 3, "auto"]),
)
def test_growth_anywhere_equals_a_fresh_run(
    tmp_path_factory: pytest.TempPathFactory, xs: list[Any], more: list[Any], where: int, block_size: Any
) -> None:
    def f(x, rng: np.random.Generator):
        return float(x) + rng.random()

    pipe = weft.Pipeline(
        [weft.step("y", mapspec="x[i] -> y[i]")(f), weft.step("s")(lambda y: float(np.sum(y)))]
    )
    directory = tmp_path_factory.mktemp("grown") / "run"
    options: dict[str, Any] = {
        "backend": "sequential",
        "run_dir": directory,
        "block_size": block_size,
        **QUIET,
    }
    grown = [*xs[:where], *more, *xs[where:]]
    pipe.run({"x": xs}, **options)
    run, fresh = pipe.run({"x": grown}, **options), pipe(x=grown)
    assert run["y"].tolist() == fresh["y"].tolist() and run["s"] == fresh["s"]
    again = pipe.run({"x": xs}, **options)
    assert again["y"].tolist() == pipe(x=xs)["y"].tolist()


def test_threads_do_not_share_streams() -> None:
    barrier = threading.Barrier(2)

    def f(x, rng: np.random.Generator):
        barrier.wait(10)
        return [float(v) for v in rng.random(1000)]

    step = weft.step("y", mapspec="x[i] -> y[i]")(f)
    together = weft.Pipeline([step]).run(
        {"x": [0, 1]}, backend="thread_pool", n_jobs=2, block_size=1, **QUIET
    )["y"]
    barrier = threading.Barrier(1)
    alone = weft.Pipeline([step])(x=[0, 1])["y"]
    assert together.tolist() == alone.tolist()


def test_options_that_are_numpys_integers(tmp_path: Path) -> None:
    step = weft.step("y", mapspec="x[i] -> y[i]")(noisy_numpy)
    options = {"seed": np.int64(3), "n_jobs": np.int64(1), "block_size": np.int16(1), "progress": False}
    runs = [step.run({"x": [1.0, 2.0]}, **options, **kept) for kept in ({}, {"run_dir": tmp_path / "run"})]
    assert [run.seed for run in runs] == [3, 3] and type(weft.open_run(tmp_path / "run").seed) is int
    assert runs[0]["y"].tolist() == runs[1]["y"].tolist() == step.run({"x": [1.0, 2.0]}, seed=3)["y"].tolist()


def noisy_numpy(x: float, rng: np.random.Generator) -> float:
    return float(x + rng.normal())
