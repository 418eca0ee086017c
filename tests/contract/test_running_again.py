"""The table "Running again in the same directory", line by line; executions are counted for real."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import weft
from weft.testing import Calls

Go = Callable[..., weft.Run]


def mapped(calls: Calls, add: int = 1) -> Any:
    def f(x, k=10):
        calls("f", x)
        return x * k + add

    return weft.step("y", mapspec="x[i] -> y[i]")(f)


def total(calls: Calls) -> Any:
    def s(y):
        calls("s", len(y))
        return int(np.sum(y))

    return weft.step("total")(s)


def follow(calls: Calls) -> Any:
    def g(y):
        calls("g", y)
        return y + 1000

    return weft.step("z", mapspec="y[i] -> z[i]")(g)


@pytest.fixture
def steps(calls: Calls) -> list[Any]:
    return [mapped(calls), total(calls)]


def check(run: weft.Run, xs: list[Any]) -> None:
    assert run["y"].tolist() == [x * 10 + 1 for x in xs]
    assert run["total"] == sum(x * 10 + 1 for x in xs)


def test_nothing_changed_nothing_runs(go: Go, steps: list[Any], calls: Calls) -> None:
    xs = [1, 2, 3]
    check(go(steps, {"x": xs}), xs)
    assert sorted(calls.take()) == ["f 1", "f 2", "f 3", "s 3"]
    check(go(steps, {"x": xs}), xs)
    check(go(steps, {"x": xs}, backend="thread_pool", n_jobs=2, block_size=2), xs)
    assert calls.take() == []


def test_inputs_come_from_the_record(go: Go, steps: list[Any], calls: Calls) -> None:
    go(steps, {"x": [1, 2, 3], "k": 5})
    calls.take()
    run = go(steps)
    assert run["y"].tolist() == [6, 11, 16] and calls.take() == []


GROWN = {
    "appended": ([1, 2, 3], [1, 2, 3, 4, 5], [4, 5]),
    "prepended": ([1, 2, 3], [8, 9, 1, 2, 3], [8, 9]),
    "inserted": ([1, 2, 3], [1, 7, 2, 6, 3], [6, 7]),
    "duplicated": ([1, 2, 3], [1, 2, 2, 3, 3, 3], [2, 3, 3]),
    "from equal ones": ([0, 0], [0, 0, 0, 0], [0, 0]),
    "from one": ([1], [2, 1], [2]),
    "from none": ([], [4], [4]),
}


@pytest.mark.parametrize("how", GROWN)
@pytest.mark.parametrize("block_size", ["auto", 1, 2])
def test_values_added(how: str, block_size: Any, go: Go, steps: list[Any], calls: Calls) -> None:
    before, after, new = GROWN[how]
    check(go(steps, {"x": before}, block_size=block_size), before)
    calls.take()
    check(go(steps, {"x": after}, block_size=block_size), after)
    assert sorted(calls.take()) == sorted([f"f {x}" for x in new] + [f"s {len(after)}"])
    check(weft.open_run(go(steps, {"x": after}).path), after)
    assert calls.take() == []


def test_growth_again_and_again(go: Go, steps: list[Any], calls: Calls) -> None:
    xs: list[int] = []
    for new in ([5, 1], [9], [2, 2, 2], [4], [0, 7]):
        xs = sorted(xs + new)
        check(go(steps, {"x": xs}), xs)
        assert sorted(calls.take()) == sorted([f"f {x}" for x in new] + [f"s {len(xs)}"])


@pytest.mark.parametrize(
    "after", [[1, 2], [3], [2, 3], [], [3, 2, 1], [2, 1, 3], [3, 1]],
    ids=["last", "all but last", "first", "all", "reversed", "swapped", "both"],
)  # fmt: skip
def test_values_removed_or_reordered(after: list[int], go: Go, steps: list[Any], calls: Calls) -> None:
    go(steps, {"x": [1, 2, 3]})
    calls.take()
    check(go(steps, {"x": after}), after)
    assert calls.take() == [f"s {len(after)}"]
    check(go(steps, {"x": [1, 2, 3]}), [1, 2, 3])
    assert [c for c in calls.take() if c[0] == "f"] == []


def test_what_is_equal_lets_nothing_more_run(go: Go, calls: Calls) -> None:
    largest = weft.step("largest")(lambda y: (calls("max"), int(max(y)))[1])
    after = weft.step("after")(lambda largest: (calls("after"), largest + 1)[1])
    go([mapped(calls), largest, after], {"x": [1, 2, 9]})
    calls.take()
    run = go([mapped(calls), largest, after], {"x": [1, 2, 3, 9]})
    assert run["after"] == 92 and calls.take() == ["f 3", "max"]


def test_two_axes_grow(go: Go, calls: Calls) -> None:
    def f(a, b):
        calls(a, b)
        return a * b

    steps = [
        weft.step("c", mapspec="a[i], b[j] -> c[i, j]")(f),
        weft.step("r", mapspec="c[i, :] -> r[i]")(lambda c: (calls("row"), int(sum(c)))[1]),
    ]
    a, b = [1, 2], [10, 20]
    for grown_a, grown_b in (
        ([1, 2], [10, 20]),
        ([1, 2, 3], [10, 20]),
        ([1, 2, 3], [5, 10, 20]),
        ([0, 1, 2, 3, 4], [5, 10, 15, 20]),
    ):
        old = {(x, y) for x in a for y in b} if calls.made() else set()
        a, b, columns = grown_a, grown_b, len(b)
        run = go(steps, {"a": a, "b": b})
        assert run["c"].tolist() == [[x * y for y in b] for x in a]
        assert run["r"].tolist() == [sum(x * y for y in b) for x in a]
        made = calls.take()
        assert sorted(c for c in made if c != "row") == sorted(
            f"{x} {y}" for x in a for y in b if (x, y) not in old
        )
        rows = len(a) if columns != len(b) or not old else len(a) - len({x for x, _ in old})
        assert made.count("row") == rows


def test_a_two_dimensional_input_grows(go: Go, calls: Calls) -> None:
    f = weft.step("y", mapspec="x[i, j] -> y[i, j]")(lambda x: (calls(x), 2 * x)[1])
    assert go([f], {"x": [[1, 2], [3, 4]]})["y"].tolist() == [[2, 4], [6, 8]]
    calls.take()
    assert go([f], {"x": [[1, 2], [3, 4], [5, 6]]})["y"].tolist() == [[2, 4], [6, 8], [10, 12]]
    assert sorted(calls.take()) == ["5", "6"]
    assert go([f], {"x": [[1, 2, 7], [3, 4, 8], [5, 6, 9]]})["y"].tolist() == [
        [2, 4, 14],
        [6, 8, 16],
        [10, 12, 18],
    ]
    assert sorted(calls.take()) == ["7", "8", "9"]
    assert go([f], {"x": [[1, 2, 7], [3, 0, 8], [5, 6, 9]]})["y"].tolist() == [
        [2, 4, 14],
        [6, 0, 16],
        [10, 12, 18],
    ]


def test_the_type_of_a_value_is_part_of_its_coordinate(go: Go, calls: Calls) -> None:
    f = weft.step("y", mapspec="x[i] -> y[i]")(lambda x: (calls(repr(x)), type(x).__name__)[1])
    assert go([f], {"x": [1, 2]})["y"].tolist() == ["int", "int"]
    calls.take()
    assert go([f], {"x": [1, 2.0, True, 1.0]})["y"].tolist() == ["int", "float", "bool", "float"]
    assert sorted(calls.take()) == ["1.0", "2.0", "True"]


def test_a_step_added(go: Go, steps: list[Any], calls: Calls) -> None:
    go(steps, {"x": [1, 2]})
    calls.take()
    run = go([*steps, follow(calls)], {"x": [1, 2]})
    assert run["z"].tolist() == [1011, 1021] and sorted(calls.take()) == ["g 11", "g 21"]


def test_a_smaller_part_reads_the_record(go: Go, steps: list[Any], calls: Calls) -> None:
    pipe = weft.Pipeline([*steps, follow(calls)], name="study")
    go(pipe.subpipeline("y"), {"x": [1, 2]})
    assert sorted(calls.take()) == ["f 1", "f 2"]
    assert go(pipe.from_step("z"))["z"].tolist() == [1011, 1021]
    assert sorted(calls.take()) == ["g 11", "g 21"]
    assert go(pipe.from_step("total"))["total"] == 32
    assert calls.take() == ["s 2"]
    run = go(pipe)
    assert run["z"].tolist() == [1011, 1021] and run["total"] == 32 and calls.take() == []


def test_a_part_with_grown_inputs(go: Go, steps: list[Any], calls: Calls) -> None:
    go(steps, {"x": [1, 2], "k": 3})
    calls.take()
    run = go(weft.Pipeline(steps, name="study").subpipeline("y"), {"x": [1, 2, 3]})
    assert run["y"].tolist() == [4, 7, 10] and calls.take() == ["f 3"]
    assert go(steps)["total"] == 21 and calls.take() == ["s 3"]


def test_failed_elements_run_again_and_done_ones_do_not(go: Go, calls: Calls, tmp_path: Path) -> None:
    cure = tmp_path / "cure"

    def f(x):
        calls("f", x)
        if x == 2 and not cure.exists():
            raise ValueError("two")
        return x * 10 + 1

    steps = [weft.step("y", mapspec="x[i] -> y[i]")(f), total(calls)]
    go(steps, {"x": [1, 2, 3]}, on_error="continue")
    assert sorted(calls.take()) == ["f 1", "f 2", "f 3"]
    cure.touch()
    check(go(steps, {"x": [1, 2, 3]}), [1, 2, 3])
    assert sorted(calls.take()) == ["f 2", "s 3"]


# Code or a whole input changed


def test_error_says_what_differs_and_what_it_costs(go: Go, calls: Calls) -> None:
    go([mapped(calls), total(calls)], {"x": [1, 2, 3]})
    calls.take()
    with pytest.raises(weft.RunMismatch) as caught:
        go([mapped(calls, add=2), total(calls)], {"x": [1, 2, 3], "k": 11})
    text = str(caught.value)
    assert "step 'f'" in text and "add" in text and "input 'k'" in text
    assert "f: 3 finished element(s)" in text and "s: 1 finished element(s)" in text
    assert "4 element(s), about" in text
    assert calls.take() == []
    check(go([mapped(calls), total(calls)], {"x": [1, 2, 3]}), [1, 2, 3])
    assert calls.take() == []


def test_rerun_runs_what_is_stale(go: Go, calls: Calls) -> None:
    other = weft.step("w", mapspec="x[i] -> w[i]")(lambda x: (calls("w", x), -x)[1])
    go([mapped(calls), total(calls), other], {"x": [1, 2, 3]})
    calls.take()
    run = go([mapped(calls, add=2), total(calls), other], {"x": [1, 2, 3]}, on_change="rerun")
    assert run["y"].tolist() == [12, 22, 32] and run["total"] == 66 and run["w"].tolist() == [-1, -2, -3]
    assert sorted(calls.take()) == ["f 1", "f 2", "f 3", "s 3"]
    assert go([mapped(calls, add=2), total(calls), other], {"x": [1, 2, 3]})["total"] == 66
    assert calls.take() == []


def test_going_back_to_the_old_code_finds_the_old_results(go: Go, calls: Calls) -> None:
    old, new = [mapped(calls), total(calls)], [mapped(calls, add=2), total(calls)]
    check(go(old, {"x": [1, 2, 3]}), [1, 2, 3])
    go(new, {"x": [1, 2, 3]}, on_change="rerun")
    calls.take()
    check(go(old, {"x": [1, 2, 3]}, on_change="rerun"), [1, 2, 3])
    assert calls.take() == []


def test_keep_runs_only_what_is_open_or_failed(go: Go, calls: Calls) -> None:
    def broken(x, k=10):
        calls("f", x)
        return 1 // (x - 2) * 0 + x * k + 1

    def fixed(x, k=10):
        calls("f", x)
        return x * k + 1

    first = weft.step("y", mapspec="x[i] -> y[i]", name="f")(broken)
    second = weft.step("y", mapspec="x[i] -> y[i]", name="f")(fixed)
    go([first, total(calls)], {"x": [1, 2, 3]}, on_error="continue")
    calls.take()
    check(go([second, total(calls)], {"x": [1, 2, 3, 4]}, on_change="keep"), [1, 2, 3, 4])
    assert sorted(calls.take()) == ["f 2", "f 4", "s 4"]
    check(go([second, total(calls)], {"x": [1, 2, 3, 4]}), [1, 2, 3, 4])
    assert calls.take() == []


def test_replace_makes_a_new_run(go: Go, calls: Calls) -> None:
    other = weft.step("w", mapspec="x[i] -> w[i]")(lambda x: (calls("w", x), -x)[1])
    go([mapped(calls), other], {"x": [1, 2]})
    calls.take()
    run = go([mapped(calls, add=2), other], {"x": [1, 2]}, on_change="replace")
    assert run["y"].tolist() == [12, 22] and run["w"].tolist() == [-1, -2]
    assert sorted(calls.take()) == ["f 1", "f 2", "w 1", "w 2"]
    go([mapped(calls, add=2), other], {"x": [1, 2]}, on_change="replace")
    assert calls.take() == []


def test_a_whole_input_changed(go: Go, steps: list[Any], calls: Calls) -> None:
    go(steps, {"x": [1, 2], "k": 10})
    calls.take()
    with pytest.raises(weft.RunMismatch, match="input 'k'"):
        go(steps, {"x": [1, 2], "k": 10.0})
    run = go(steps, {"x": [1, 2], "k": 20}, on_change="rerun")
    assert run["y"].tolist() == [21, 41] and sorted(calls.take()) == ["f 1", "f 2", "s 2"]
    check(go(steps, {"x": [1, 2], "k": 10}, on_change="rerun"), [1, 2])
    assert calls.take() == []


def test_an_ignored_input_is_no_change(go: Go, calls: Calls) -> None:
    f = weft.step("y", mapspec="x[i] -> y[i]", ignore="verbose")(lambda x, verbose: (calls(x), x)[1])
    go([f], {"x": [1], "verbose": True})
    go([f], {"x": [1], "verbose": False})
    assert calls.take() == ["1"]


def test_another_seed_matters_to_what_draws(go: Go, calls: Calls) -> None:
    def draw(x, rng: np.random.Generator):
        calls("draw")
        return float(rng.random())

    steps = [weft.step("d", mapspec="x[i] -> d[i]")(draw), mapped(calls)]
    first = go(steps, {"x": [1, 2]})["d"]
    calls.take()
    with pytest.raises(weft.RunMismatch, match="the seed") as caught:
        go(steps, {"x": [1, 2]}, seed=1)
    assert "'f'" not in str(caught.value)
    second = go(steps, {"x": [1, 2]}, seed=1, on_change="rerun")
    assert calls.take() == ["draw", "draw"] and second.seed == 1
    assert not np.isin(second["d"], first).any()


@pytest.mark.parametrize("on_change", ["bogus", None, True])
def test_on_change_takes_four_words(on_change: Any, go: Go, steps: list[Any]) -> None:
    with pytest.raises(weft.InvalidInput, match=r"on_change is one of 'error', 'rerun', 'keep', 'replace'"):
        go(steps, {"x": [1]}, on_change=on_change)


# force


# The identity of a step holds those of the steps it depends on: what follows a forced step runs again too.
FORCED = {
    "all": ["f 1", "f 2", "g 11", "g 21", "s 2"],
    "f": ["f 1", "f 2", "g 11", "g 21", "s 2"],
    "y": ["f 1", "f 2", "g 11", "g 21", "s 2"],
    "f+": ["f 1", "f 2", "g 11", "g 21", "s 2"],
    "g": ["g 11", "g 21"],
    "s": ["s 2"],
    "total": ["s 2"],
}


@pytest.mark.parametrize("force", FORCED)
def test_force(force: str, go: Go, steps: list[Any], calls: Calls) -> None:
    steps = [*steps, follow(calls)]
    go(steps, {"x": [1, 2]})
    calls.take()
    run = go(steps, {"x": [1, 2]}, force=force)
    assert run["z"].tolist() == [1011, 1021] and run["total"] == 32
    assert sorted(calls.take()) == FORCED[force]
    assert go(steps, {"x": [1, 2]})["total"] == 32 and calls.take() == []


def test_force_takes_a_list(go: Go, steps: list[Any], calls: Calls) -> None:
    steps = [*steps, follow(calls)]
    go(steps, {"x": [1]})
    calls.take()
    go(steps, {"x": [1]}, force=["total", "z"])
    assert sorted(calls.take()) == ["g 11", "s 1"]


def test_what_a_forced_step_makes_anew_reaches_its_readers(go: Go, calls: Calls, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_text("5")
    steps = [weft.step("a")(lambda: int(source.read_text())), weft.step("b")(lambda a: a + 1)]
    assert go(steps)["b"] == 6
    source.write_text("7")
    assert go(steps)["b"] == 6
    assert go(steps, force="a")["b"] == 8


def test_force_refuses_an_unknown_name(go: Go, steps: list[Any], calls: Calls) -> None:
    with pytest.raises(weft.InvalidInput, match=r"'totl', which is no step. Did you mean 'total'|'totl'"):
        go(steps, {"x": [1]}, force="totl")
    with pytest.raises(weft.InvalidInput):
        go(steps, {"x": [1]}, force=["f", "nothing"])
    assert calls.take() == []


# The directory holds something else


def test_a_directory_of_something_else_is_left_alone(go: Go, steps: list[Any], tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("years of work")
    with pytest.raises(weft.WeftError, match="run"):
        go(steps, {"x": [1]})
    assert os.listdir(tmp_path / "run") == ["thesis.tex"]
    assert (tmp_path / "run" / "thesis.tex").read_text() == "years of work"


def test_a_run_of_another_pipeline_is_refused(go: Go, steps: list[Any], calls: Calls) -> None:
    go(steps, {"x": [1]})
    other = weft.Pipeline([weft.step("w")(lambda q: q)], name="other")
    with pytest.raises(weft.InvalidInput, match="'study'"):
        go(other, {"q": 1})


def test_an_empty_directory_is_fine(go: Go, steps: list[Any], tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    check(go(steps, {"x": [1]}), [1])


def test_a_run_of_a_newer_format_is_refused(go: Go, steps: list[Any], tmp_path: Path) -> None:
    import json

    go(steps, {"x": [1]})
    file = tmp_path / "run" / "run.json"
    info = json.loads(file.read_text())
    file.write_text(json.dumps({**info, "format": 999}))
    with pytest.raises(weft.StoreError, match=r"999.*newer|newer.*999"):
        go(steps, {"x": [1]})
    with pytest.raises(weft.StoreError, match="newer"):
        weft.open_run(tmp_path / "run")
