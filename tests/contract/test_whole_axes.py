"""What a step gets for an axis that it takes whole, by the parameter's annotation."""

from __future__ import annotations

import importlib.util
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import weft

if TYPE_CHECKING:
    from collections.abc import Generator

    import pandas as pd
    import xarray as xr

    from weft import Labelled, Lazy

Go = Callable[..., weft.Run]
FEW = {"block_size": 2, "progress": False}


@weft.step("c", mapspec="a[i], b[j] -> c[i, j]")
def product(a: float, b: str) -> float:
    if a < 0:
        raise ValueError("negative")
    return a * len(b)


INPUTS = {"a": [0.5, 1.5, 2.5], "b": ["x", "yy"]}
WHOLE = [[0.5, 1.0], [1.5, 3.0], [2.5, 5.0]]


@pytest.fixture(params=["sequential", "loky"])
def both(request: pytest.FixtureRequest, kept: dict[str, Any]) -> dict[str, Any]:
    """In memory and in files, in this process and in others."""
    return {**kept, **FEW, "backend": request.param, "n_jobs": 2}


def seen(function: Any, options: dict[str, Any], mapspec: str | None = None, **given: Any) -> Any:
    """What a step told about what it got."""
    allow = bool(given.pop("allow_missing", False))
    step = weft.Step(function, "told", mapspec, allow_missing=allow)
    run = weft.Pipeline([product, step]).run({**INPUTS, **given}, **options)
    return run["told"]


def as_dataarray(c: xr.DataArray) -> Any:
    c[0, 0] += 0  # it runs once: what it got is its own
    return [c.name, c.dims, c.sel(i=1.5, j="yy").item(), sorted(c.coords), c.values.tolist()]


def test_a_dataarray(both: dict[str, Any], require: Callable[..., Any]) -> None:
    require("xarray")
    assert seen(as_dataarray, both) == ["c", ("i", "j"), 3.0, ["a", "b", "i", "j"], WHOLE]


def as_rows(c: xr.DataArray) -> Any:
    return (c.dims, c.coords["b"].values.tolist(), c.values.tolist())


def test_a_dataarray_of_each_row(both: dict[str, Any], require: Callable[..., Any]) -> None:
    require("xarray")
    told = seen(as_rows, both, "c[i, :] -> told[i]")
    assert told.tolist() == [(("j",), ["x", "yy"], row) for row in WHOLE]


def as_columns(c: xr.DataArray) -> Any:
    return (c.dims, c.coords["i"].values.tolist(), c.values.tolist())


def test_a_dataarray_of_each_column(both: dict[str, Any], require: Callable[..., Any]) -> None:
    require("xarray")
    told = seen(as_columns, both, "c[:, j] -> told[j]")
    assert told.tolist() == [(("i",), INPUTS["a"], [r[j] for r in WHOLE]) for j in (0, 1)]


def as_dataframe(c: pd.DataFrame) -> Any:
    c["more"] = 1
    return [list(c.columns), c["a"].tolist(), c["b"].tolist(), c["c"].tolist()]


def test_a_dataframe(both: dict[str, Any], require: Callable[..., Any]) -> None:
    require("pandas")
    a, b = [0.5, 0.5, 1.5, 1.5, 2.5, 2.5], ["x", "yy"] * 3
    assert seen(as_dataframe, both) == [["a", "b", "c", "more"], a, b, [v for row in WHOLE for v in row]]


def test_a_dataframe_for_each_element_is_its_own(both: dict[str, Any], require: Callable[..., Any]) -> None:
    require("pandas")

    def each(a: float, c: pd.DataFrame) -> Any:
        assert "more" not in c
        c["more"] = 1
        c.loc[:, "c"] = a
        return a

    assert seen(each, both, "a[i] -> told[i]").tolist() == INPUTS["a"]


def as_labelled(c: list[weft.Labelled]) -> Any:
    return [(type(found.value), found.value, dict(found.coords), dict(found.index)) for found in c]


def test_a_list_of_labelled_values(both: dict[str, Any]) -> None:
    assert seen(as_labelled, both) == [
        (float, WHOLE[i][j], {"a": a, "b": b}, {"i": i, "j": j})
        for i, a in enumerate(INPUTS["a"])
        for j, b in enumerate(INPUTS["b"])
    ]


