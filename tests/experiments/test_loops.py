"""Blocks in loops, and optimisers that are asked and told: seeded, kept, and resumed in the middle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import weft
from weft.experiments import Block, Domain, Experiments, Float

HERE: dict[str, Any] = {"backend": "sequential", "progress": False}
SPACE = Domain(x=Float(-5, 5), y=Float(-5, 5))


class Add(Block):
    def __init__(self, n: int) -> None:
        self.n = n

    def call(self, data: int, **options: Any) -> int:
        return data + self.n


class Grow(Block):
    """Adds `n` open rows to a table; its length changes with every round."""

    def __init__(self, n: int) -> None:
        self.n = n

    def call(self, data: list[dict[str, Any]], rng: np.random.Generator) -> list[dict[str, Any]]:  # type: ignore[override]
        return [*data, *SPACE.sample(self.n, seed=int(rng.integers(2**32)))]


class Evaluate(Block):
    def call(self, data: list[dict[str, Any]], **options: Any) -> list[dict[str, Any]]:
        return [row if "f" in row else {**row, "f": bowl(row)} for row in data]


class Round(Block):
    def call(self, data: list[int], round: int) -> list[int]:  # type: ignore[override]
        return [*data, round]


def bowl(point: dict[str, float]) -> float:
    return (point["x"] - 1) ** 2 + (point["y"] + 2) ** 2


def test_a_loop_repeats_a_block() -> None:
    assert Add(2).loop(4).pipeline()(data=1)["result"].tolist() == [3, 5, 7, 9]
    run = (Add(1) >> (Add(2) >> Add(3)).loop(3) >> Add(100)).pipeline()(data=0)
    assert run["data_2"].tolist() == [6, 11, 16]
    assert run["result"] == 116


def test_loops_in_loops() -> None:
    run = (Add(1) >> Add(10).loop(2)).loop(3).pipeline()(data=0)
    assert run.isel("result", round=-1).tolist() == [53, 63]


def test_the_number_of_the_round() -> None:
    run = Round().loop(3).pipeline()(data=[])
    assert run.isel("result", round=-1) == [0, 1, 2]


def test_a_growing_table_is_resumed_and_gone_on_with(tmp_path: Path) -> None:
    def go(rounds: int, **options: Any) -> list[dict[str, Any]]:
        pipe = (Grow(7) >> Evaluate() >> (Grow(2) >> Evaluate()).loop(rounds)).pipeline()
        found: list[dict[str, Any]] = pipe.run({"data": []}, **HERE, **options).isel("result", round=-1)
        return found

    assert [len(go(n)) for n in (1, 2)] == [9, 11]
    first = go(2, run_dir=tmp_path / "r")
    assert go(4, run_dir=tmp_path / "r")[:11] == first
    assert go(4) == go(4, run_dir=tmp_path / "r")


def test_rounds_that_a_loop_did_not_need(tmp_path: Path) -> None:
    halve = weft.step(("smaller", "enough"))(lambda x: (x / 2, x <= 2))
    loop = weft.Loop([halve], n_iterations=9, name="round", carry={"x": "smaller"}, until="enough")
    run = weft.Pipeline([loop]).run(sweep=weft.grid(x=[8.0, 2.0]), run_dir=tmp_path / "r", **HERE)
    found = Experiments(run)
    assert found.axes == ("x", "round")
    assert found.states == ["done"] * 4 + ["skipped"] * 2
    assert found.where(state="done")["smaller"] == [4.0, 2.0, 1.0, 1.0]
    assert Experiments.open(tmp_path / "r").rows == found.rows
    before = len(run.attempts())
    assert len(weft.open_run(tmp_path / "r").resume(**HERE).attempts()) == before


@weft.step("points", mapspec="... -> points[i]", sizes={"i": 4})
def surrogate(history: list[Any], rng: np.random.Generator) -> list[dict[str, float]]:
    """Where a surface through what is known is lowest."""
    from scipy.interpolate import RBFInterpolator

    cloud = SPACE.sample(256, "sobol", seed=int(rng.integers(2**32)))
    if not history:
        return cloud[:4]
    known = np.array([list(point.values()) for point, _ in history])
    surface = RBFInterpolator(known, np.array([value for _, value in history]))
    height = surface(np.array([list(point.values()) for point in cloud]))
    return [cloud[place] for place in np.argsort(height)[:4]]


@weft.step("points", mapspec="... -> points[i]", sizes={"i": 4})
def tree(history: list[Any], rng: np.random.Generator) -> list[dict[str, float]]:
    """What Optuna asks for, when it has been told everything that is known."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = {name: optuna.distributions.FloatDistribution(p.low, p.high) for name, p in SPACE.items()}  # type: ignore[attr-defined]
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=int(rng.integers(2**32))))
    study.add_trials([optuna.trial.create_trial(params=p, distributions=space, value=v) for p, v in history])
    return [study.ask(space).params for _ in range(4)]


@weft.step("values", mapspec="points[i] -> values[i]")
def evaluate(points: dict[str, float]) -> float:
    return bowl(points)


@weft.step("told")
def tell(history: list[Any], points: list[Any], values: list[float]) -> list[Any]:
    return [*history, *zip(points, values, strict=True)]


@pytest.mark.parametrize("ask", [surrogate, tree], ids=["scipy", "optuna"])
def test_ask_and_tell(ask: Any, tmp_path: Path) -> None:
    def study(n: int) -> weft.Pipeline:
        return weft.Pipeline(
            [weft.Loop([ask, evaluate, tell], n_iterations=n, name="round", carry={"history": "told"})]
        )

    run = study(6).run({"history": []}, run_dir=tmp_path / "r", **HERE)
    run = study(12).run({"history": []}, run_dir=tmp_path / "r", **HERE)
    found = Experiments(run, axis=["round", "i"])
    assert len(found) == 48
    assert found.best(by="values")["values"][0] < 1
    whole = study(12).run({"history": []}, **HERE)
    assert whole["values"].tolist() == run["values"].tolist()
