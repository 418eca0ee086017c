"""A run as a table: rows with their states, chosen, ranked, grown, and taken elsewhere."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import weft
from weft.experiments import Array, Category, Constant, Domain, Experiments, Float, Int
from weft.testing import Calls
from weft.values.content import digest

HERE: dict[str, Any] = {"backend": "sequential", "progress": False}


@weft.step("y")
def fragile(x: int, k: float = 1.0) -> float:
    if x < 0:
        raise ValueError("negative")
    return float("nan") if x == 5 else x * k


@weft.step("z")
def follow(y: float) -> float:
    return y + 1


PIPE = weft.Pipeline(
    [fragile, follow, weft.step("total", reduce="all", name="total")(lambda z: float(z.sum()))]
)
ROWS = [{"x": 3}, {"x": -1}, {"x": 5}, {"x": 1, "k": 10.0}]


def table(path: Path | None = None, **options: Any) -> Experiments:
    more = {"on_error": "continue", **HERE, **options}
    return Experiments(PIPE.run(sweep=weft.points(ROWS), run_dir=path, **more))


def test_a_row_for_each_experiment() -> None:
    found = table()
    assert found.axes == ("point",)
    assert found.columns == ("point", "x", "k", "y", "z", "state")
    assert (found.inputs, found.outputs) == (("x", "k"), ("y", "z"))
    assert found.states == ["done", "failed", "done", "done"]
    assert found[0] == {"point": 0, "x": 3, "k": 1.0, "y": 3.0, "z": 4.0, "state": "done"}
    assert found[-3] == {"point": 1, "x": -1, "k": 1.0, "state": "failed"}
    assert len(found) == len(list(found)) == 4
    assert found["x"] == [3, -1, 5, 1]
    with pytest.raises(weft.MissingResult, match=r"1 of 4 rows have no 'y'.*where"):
        found["y"]
    with pytest.raises(weft.InvalidInput, match="Did you mean 'state'"):
        found["sate"]
    assert str(found).splitlines()[0].split() == ["point", "x", "k", "y", "z", "state"]
    assert "<table>" in found._repr_html_()


def test_rows_are_chosen() -> None:
    found = table()
    assert found.where(state="failed")["x"] == [-1]
    assert found.where(state=["done", "open"])["x"] == [3, 5, 1]
    assert found.where(k=1.0, state="done")["x"] == [3, 5]
    assert found.where(y=float("nan"))["x"] == [5]
    assert found.where(lambda row: row["x"] > 1)["x"] == [3, 5]
    assert found.where(x="3")["x"] == []
    assert found[1:3]["x"] == [-1, 5]
    with pytest.raises(weft.InvalidInput, match=r"no state 'faild'.*Did you mean 'failed'"):
        found.where(state="faild")


def test_the_best_have_a_value() -> None:
    found = table()
    assert found.best(2, by="y")["x"] == [3, 1]
    assert found.best(9, by="y", ascending=False)["x"] == [1, 3]  # neither NaN nor what failed
    assert found.best(1, by="x")["x"] == [-1]
    with pytest.raises(weft.InvalidInput, match=r"Best by what.*y, z"):
        found.best(1)
    arrays = weft.step("a")(lambda x: np.full(2, x)).run(sweep=weft.grid(x=[1, 2]), **HERE)
    with pytest.raises(weft.InvalidInput, match="'a' have no order"):
        Experiments(arrays).best()


def test_states_before_and_between(tmp_path: Path) -> None:
    run = PIPE.run(
        sweep=weft.points(ROWS),
        run_dir=tmp_path / "r",
        indices={"point": [0, 1]},
        outputs="y",
        on_error="continue",
        **HERE,
    )
    found = Experiments(run)
    assert found.states == ["open", "failed", "open", "open"]
    assert "y" in found[0] and "z" not in found[0]


def test_a_row_under_way_is_running() -> None:
    go_on, deadline = threading.Event(), time.monotonic() + 30

    def slow(x: int) -> int:
        assert go_on.wait(30)
        return x

    run = weft.step("y")(slow).run(
        sweep=weft.grid(x=[1, 2]), backend="thread_pool", n_jobs=2, wait=False, progress=False
    )
    try:
        while "running" not in Experiments(run).states:
            assert time.monotonic() < deadline
    finally:
        go_on.set()
    assert Experiments(run.wait(30)).states == ["done", "done"]


def test_types_survive_a_run_directory(tmp_path: Path) -> None:
    domain = Domain(
        v=Category(3, 3.0, True, "01", float("nan"), (1, (2,)), None),
        w=Array((2, 2), 0, 1),
        n=Int(0, 9),
        c=Constant({"a": (1,)}),
    )
    rows = domain.sample(40, "latin", seed=3)
    step = weft.step(("out", "shape"))(lambda v, w, n, c: (v, (n, w.shape)))
    step.run(sweep=weft.points(rows), run_dir=tmp_path / "r", **HERE)
    found = Experiments.open(tmp_path / "r")
    assert [digest({name: row[name] for name in domain}) for row in found] == [digest(row) for row in rows]
    assert [digest(value) for value in found["out"]] == [digest(row["v"]) for row in rows]
    assert found["shape"] == [(row["n"], (2, 2)) for row in rows]
    frame = found.to_pandas()
    assert [digest(value) for value in frame["v"]] == [digest(row["v"]) for row in rows]
    assert frame["n"].dtype == np.int64


def test_large_values_load_when_asked(tmp_path: Path) -> None:
    step = weft.step(("loss", "field"))(lambda x: (x, np.full((40, 40), x)))
    step.run(sweep=weft.grid(x=[1.0, 2.0]), run_dir=tmp_path / "r", **HERE)
    found = Experiments.open(tmp_path / "r")
    cell = found.best(by="loss", ascending=False)[0]["field"]
    assert isinstance(cell, weft.Lazy)
    assert np.array_equal(cell.load(), np.full((40, 40), 2.0))
    assert "(not loaded)" in str(found)
    assert found["loss"] == [1.0, 2.0]


class Mesh:
    """A type with its own way to be saved and loaded, which counts how often it is loaded."""

    loaded = 0

    def __init__(self, text: str) -> None:
        self.text = text

    @classmethod
    def load(cls, file: Any) -> Mesh:
        cls.loaded += 1
        return cls(file.read().decode())


def test_large_values_with_their_own_files_load_when_asked(tmp_path: Path) -> None:
    weft.register_codec(
        "experiments-mesh", [Mesh], ".mesh", lambda mesh, file: file.write(mesh.text.encode()), Mesh.load
    )
    step = weft.step(("loss", "mesh"))(lambda x: (x, Mesh(f"{x}" * 10_000)))
    step.run(sweep=weft.grid(x=[1, 2, 3]), run_dir=tmp_path / "r", **HERE)
    Mesh.loaded = 0
    found = Experiments.open(tmp_path / "r")
    best = found.best(by="loss")[0]
    assert str(found) and found.to_pandas().shape == (3, 4)
    assert Mesh.loaded == 0
    assert best["mesh"].load().text == "1" * 10_000
    assert Mesh.loaded == 1


def test_further_axes_are_parts_of_arrays() -> None:
    steps = [
        weft.step("y", mapspec="x[i] -> y[i]", name="y")(lambda x, k: x * k),
        weft.step("mean", name="mean")(lambda y: float(y.mean())),
    ]
    run = weft.Pipeline(steps).run({"x": [1, 2, 3]}, sweep=weft.grid(k=[1, 10]), **HERE)
    found = Experiments(run)
    assert found.axes == ("k",)
    assert found["mean"] == [2.0, 20.0]
    assert [cell.load().tolist() for cell in found["y"]] == [[1, 2, 3], [10, 20, 30]]
    cells = Experiments(run, axis=["k", "i"])
    assert cells["y"] == [1, 2, 3, 10, 20, 30]
    assert cells["mean"] == [2.0] * 3 + [20.0] * 3
    assert cells["x"] == [1, 2, 3, 1, 2, 3]
    swapped = Experiments(run, axis=["i", "k"])
    assert swapped["y"] == [1, 10, 2, 20, 3, 30]
    with pytest.raises(weft.InvalidInput, match=r"no axis 'j'.*k, i"):
        Experiments(run, axis="j")


def test_a_ragged_axis_has_a_row_for_each_cell() -> None:
    steps = [
        weft.step("x", mapspec="n[j] -> x[j, i?]", name="x")(lambda n: list(range(n))),
        weft.step("y", mapspec="x[j, i] -> y[j, i]", name="y")(lambda x: x * 10),
    ]
    found = Experiments(weft.Pipeline(steps).run({"n": [2, 0, 3]}, **HERE), axis=["j", "i"])
    assert found["y"] == [0, 10, 0, 10, 20]
    assert found["n"] == [2, 2, 3, 3, 3]
    assert found.states == ["done"] * 5


def test_rows_that_one_step_opens() -> None:
    run = weft.step("y", mapspec="... -> y[i]")(lambda n: [n, 2 * n]).run({"n": 3}, **HERE)
    assert list(Experiments(run)) == [{"i": 0, "y": 3, "state": "done"}, {"i": 1, "y": 6, "state": "done"}]


def test_the_axis_of_rows() -> None:
    apart = [
        weft.step("y", mapspec="a[i] -> y[i]", name="y")(lambda a: a),
        weft.step("z", mapspec="b[j] -> z[j]", name="z")(lambda b: b),
    ]
    run = weft.Pipeline(apart).run({"a": [1], "b": [2, 3]}, **HERE)
    with pytest.raises(weft.InvalidInput, match=r"No axis is shared by all results: y\[i\], z\[j\]"):
        Experiments(run)
    assert Experiments(run, axis="j")["z"] == [2, 3]
    with pytest.raises(weft.InvalidInput, match="The results have no axes"):
        Experiments(weft.step("y")(lambda x: x).run({"x": 1}, **HERE))


def test_a_value_called_state_has_another_column() -> None:
    found = Experiments(
        weft.step("y")(lambda state: state + 1).run(sweep=weft.grid(state=[1, 2]).named("s"), **HERE)
    )
    assert found[0] == {"s": 0, "state_": 1, "y": 2, "state": "done"}
    assert found.to_xarray()["state_"].values.tolist() == [1, 2]


def test_appended_rows_run_alone(tmp_path: Path) -> None:
    calls = Calls(tmp_path / "calls")

    def square(x: Any, k: int = 2) -> Any:
        calls(x)
        return x * k

    pipe = weft.Pipeline([weft.Step(square, "y"), weft.Step(lambda y: len(y), "n", name="n", reduce="all")])
    pipe.run(sweep=weft.points([{"x": 1}, {"x": "01", "k": 3}]), run_dir=tmp_path / "r", **HERE)
    calls.take()
    found = Experiments.open(tmp_path / "r").append([{"x": 2.5}, {"x": "a", "k": 1}], **HERE)
    assert calls.take() == ["2.5", "a"]
    assert found["x"] == [1, "01", 2.5, "a"]
    assert found["k"] == [2, 3, 2, 1]
    assert found["y"] == [2, "010101", 5.0, "a"]
    assert found.run["n"] == 4
    opened = found.append([{"x": 7}], outputs=(), **HERE)
    assert opened.states == ["done"] * 4 + ["open"]
    opened.run.resume(**HERE)
    assert Experiments.open(tmp_path / "r")["y"][-1] == 14
    assert len(opened.append([])) == 5
    assert len(found.append([{"x": 8}], **HERE)) == 6  # from a table made before the last row was there


def test_what_cannot_be_appended(tmp_path: Path) -> None:
    with pytest.raises(weft.InvalidInput, match=r"in memory.*run_dir"):
        table().append([{"x": 1}])
    found = table(tmp_path / "r")
    with pytest.raises(weft.InvalidInput, match=r"'xx' is no input of a row.*Did you mean 'x'"):
        found.append([{"xx": 1}])
    with pytest.raises(weft.InvalidInput, match="Some rows lack 'x'"):
        found.append([{"k": 1.0}])
    grid = fragile.run(sweep=weft.grid(x=[1], k=[1.0]), run_dir=tmp_path / "g", **HERE)
    with pytest.raises(weft.InvalidInput, match="Rows along x and k cannot be appended"):
        Experiments(grid).append([{"x": 2}])


def test_joined_by_common_inputs() -> None:
    left = Experiments(weft.step("y")(lambda x: -1).run(sweep=weft.grid(x=[1, 2, float("nan"), "1"]), **HERE))
    right = Experiments(
        weft.step("z")(lambda x: x).run(sweep=weft.grid(x=["1", float("nan"), 1.0, 2]), **HERE)
    )
    joined = left.join(right)
    assert [(row["y"], row["state_other"]) for row in joined] == [(-1, "done")] * 3
    assert [row["z"] for row in joined][::2] == [2, "1"]  # 1 and 1.0 are two
    large = weft.grid(x=[np.zeros(2000), np.ones(2000)])
    one, two = (Experiments(weft.step(name)(lambda x: x.sum()).run(sweep=large, **HERE)) for name in "yz")
    assert [row["y"] == row["z"] for row in one.join(two)] == [True, True]
    with pytest.raises(weft.InvalidInput, match="no input in common: x; k"):
        left.join(Experiments(weft.step("z")(lambda k: k).run(sweep=weft.grid(k=[1]), **HERE)))


def test_to_pandas_numpy_and_xarray() -> None:
    found = table()
    frame = found.to_pandas()
    assert list(frame.columns) == list(found.columns)
    assert frame["x"].tolist() == [3, -1, 5, 1] and frame["x"].dtype == np.int64
    assert frame["y"].isna().tolist() == [False, True, True, False] and frame["y"].dtype == np.float64
    inputs, outputs = found.to_numpy()
    assert inputs.dtype == outputs.dtype == np.float64
    np.testing.assert_array_equal(inputs, [[3, 1], [-1, 1], [5, 1], [1, 10]])
    np.testing.assert_array_equal(outputs, [[3, 4], [np.nan, np.nan], [np.nan, np.nan], [10, 11]])
    np.testing.assert_array_equal(found.to_numpy(outputs=["y"])[1], outputs[:, :1])
    dataset = found.where(state="done").best(2, by="y").to_xarray()
    assert dataset["y"].dims == ("point",) and dataset["y"].values.tolist() == [3.0, 10.0]
    assert dataset["state"].values.tolist() == ["done", "done"]
    ints = weft.step("n")(lambda x: 1 // x * x).run(sweep=weft.grid(x=[0, 1]), on_error="continue", **HERE)
    assert str(Experiments(ints).to_pandas()["n"].dtype) == "Int64"


def test_to_xarray_of_several_axes_is_by_row() -> None:
    run = weft.step("y")(lambda a, b: a * b).run(sweep=weft.grid(a=[1, 2], b=[3, 4]), **HERE)
    dataset = Experiments(run).best(2).to_xarray()
    assert dataset["y"].dims == ("row",)
    assert dataset["y"].values.tolist() == [3, 4]
    assert dataset["b"].values.tolist() == [3, 4]


def test_a_table_is_the_run_as_it_was(tmp_path: Path) -> None:
    before = table(tmp_path / "r")
    PIPE.run(sweep=weft.points([*ROWS, {"x": 8}]), run_dir=tmp_path / "r", on_error="continue", **HERE)
    assert len(before) == 4 and before["x"] == [3, -1, 5, 1]
    assert len(Experiments(before.run)) == 5


def test_ten_thousand_rows(tmp_path: Path) -> None:
    rows = Domain(x=Float(0, 1), n=Int(0, 99)).sample(10_000, "sobol")
    run = weft.step("y")(lambda x, n: x * n).run(sweep=weft.points(rows), **HERE)
    found = Experiments(run).best(3, by="y", ascending=False)
    assert found["y"] == sorted((row["x"] * row["n"] for row in rows), reverse=True)[:3]
