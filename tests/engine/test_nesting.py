from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

import weft


@weft.step("y", mapspec="x[i] -> y[i]")
def scale(x: int, k: float = 1.0) -> float:
    return x * k


@weft.step("z", mapspec="y[i], x[i] -> z[i]")
def add(y: float, x: int) -> float:
    return y + x


@weft.step("best")
def best(z):
    return z.max()


@weft.step("text")
def tell(best, unit="m"):
    return f"{best} {unit}"


def plain(x):
    return x + 1


def plainer(a):
    return a + 1


PIPE = weft.Pipeline([scale, add, best, tell])


def test_steps_along_the_same_axes_become_one_step_along_them() -> None:
    nested = PIPE.nest("z", "both")
    assert list(nested.steps) == ["both", "best", "tell"]
    assert nested.steps["both"].mapspec == "x[i] -> z[i]"
    run = nested(x=[1, 2, 3], k=2.0)
    assert run["z"].tolist() == [3.0, 6.0, 9.0] and run["text"] == "9.0 m"
    assert "y" not in run


def test_axes_that_close_inside_run_in_memory() -> None:
    nested = PIPE.nest("best", "all")
    assert nested.steps["all"].mapspec is None
    assert nested(x=[1, 2, 3])["text"] == "6.0 m"


def test_several_outputs() -> None:
    nested = PIPE.nest(["y", "z"], "both")
    run = nested(x=[1, 2])
    assert run["y"].tolist() == [1.0, 2.0] and run["z"].tolist() == [2.0, 4.0]


def test_axes_that_are_opened_inside_are_opened_by_the_nested_step() -> None:
    words = weft.step("word", mapspec="... -> word[w]")(lambda text: text.split())
    upper = weft.step("loud", mapspec="word[w] -> loud[w]")(lambda word: word.upper())
    size = weft.step("size", mapspec="loud[w] -> size[w]")(lambda loud: len(loud))
    nested = weft.Pipeline([words, upper, size]).nest("loud", "inner")
    assert nested.steps["inner"].mapspec == "... -> loud[w]"
    assert nested(text="a bc def")["size"].tolist() == [1, 2, 3]


def test_a_value_that_others_need_cannot_be_hidden() -> None:
    later = weft.step("w", mapspec="z[i] -> w[i]")(lambda z: z)
    with pytest.raises(weft.WiringError, match=r"'w'.*needs 'z'.*nest\(\['best', 'z'\]"):
        weft.Pipeline([scale, add, best, later]).nest("best", "all")


def test_a_step_that_others_wait_for_cannot_be_hidden() -> None:
    later = weft.step("w", after="scale")(lambda: 1)
    with pytest.raises(weft.WiringError, match="needs 'scale'"):
        weft.Pipeline([scale, add, later]).nest("z", "both")


def test_bound_defaults_renames_and_scopes_hold_inside() -> None:
    one = weft.Step(lambda a, b, c=3: a + b + c, "m", renames={"a": "first"}, bound={"b": 10}, scope="s")
    two = weft.Step(lambda m, d=1: m * d, "n", scope="s")
    nested = weft.Pipeline([one, two]).nest("s.n", "sum")
    assert nested(**{"s.first": 1})["s.n"] == 14
    assert nested(**{"s.first": 1, "s.d": 2, "s.c": 0})["s.n"] == 22


def test_random_streams_reach_inside_and_follow_the_seed() -> None:
    def draw(x: int, rng: np.random.Generator) -> float:
        return x + rng.random()

    drawn = weft.step("y", mapspec="x[i] -> y[i]")(draw)
    mean = weft.step("mean")(lambda y: float(y.mean()))
    along = weft.Pipeline([drawn]).nest("y", "one")
    assert len(set((along(x=[0, 0, 0])["y"]).tolist())) == 3
    whole = weft.Pipeline([drawn, mean]).nest("mean", "two")
    first, again, other = (whole.run({"x": [0, 1]}, seed=s)["mean"] for s in (1, 1, 2))
    assert first == again != other


def test_a_nested_step_can_be_pickled_and_run_elsewhere() -> None:
    nested = PIPE.nest("best", "all")
    function = (
        weft.Pipeline([weft.Step(plain, "a"), weft.Step(plainer, "b")]).nest("b", "ab").steps["ab"].function
    )
    assert pickle.loads(pickle.dumps(function))(x=1) == 3
    assert nested.run({"x": [1, 2]}, backend="loky", n_jobs=2, progress=False)["best"] == 4.0


def test_what_is_inside_is_part_of_what_a_result_is(tmp_path: Path) -> None:
    def nested(factor: int) -> weft.Pipeline:
        made = weft.Step(lambda x, f: x * f, "y", bound={"f": factor})
        return weft.Pipeline([made, weft.step("z")(lambda y: y + 1)]).nest("z", "inner")

    where = tmp_path / "run"
    assert nested(2).run({"x": 3}, run_dir=where, progress=False)["z"] == 7
    assert nested(2).run({"x": 3}, run_dir=where, progress=False)["z"] == 7
    with pytest.raises(weft.RunMismatch):
        nested(5).run({"x": 3}, run_dir=where, progress=False)


def test_a_failure_inside_names_the_element() -> None:
    inverse = weft.step("y", mapspec="x[i] -> y[i]")(lambda x: 1 / x)
    total = weft.step("t")(lambda y: y.sum())
    with pytest.raises(weft.StepError, match="i=1"):
        weft.Pipeline([inverse, total]).nest("t", "all")(x=[1, 0])
