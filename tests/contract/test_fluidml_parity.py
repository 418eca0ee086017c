"""What users of fluidml have, line by line of its list of features, as far as weft has come."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import weft
from weft.testing import Calls


class Scaled:
    def __init__(self, factor: int = 2) -> None:
        self.factor = factor

    def run(self, x: int) -> int:
        return x * self.factor


def scaled(x: int, factor: int = 2) -> int:
    return x * factor


def test_fluidml_01_function_and_class_tasks_give_the_same() -> None:
    for task in (Scaled, scaled):
        step = weft.step("y", mapspec="x[i] -> y[i]", name="task")(task)
        assert step.run({"x": [1, 2], "factor": 3}, progress=False)["y"].tolist() == [3, 6]


def test_fluidml_02_results_match_arguments_by_name() -> None:
    first = weft.step("a", name="first")(lambda: 1)
    second = weft.step("b", name="second")(lambda a, extra=10: a + extra)
    assert weft.Pipeline([second, first])()["b"] == 11
    with pytest.raises(weft.WiringError, match="'first'"):
        weft.Pipeline([first, weft.step("a", name="other")(lambda: 2)])
    with pytest.raises(weft.InvalidInput, match="missing"):
        weft.Pipeline([second])()


def test_fluidml_03_product_alternatives_and_literal_lists() -> None:
    assert len(weft.expand({"lr": [1, 2], "opt": {"name": ["sgd", "adam"], "beta": [0.9]}})) == 4
    assert len(weft.expand([{"n": "sgd", "lr": [1, 2]}, {"n": "adam"}])) == 3
    assert weft.expand({"layers": [[1, 2]]}) == [{"layers": [1, 2]}]


def test_fluidml_04_zip_broadcasts_singletons_and_refuses_other_lengths() -> None:
    assert weft.expand({"a": [1, 2], "b": [0]}, method="zip") == [{"a": 1, "b": 0}, {"a": 2, "b": 0}]
    with pytest.raises(weft.InvalidInput):
        weft.expand({"a": [1, 2], "b": [1, 2, 3]}, method="zip")


def test_fluidml_05_grouped_zip_inside_a_product() -> None:
    configs = weft.expand({"a": [1, 2, "@x"], "b": [1, 2, 3], "c": [1, 2, "@x"]})
    assert len(configs) == 6 and all(config["a"] == config["c"] for config in configs)


def test_fluidml_06_ignored_keys_reach_the_task_but_not_its_identity(calls: Calls, tmp_path: Path) -> None:
    def trained(lr: float, _verbose: bool = False) -> float:
        calls(lr, _verbose)
        return lr

    def run(verbose: bool) -> weft.Run:
        step = weft.Step(trained, "loss", config={"lr": [0.1, 0.2], "_verbose": verbose})
        return step.run(run_dir=tmp_path / "run", backend="sequential", progress=False)

    run(False)
    assert len(calls.take()) == 2
    run(True)
    assert not calls.take()


@pytest.mark.parametrize("backend", ["sequential", "thread_pool", "process_pool", "loky"])
def test_fluidml_07_expansion_through_the_graph(backend: str) -> None:
    a = weft.Step(_alone, "a", name="A", config={"p": [1, 2]})
    b = weft.Step(_joined, "b", name="B", renames={"other": "a"}, config={"q": [1, 2]})
    c = weft.Step(_joined, "c", name="C", renames={"other": "a"}, config={"q": [1, 2, 3]})
    d = weft.Step(_both, "d", name="D")
    run = weft.Pipeline([d, c, b, a]).run(backend=backend, n_jobs=2, progress=False)
    assert [run[name].size for name in "abcd"] == [2, 4, 6, 12]
    assert all(left[0] == right[0] for left, right in run["d"].ravel())
    mean = weft.Step(_collected, "r", name="R", reduce="all")
    e = weft.Step(_joined, "e", name="E", renames={"other": "r"}, config={"q": [1, 2]})
    run = weft.Pipeline([a, b, mean, e]).run(backend=backend, n_jobs=2, progress=False)
    assert [run["a"].size, run["b"].size, run["e"].size] == [2, 4, 2] and len(run["r"]) == 4


def test_fluidml_08_reduce_steps_get_labelled_values() -> None:
    def best(loss: list[weft.Labelled]) -> dict[str, Any]:
        return dict(min(loss, key=lambda one: one.value).coords)

    train = weft.step("loss", name="train")(lambda lr: (lr - 0.2) ** 2)
    reduce = weft.step("best", reduce="all")(best)
    run = weft.Pipeline([train, reduce]).run(sweep=weft.grid(lr=[0.1, 0.2, 0.4]), progress=False)
    assert run["best"] == {"lr": 0.2}


@pytest.mark.parametrize("pool", ["thread_pool", "process_pool", "loky"])
def test_fluidml_09_each_worker_has_a_device_of_its_own(pool: str, tmp_path: Path) -> None:
    def train(lr: float, ctx: weft.Context) -> Any:
        me = f"{os.getpid()}-{threading.get_ident()}"
        (tmp_path / me).touch()
        until = time.monotonic() + 30
        while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < until:
            time.sleep(0.005)
        return me, ctx.device

    run = weft.step("at", name="train")(train).run(
        sweep=weft.grid(lr=[0.1, 0.2, 0.3, 0.4]), backend=pool, devices=["cuda:0", "cuda:1"], n_jobs=2,
        block_size=1, progress=False,
    )  # fmt: skip
    assert sorted(dict(run["at"]).values()) == ["cuda:0", "cuda:1"] and len(set(run["at"])) == 2


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_fluidml_09_the_start_method_is_the_users(method: str) -> None:
    started = weft.step("name", name="started")(_started)
    run = started.run(backend="process_pool", mp_context=method, n_jobs=2, progress=False)
    assert run["name"].lower() == f"{method}process"


def test_fluidml_09_a_failure_ends_the_run_or_not(backend: str, kept: dict[str, Any]) -> None:
    """Their ``exit_on_error``, both ways; what follows is blocked, which is their ``upstream_failed``."""

    def load(n: int) -> int:
        if n == 2:
            raise ValueError("two")
        return n

    steps = [
        weft.step("data", name="load")(load),
        weft.step("model", name="train")(lambda data: -data),
        weft.step("score", name="test")(lambda model: model * 10),
    ]
    options = {"sweep": weft.grid(n=[1, 2, 3]), "backend": backend, "n_jobs": 2, "progress": False, **kept}
    with pytest.raises(weft.StepError, match="two") as caught:
        weft.Pipeline(steps).run(**options)
    assert (caught.value.step, caught.value.coords) == ("load", {"n": 2})
    run = weft.Pipeline(steps).run(on_error="continue", **options)
    assert [run.status[step]["blocked"] for step in ("load", "train", "test")] == [0, 1, 1]
    assert [row["state"] for row in run.elements("test")] == ["done", "blocked", "done"]
    assert run.get("score", missing=0).tolist() == [-10, 0, -30]


def test_fluidml_10_a_rerun_executes_only_what_is_new(calls: Calls, tmp_path: Path) -> None:
    def loss(lr: Any) -> Any:
        calls(lr)
        return lr

    def run(values: list[Any], **options: Any) -> int:
        step = weft.step("loss", name="Train")(loss)
        step.run(
            sweep=weft.grid(lr=values),
            run_dir=tmp_path / "run",
            backend="sequential",
            progress=False,
            **options,
        )
        return len(calls.take())

    assert [run([1, 2]), run([1, 2]), run([1, 2, 3]), run([1, 1.0, True])] == [2, 0, 1, 2]
    assert run([1, 2], force="Train") == 2
    with pytest.raises(weft.InvalidInput):
        run([1, 2], force="Trian")


def test_fluidml_12_states_times_and_lineage_are_recorded(tmp_path: Path) -> None:
    def trained(data: int, lr: float) -> float:
        if lr == 0.3:
            raise ValueError("diverged")
        return data * lr

    steps = [
        weft.step("data", name="load")(lambda n: n),
        weft.step("loss", name="train")(trained),
        weft.step("best", name="choose", reduce="all")(lambda loss: float(loss.min())),
    ]
    begun = time.time()
    weft.Pipeline(steps, name="study").run(
        {"n": 10}, sweep=weft.grid(lr=[0.1, 0.3]), run_dir=tmp_path / "run", on_error="continue",
        backend="sequential", progress=False,
    )  # fmt: skip
    run, over = weft.open_run(tmp_path / "run"), time.time()
    assert [(row["lr"], row["state"]) for row in run.elements("train")] == [(0.1, "done"), (0.3, "failed")]
    assert (run.status.state, run.status["choose"]["blocked"]) == ("failed", 1)
    rows = run.attempts()
    assert [(row["step"], row["state"]) for row in rows] == [
        ("load", "done"), ("train", "done"), ("train", "failed")
    ]  # fmt: skip
    assert all(begun <= row["started"] <= row["started"] + row["seconds"] <= over for row in rows)
    times = {event["kind"]: event["time"] for event in run.events()}
    assert begun <= times["run-started"] <= times["job-ended"] <= times["run-ended"] <= over
    assert [change["reason"] for change in run.history()] == ["start"]
    made = run.explain("loss", lr=0)
    assert (made["step"], made["state"], made["coords"]) == ("train", "done", {"lr": 0.1})
    assert [(given["name"], given["from"]) for given in made["inputs"]] == [
        ("data", "made by step 'load'"), ("lr", "an input")
    ]  # fmt: skip
    assert run.explain("loss", lr=1)["state"] == "failed"
    assert (run.errors[0].index, run.errors[0].message) == ({"lr": 1}, "diverged")


def test_fluidml_14_all_results_the_latest_or_none(tmp_path: Path) -> None:
    """A run is a mapping that reads what is asked for: all of it, what comes last, nothing."""

    def steps(keep: bool) -> list[Any]:
        return [
            weft.step("model", name="train", keep=keep)(lambda lr: lr * 2),
            weft.step("score", name="test")(lambda model: model + 1),
        ]

    options = {"sweep": weft.grid(lr=[1, 2]), "backend": "sequential", "progress": False}
    run = weft.Pipeline(steps(keep=True)).run(**options, run_dir=tmp_path / "all")
    assert {name: value.tolist() for name, value in run.items()} == {"model": [2, 4], "score": [3, 5]}
    run = weft.Pipeline(steps(keep=False)).run(**options, run_dir=tmp_path / "latest")
    assert run["score"].tolist() == [3, 5]
    with pytest.raises(weft.MissingResult, match="not kept"):
        run["model"]
    kept = [path.parts[-3] for path in (tmp_path / "latest" / "results").rglob("*.weft")]
    assert kept and set(kept) == {"test"}
    loop = weft.Loop([weft.step("loss")(lambda loss: loss / 2)], n_iterations=3, name="epoch")
    run = weft.Pipeline([loop])(loss=8.0)
    assert run["loss"].tolist() == [4.0, 2.0, 1.0] and run.isel("loss", epoch=-1) == 1.0
    for path in (tmp_path / "all" / "results").rglob("*.weft"):
        path.unlink()
    assert sorted(weft.open_run(tmp_path / "all")) == ["model", "score"]  # names alone read no result


def _started() -> str:
    return type(multiprocessing.current_process()).__name__


def _alone(p: int) -> int:
    return p


def _joined(other: Any, q: int) -> Any:
    return (other, q)


def _both(b: Any, c: Any) -> Any:
    return (b, c)


def _collected(b: Any) -> list[Any]:
    return list(b.ravel())
