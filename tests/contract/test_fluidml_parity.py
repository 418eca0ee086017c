"""What users of fluidml have, line by line of its list of features, as far as weft has come."""

from __future__ import annotations

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


def _alone(p: int) -> int:
    return p


def _joined(other: Any, q: int) -> Any:
    return (other, q)


def _both(b: Any, c: Any) -> Any:
    return (b, c)


def _collected(b: Any) -> list[Any]:
    return list(b.ravel())
