from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import weft


@weft.step("y", mapspec="x[i] -> y[i]")
def simulate(x: int, k: float = 1.0) -> float:
    return x * k


@weft.step("z", mapspec="y[i] -> z[i]")
def square(y: float) -> float:
    return y * y


@weft.step("items", mapspec="... -> items[j]")
def split(path: str) -> list[str]:
    return path.split("/")


@weft.step("length", mapspec="items[j] -> length[j]")
def measure(items):
    return len(items)


@weft.step("best")
def best(z, length):
    return z.max() + length.max()


def pipe() -> weft.Pipeline:
    return weft.Pipeline([simulate, square, split, measure, best], name="demo")


def test_values_of_a_plan() -> None:
    plan = weft.Pipeline([simulate, square]).plan({"x": [1, 2, 3, 4, 5]}, block_size=2, n_jobs=1)
    assert (plan.n_elements, plan.blocks, plan.files, plan.bytes, plan.done) == (10, 6, 8, 80, 0)
    step = plan["simulate"]
    assert (step.axes, step.shape, step.blocks, step.jobs) == ((("i", 5),), (5,), 3, 1)
    assert step.group == ("simulate", "square")
    assert plan["square"].jobs == 0


def test_jobs_are_many_enough_to_keep_workers_busy() -> None:
    plan = weft.Pipeline([simulate]).plan({"x": range(1000)}, block_size=1, n_jobs=2, backend="loky")
    assert 12 <= (plan.jobs or 0) <= 16


def test_an_axis_of_unknown_length_is_said_to_be_unknown_and_who_opens_it() -> None:
    plan = pipe().plan({"x": range(10), "path": "a/b"})
    assert plan["measure"].n_elements is None and plan["measure"].shape == (None,)
    assert plan["measure"].waits_for == ("split",)
    assert plan.n_elements is None and plan.jobs is None
    text = str(plan)
    assert "22 + ? elements" in text
    assert "axis j gets its length when 'split' has run" in text


def test_the_table_is_one_a_person_reads() -> None:
    plan = weft.Pipeline([simulate, square, split], name="demo").plan(
        {"x": range(10**6), "path": "a"}, block_size=10**4, n_jobs=1
    )
    assert str(plan).splitlines() == [
        "Plan of 'demo': 3 steps, 2,000,001 elements, 3 jobs, 203 files",
        "",
        "step      runs along     elements  blocks           jobs  files  size",
        "simulate  i: 1,000,000  1,000,000     100              2    101  8 MB",
        "split     once                  1       1              1      1     ?",
        "square    i: 1,000,000  1,000,000     100  with simulate    101  8 MB",
        "",
        "simulate + square: one job carries an element through all of them.",
    ]
    assert "<table>" in plan._repr_html_()
    assert "flowchart" in str(plan.draw())


def test_a_guess_of_the_blocks_is_called_a_guess() -> None:
    assert "chosen from the first elements" in str(simulate.plan({"x": range(10)}))
    assert "chosen from" not in str(simulate.plan({"x": range(10)}, block_size=3))


def test_indices_and_outputs_restrict_a_plan() -> None:
    plan = pipe().plan(
        {"x": range(10**9), "path": "a"}, indices={"i": slice(10, 20)}, outputs=["z"], block_size=5
    )
    assert [step.name for step in plan.steps] == ["simulate", "square"]
    assert plan["simulate"].n_elements == 10 and plan["simulate"].blocks == 2
    assert (
        pipe().plan({"x": range(10**9), "path": "a"}, indices={"i": -1}, outputs=["z"])["square"].n_elements
        == 1
    )


def test_an_empty_axis_plans_nothing() -> None:
    plan = simulate.plan({"x": []})
    assert (plan.n_elements, plan.blocks, plan.jobs) == (0, 0, 0)


