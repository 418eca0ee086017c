"""``Step(config=...)``: a step's own parameters, and the study axes that their lists open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import weft
from weft.testing import Calls


def two_steps(calls: Calls, rates: list[float], sizes: list[int]) -> weft.Pipeline:
    def train(x, lr, depth=1):
        calls("train", lr)
        return x * lr * depth

    def score(model, size):
        calls("score", model, size)
        return model + size

    return weft.Pipeline(
        [
            weft.step("model", config={"lr": rates, "depth": 2})(train),
            weft.step("value", config={"size": sizes})(score),
        ]
    )


@pytest.mark.parametrize("backend", ["sequential", "loky"])
def test_lists_are_axes_and_growing_them_adds_elements(calls: Calls, tmp_path: Path, backend: str) -> None:
    def go(rates: list[float], sizes: list[int]) -> weft.Run:
        return two_steps(calls, rates, sizes).run(
            {"x": 10.0}, run_dir=tmp_path / "run", backend=backend, n_jobs=2
        )

    run = go([1.0, 2.0], [1, 2, 3])
    assert run["model"].tolist() == [20.0, 40.0]
    assert run["value"].tolist() == [[21.0, 22.0, 23.0], [41.0, 42.0, 43.0]]
    assert len(calls.take()) == 2 + 6
    assert go([1.0, 2.0], [1, 2, 3]).ok and calls.take() == []
    run = go([1.0, 2.0, 3.0], [1, 2, 3])
    assert run["value"].tolist()[2] == [61.0, 62.0, 63.0]
    assert len(calls.take()) == 1 + 3
    run = go([1.0, 2.0, 3.0], [0, 1, 2, 3])
    assert run["value"][:, 0].tolist() == [20.0, 40.0, 60.0]
    assert len(calls.take()) == 3


def test_results_are_labelled_by_the_values(calls: Calls) -> None:
    run = two_steps(calls, [1.0, 2.0], [1, 2, 3])(x=1.0)
    labelled = run.to_xarray("value")["value"]
    assert labelled.dims == ("train_lr", "score_size")
    assert run.isel("value", train_lr=1, score_size=0) == 5.0


def test_plans_count_the_axes(calls: Calls) -> None:
    assert two_steps(calls, [1.0, 2.0], [1, 2, 3]).plan({"x": 1.0}).n_elements == 2 + 6


@pytest.mark.parametrize("backend", ["sequential", "loky"])
def test_what_shares_an_ancestor_shares_its_axis(calls: Calls, backend: str) -> None:
    def a(p):
        calls("a")
        return p

    def b(x, q):
        calls("b")
        return x * q

    def c(x, r):
        calls("c")
        return x * r

    def d(y, z):
        calls("d")
        return (y, z)

    steps = [
        weft.step("end")(d),
        weft.step("z", config={"r": [1, 2, 3]})(c),
        weft.step("y", config={"q": [1, 2]})(b),
        weft.step("x", config={"p": [1, 2]})(a),
    ]
    run = weft.Pipeline(steps).run(backend=backend, n_jobs=2)
    assert sorted(calls.take()) == ["a"] * 2 + ["b"] * 4 + ["c"] * 6 + ["d"] * 12
    assert run.isel("end", a_p=1, b_q=1, c_r=2) == (4, 6)


def test_a_step_reduces_the_axes_of_a_config() -> None:
    train = weft.step("model", name="train", config={"lr": [1, 2], "depth": [3, 4, 5]})(
        lambda lr, depth: lr * depth
    )
    best = weft.step("best", reduce="train_lr")(lambda model: int(model.max()))
    total = weft.step("total", reduce="all")(lambda model: int(model.sum()))
    run = weft.Pipeline([train, best, total])()
    assert run["best"].tolist() == [6, 8, 10]
    assert run["total"] == 36


def test_a_group_is_one_axis() -> None:
    config = {"a": [1, 2, "@g"], "b": [1, 2, 3], "c": [10, 20, "@g"]}
    run = weft.Pipeline([weft.step("y", name="f", config=config)(lambda a, b, c: a * b + c)])()
    assert run.to_xarray("y")["y"].dims == ("f_g", "f_b")
    assert run["y"].tolist() == [[11, 12, 13], [22, 24, 26]]


def test_nested_dicts_are_given_whole_on_an_axis_of_the_parameter() -> None:
    def f(opt: dict, size: int) -> str:
        return f"{opt['name']} {opt.get('lr')} {size}"

    config = {"opt": [{"name": "sgd", "lr": [1, 2.0]}, {"name": "adam"}], "size": [8]}
    run = weft.Pipeline([weft.step("y", config=config)(f)])()
    assert run["y"].tolist() == [["sgd 1 8"], ["sgd 2.0 8"], ["adam None 8"]]
    config = {"opt": {"name": "sgd", "lr": [1, 2], "deep": {"x": [3, 4]}}}
    run = weft.Pipeline([weft.step("y", name="f", config=config)(lambda opt: opt["lr"] * opt["deep"]["x"])])()
    assert run["y"].tolist() == [3, 4, 6, 8]
    assert run.to_xarray("y")["y"].dims == ("f_opt",)


def test_alternatives_are_points_and_missing_keys_keep_their_default() -> None:
    config = [{"n": "sgd", "lr": [1, 2]}, {"n": "adam"}]
    made = weft.step("y", name="f", config=config)(lambda n, lr=7: f"{n} {lr}")
    run = weft.Pipeline([made])()
    assert run["y"].tolist() == ["sgd 1", "sgd 2", "adam 7"]
    assert run.to_xarray("y")["y"].dims == ("f_point",)


def test_a_sweep_is_a_config() -> None:
    sweep = weft.grid(a=[1, 2]) * weft.zipped(b=[3, 4, 5], c=[6, 7, 8])
    run = weft.Pipeline([weft.step("y", name="f", config=sweep)(lambda a, b, c: a * b * c)])()
    assert run.to_xarray("y")["y"].dims == ("f_a", "f_b_c")
    assert run["y"].tolist() == [[18, 28, 40], [36, 56, 80]]


def test_values_keep_their_types_and_literal_lists_open_no_axis() -> None:
    def f(a, b, layers, shape):
        return f"{a!r} {b!r} {layers!r} {shape!r}"

    config = {"a": [1, 1.0, True], "b": "text", "layers": [[64, 64]], "shape": (1, 2)}
    run = weft.Pipeline([weft.step("y", config=config)(f)])()
    assert run["y"].tolist() == [f"{a} 'text' [64, 64] (1, 2)" for a in ("1", "1.0", "True")]


def test_ignored_keys_reach_the_function_but_not_the_identity(calls: Calls, tmp_path: Path) -> None:
    def go(lr: Any, verbose: Any) -> weft.Run:
        def f(lr, verbose, _log):
            calls(lr, verbose, _log)
            return lr

        config = {"lr": lr, "_verbose": verbose, "_log": verbose}
        return weft.Pipeline([weft.step("y", config=config)(f)]).run(
            run_dir=tmp_path / "run", backend="sequential"
        )

    go([1, 2], [1, 2])
    assert calls.take() == ["1 [1, 2] [1, 2]", "2 [1, 2] [1, 2]"]
    assert go([1, 2, 3], False)["y"].tolist() == [1, 2, 3]
    assert calls.take() == ["3 False False"]


def test_steps_may_configure_parameters_of_one_name() -> None:
    first = weft.step("y", name="first", config={"k": [1, 2]})(lambda k: k)
    second = weft.step("z", name="second", config={"k": 5})(lambda y, k: y * k)
    third = weft.step("w", name="third")(lambda z, k: z + k)
    assert weft.Pipeline([first, second, third])(k=100)["w"].tolist() == [105, 110]


def test_renames_defaults_scope_and_data_axes_go_together() -> None:
    def f(x, rate, power=2):
        return x * rate**power

    made = weft.step(
        "y",
        mapspec="x[i] -> y[i]",
        scope="s",
        renames={"rate": "r"},
        defaults={"s.power": 3},
        config={"rate": [1, 2]},
    )(f)
    run = weft.Pipeline([made]).run({"s.x": [1, 10]}, backend="sequential")
    assert run["s.y"].tolist() == [[1, 10], [8, 80]]


def test_a_sweep_of_the_run_stands_in_front() -> None:
    made = weft.step("y", name="f", config={"b": [1, 2, 3]})(lambda a, b: a * b)
    run = weft.Pipeline([made]).run(sweep=weft.grid(a=[1, 10]), backend="sequential")
    assert run["y"].tolist() == [[1, 2, 3], [10, 20, 30]]


def test_unknown_parameters_are_named() -> None:
    with pytest.raises(weft.WiringError, match=r"config names 'learning_rat'.*'learning_rate'"):
        weft.step("y", config={"learning_rat": [1]})(lambda learning_rate: 1)
    with pytest.raises(weft.InvalidInput, match="A config is a dict"):
        weft.step("y", config=3)(lambda lr: 1)


def test_what_cannot_be_configured_is_refused() -> None:
    first = weft.step("y", name="first")(lambda x: x)
    second = weft.step("z", name="second", config={"y": [1]})(lambda y: y)
    with pytest.raises(weft.WiringError, match="which step 'first' makes"):
        weft.Pipeline([first, second])(x=1)
    alone = weft.step("z", name="f", config={"k": [1, 2]})(lambda k: k)
    with pytest.raises(weft.InvalidInput, match=r"'f\.k' is an input and varied by the config"):
        weft.Pipeline([alone]).run({"f.k": [3]})
    with pytest.raises(weft.InvalidInput, match="no input 'k'"):
        weft.Pipeline([alone]).run({"k": 3})
    with pytest.raises(weft.InvalidInput, match=r"Some points lack 'f\.b'"):
        weft.Pipeline([weft.step("y", name="f", config=[{"a": 1, "b": 2}, {"a": 1}])(lambda a, b: a)])()


def test_the_leaves_of_a_config_are_coordinates_of_their_own() -> None:
    optimisers = [{"name": "sgd", "lr": [0.1, 0.2], "decay": {"rate": [5]}}, {"name": "adam"}]
    train = weft.Step(
        lambda opt: f"{opt['name']} {opt.get('lr')}", "loss", name="train", config={"opt": optimisers}
    )
    run = weft.Pipeline([train]).run()
    exported = run.to_xarray("loss")
    assert exported["train.opt.name"].values.tolist() == ["sgd", "sgd", "adam"]
    assert exported["train.opt.lr"].values.tolist() == [0.1, 0.2, None]
    assert exported["train.opt.decay.rate"].values.tolist() == [5, 5, None]
    assert run.to_dataframe("loss")["train.opt.name"].tolist() == ["sgd", "sgd", "adam"]
    assert run.sel("loss", **{"train.opt.name": "adam"}) == "adam None"
    assert len(run.elements("train", sel={"train.opt.name": "sgd"})) == 2
    with pytest.raises(weft.InvalidInput, match="no coordinate"):
        run.sel("loss", **{"train.opt.size": 3})


def test_a_config_may_be_empty_or_name_what_is_called_so_already() -> None:
    empty = weft.Step(lambda x: x + 1, "y", config={}, ignore="x", name="f")
    assert weft.Pipeline([empty])(x=1)["y"] == 2
    named = weft.Step(lambda x, _k=0: x + _k, "y", config={"x": [1, 2], "_k": 3}, scope="f", name="f")
    assert weft.Pipeline([named]).run()["f.y"].tolist() == [4, 5]
