"""Axes along which each row has its own length."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import weft
from weft.testing import Calls

BACKENDS = ["sequential", "thread_pool", "process_pool", "loky"]


@weft.step("x", mapspec="n[j] -> x[j, i?]")
def opened(n: int) -> list[int]:
    return list(range(n))


@weft.step("y", mapspec="x[j, i], n[j] -> y[j, i]")
def shifted(x: int, n: int) -> float:
    return x + n / 10


@weft.step("row", mapspec="y[j, :] -> row[j]")
def row(y: np.ndarray) -> tuple[int, float]:
    return len(y), float(y.sum())


@weft.step("total")
def total(y: Any) -> float:
    return float(y.sum())


PIPE = weft.Pipeline([opened, shifted, row, total], name="ragged")


def check(run: weft.Run, n: list[int]) -> None:
    expected = [[i + k / 10 for i in range(k)] for k in n]
    assert [[v for v in r if v is not np.ma.masked] for r in run["y"].tolist()] == expected or [
        [v for v in r if v is not None] for r in run["y"].tolist()
    ] == expected
    assert list(run["row"]) == [(len(r), float(np.sum(r))) for r in expected]
    assert run["total"] == pytest.approx(sum(map(sum, expected)))
    assert run.ok
    counts = {r["step"]: r["total"] for r in run.status.table}
    assert counts == {"opened": len(n), "shifted": sum(n), "row": len(n), "total": 1}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kept", [False, True])
def test_each_row_has_its_own_length(backend: str, kept: bool, tmp_path: Path) -> None:
    check(
        PIPE.run({"n": [2, 0, 4, 1]}, run_dir=tmp_path / "r" if kept else None, backend=backend, n_jobs=2),
        [2, 0, 4, 1],
    )
    if kept:
        check(weft.open_run(tmp_path / "r"), [2, 0, 4, 1])


@pytest.mark.parametrize("size", ["auto", 1, 3])
def test_rows_grow_in_number_and_in_length(size: Any, tmp_path: Path) -> None:
    calls = Calls(tmp_path / "calls")

    def counted(x: int, n: int) -> float:
        calls(n, x)
        return x + n / 10

    pipe = PIPE.replace(
        "shifted", weft.Step(counted, "y", mapspec="x[j, i], n[j] -> y[j, i]", name="shifted")
    )
    for n, new in (([2, 1], 3), ([2, 1, 5], 5), ([2, 1, 5, 0, 3], 3), ([5, 2], 0), ([2, 1, 5, 0, 3, 7], 7)):
        check(pipe.run({"n": n}, run_dir=tmp_path / "r", block_size=size), n)
        assert len(calls.take()) == new


def test_equal_rows_are_an_ordinary_array() -> None:
    run = PIPE.run({"n": [3, 3]})
    assert type(run["y"]) is np.ndarray and run["y"].shape == (2, 3)


def test_no_rows_at_all() -> None:
    check_empty = PIPE.run({"n": [0, 0]})
    assert check_empty["y"].shape == (2, 0) and check_empty.ok
    assert PIPE.run({"n": []}, outputs="y").ok


def test_rows_in_the_form_that_is_asked_for() -> None:
    def listed(y: list) -> Any:
        return y

    def lazily(y: Iterator[float]) -> Any:
        return list(y)

    def labelled(y: list[weft.Labelled]) -> Any:
        return [(v.value, v.coords["n"]) for v in y]

    steps = [
        weft.Step(listed, "whole"), weft.Step(lazily, "one_by_one"), weft.Step(labelled, "named"),
        weft.Step(listed, "lists", mapspec="y[j, :] -> lists[j]", name="lists"),
        weft.Step(lazily, "iterated", mapspec="y[j, :] -> iterated[j]", name="iterated"),
    ]  # fmt: skip
    run = weft.Pipeline([opened, shifted, *steps]).run({"n": [2, 0, 1]})
    assert run["whole"] == [[0.2, 1.2], [], [0.1]]
    assert run["one_by_one"] == [0.2, 1.2, 0.1]
    assert run["named"] == [(0.2, 2), (1.2, 2), (0.1, 1)]
    assert list(run["lists"]) == [[0.2, 1.2], [], [0.1]] and list(run["iterated"]) == [[0.2, 1.2], [], [0.1]]


def test_exports_are_masked() -> None:
    run = PIPE.run({"n": [2, 1]})
    exported = run.to_xarray("y")["y"]
    assert exported.dims == ("j", "i") and np.isnan(exported.values[1, 1])
    frame = run.to_dataframe("y")
    assert sorted(frame["y"].dropna().tolist()) == [0.1, 0.2, 1.2]
    assert [(r["j"], r["i"]) for r in run.elements("shifted")] == [(0, 0), (0, 1), (1, 0)]
    assert run.isel("y", j=0, i=1) == 1.2


def test_failures_along_a_row(tmp_path: Path) -> None:
    def fragile(x: int, n: int) -> float:
        return 1 / (x - 2)

    pipe = PIPE.replace(
        "shifted", weft.Step(fragile, "y", mapspec="x[j, i], n[j] -> y[j, i]", name="shifted")
    )
    run = pipe.run({"n": [2, 4]}, run_dir=tmp_path / "r", on_error="continue")
    assert not run.ok and run.errors[0].index == {"j": 1, "i": 2}
    assert run.isel("row", j=0) == (2, -1.5)
    check(PIPE.run({"n": [2, 4]}, run_dir=tmp_path / "r", on_change="rerun"), [2, 4])


def test_a_sweep_in_front() -> None:
    scale = weft.step("y", mapspec="x[j, i] -> y[j, i]", name="shifted")(lambda x, k: x * k)
    swept = weft.Pipeline([opened, scale, row]).run({"n": [2, 1]}, sweep=weft.grid(k=[1.0, 10.0]))
    assert swept["row"].tolist() == [[(2, 1.0), (1, 0.0)], [(2, 10.0), (1, 0.0)]]


@pytest.mark.parametrize("form", [None, np.ndarray, list, Iterator[int]])
def test_empty_rows_are_rows_of_what_each_setting_takes_whole(form: Any) -> None:
    def table(x: Any) -> list[Any]:
        if form is np.ndarray or form is None:
            return [[v for v in row if v is not None] for row in x.tolist()]
        return list(x)

    if form is not None:
        table.__annotations__["x"] = form
    times = weft.step("x", mapspec="n[j] -> x[j, i?]")(lambda n, k: [k * i for i in range(n)])
    lengths, factors = [0, 3, 1, 0, 2, 0], [1, 10]
    run = weft.Pipeline([times, weft.Step(table, "table")])
    found = run.run({"n": lengths}, sweep=weft.grid(k=factors), backend="sequential")["table"]
    rows = [[[k * i for i in range(n)] for n in lengths] for k in factors]
    flat = form == Iterator[int]
    assert list(found) == ([[v for row in each for v in row] for each in rows] if flat else rows)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_loop_that_makes_more_rows_each_time(backend: str, tmp_path: Path) -> None:
    loop = weft.Loop(
        [weft.Step(_square, "y", mapspec="x[i] -> y[i]"), weft.Step(_two_more, "x2", mapspec="... -> x2[i]")],
        n_iterations=3, name="turn", carry={"x": "x2"},
    )  # fmt: skip
    pipe = weft.Pipeline([loop, weft.Step(_sum, "total")])
    run = pipe.run({"x": list(range(7))}, run_dir=tmp_path / "r", backend=backend, n_jobs=2)
    x = list(range(7))
    for turn in range(3):
        assert run["y"][turn].compressed().tolist() == [v * v for v in x]
        x = [*x, len(x), len(x) + 1]
    assert [len(r.compressed()) for r in run["y"]] == [7, 9, 11]
    assert run["total"] == sum(i * i for i in range(11))
    assert run.ok and {r["step"]: r["total"] for r in run.status.table}["_square"] == 27
    longer = weft.Pipeline([
        weft.Loop(list(loop.steps), n_iterations=4, name="turn", carry={"x": "x2"}), weft.Step(_sum, "total")
    ]).run({"x": list(range(7))}, run_dir=tmp_path / "r", backend=backend, n_jobs=2)  # fmt: skip
    assert longer["total"] == sum(i * i for i in range(13))
    other = pipe.run({"x": [5, 0, 1]}, run_dir=tmp_path / "r", backend=backend, n_jobs=2)
    assert (
        other["y"][0].compressed().tolist() == [25, 0, 1] and other["total"] == 25 + 0 + 1 + 9 + 16 + 25 + 36
    )


def _square(x: int) -> int:
    return x * x


def _two_more(x: Any, y: Any) -> list[int]:
    if [v * v for v in x] != list(y):
        raise ValueError(f"{x} {y}")
    return [*map(int, x), len(x), len(x) + 1]


def _sum(y: Any) -> int:
    return int(y.sum())


@settings(max_examples=25, deadline=None)
@given(
    n=st.lists(st.integers(0, 6), max_size=6), size=st.sampled_from(["auto", 1, 2, 5]),
    backend=st.sampled_from(["sequential", "thread_pool"]),
)  # fmt: skip
def test_rows_equal_lists_of_lists(n: list[int], size: Any, backend: str) -> None:
    run = PIPE.drop("total").run({"n": n}, block_size=size, backend=backend, n_jobs=2)
    assert list(run["row"]) == [(k, float(np.sum([i + k / 10 for i in range(k)]))) for k in n]


def test_bad_ragged_axes_are_refused_when_they_are_built() -> None:
    with pytest.raises(weft.WiringError, match="column of rows"):
        weft.Pipeline([opened, weft.step("c", mapspec="x[:, i] -> c[i]")(lambda x: x)])
    with pytest.raises(weft.WiringError, match="opens j, i at once"):
        weft.Pipeline([weft.step("x", mapspec="... -> x[j, i?]")(lambda: [[1], [1, 2]])])
    with pytest.raises(weft.WiringError, match="stands last"):
        weft.Pipeline([opened, weft.step("c", mapspec="x[j, i], k[k] -> c[j, i, k]")(lambda x, k: x)])
    with pytest.raises(weft.WiringError, match="is an input along 'i'"):
        weft.Pipeline([opened, weft.step("c", mapspec="x[j, i], k[j, i] -> c[j, i]")(lambda x, k: x)])


def test_a_sweep_over_a_loop_that_makes_more_rows_each_time(tmp_path: Path) -> None:
    power = weft.step("y", mapspec="x[i] -> y[i]", name="power")(lambda x, p: x**p)
    more = weft.step("x2", mapspec="... -> x2[i]", name="more")(lambda x, y: [*map(int, x), int(y.max())])
    total = weft.step("total", name="total")(lambda y: int(y.sum()))
    loop = weft.Loop([power, more, total], n_iterations=3, name="t", carry={"x": "x2"}, collect=["total"])
    pipe = weft.Pipeline([loop, weft.step("least")(lambda total: int(total.min()))])
    run = pipe.run({"x": [1, 2]}, sweep=weft.grid(p=[1, 2]), run_dir=tmp_path / "r")
    assert run["total"].tolist() == [[3, 5, 7], [5, 21, 277]] and run["least"].tolist() == [3, 5]
    assert run.ok


def rounds(rows: list[list[int]], until: str | None = None, **options: Any) -> weft.Run:
    """A loop whose body opens rows of the lengths given for each round, from what the round before made."""
    cells = weft.step("x", mapspec="j[j] -> x[j, i?]")(lambda j, turn, s: list(range(rows[turn][j])))
    more = weft.step("y", mapspec="x[j, i] -> y[j, i]")(lambda x: x + 1)
    each = weft.step("row", mapspec="y[j, :] -> row[j]")(lambda y: (len(y), str(y.dtype), y.sum()))
    add = weft.step("new")(lambda y, s, k: s + k * int(y.sum() or 0))
    enough = weft.step("enough")(lambda new, turn: turn == len(rows) - 1)
    loop = weft.Loop([cells, more, each, add, enough], len(rows), "turn", until, {"s": "new"}, collect=["y"])
    history = weft.step("history")(
        lambda y: [[[v for v in r if v is not None] for r in t] for t in y.tolist()]
    )
    inputs = {"j": list(range(len(rows[0]))), "s": 0}
    return weft.Pipeline([loop, history]).run(inputs, backend="sequential", progress=False, **options)


def made(rows: list[list[int]]) -> list[list[list[int]]]:
    return [[list(range(1, n + 1)) for n in turn] for turn in rows]


@pytest.mark.parametrize("rows", [[[1, 2], [0, 0], [0, 1]], [[2, 1], [1, 1], [0, 0]]])
def test_rounds_without_a_cell_are_in_the_history_of_each_setting(rows: list[list[int]]) -> None:
    run = rounds(rows, until="enough", sweep=weft.grid(k=[1, 2]))
    assert run.ok and list(run["history"]) == [made(rows)] * 2


@pytest.mark.parametrize("rows", [[[0, 0], [1, 2]], [[0], [0], [3]], [[0, 0], [0, 0]]])
def test_a_loop_goes_on_after_a_round_without_a_cell(rows: list[list[int]], tmp_path: Path) -> None:
    run = rounds(rows, sweep=weft.grid(k=[1]), run_dir=tmp_path / "r")
    assert run.ok and list(run["history"]) == [made(rows)]
    sums = np.cumsum([sum(map(sum, turn)) for turn in made(rows)])
    assert run["new"].tolist() == [sums.tolist()]


def test_some_rows_are_read_where_what_made_them_was_taken_whole() -> None:
    first = weft.step("z", mapspec="k[m] -> z[m]")(lambda k: k)
    scaled = weft.step("w", mapspec="x[j, i] -> w[j, i]")(lambda x, z: x + int(z.sum()))
    run = weft.Pipeline([opened, first, scaled]).run({"n": [1, 3, 2], "k": [4, 6]}, progress=False)
    assert run["w"].tolist() == [[10, None, None], [10, 11, 12], [10, 11, None]]
    assert run.isel("w", j=[0, 2]).tolist() == [[10, None], [10, 11]]


@pytest.mark.parametrize("rows", [[[2, 0], [2, 0]], [[0, 1], [0, 2]]])
def test_an_empty_row_is_the_same_alone_and_among_others(rows: list[list[int]], tmp_path: Path) -> None:
    """What a row without a cell is must not depend on what is read together with it, or it is never done."""
    for _ in range(2):
        run = rounds(rows, sweep=weft.grid(k=[1]), run_dir=tmp_path / "r", block_size=1)
        assert run.ok
    together = rounds(rows, sweep=weft.grid(k=[1]))
    assert together.ok and run["row"].tolist() == together["row"].tolist()
    assert {kind for n, kind, _ in run["row"].ravel() if n == 0} == {"float64"}


def test_an_empty_row_takes_nothing_from_those_after_it() -> None:
    cells = weft.step("x", mapspec="k[k], n[j] -> x[k, j, i?]")(lambda k, n: [10 * k + v for v in range(n)])
    table = weft.step("t", mapspec="x[k, :, :] -> t[k]")(lambda x: (x.shape, int(x.sum())))
    run = weft.Pipeline([cells, table]).run({"k": [1, 2], "n": [2, 0, 3]})
    assert [run.isel("t", k=at) for at in range(2)] == [((3, 3), 54), ((3, 3), 104)]