def test_a_list_of_labelled_values_of_each_row(both: dict[str, Any]) -> None:
    told = seen(labelled_rows, both, "c[i, :] -> told[i]")
    assert told[1] == {"x": (1.5, 0), "yy": (3.0, 1)}


def labelled_rows(c: list[weft.Labelled]) -> Any:
    return {found.coords["b"]: (found.value, found.index["j"]) for found in c}


def one_by_one(c: Iterator[float]) -> Any:
    first = next(c)
    return [type(first), first, *c, *c]


def again_and_again(c: Iterable[float]) -> Any:
    return [list(c), list(c)]


def test_an_iterator_gives_values_one_at_a_time(both: dict[str, Any]) -> None:
    assert seen(one_by_one, both) == [float, *(v for row in WHOLE for v in row)]


def test_an_iterable_may_be_passed_over_again(both: dict[str, Any]) -> None:
    flat = [v for row in WHOLE for v in row]
    assert seen(again_and_again, both) == [flat, flat]


def test_each_element_and_each_attempt_has_an_iterator_of_its_own(both: dict[str, Any]) -> None:
    def second(a: float, c: Iterator[float], ctx: weft.Context) -> float:
        total = sum(c)
        if ctx.attempt == 1:
            raise RuntimeError("once more")
        return total

    step = weft.Step(second, "told", "a[i] -> told[i]", retries=1)
    run = weft.Pipeline([product, step]).run(INPUTS, **both)
    assert run["told"].tolist() == [13.5] * 3


def test_an_iterator_of_each_row(both: dict[str, Any]) -> None:
    told = seen(row_by_row, both, "c[i, :] -> told[i]")
    assert told.tolist() == [tuple(row) for row in WHOLE]


def row_by_row(c: Iterator[float]) -> Any:
    return tuple(c)


def lazily(c: weft.Lazy[np.ndarray]) -> Any:
    loaded = c.load()
    loaded += 1
    return [type(c).__name__, type(loaded), c.load().tolist()]


def lazily_labelled(c: weft.Lazy[list[weft.Labelled]]) -> Any:
    return c.load()[-1].coords


def test_a_lazy_array(both: dict[str, Any]) -> None:
    assert seen(lazily, both) == ["Lazy", np.ndarray, WHOLE]


def test_a_lazy_form(both: dict[str, Any]) -> None:
    assert seen(lazily_labelled, both) == {"a": 2.5, "b": "yy"}


def test_annotations_that_only_a_type_checker_resolves(go: Go) -> None:
    def told(a: list[Labelled[float]], b: Generator[str, None, None], c: Lazy[np.ndarray]) -> Any:
        return [a[0].coords["a"], next(b), c.load().shape]

    assert go([product, weft.Step(told, "told")], INPUTS)["told"] == [0.5, "x", (3, 2)]


@pytest.mark.parametrize("backend", ["thread_pool", "process_pool"])
def test_other_backends(kept: dict[str, Any], backend: str) -> None:
    options = {**kept, **FEW, "backend": backend, "n_jobs": 2}
    assert seen(one_by_one, options) == [float, *(v for row in WHOLE for v in row)]


def test_a_dataarray_that_elements_share_is_read_only(
    both: dict[str, Any], require: Callable[..., Any]
) -> None:
    require("xarray")

    def each(a: float, c: xr.DataArray) -> Any:
        c.coords["more"] = a
        for shared in (c.values, c.coords["b"].values):
            with pytest.raises(ValueError, match="read-only"):
                shared[:1] = shared[1:2]
        return sorted(c.coords)

    assert all(names == ["a", "b", "i", "j", "more"] for names in seen(each, both, "a[i] -> told[i]"))


class Pages:
    """Read one at a time; it tells how many were read."""

    def __init__(self, n: int) -> None:
        self.n, self.read = n, 0

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, position: int) -> int:
        self.read += 1
        return position

    def __weft_id__(self) -> str:
        return "pages"


def in_place(table: np.ndarray) -> float:
    table += 1
    return float(table.sum())


@weft.step("told", mapspec="i[i] -> told[i]")
def each_in_place(i: int, table: np.ndarray) -> float:
    return in_place(table)


