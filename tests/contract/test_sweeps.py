"""Study axes flow through everything that depends on what varies, until a step reduces them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import weft
from weft.testing import Calls

Go = Callable[..., weft.Run]
HERE = {"backend": "sequential", "progress": False}


def made(output: str, *names: str, **options: Any) -> Any:
    """A step that tells what it was given: ``b(a, q)`` is ``"b(<a>,<q>)"``."""
    source = f"lambda {', '.join(names)}: f'{output}(' + ','.join(map(shown, ({', '.join(names)},))) + ')'"
    return weft.Step(eval(source, {"shown": shown}), output, name=output.upper(), **options)


def shown(value: Any) -> str:
    return "|".join(map(str, np.ravel(value))) if isinstance(value, (list, np.ndarray)) else str(value)


def elements(run: weft.Run) -> int:
    return sum(row["total"] for row in run.status.values())


# Joins: axes meet by name, so they need no rule, and no order matters

DIAMOND = [made("a", "p"), made("b", "a", "q"), made("c", "a", "r"), made("d", "b", "c")]


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))), ids=str)
def test_a_join_shares_the_axis_of_its_ancestor(order: tuple[int, ...]) -> None:
    pipe = weft.Pipeline([DIAMOND[i] for i in order])
    run = pipe.run(sweep=weft.grid(p=[1, 2], q=[3, 4], r=[5, 6, 7]), **HERE)
    assert [run[name].shape for name in "abcd"] == [(2,), (2, 2), (2, 3), (2, 2, 3)]
    assert elements(run) == 2 + 4 + 6 + 12
    for i, j, k in np.ndindex(2, 2, 3):
        p, q, r = 1 + i, 3 + j, 5 + k
        assert run["d"][i, j, k] == f"d(b(a({p}),{q}),c(a({p}),{r}))"


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))), ids=str)
def test_a_reduction_gets_everything(order: tuple[int, ...]) -> None:
    steps = [made("a", "p"), made("b", "a", "q"), made("c", "b", reduce="all"), made("e", "c", "s")]
    run = weft.Pipeline([steps[i] for i in order]).run(sweep=weft.grid(p=[1, 2], q=[3, 4], s=[5, 6]), **HERE)
    assert elements(run) == 9
    whole = "c(b(a(1),3)|b(a(1),4)|b(a(2),3)|b(a(2),4))"
    assert run["c"] == whole
    assert run["e"].tolist() == [f"e({whole},5)", f"e({whole},6)"]


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))), ids=str)
@pytest.mark.parametrize("arguments", [("c", "b"), ("b", "c")])
def test_a_join_with_a_reduction(order: tuple[int, ...], arguments: tuple[str, str]) -> None:
    steps = [made("a", "p"), made("c", "a", reduce="all"), made("b", "a", "q"), made("x", *arguments)]
    run = weft.Pipeline([steps[i] for i in order]).run(sweep=weft.grid(p=[1, 2], q=[3, 4]), **HERE)
    assert run["x"].shape == (2, 2) and run["c"] == "c(a(1)|a(2))"
    parts = {"c": "c(a(1)|a(2))", "b": "b(a(2),3)"}
    assert run["x"][1, 0] == f"x({','.join(parts[a] for a in arguments)})"


def test_reduce_by_name_keeps_the_others() -> None:
    pipe = weft.Pipeline([made("a", "p", "q"), made("c", "a", reduce="p"), made("e", "a", reduce=["q"])])
    run = pipe.run(sweep=weft.grid(p=[1, 2], q=[3, 4, 5]), **HERE)
    assert run["c"].tolist() == [f"c(a(1,{q})|a(2,{q}))" for q in (3, 4, 5)]
    assert run["e"].tolist() == [f"e(a({p},3)|a({p},4)|a({p},5))" for p in (1, 2)]


# Flowing through data axes


def test_it_flows_through_mapped_and_unmapped_steps(kept: dict[str, Any]) -> None:
    @weft.step("y", mapspec="x[i] -> y[i]")
    def simulate(x: float, k: float = 1.0) -> float:
        return x * k

    @weft.step("best")
    def best(y: Any) -> float:
        return float(y.min())

    @weft.step("overall", reduce="all")
    def overall(best: Any, y: Any) -> tuple[float, tuple[int, ...]]:
        return float(best.max()), y.shape

    @weft.step("apart", mapspec="x[i] -> apart[i]")
    def apart(x: float) -> float:
        return -x

    run = weft.Pipeline([simulate, best, overall, apart]).run(
        {"x": [1.0, 2.0, 3.0]}, sweep=weft.grid(k=[0.5, 2.0]), **HERE, **kept
    )
    assert run["y"].tolist() == [[0.5, 1.0, 1.5], [2.0, 4.0, 6.0]]
    assert run["best"].tolist() == [0.5, 2.0]
    assert run["overall"] == (2.0, (2, 3))
    assert run["apart"].tolist() == [-1.0, -2.0, -3.0], "what does not depend on it has no axis"


def test_it_flows_through_opened_axes() -> None:
    @weft.step("x", mapspec="... -> x[i]")
    def points(start: int) -> list[int]:
        return [start, start + 1, start + 2]

    @weft.step("z", mapspec="n[j] -> z[l, j]")
    def column(n: int, start: int) -> list[int]:
        return [10 * n + start, 10 * n - start]

    @weft.step("s", mapspec="z[l, :] -> s[l]")
    def row(z: Any) -> int:
        return int(z.sum())

    run = weft.Pipeline([points, column, row]).run({"n": [1, 2]}, sweep=weft.grid(start=[0, 5]), **HERE)
    assert run["x"].tolist() == [[0, 1, 2], [5, 6, 7]]
    assert run["z"].tolist() == [[[10, 20], [10, 20]], [[15, 25], [5, 15]]]
    assert run["s"].tolist() == [[30, 30], [40, 20]]


def test_a_mapped_input_may_vary() -> None:
    @weft.step("y", mapspec="x[i], z[:] -> y[i]")
    def f(x: int, z: Any) -> int:
        return x + len(z)

    run = weft.Pipeline([f]).run({"z": [0, 0]}, sweep=weft.grid(x=[[1, 2, 3], [4, 5, 6]]), **HERE)
    assert run["y"].tolist() == [[3, 4, 5], [6, 7, 8]]


def test_several_outputs_renames_and_scopes() -> None:
    two = weft.Step(lambda k: (k, -k), ("u", "w"), name="two", renames={"k": "lr"}, scope="m")
    pipe = weft.Pipeline([two])
    run = pipe.vary(**{"m.lr": "lr"}).run({"m.lr": [1, 2]}, **HERE)
    assert run["m.u"].tolist() == [1, 2] and run["m.w"].tolist() == [-1, -2]
    swept = pipe.run(sweep=weft.grid(**{"m.lr": [1, 2]}), **HERE)
    assert swept.isel("m.w", m_lr=1) == -2, "an axis has no dots"
    assert pipe.vary("m.lr").graph.axes["m.u"] == ("m_lr",)


# Order of axes


def test_study_axes_stand_in_front_in_the_order_of_the_sweep(require: Callable[..., Any]) -> None:
    require("xarray")
    step = weft.Step(lambda x, a, b: f"{a}{b}{x}", "y", mapspec="x[i] -> y[i]")
    pipe = weft.Pipeline([step])
    for sweep in (weft.grid(b=["uv"], a=[1, 2]), weft.grid(b=["uv"]) * weft.grid(a=[1, 2])):
        run = pipe.run({"x": [0]}, sweep=sweep, **HERE)
        assert run.to_xarray("y")["y"].dims == ("b", "a", "i")
    assert pipe.vary("a", "b").graph.axes["y"] == ("a", "b", "i")
    assert pipe.vary("a").vary("b").graph.axes["y"] == ("b", "a", "i"), "a later one goes in front"
    assert pipe.vary(a="k", b="k").graph.axes["y"] == ("k", "i")


def test_reductions_hold_when_varied_again() -> None:
    pipe = weft.Pipeline([made("a", "p", "q"), made("c", "a", reduce="p"), made("e", "a", reduce="all")])
    run = pipe.vary("p").vary("q").run({"p": [1, 2], "q": [3, 4]}, **HERE)
    assert run["c"].tolist() == ["c(a(1,3)|a(2,3))", "c(a(1,4)|a(2,4))"]
    assert run["e"] == "e(a(1,3)|a(2,3)|a(1,4)|a(2,4))" and pipe.graph.axes == {}


# What is refused


def test_a_data_axis_in_reduce_is_refused() -> None:
    f = weft.Step(lambda x: x, "y", mapspec="x[i] -> y[i]")
    whole = weft.Step(lambda y: 0, "s", reduce="i")
    with pytest.raises(weft.WiringError, match=r"step 's': 'i' in reduce is a data axis.*':' in the mapspec"):
        weft.Pipeline([f, whole])
    with pytest.raises(weft.WiringError, match="data axis"):
        weft.Pipeline([f.replace(reduce="i")])


def test_what_cannot_vary_is_refused() -> None:
    pipe = weft.Pipeline(
        [made("a", "i_", "learning_rate"), weft.Step(lambda a, x: x, "y", mapspec="x[i] -> y[i]")]
    )
    for sweep, error, message in [
        (weft.grid(learning_rat=[1]), weft.WiringError, "Did you mean 'learning_rate'"),
        (weft.grid(a=[1]), weft.WiringError, "made by step 'A'"),
        (weft.grid(i_=[1]).named("i"), weft.WiringError, r"axis 'i' already.*vary\(i_=.*\.named"),
        ({"i_": [1]}, weft.InvalidInput, "made by weft.grid"),
        (weft.grid(x=[[1]]), weft.InvalidInput, "'x' is an input and .*sweep"),
    ]:  # fmt: skip
        with pytest.raises(error, match=message):
            pipe.run({"x": [1]}, sweep=sweep)
    with pytest.raises(weft.WiringError, match="axis 'i' already"):
        pipe.vary(i_="i")
    with pytest.raises(weft.InvalidInput, match="'i_' of step 'A' is missing"):
        pipe.run({"x": [1]}, sweep=weft.grid(learning_rate=[1]), **HERE)


# Points


def test_points_with_missing_keys_keep_the_default() -> None:
    step = weft.Step(lambda a, b=7: (a, b), "y")
    pipe = weft.Pipeline([step])
    run = pipe.run(sweep=weft.points([{"a": 1}, {"a": 2, "b": 0}]), **HERE)
    assert run["y"].tolist() == [(1, 7), (2, 0)]
    with pytest.raises(weft.InvalidInput, match="lack 'a', which has no default"):
        pipe.run(sweep=weft.points([{"a": 1}, {"b": 2}]), **HERE)


def test_values_keep_their_type(kept: dict[str, Any]) -> None:
    values = [1, 1.0, True, "01", None, (1, 2), [1]]
    step = weft.Step(lambda a: repr(a), "y")
    run = weft.Pipeline([step]).run(sweep=weft.points([{"a": v} for v in values]), **HERE, **kept)
    assert run["y"].tolist() == [repr(v) for v in values]


def test_points_of_a_table(require: Callable[..., Any]) -> None:
    table = require("pandas").DataFrame({"a": [1, 2], "b": ["x", "01"]})
    run = weft.Pipeline([weft.Step(lambda a, b: f"{a}{b}", "y")]).run(sweep=weft.points(table), **HERE)
    assert run["y"].tolist() == ["1x", "201"]


def test_zipped_and_named() -> None:
    pipe = weft.Pipeline([weft.Step(lambda a, b: a * b, "y")])
    run = pipe.run(sweep=weft.zipped(a=[1, 2], b=[3, 4]).named("pair"), **HERE)
    assert run["y"].tolist() == [3, 8]
    assert run.isel("y", pair=-1) == 8


# Growth, and going on


@pytest.fixture
def counted(calls: Calls) -> weft.Pipeline:
    def f(lr, bs):
        calls("f", lr, bs)
        return lr * bs

    def best(y):
        calls("best")
        return float(y.max())

    return weft.Pipeline([weft.Step(f, "y"), weft.Step(best, "best", reduce="all")])


def test_growth_runs_only_what_is_new(counted: weft.Pipeline, calls: Calls, go: Go) -> None:
    go(counted, sweep=weft.grid(lr=[1, 2], bs=[10, 20]))
    assert len(calls.take()) == 5
    run = go(counted, sweep=weft.grid(lr=[3, 1, 2], bs=[10, 20]))
    assert sorted(calls.take()) == ["best", "f 3 10", "f 3 20"]
    assert run["y"].tolist() == [[30, 60], [10, 20], [20, 40]] and run["best"] == 60.0
    run = go(counted, sweep=weft.grid(lr=[2, 3], bs=[20, 30]))
    assert sorted(calls.take()) == ["best", "f 2 30", "f 3 30"]
    assert run["y"].tolist() == [[40, 60], [60, 90]]
    run = go(counted, sweep=weft.grid(lr=[1, 2, 3], bs=[20, 10]))
    assert calls.take() == ["best"], "removed, reordered and back again: only what took the axes whole"
    assert run["y"].tolist() == [[20, 10], [40, 20], [60, 30]]
    go(counted, sweep=weft.grid(lr=[1, 2, 3], bs=[20, 10]))
    assert calls.take() == []


def test_types_are_other_values(calls: Calls, go: Go) -> None:
    def f(a):
        calls(repr(a))
        return repr(a)

    pipe = weft.Pipeline([weft.Step(f, "y")])
    go(pipe, sweep=weft.grid(a=[1]))
    run = go(pipe, sweep=weft.grid(a=[1, 1.0, True, "1"]))
    assert calls.take() == ["1", "1.0", "True", "'1'"] and run["y"].tolist() == ["1", "1.0", "True", "'1'"]


def test_a_swept_run_goes_on_from_its_record(tmp_path: Path) -> None:
    allowed = tmp_path / "allowed"

    def f(x, k: float = 1.0):
        if k == 2.0 and not allowed.exists():
            raise ValueError("not yet")
        return x * k

    pipe = weft.Pipeline(
        [weft.Step(f, "y", mapspec="x[i] -> y[i]"), weft.Step(lambda y: y.sum(), "s", reduce="all")]
    )
    sweep = weft.grid(k=[1.0, 2.0])
    where = tmp_path / "run"
    pipe.run({"x": [1, 2]}, sweep=sweep, run_dir=where, on_error="continue", **HERE)
    run = weft.open_run(where)
    assert run.status["f"]["failed"] == 2 and run.status["s"]["blocked"] == 1
    assert [e.coords["k"] for e in run.errors] == [2.0, 2.0]
    assert len(run.elements("f", sel={"k": 2.0})) == 2
    allowed.touch()
    assert weft.open_run(where).retry("f", i=0, on_error="continue", **HERE).status["f"]["failed"] == 1
    assert weft.open_run(where).resume(**HERE)["s"] == 9.0
    assert weft.open_run(where).resume(pipeline=pipe.vary("k"), **HERE).ok
    again = pipe.run({"x": [1, 2]}, sweep=sweep, run_dir=where, **HERE)
    assert again.ok and again["y"].tolist() == [[1.0, 2.0], [2.0, 4.0]]


@pytest.mark.parametrize("kind", ["grid", "product", "points"])
def test_resume_with_a_pipeline_that_is_not_varied(tmp_path: Path, calls: Calls, kind: str) -> None:
    def f(x, k: float = 1.0, q: float = 0.0):
        calls(x, k, q)
        return x * k + q

    pipe = weft.Pipeline(
        [weft.Step(f, "y", mapspec="x[i] -> y[i]"), weft.Step(lambda y: y.sum(), "s", reduce="all")]
    )
    sweep = {
        "grid": weft.grid(k=[1.0, 2.0]),
        "product": weft.grid(q=[1.0, 2.0, 3.0]) * weft.grid(k=[1.0, 2.0]),
        "points": weft.points([{"k": 1.0}, {"q": 3.0}]),
    }[kind]
    where = tmp_path / "run"
    pipe.run({"x": [1, 2]}, sweep=sweep, run_dir=where, indices={"i": 0}, outputs="y", **HERE)
    assert len(calls.take()) == len(sweep)
    run = weft.open_run(where).resume(pipeline=pipe, **HERE)
    assert run.ok and len(calls.take()) == len(sweep)
    assert run["s"] == sum(x * p.get("k", 1.0) + p.get("q", 0.0) for p in sweep for x in (1, 2))


# Results, labelled


def test_by_value_and_labelled(kept: dict[str, Any], require: Callable[..., Any]) -> None:
    require("xarray")
    step = weft.Step(lambda x, lr, a, b: x * lr + a * b, "y", mapspec="x[i] -> y[i]")
    sweep = weft.grid(lr=[0.5, 2.0]) * weft.zipped(a=[1, 2, 3], b=[4, 5, 6]).named("pair")
    run = weft.Pipeline([step]).run({"x": [10, 20]}, sweep=sweep, **HERE, **kept)
    assert run.sel("y", lr=2.0).shape == (3, 2)
    assert run.sel("y", lr=2.0, a=3, x=20) == 58.0
    labelled = run.to_xarray()["y"]
    assert labelled.dims == ("lr", "pair", "i")
    assert labelled.coords["lr"].values.tolist() == [0.5, 2.0]
    assert labelled.coords["a"].dims == ("pair",) and labelled.coords["b"].values.tolist() == [4, 5, 6]
    assert float(labelled.sel(lr=0.5).isel(pair=0, i=1)) == 14.0
    table = run.to_dataframe("y")
    assert set(table.columns) >= {"lr", "a", "b", "x", "y"} and len(table) == 12
    assert (table["y"] == table["x"] * table["lr"] + table["a"] * table["b"]).all()


def test_on_every_backend(backend: str, tmp_path: Path) -> None:
    run = weft.Pipeline(DIAMOND).run(
        sweep=weft.grid(p=[1, 2], q=[3, 4], r=[5, 6, 7]), backend=backend, n_jobs=2, run_dir=tmp_path / "run",
        progress=False,
    )  # fmt: skip
    assert run["d"].shape == (2, 2, 3) and elements(run) == 24
    assert run["d"][1, 0, 2] == "d(b(a(2),3),c(a(2),7))"


def test_a_plan_of_a_sweep() -> None:
    plan = weft.Pipeline(DIAMOND).plan(sweep=weft.grid(p=range(10), q=range(20), r=range(30)))
    assert plan.n_elements == 10 + 200 + 300 + 6000


def test_streams_belong_to_the_values_not_to_the_sweep() -> None:
    def noisy(lr: float, rng: np.random.Generator) -> float:
        return lr + float(rng.normal())

    pipe = weft.Pipeline([weft.Step(noisy, "y")])
    few = pipe.run(sweep=weft.grid(lr=[1.0, 2.0]), **HERE)["y"]
    many = pipe.run(sweep=weft.grid(lr=[3.0, 2.0, 1.0]), **HERE)["y"]
    assert few.tolist() == many[:0:-1].tolist()


@pytest.mark.parametrize("kept", [False, True])
def test_a_swept_run_goes_on_with_the_pipeline_as_it_was_written(kept: bool, tmp_path: Path) -> None:
    def fragile(x: int, k: int, m: int) -> int:
        return 10 * k + m + x if x != 2 or k != 1 else 1 // 0

    def mended(x: int, k: int, m: int) -> int:
        return 10 * k + m + x

    def pipe(function: Any) -> weft.Pipeline:
        made = weft.Step(function, "y", mapspec="x[i] -> y[i]", name="made")
        return weft.Pipeline([made, weft.step("s")(lambda y: int(y.sum()))])

    where = {"run_dir": tmp_path / "r"} if kept else {}
    sweep = weft.grid(k=[1, 2]) * weft.grid(m=[5])
    run = pipe(fragile).run({"x": [1, 2]}, sweep=sweep, on_error="continue", **where)
    assert not run.ok
    found = weft.open_run(tmp_path / "r") if kept else run
    options = {"on_change": "keep"} if kept else {}
    assert found.resume(pipeline=pipe(mended), **options)["s"].tolist() == [[33], [53]]
    whole = pipe(mended).replace("made", weft.Step(lambda x, k, m: x, "y", name="made"))
    with pytest.raises(weft.InvalidInput, match="lies along the axis 'i'"):
        found.resume(pipeline=whole)
