"""Results as xarray, pandas, Zarr and Parquet."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import weft

HERE = {"backend": "sequential", "progress": False}


def scaled(x: float, w: str) -> float:
    if x == 3:
        raise ValueError("no three")
    return x * len(w)


GRID = weft.Step(scaled, "y", "x[i], w[j] -> y[i, j]")
TOTAL = weft.step("s")(lambda y: float(y.sum()))


def test_xarray_has_axes_and_labels(require: Callable[..., Any]) -> None:
    require("xarray")
    run = weft.Pipeline([GRID, TOTAL]).run({"x": [0.5, 1.5], "w": ["a", "bb", "ccc"]}, **HERE)
    data = run.to_xarray()
    assert data["y"].dims == ("i", "j")
    assert data["y"].sel(i=1.5, j="bb").item() == 3.0
    assert data["y"].coords["w"].dims == ("j",)
    assert data["s"].item() == run["s"]
    assert list(run.to_xarray("s").coords) == []


def test_two_inputs_on_an_axis_are_coordinates_without_an_index(require: Callable[..., Any]) -> None:
    require("xarray")
    step = weft.step("y", mapspec="a[i], b[i] -> y[i]")(lambda a, b: a + b)
    data = step.run({"a": [1, 2], "b": [10, 20]}, **HERE).to_xarray()
    assert set(data.coords) == {"a", "b"}
    assert not data.indexes


def test_holes_are_nan(require: Callable[..., Any]) -> None:
    require("xarray")
    count = weft.step("n", mapspec="x[i] -> n[i]")(lambda x: 7 // x)
    flag = weft.step("f", mapspec="n[i] -> f[i]")(lambda n: n > 3)
    none = weft.step("e", mapspec="x[i] -> e[i]")(lambda x: 1 // 0)
    run = weft.Pipeline([count, flag, none]).run({"x": [0, 1, 2]}, on_error="continue", **HERE)
    data = run.to_xarray()
    np.testing.assert_array_equal(data["n"], [np.nan, 7, 3])
    assert data["f"].dtype == object
    assert data["f"].values.tolist()[1:] == [True, False]
    assert np.isnan(data["e"]).all()
    frame = run.to_dataframe("n", "f")
    assert frame["n"].isna().tolist() == [True, False, False]


def test_array_elements_have_dimensions_of_their_own(require: Callable[..., Any]) -> None:
    require("xarray")
    step = weft.step("v", mapspec="x[i] -> v[i]")(lambda x: np.full(3, x))
    run = step.run({"x": [1, 2]}, **HERE)
    assert run.to_xarray()["v"].dims == ("i", "v_d0")
    frame = run.to_dataframe()
    assert frame["v"][1].tolist() == [2, 2, 2]


def test_objects_stay_objects(require: Callable[..., Any]) -> None:
    require("xarray")
    step = weft.step("v", mapspec="x[i] -> v[i]")(lambda x: {"x": x})
    data = step.run({"x": [1, 2]}, **HERE).to_xarray()
    assert data["v"].values.tolist() == [{"x": 1}, {"x": 2}]


def test_a_dataframe_is_tidy(require: Callable[..., Any]) -> None:
    require("pandas")
    run = weft.Pipeline([GRID, TOTAL]).run({"x": [0.5, 1.5], "w": ["a", "bb"]}, **HERE)
    frame = run.to_dataframe()
    assert list(frame.columns) == ["x", "w", "y", "s"]
    assert len(frame) == 4
    assert frame.query("x == 1.5 and w == 'bb'")["y"].item() == 3.0
    assert (frame["s"] == run["s"]).all()
    assert list(run.to_dataframe("s").columns) == ["s"]


def test_axes_without_inputs_are_positions(require: Callable[..., Any]) -> None:
    require("pandas")
    opened = weft.step("x", mapspec="... -> x[i]")(lambda n: list(range(n)))
    square = weft.step("y", mapspec="x[i] -> y[i]")(lambda x: x * x)
    frame = weft.Pipeline([opened, square]).run({"n": 3}, **HERE).to_dataframe()
    assert frame["i"].tolist() == [0, 1, 2]
    assert frame["y"].tolist() == [0, 1, 4]


def test_results_that_share_no_axes_are_left_out_of_a_table(require: Callable[..., Any]) -> None:
    require("pandas")
    a = weft.step("a", mapspec="x[i] -> a[i]")(lambda x: x)
    b = weft.step("b", mapspec="w[j] -> b[j]")(lambda w: w)
    run = weft.Pipeline([a, b]).run({"x": [1, 2], "w": [3, 4, 5]}, **HERE)
    assert list(run.to_dataframe().columns) == ["x", "a"]
    assert len(run.to_dataframe("a", "b")) == 6
    assert set(run.to_xarray().data_vars) == {"a", "b"}


def test_zarr_opens_again(require: Callable[..., Any], tmp_path: Path) -> None:
    require("zarr")
    xr = require("xarray")
    run = weft.Pipeline([GRID, TOTAL]).run({"x": [0.5, 1.5], "w": ["a", "bb"]}, **HERE)
    run.to_zarr(tmp_path / "out.zarr")
    with xr.open_zarr(tmp_path / "out.zarr", consolidated=False) as data:
        np.testing.assert_array_equal(data["y"].values, run["y"])
    with pytest.raises(weft.InvalidInput, match="exists"):
        run.to_zarr(tmp_path / "out.zarr")


def test_zarr_refuses_objects_and_leaves_nothing(require: Callable[..., Any], tmp_path: Path) -> None:
    require("zarr")
    step = weft.step("v", mapspec="x[i] -> v[i]")(lambda x: {"x": x})
    with pytest.raises(weft.InvalidInput, match="'v' holds Python objects"):
        step.run({"x": [1, 2]}, **HERE).to_zarr(tmp_path / "out.zarr")
    assert list(tmp_path.iterdir()) == []


def test_parquet_opens_again(require: Callable[..., Any], tmp_path: Path) -> None:
    require("pyarrow")
    pd = require("pandas")
    run = weft.Pipeline([GRID, TOTAL]).run({"x": [0.5, 1.5], "w": ["a", "bb"]}, **HERE)
    run.to_parquet(tmp_path / "out.parquet")
    assert pd.read_parquet(tmp_path / "out.parquet")["y"].tolist() == run["y"].reshape(-1).tolist()
    with pytest.raises(weft.InvalidInput, match="exists"):
        run.to_parquet(tmp_path / "out.parquet")


def test_a_failed_parquet_leaves_nothing(require: Callable[..., Any], tmp_path: Path) -> None:
    require("pyarrow")
    step = weft.step("v", mapspec="x[i] -> v[i]")(lambda x: "text" if x else 3)
    run = step.run({"x": [0, 1]}, **HERE)
    with pytest.raises(weft.InvalidInput, match="Parquet"):
        run.to_parquet(tmp_path / "out.parquet")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    run = GRID.run({"x": [0.5], "w": ["a"]}, **HERE)
    for package, extra, call in (
        ("xarray", "labels", run.to_xarray), ("pandas", "labels", run.to_dataframe),
        ("zarr", "zarr", lambda: run.to_zarr("never")),
        ("pyarrow", "parquet", lambda: run.to_parquet("never")),
    ):  # fmt: skip
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, package, None)
            with pytest.raises(ImportError, match=rf"weft\[{extra}\]"):
                call()