@weft.step("table")
def made(n: int) -> np.ndarray:
    return np.zeros(n)


def test_a_whole_array_that_elements_share_is_read_only(both: dict[str, Any]) -> None:
    given = np.zeros(3)
    for pipe, inputs in (
        (weft.Pipeline([each_in_place]), {"table": given}),
        (weft.Pipeline([made, each_in_place]), {"n": 3}),
    ):
        options = (
            {**both, "run_dir": f"{both['run_dir']}{len(pipe.graph.steps)}"} if "run_dir" in both else both
        )
        with pytest.raises(weft.StepError, match="read-only"):
            pipe.run({"i": range(3), **inputs}, **options)


def test_a_step_that_runs_once_has_an_array_of_its_own(both: dict[str, Any]) -> None:
    given = np.zeros(3)
    after = weft.step("after")(lambda table, told: float(table.sum()))
    run = weft.Pipeline([weft.Step(in_place, "told"), after]).run({"table": given}, **both)
    assert (run["told"], run["after"], given.tolist()) == (3.0, 0.0, [0.0, 0.0, 0.0])


def test_an_iterator_over_an_input_reads_it_as_it_goes() -> None:
    pages = Pages(100)

    def ahead(page: Iterator[int]) -> int:
        before = pages.read
        next(page)
        return pages.read - before

    open_axis = weft.step("y", mapspec="page[i] -> y[i]")(lambda page: page)
    run = weft.Pipeline([open_axis, weft.Step(ahead, "ahead")])(page=pages)
    assert run["ahead"] == 1


def test_a_mapped_input_taken_whole(both: dict[str, Any]) -> None:
    def told(a: list[weft.Labelled], b: Iterator[str]) -> Any:
        return [[(found.value, found.coords, found.index) for found in a], list(b)]

    values = [(a, {"a": a}, {"i": i}) for i, a in enumerate(INPUTS["a"])]
    assert seen(told, both) == [values, INPUTS["b"]]


def test_what_is_missing(kept: dict[str, Any], require: Callable[..., Any]) -> None:
    require("xarray"), require("pandas")

    def told(c: xr.DataArray) -> Any:
        return np.isnan(c.values).tolist()

    def frame(c: pd.DataFrame) -> Any:
        return (c["a"].tolist(), c["c"].tolist())

    def labelled(c: list[weft.Labelled]) -> Any:
        return [(found.value, found.index["i"]) for found in c]

    def values(c: Iterator[float]) -> Any:
        return list(c)

    steps = [
        weft.Step(function, f"{function.__name__}_told", allow_missing=True)
        for function in (told, frame, labelled, values)
    ]
    rows = weft.Step(labelled, "row", "c[:, j] -> row[j]", name="rows", allow_missing=True)
    given = {"a": [1.0, -1.0, 2.0], "b": ["x"]}
    run = weft.Pipeline([product, *steps, rows]).run(given, on_error="continue", **FEW, **kept)
    assert run["told_told"] == [[False], [True], [False]]
    assert run["frame_told"] == ([1.0, 2.0], [1.0, 2.0])
    assert run["labelled_told"] == [(1.0, 0), (2.0, 2)]
    assert run["values_told"] == [1.0, 2.0]
    assert run.isel("row", j=0) == [(1.0, 0), (2.0, 2)]


def test_a_study_axis_taken_whole_comes_with_its_values(both: dict[str, Any]) -> None:
    @weft.step("loss")
    def train(lr: float, seed: int) -> float:
        return lr * seed

    @weft.step("best", reduce="all")
    def best(loss: list[weft.Labelled]) -> Any:
        found = min(loss, key=lambda each: each.value)
        return (found.value, found.coords, len(loss))

    run = weft.Pipeline([train, best]).run(sweep=weft.grid(lr=[0.5, 0.1], seed=[1, 2, 3]), **both)
    assert run["best"] == (0.1, {"lr": 0.1, "seed": 1}, 6)


def test_a_batch_gets_one_for_all(go: Go) -> None:
    def centred(a: Any, c: Iterator[float]) -> Any:
        return a - sum(c)

    step = weft.Step(centred, "told", "a[i] -> told[i]", batch=True)
    assert go([product, step], INPUTS)["told"].tolist() == [a - 13.5 for a in INPUTS["a"]]