def test_an_unknown_step_of_a_plan_lists_those_there_are() -> None:
    with pytest.raises(KeyError, match="Steps: simulate"):
        simulate.plan({"x": [1]})["simulat"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_job": 2}, weft.InvalidInput, "no option 'n_job'"),
        ({"n_jobs": 0}, weft.InvalidInput, "at least 1"),
        ({"block_size": 0}, weft.InvalidInput, "block_size"),
        ({"backend": "lokky"}, weft.UnknownBackend, "loky"),
        ({"outputs": ["yy"]}, weft.InvalidInput, "Did you mean 'y'"),
        ({"indices": {"k": 0}}, weft.InvalidInput, "the axes are i"),
        ({"indices": {"i": 7}}, weft.InvalidInput, "there is no 7"),
        ({"force": "simulat"}, weft.InvalidInput, "Did you mean 'simulate'"),
        ({"on_change": "reruns"}, weft.InvalidInput, "'rerun'"),
        ({"store": "filez", "run_dir": "x"}, weft.InvalidInput, "Did you mean 'files'"),
    ],
)
def test_what_run_refuses_plan_refuses(options: dict[str, Any], error: type[Exception], message: str) -> None:
    for do in (simulate.plan, simulate.run):
        with pytest.raises(error, match=message):
            do({"x": [1, 2]}, **options)


def test_bad_inputs_are_refused_as_by_run() -> None:
    with pytest.raises(weft.InvalidInput, match="Did you mean 'x'"):
        simulate.plan({"xx": [1]})


def tree(root: Path) -> dict[str, int]:
    return {str(p.relative_to(root)): p.stat().st_mtime_ns for p in root.rglob("*")}


def test_a_run_directory_says_what_is_done_and_is_not_touched(tmp_path: Path) -> None:
    where = tmp_path / "run"
    given = {"x": range(10), "path": "a/b/c"}
    pipe().run(given, run_dir=where, progress=False)
    before = tree(where)
    plan = pipe().plan({**given, "x": range(15)}, run_dir=where)
    assert tree(where) == before
    assert plan["simulate"].done == 10 and plan["simulate"].n_elements == 15
    assert plan["measure"].n_elements == 3, "the length of j is known from the first run"
    assert plan.done == 10 + 10 + 1 + 3 + 1
    assert "done" in str(plan)
    assert pipe().plan(given, run_dir=where).jobs == 0


def test_a_new_run_directory_is_not_made(tmp_path: Path) -> None:
    simulate.plan({"x": [1]}, run_dir=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_force_and_changed_inputs_leave_nothing_done(tmp_path: Path) -> None:
    simulate.run({"x": [1, 2]}, run_dir=tmp_path / "run", progress=False)
    assert simulate.plan({"x": [1, 2]}, run_dir=tmp_path / "run", force="all").done == 0
    with pytest.raises(weft.RunMismatch, match="input 'k'"):
        simulate.plan({"x": [1, 2], "k": 3.0}, run_dir=tmp_path / "run")
    plan = simulate.plan({"x": [1, 2], "k": 3.0}, run_dir=tmp_path / "run", on_change="rerun")
    assert plan.done == 0


def test_another_pipelines_directory_is_refused(tmp_path: Path) -> None:
    simulate.run({"x": [1, 2]}, run_dir=tmp_path / "run", progress=False)
    with pytest.raises(weft.InvalidInput, match="another pipeline"):
        weft.Pipeline([split], name="other").plan({"path": "a"}, run_dir=tmp_path / "run")


BILLION = """
import resource, weft
first = weft.step("y", mapspec="x[i] -> y[i]")(lambda x: x)
pipe = weft.Pipeline([first, weft.step("z", mapspec="y[i] -> z[i]")(lambda y: y)])
pipe.plan({"x": range(10)})
before = resource.getrusage(resource.RUSAGE_SELF)
plan = pipe.plan({"x": range(10**9)}, indices={"i": slice(5)}, outputs="y")
plan = pipe.plan({"x": range(10**9)})
text = str(plan)
after = resource.getrusage(resource.RUSAGE_SELF)
print(plan.n_elements, after.ru_maxrss - before.ru_maxrss, after.ru_utime - before.ru_utime)
"""


def test_a_billion_elements_take_no_memory() -> None:
    told = subprocess.run(
        [sys.executable, "-c", BILLION], check=True, capture_output=True, text=True, timeout=60
    )
    n, kilobytes, _ = told.stdout.split()
    assert int(n) == 2 * 10**9
    assert int(kilobytes) < 50_000, f"grew by {kilobytes} kB (in process {os.getpid()})"
