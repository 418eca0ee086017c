"""Runs of loops in the hand: the last iteration of each, tables, and what made a value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import weft

HERE: dict[str, Any] = {"backend": "sequential", "progress": False}


def halving(until: str | None = "small", n: int = 10) -> weft.Pipeline:
    steps = [
        weft.step("half", name="halve")(lambda x: x / 2),
        weft.step("small", name="look")(lambda half: half < 1),
        weft.step("pair", name="both")(lambda half: np.array([half, -half])),
    ]
    loop = weft.Loop(steps, n_iterations=n, name="t", until=until, carry={"x": "half"})
    return weft.Pipeline([loop, weft.step("end")(lambda half: half)])


def nested() -> weft.Run:
    add, big = weft.step("s", name="add")(lambda s, a: s + a), weft.step("big")(lambda s: s > 3)
    inner = weft.Loop([add, big], n_iterations=5, name="inner", until="big")
    grow, huge = weft.step("a2", name="grow")(lambda a: a * 2), weft.step("huge")(lambda a2: a2 > 7)
    outer = weft.Loop([inner, grow, huge], n_iterations=6, name="outer", until="huge", carry={"a": "a2"})
    return weft.Pipeline([outer]).run({"s": 0}, sweep=weft.grid(a=[1, 2, 5]), **HERE)


@pytest.mark.parametrize("until", ["small", None])
def test_the_last_iteration(until: str | None) -> None:
    run = halving(until, n=4).run({"x": 8.0}, **HERE)
    assert run.isel("half", t=-1) == 0.5 and run.isel("half", t=-2) == 1.0 and run.isel("half", t=0) == 4.0
    assert run.isel("half", t=slice(-2, None)).tolist() == [1.0, 0.5]
    assert run.isel("pair", t=-1).tolist() == [0.5, -0.5]


def test_the_last_iteration_of_each_is_where_its_own_loop_ended() -> None:
    run = halving().run(sweep=weft.grid(x=[8.0, 1.0, 100.0]), **HERE)
    assert run.isel("half", t=-1).tolist() == run["end"].tolist() == [0.5, 0.5, 0.78125]
    assert run.isel("half", t=-2).tolist() == [1.0, None, 1.5625]
    assert run.isel("half", t=-1, x=slice(1, None)).tolist() == [0.5, 0.78125]
    assert run.isel("pair", t=-1, x=[2]).tolist() == [[0.78125, -0.78125]]
    assert run.sel("half", x=1.0).compressed().tolist() == [0.5]


def test_the_last_iterations_of_loops_in_loops() -> None:
    run = nested()
    assert run.isel("s", outer=-1, inner=-1).tolist() == [10, 8, 5]
    assert run.isel("s", inner=-1).tolist() == [[4, 6, 10], [4, 8, None], [5, None, None]]
    assert run.isel("s", outer=-1, a=0).compressed().tolist() == [10]
    assert run.isel("s", outer=0, inner=-1).tolist() == [4, 4, 5]
    assert run.isel("a2", outer=-1).tolist() == [8, 8, 10]


def test_a_table_has_the_iterations_that_there_are() -> None:
    frame = halving().run({"x": 8.0}, **HERE).to_dataframe("half")
    assert frame["t"].tolist() == [0, 1, 2, 3] and frame["half"].tolist() == [4.0, 2.0, 1.0, 0.5]


def test_a_table_has_no_rows_for_what_never_ran() -> None:
    swept = halving().run(sweep=weft.grid(x=[8.0, 1.0]), **HERE)
    frame = swept.to_dataframe("half", "small", "end")
    assert frame["x"].tolist() == [8.0] * 4 + [1.0] and frame["t"].tolist() == [0, 1, 2, 3, 0]
    assert frame["half"].tolist() == [4.0, 2.0, 1.0, 0.5, 0.5] and frame["end"].tolist() == [0.5] * 5
    assert frame["small"].dtype == bool
    ask = weft.step("q", name="ask", mapspec="... -> q[i]")(lambda known: [*known, 1])
    tell = weft.step("told")(lambda q: [int(v) for v in q])
    loop = weft.Loop([ask, tell], n_iterations=3, name="r", carry={"known": "told"})
    frame = weft.Pipeline([loop]).run({"known": []}, **HERE).to_dataframe("q")
    assert frame.to_dict("list") == {"i": [0, 0, 1, 0, 1, 2], "r": [0, 1, 1, 2, 2, 2], "q": [1] * 6}


def test_what_made_a_value_is_told_by_iteration() -> None:
    run = halving().run({"x": 8.0}, **HERE)
    told = [str(run.explain("half", t=t)) for t in (0, 2)]
    assert "takes x = 8.0" in told[0] and "an input" in told[0]
    assert "takes x = 2.0" in told[1] and "made by step 'halve' in the iteration of 't' before" in told[1]
    end = str(run.explain("end"))
    assert "takes half = 0.5" in end and "made by step 'halve' in the last iteration of 't'" in end


def test_what_a_loop_makes_and_begins_with_goes_by_the_name_of_its_user() -> None:
    double = weft.step("x", name="double")(lambda x: 2 * x)
    loop = weft.Loop([double], n_iterations=2, name="round")
    run = weft.Pipeline([loop, weft.step("end")(lambda x: x)]).run(sweep=weft.grid(x=[1, 10]), **HERE)
    assert run.inputs == {"x": [1, 10]}
    assert run.sel("end", x=10) == 40 and run.sel("x", x=10).tolist() == [20, 40]
    dataset = run.to_xarray()
    assert dataset["x"].dims == ("x", "round") and dataset["x"].values.tolist() == run["x"].tolist()
    assert run.to_dataframe()["x"].tolist() == [2, 4, 20, 40]


def test_an_error_tells_its_iteration_once(tmp_path: Path) -> None:
    step = weft.step("next", name="go")(lambda x, t: x / (2 - t))
    pipe = weft.Pipeline([weft.Loop([step], n_iterations=4, name="t", carry={"x": "next"})])
    run = pipe.run(
        sweep=weft.grid(x=[1.0, 8.0]), indices={"x": 1}, run_dir=tmp_path / "r", on_error="continue", **HERE
    )
    (error,) = run.errors
    assert (error.index, error.coords) == ({"x": 1, "t": 2}, {"x": 8.0})
    assert error.arguments() == {"x": 4.0, "t": 2}
    with pytest.raises(weft.StepError, match=r"failed at x=1, t=2 \(x=8.0\): ZeroDivisionError"):
        pipe.run(sweep=weft.grid(x=[1.0, 8.0]), indices={"x": 1}, **HERE)


def test_labels_and_contexts_have_the_value_that_a_loop_begins_with() -> None:
    def double(x: float, ctx: weft.Context) -> Any:
        assert ctx.coords["x"] in (1, 10)
        return 2 * x

    def best(x: list[weft.Labelled[float]]) -> Any:
        return max(x, key=lambda found: found.value).coords["x"]

    loop = weft.Loop([weft.Step(double, "x")], n_iterations=2, name="round")
    pipe = weft.Pipeline([loop, weft.Step(best, "best", reduce="all")])
    assert pipe.run(sweep=weft.grid(x=[1, 10]), **HERE)["best"] == 10


def test_another_first_value_of_what_a_loop_makes_is_a_change(tmp_path: Path) -> None:
    pipe = weft.Pipeline([weft.Loop(weft.step("x", name="up")(lambda x, k: x + k), n_iterations=3, name="t")])
    pipe.run({"x": 1, "k": 1}, run_dir=tmp_path / "r", **HERE)
    with pytest.raises(weft.RunMismatch, match="input 'x' changed"):
        pipe.run({"x": 2, "k": 1}, run_dir=tmp_path / "r", **HERE)
    run = pipe.run({"x": 2, "k": 1}, run_dir=tmp_path / "r", on_change="rerun", **HERE)
    assert run["x"].tolist() == [3, 4, 5]
    assert pipe.run({"k": 1}, run_dir=tmp_path / "r", **HERE)["x"].tolist() == [3, 4, 5]
    for inputs in ({"k": 1}, {"x": 1, "k": 1, "z": 1}):
        with pytest.raises(weft.InvalidInput, match=r"input 'x' of step 'up' is missing|Inputs: x, k"):
            pipe.run(inputs, **HERE)