def test_nothing_runs_again_and_growth_is_noticed(go: Go, calls: Any) -> None:
    def told(c: Iterator[float]) -> float:
        calls("told")
        return sum(c)

    for a, expected, n in (([1.0, 2.0], 9.0, 1), ([1.0, 2.0], 9.0, 1), ([1.0, 2.0, 3.0], 18.0, 2)):
        run = go([product, weft.Step(told, "told", version="1")], {"a": a, "b": ["x", "yy"]}, block_size=2)
        assert (run["told"], len(calls)) == (expected, n)


@pytest.mark.parametrize("a", [[3.0, 1.0], [2.0, 3.0, 1.0], [5.0, 1.0]])
def test_the_order_is_that_of_the_inputs(go: Go, a: list[float]) -> None:
    told = weft.Step(again_and_again, "told", version="1")
    go([product, told], {"a": [1.0, 2.0, 3.0], "b": ["x"]}, block_size=2)
    assert go([product, told], {"a": a, "b": ["x"]}, block_size=2)["told"] == [a, a]


@pytest.mark.parametrize("a", [INPUTS["a"], [1.0, -1.0, 2.0]])
def test_what_was_read_has_one_digest_however_it_was_read(go: Go, calls: Any, a: list[float]) -> None:
    """The same results stand whether an array is taken at once or one value at a time."""
    options = {"version": "1", "allow_missing": True, "name": "s"}
    at_once = weft.step("s", **options)(lambda c: calls("s") or float(np.sum(c)))

    def summed(c: Iterable[float]) -> float:
        calls("s")
        return sum(c)

    given = {"a": a, "b": ["x", "yy"]}
    settings = {"block_size": 2, "on_error": "continue", "on_change": "keep"}
    go([product, at_once], given, **settings)
    run = go([product, weft.Step(summed, "s", **options)], given, **settings)
    assert (run["s"], len(calls)) == (sum(x for x in a if x > 0) * 3, 1)


def test_an_iterator_holds_a_block_at_a_time(tmp_path: Path) -> None:
    n, peak = 1_000_000, []

    @weft.step("y", mapspec="x[i] -> y[i]", batch=True)
    def half(x: Any) -> Any:
        return x / 2

    @weft.step("s")
    def total(y: Iterator[float]) -> float:
        tracemalloc.start()
        found = sum(y)
        peak.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        return found

    options: dict[str, Any] = {"run_dir": tmp_path / "run", "progress": False, "backend": "sequential"}
    run = weft.Pipeline([half, total]).run({"x": np.arange(float(n))}, block_size=16384, **options)
    assert run["s"] == n * (n - 1) / 4
    assert peak[0] < 3_000_000  # the values themselves are 8,000,000 bytes


def test_what_is_not_installed_is_told_before_anything_runs(
    go: Go, calls: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "xarray" else found(name, *rest)
    )
    first = weft.step("y", mapspec="x[i] -> y[i]")(lambda x: calls("y"))

    def told(y: xr.DataArray) -> None: ...

    with pytest.raises(ImportError, match=r"'told' takes 'y'.*weft\[labels\]"):
        go([first, weft.Step(told, "told")], {"x": [1]})
    assert len(calls) == 0


def test_what_lies_under_the_mask_is_no_memory_of_other_things() -> None:
    """It is part of what a step reads: were it another each time, the step would run again for ever."""
    part = weft.step("y", mapspec="a[j], b[i] -> y[j, i]", name="part")(lambda a, b: a / b)
    row = weft.Step(lambda y: y, "row", mapspec="y[j, :] -> row[j]", allow_missing=True, name="row")
    for n in range(2, 40):
        np.full(n, 7.7), np.full(2 * n, 7.7)  # memory that is free again
        run = weft.Pipeline([part, row]).run(
            {"a": [1.0, 2.0], "b": [0.0] * (n - 1) + [1.0]}, on_error="continue", progress=False,
            backend="sequential",
        )  # fmt: skip
        for found in run["row"]:
            assert np.ma.getdata(found)[np.ma.getmaskarray(found)].tolist() == [0.0] * (n - 1)
