"""Reductions: an axis too large for memory made one value, run by run, the states merged as a tree."""

from __future__ import annotations

import operator
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import weft
from weft.testing import Calls

Go = Callable[..., weft.Run]

# Of what changes in place nothing may be shared: states are lists, and merging is not commutative.
gather = weft.Reduction([], lambda state, y: [*state, y], lambda a, b: a.extend(b) or a, run_length=4)
double = weft.Step(lambda x: 2 * x, "y", "x[i] -> y[i]", name="double")


def reducing(run_length: int, **options: Any) -> weft.Pipeline:
    """Values along an axis, and their list."""
    given = weft.Reduction(gather.init, gather.update, gather.merge, run_length=run_length)
    return weft.Pipeline([double, weft.Step(given, "all", **options)], name="study")


@settings(max_examples=40, deadline=None)
@given(n=st.integers(0, 40), run_length=st.integers(1, 12), block_size=st.integers(1, 9), kept=st.booleans())
def test_is_the_fold_in_order(n: int, run_length: int, block_size: int, kept: bool) -> None:
    options: dict[str, Any] = {"backend": "sequential", "progress": False, "block_size": block_size}
    with tempfile.TemporaryDirectory() as folder:
        options |= {"run_dir": f"{folder}/run"} if kept else {}
        run = reducing(run_length).run({"x": range(n)}, **options)
        assert run["all"] == [2 * x for x in range(n)]
        assert len(run["all.parts"]) == -(-n // run_length)


@settings(max_examples=25, deadline=None)
@given(
    lists=st.lists(st.lists(st.integers(0, 3), max_size=14), min_size=1, max_size=4),
    run_length=st.integers(1, 6), block_size=st.integers(1, 5),
)  # fmt: skip
def test_whatever_the_axis_was_before(lists: list[list[int]], run_length: int, block_size: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for values in lists:
            run = reducing(run_length).run(
                {"x": values},
                run_dir=f"{folder}/run",
                backend="sequential",
                progress=False,
                block_size=block_size,
            )
            assert run["all"] == [2 * x for x in values]
            assert weft.open_run(f"{folder}/run")["all"] == run["all"]


def test_on_every_backend(backend: str, kept: dict[str, Any]) -> None:
    run = reducing(3).run({"x": range(20)}, backend=backend, n_jobs=2, block_size=4, progress=False, **kept)
    assert run["all"] == list(range(0, 40, 2))
    assert run["all.parts"][1] == [6, 8, 10]
    assert run.ok


def test_growth_updates_new_runs_only(go: Go, calls: Calls) -> None:
    def update(state: list[int], y: int) -> list[int]:
        calls("update", y)
        return [*state, y]

    def merge(a: list[int], b: list[int]) -> list[int]:
        calls("merge", *a, "|", *b)
        return a + b

    pipe = weft.Pipeline([double, weft.Step(weft.Reduction(list, update, merge, run_length=2), "all")])
    go(pipe, {"x": range(5)}, block_size=2)
    updates = [f"update {y}" for y in range(0, 10, 2)]
    assert calls.take() == [*updates, "merge 0 2 | 4 6", "merge 0 2 4 6 | 8"]
    run = go(pipe, {"x": range(7)}, block_size=2)
    assert run["all"] == [0, 2, 4, 6, 8, 10, 12]
    assert calls.take()[:3] == ["update 8", "update 10", "update 12"]
    assert go(pipe, {"x": range(7)})["all"] == run["all"]
    assert go(pipe, {"x": range(6)})["all"] == run["all"][:6]
    assert not [call for call in calls.take() if call.startswith("update")]


def test_a_change_in_the_middle_updates_the_runs_that_see_it(go: Go, calls: Calls, tmp_path: Path) -> None:
    def update(state: list[int], y: int) -> list[int]:
        calls(y)
        return [*state, y]

    def read(x: int) -> int:
        return 100 if x == 7 and (tmp_path / "now").exists() else 2 * x

    step = weft.Step(weft.Reduction(list, update, operator.add, run_length=3), "all")
    pipe = weft.Pipeline([weft.Step(read, "y", "x[i] -> y[i]"), step], name="study")
    go(pipe, {"x": range(9)}, block_size=2)
    calls.take()
    assert go(pipe, {"x": [0, 1, 2, 3, 40, 5, 6, 7, 8]})["all"] == [0, 2, 4, 6, 80, 10, 12, 14, 16]
    assert calls.take() == ["6", "80", "10"]
    go(pipe, {"x": range(9)}).reset("read", i=[2, 7])
    (tmp_path / "now").touch()
    calls.take()
    assert go(pipe, {"x": range(9)})["all"] == [0, 2, 4, 6, 8, 10, 12, 100, 16]
    assert calls.take() == ["12", "100", "16"]


def test_resumes_in_the_middle(backend: str, tmp_path: Path, calls: Calls) -> None:
    cure = tmp_path / "cure"

    def update(state: list[int], y: int) -> list[int]:
        if y == 20 and not cure.exists():
            raise RuntimeError("the power fails")
        calls(y)
        return [*state, y]

    step = weft.Step(weft.Reduction(list, update, operator.add, run_length=3), "all")
    pipe = weft.Pipeline([double, step], name="study")
    options = {
        "run_dir": tmp_path / "run",
        "backend": backend,
        "n_jobs": 2,
        "block_size": 1,
        "progress": False,
    }
    with pytest.raises(weft.StepError):
        pipe.run({"x": range(15)}, **options)
    before = set(calls.take()) - {"18"}  # of the run that failed
    cure.touch()
    assert pipe.run({"x": range(15)}, **options)["all"] == list(range(0, 30, 2))
    after = calls.take()
    assert before.isdisjoint(after) and sorted([*before, *after], key=int) == [str(2 * x) for x in range(15)]


def test_runs_begin_while_the_axis_is_still_made() -> None:
    begun = threading.Event()

    def make(x: int) -> int:
        if x == 39:
            assert begun.wait(timeout=60), "no run began before all values were there"
        return x

    def update(state: int, y: int) -> int:
        begun.set()
        return state + y

    total = weft.Reduction(0, update, operator.add, run_length=4)
    pipe = weft.Pipeline([weft.Step(make, "y", "x[i] -> y[i]"), weft.Step(total, "total")])
    run = pipe.run({"x": range(40)}, backend="thread_pool", n_jobs=2, block_size=1, progress=False)
    assert run["total"] == sum(range(40))


def test_what_failed_blocks_the_runs_that_need_it(go: Go) -> None:
    def fail(x: int) -> int:
        if x in (4, 11):
            raise ValueError("damaged")
        return 2 * x

    steps = [weft.Step(fail, "y", "x[i] -> y[i]"), weft.Step(gather, "all")]
    run = go(steps, {"x": range(14)}, on_error="continue", block_size=1)
    assert run.get("all.parts", missing="mask").mask.tolist() == [False, True, True, False]
    with pytest.raises(weft.MissingResult):
        run["all"]


def test_failed_elements_can_be_left_out(go: Go) -> None:
    def fail(x: int) -> int:
        if x in (4, 11):
            raise ValueError("damaged")
        return 2 * x

    together = weft.Reduction([], lambda state, y, x: [*state, (x, y)], operator.add, run_length=4)
    for reduction, wanted in (
        (gather, [2 * x for x in range(14) if x not in (4, 11)]),
        (together, [(x, 2 * x) for x in range(14) if x not in (4, 11)]),
    ):
        steps = [weft.Step(fail, "y", "x[i] -> y[i]"), weft.Step(reduction, "all", allow_missing=True)]
        options = {"on_error": "continue", "on_change": "replace", "block_size": 3}
        assert go(steps, {"x": range(14)}, **options)["all"] == wanted


def test_study_axes_flow_and_are_reduced(backend: str, kept: dict[str, Any]) -> None:
    step = weft.Step(lambda x, k: k * x, "y", "x[i] -> y[i]", name="times")
    options = {"backend": backend, "n_jobs": 2, "block_size": 2, "progress": False, **kept}
    sweep = weft.grid(k=[1, 10])
    run = weft.Pipeline([step, weft.Step(gather, "all")]).run({"x": range(6)}, sweep=sweep, **options)
    assert run["all"].tolist() == [[0, 1, 2, 3, 4, 5], [0, 10, 20, 30, 40, 50]]
    assert run["all.parts"].shape == (2, 2)
    both = weft.Pipeline([step, weft.Step(gather, "all", reduce="k")])
    found = both.run({"x": range(6)}, sweep=sweep, backend="sequential", progress=False)["all"]
    assert found == [0, 1, 2, 3, 4, 5, 0, 10, 20, 30, 40, 50]


@pytest.mark.parametrize(
    ("mapspec", "wanted"),
    [
        ("y[j, :] -> all[j]", [["ax", "ay", "az"], ["bx", "by", "bz"]]),
        ("y[:, i] -> all[i]", [["ax", "bx"], ["ay", "by"], ["az", "bz"]]),
        (None, ["ax", "ay", "az", "bx", "by", "bz"]),
    ],
)
def test_along_one_of_several_axes(mapspec: str | None, wanted: Any, kept: dict[str, Any]) -> None:
    join = weft.Step(lambda a, b: a + b, "y", "a[j], b[i] -> y[j, i]", name="join")
    two = weft.Reduction(gather.init, gather.update, gather.merge, run_length=2)
    pipe = weft.Pipeline([join, weft.Step(two, "all", mapspec)])
    run = pipe.run({"a": ["a", "b"], "b": ["x", "y", "z"]}, progress=False, block_size=2, **kept)
    found = run["all"]
    assert (found.tolist() if mapspec else found) == wanted


def test_several_arrays_together_and_what_does_not_lie_along_them() -> None:
    joined = weft.Reduction("", lambda state, x, y, sep: state + x + y + sep, operator.add, run_length=2)
    upper = weft.Step(lambda x: x.upper(), "y", "x[i] -> y[i]", name="upper")
    pipe = weft.Pipeline([upper, weft.Step(joined, "all")])
    assert pipe(x=list("abcde"), sep="-")["all"] == "aA-bB-cC-dD-eE-" == joined("abcde", "ABCDE", sep="-")
    run = pipe.run({"x": list("abc")}, sweep=weft.grid(sep=[",", ";"]), progress=False)
    assert run["all"].tolist() == ["aA,bB,cC,", "aA;bB;cC;"]


def test_an_input_without_a_mapspec_lies_along_an_axis() -> None:
    step = weft.Step(gather, "all")
    assert step.run({"y": range(10)})["all"] == list(range(10))
    assert step.plan({"y": range(10)})["all.parts"].n_elements == 3


def test_an_axis_that_a_step_opens(go: Go) -> None:
    several = weft.Step(lambda n: list(range(n)), "y", "... -> y[i]", name="several")
    pipe = weft.Pipeline([several, weft.Step(gather, "all")], name="study")
    assert "all_run gets its length when 'several' has run" in str(pipe.plan({"n": 9}))
    assert go(pipe, {"n": 9})["all"] == list(range(9))
    assert pipe(n=0)["all"] == []


def test_axes_that_cannot_be_cut_beforehand_are_read_by_one_element() -> None:
    rows = weft.Step(lambda n: list(range(n)), "y", "n[j] -> y[j, i?]", name="rows")
    each = weft.Pipeline([rows, weft.Step(gather, "all", "y[j, :] -> all[j]")])
    assert list(each(n=[1, 0, 6])["all"]) == [[0], [], [0, 1, 2, 3, 4, 5]]
    loop = weft.Loop([weft.Step(lambda v: v + 1, "y", name="count")], 6, carry={"v": "y"}, collect=["y"])
    history = weft.Pipeline([loop, weft.Step(gather, "all")])
    assert history(v=0)["all"] == [1, 2, 3, 4, 5, 6]
    inside = weft.Loop([double, weft.Step(gather, "all")], 2)
    assert weft.Pipeline([inside])(x=[1, 2, 3])["all"].tolist() == [[2, 4, 6], [2, 4, 6]]


def test_final_alone_repeats_no_update(go: Go, calls: Calls) -> None:
    def update(state: int, y: int) -> int:
        calls(y)
        return state + y

    def study(final: Callable[[int], Any]) -> list[Any]:
        return [double, weft.Step(weft.Reduction(0, update, operator.add, final, run_length=4), "total")]

    assert go(study(float), {"x": range(10)})["total"] == 90.0
    calls.take()
    assert go(study(str), {"x": range(10)}, on_change="rerun")["total"] == "90"
    assert not calls.take()


def test_another_run_length_is_a_change(go: Go) -> None:
    go(reducing(3), {"x": range(10)})
    with pytest.raises(weft.RunMismatch, match=r"all\.parts"):
        go(reducing(4), {"x": range(10)})
    run = go(reducing(4), {"x": range(10)}, on_change="rerun")
    assert run["all"] == list(range(0, 20, 2)) and len(run["all.parts"]) == 3


def test_kept_results_of_another_run_length_are_not_mistaken(go: Go) -> None:
    def alone(run_length: int) -> list[Any]:
        return [weft.Step(weft.Reduction(0, operator.add, operator.add, run_length=run_length), "total")]

    assert go(alone(2), {"b": [1, 2, 3, 4, 5]})["total"] == 15
    run = go(alone(3), {"b": [1, 2, 3, 4, 5]}, on_change="keep")
    assert run["total"] == 15 and run["total.parts"].tolist() == [6, 9]


def test_the_record_alone_tells_it(go: Go, tmp_path: Path) -> None:
    go(reducing(4), {"x": range(10)})
    run = weft.open_run(tmp_path / "run")
    assert run["all"] == list(range(0, 20, 2)) and run.ok
    assert [row["state"] for row in run.elements("all.parts")] == ["done"] * 3
    assert run.resume(progress=False).ok
    assert "a run of it" in str(run.explain("all.parts", all_run=1))


def test_composition_knows_a_reduction_as_one_step(go: Go) -> None:
    pipe = reducing(4).add(weft.Step(lambda all: len(all), "n", name="count"))
    assert list(pipe.subpipeline("all").steps) == ["double", "all.parts", "all"]
    assert list(pipe.subpipeline("all.parts").steps) == ["double", "all.parts", "all"]
    assert list(pipe.drop("all").steps) == ["double", "count"]
    assert pipe.configure({"all": {"retries": 2}}).steps["all.parts"].retries == 2
    assert pipe.nest(["all"], "both")(x=[1, 2])["all"] == [2, 4]
    assert "y[:] -> all.parts[all_run]" in repr(pipe)
    assert "A position of all_run is a run of 4 positions of i" in str(pipe.plan({"x": range(9)}))
    assert list(pipe.from_step("all").graph.inputs) == ["y"]


@pytest.mark.parametrize("mapspec", [None, "y[j, :] -> all[j]"])
def test_a_part_of_the_pipeline_goes_on(go: Go, calls: Calls, mapspec: str | None) -> None:
    def join(a: str, b: str) -> str:
        calls(a + b)
        return a + b

    count = weft.Step(lambda all: len(all), "n", name="count")
    steps = [weft.Step(join, "y", "a[j], b[i] -> y[j, i]"), weft.Step(gather, "all", mapspec), count]
    pipe = weft.Pipeline(steps, name="study")
    inputs = {"a": list("ab"), "b": list("vwxyz")}
    whole = go(pipe, inputs)
    calls.take()
    for part in (pipe.from_step("all"), pipe.from_step(1), pipe.drop("join")):
        run = go(part, force="all.parts+")
        assert np.array_equal(run["all"], whole["all"]) and run["n"] == whole["n"]
    assert not calls.take()
    given = [["av", "aw"], ["bv", "bw"], ["cv", "cw"]]
    wanted = given if mapspec else [y for row in given for y in row]
    found = pipe.drop("join").run({"y": given}, progress=False)["all"]
    assert (found.tolist() if mapspec else found) == wanted


def test_a_part_written_by_hand_goes_on(go: Go) -> None:
    whole = go(reducing(4), {"x": range(10)})
    part = weft.Pipeline([weft.Step(gather, "all")], name="study")
    assert go(part)["all"] == whole["all"]


def test_numbers_add_up_as_in_plain_python() -> None:
    total = weft.Reduction(0.0, lambda state, y: state + y, operator.add, run_length=7)
    values = np.random.default_rng(0).normal(size=100)
    run = weft.Pipeline([weft.Step(lambda x: x, "y", "x[i] -> y[i]", name="same"), weft.Step(total, "s")])(
        x=values
    )
    assert run["s"] == total(values)


class Generated:
    """Two million values, none of which is there before it is asked for."""

    def __len__(self) -> int:
        return 2_000_000

    def __getitem__(self, i: int) -> bytes:
        return i.to_bytes(4, "big") * 50


MEMORY = """
import resource, sys
import weft
from tests.contract.test_reductions import Generated

length = weft.Reduction(0, lambda state, y: state + y[3] % 2, lambda a, b: a + b)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert weft.Step(length, "odd").run({"y": Generated()}, backend="sequential", progress=False)["odd"] == 10**6
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_the_axis_is_never_held() -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEMORY],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 100_000  # kB; the values alone are 400 MB


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"update": lambda state: state}, weft.WiringError, "takes the state and a value"),
        ({"update": lambda state, *y: state}, weft.WiringError, "takes the state and a value"),
        ({"update": max}, weft.WiringError, "takes the state and a value"),
        ({"merge": None}, weft.WiringError, "merge is a function, got None"),
        ({"run_length": 0}, weft.InvalidInput, "run_length is a whole number"),
        ({"run_length": True}, weft.InvalidInput, "run_length is a whole number"),
    ],
)
def test_bad_reductions(options: dict[str, Any], error: type[Exception], says: str) -> None:
    plain: dict[str, Any] = {"init": 0, "update": lambda state, y: state + y, "merge": operator.add}
    with pytest.raises(error, match=says):
        weft.Reduction(**{**plain, **options})


def test_bad_wiring() -> None:
    behind = weft.Reduction(0, lambda state, k, y: state + k * y, operator.add)
    with pytest.raises(weft.WiringError, match="put these first"):
        weft.Pipeline([double, weft.Step(behind, "all")])
    both = weft.Reduction(0, lambda state, y, z: state + y * z, operator.add)
    other = weft.Step(lambda w: w, "z", "w[j] -> z[j]", name="other")
    with pytest.raises(weft.WiringError, match="'y' along i and 'z' along j"):
        weft.Pipeline([double, other, weft.Step(both, "all")])
    with pytest.raises(weft.WiringError, match="nothing that its update takes has one"):
        weft.Pipeline([double, weft.Step(gather, "all", "y[i] -> all[i]")])
    with pytest.raises(weft.WiringError, match="without batch=True"):
        weft.Pipeline([double, weft.Step(gather, "all", batch=True)])
    with pytest.raises(ValueError, match="shorter"):
        both([1, 2], [1])
