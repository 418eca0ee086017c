"""Loops: what a body sees, what is seen outside, where they end, and how they go on."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import weft
from weft.testing import Calls

BACKENDS = ["sequential", "thread_pool", "process_pool", "loky"]


@weft.step("smaller")
def halve(x: float) -> float:
    return x / 2


@weft.step("small")
def is_small(smaller: float) -> bool:
    return smaller < 1


@weft.step("seen")
def number(turn: int, smaller: float) -> str:
    return f"{turn}:{smaller}"


@weft.step("after")
def outside(smaller: float, seen: Any) -> tuple[float, Any]:
    return smaller, list(seen)


def shrinking(n: int = 10, **options: Any) -> weft.Pipeline:
    loop = weft.Loop(
        [halve, is_small, number],
        n_iterations=n,
        name="turn",
        carry={"x": "smaller"},
        collect=["seen"],
        **options,
    )
    return weft.Pipeline([loop, outside], name="shrinking")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kept", [False, True])
def test_what_a_body_and_those_outside_see(backend: str, kept: bool, tmp_path: Path) -> None:
    run = shrinking(4).run({"x": 8.0}, run_dir=tmp_path / "r" if kept else None, backend=backend, n_jobs=2)
    np.testing.assert_array_equal(run["smaller"], [4.0, 2.0, 1.0, 0.5])
    assert list(run["seen"]) == ["0:4.0", "1:2.0", "2:1.0", "3:0.5"]
    assert run["after"] == (0.5, ["0:4.0", "1:2.0", "2:1.0", "3:0.5"])
    assert run.isel("smaller", turn=-1) == 0.5
    assert run.ok


@pytest.mark.parametrize("backend", BACKENDS)
def test_until_ends_a_loop_after_that_iteration(backend: str, tmp_path: Path) -> None:
    run = shrinking(10, until="small").run({"x": 8.0}, run_dir=tmp_path / "r", backend=backend, n_jobs=2)
    np.testing.assert_array_equal(run["smaller"], [4.0, 2.0, 1.0, 0.5])
    assert run["after"] == (0.5, ["0:4.0", "1:2.0", "2:1.0", "3:0.5"])
    assert run.ok
    rows = {row["step"]: row for row in run.status.table}
    assert rows["halve"]["skipped"] == 6 and rows["halve"]["done"] == 4
    assert [row["state"] for row in run.elements("halve")] == ["done"] * 4 + ["skipped"] * 6
    np.testing.assert_array_equal(weft.open_run(tmp_path / "r")["smaller"], [4.0, 2.0, 1.0, 0.5])


@pytest.mark.parametrize("backend", BACKENDS)
def test_each_element_of_a_study_has_its_own_loop_and_its_own_end(backend: str, tmp_path: Path) -> None:
    run = shrinking(10, until="small").run(
        sweep=weft.grid(x=[8.0, 1.0, 100.0]), run_dir=tmp_path / "r", backend=backend, n_jobs=2
    )
    expected = {8.0: [4.0, 2.0, 1.0, 0.5], 1.0: [0.5], 100.0: [100 / 2**k for k in range(1, 8)]}
    found = run["smaller"]
    assert found.shape == (3, 7)
    for row, values in zip(found, expected.values(), strict=True):
        assert row.compressed().tolist() == values
    assert [value for value, _ in run["after"]] == [values[-1] for values in expected.values()]
    assert run.ok
    assert run.isel("smaller", x=1, turn=0) == 0.5


def test_more_iterations_go_on_where_the_last_ones_ended(tmp_path: Path) -> None:
    calls = Calls(tmp_path / "calls")

    def counted(x: float) -> float:
        calls(x)
        return x / 2

    def pipe(n: int) -> weft.Pipeline:
        return shrinking(n).replace("halve", weft.Step(counted, "smaller", name="halve"))

    pipe(3).run({"x": 8.0}, run_dir=tmp_path / "r")
    assert calls.take() == ["8.0", "4.0", "2.0"]
    run = pipe(5).run({"x": 8.0}, run_dir=tmp_path / "r")
    assert calls.take() == ["1.0", "0.5"]
    np.testing.assert_array_equal(run["smaller"], [4.0, 2.0, 1.0, 0.5, 0.25])
    assert run["after"][0] == 0.25
    fewer = pipe(2).run({"x": 8.0}, run_dir=tmp_path / "r")
    assert calls.take() == [] and fewer["after"] == (2.0, ["0:4.0", "1:2.0"])
    pipe(5).run({"x": 8.0}, run_dir=tmp_path / "r")
    assert calls.take() == []


@pytest.mark.parametrize("swept", [False, True])
def test_fewer_iterations_than_ran_until_the_end_have_another_last_one(swept: bool, tmp_path: Path) -> None:
    def rounds(n: int) -> weft.Pipeline:
        body = [weft.step("u")(lambda state: state + 1), weft.step("enough")(lambda u: u >= 3)]
        loop = weft.Loop(body, n_iterations=n, name="t", carry={"state": "u"}, until="enough")
        each = weft.step("each", mapspec="x[i] -> each[i]")(lambda x, u: x + u)
        return weft.Pipeline([loop, weft.step("after")(lambda u: 10 * u), each])

    given = {"sweep": weft.grid(state=[0])} if swept else {}
    inputs = {"x": [100]} if swept else {"x": [100], "state": 0}
    for n in (3, 1, 4, 2, 3):
        run = rounds(n).run(inputs, run_dir=tmp_path / "run", progress=False, **given)
        found = [np.ravel(run[name]).tolist() for name in ("after", "each", "u")]
        last = min(n, 3)
        assert run.ok and found == [[10 * last], [100 + last], list(range(1, last + 1))]


@pytest.mark.parametrize("fewer", [3, 2, 1])
def test_fewer_iterations_than_were_skipped_are_complete(fewer: int, tmp_path: Path) -> None:
    def rounds(n: int) -> weft.Pipeline:
        body = [
            weft.step("u")(lambda state: state + 1),
            weft.step("point", mapspec="... -> point[p]")(lambda u: [u, u]),
            weft.step("value", mapspec="point[p] -> value[p]")(lambda point: point),
            weft.step("enough")(lambda u, value: True),
        ]
        loop = weft.Loop(body, n_iterations=n, name="t", carry={"state": "u"}, until="enough")
        return weft.Pipeline([loop])

    for n in (4, fewer):
        run = rounds(n).run({"state": 1}, run_dir=tmp_path / "run", progress=False)
    counts = {"u": fewer, "point": fewer, "value": 2, "enough": fewer}
    for found in (run, weft.open_run(tmp_path / "run")):
        assert found.ok and found["u"].tolist() == [2] and found["value"].tolist() == [[2, 2]]
        assert {step: count["done"] + count["skipped"] for step, count in found.status.items()} == counts


def test_a_name_that_the_body_makes_itself_is_carried_without_a_word() -> None:
    double = weft.step("x", name="double")(lambda x: 2 * x)
    pipe = weft.Pipeline([weft.Loop([double], n_iterations=3), weft.step("y")(lambda x: x + 1)])
    run = pipe.run({"x": 1})
    assert list(run["x"]) == [2, 4, 8] and run["y"] == 9


def test_a_body_is_read_in_its_order() -> None:
    # `late` stands before what makes b, so it sees the b of the iteration before.
    late = weft.step("late")(lambda b: b)
    make = weft.step("b", name="make")(lambda b: b + 1)
    now = weft.step("now")(lambda b: b)
    run = weft.Pipeline([weft.Loop([late, make, now], n_iterations=3)]).run({"b": 0})
    assert list(run["late"]) == [0, 1, 2] and list(run["now"]) == [1, 2, 3]


@pytest.mark.parametrize("backend", BACKENDS)
def test_elements_of_a_data_axis_each_go_round(backend: str, tmp_path: Path) -> None:
    step = weft.Step(_advance, "new", mapspec="s[i] -> new[i]")
    total = weft.Step(_total, "total")
    loop = weft.Loop([step, total], n_iterations=4, name="t", carry={"s": "new"}, collect=["total"])
    run = weft.Pipeline([loop]).run({"s": [1.0, 2.0, 3.0]}, run_dir=tmp_path / "r", backend=backend, n_jobs=2)
    s = np.array([1.0, 2.0, 3.0])
    assert run["new"].shape == (4, 3)
    for t in range(4):
        s = s * 2 + t
        np.testing.assert_array_equal(run["new"][t], s)
        assert run["total"][t] == s.sum()


def _advance(s: float, t: int) -> float:
    return 2 * s + t


def _total(new: Any) -> float:
    return float(new.sum())


def test_loops_nest() -> None:
    inner = weft.Loop([weft.step("s", name="add")(lambda s, a: s + a)], n_iterations=2, name="inner")
    grow = weft.step("a2", name="grow")(lambda s, a: a * 10)
    outer = weft.Loop([inner, grow], n_iterations=3, name="outer", carry={"a": "a2"})
    pipe = weft.Pipeline([outer, weft.step("e")(lambda s, a2: (s, a2))])
    run = pipe.run({"s": 0, "a": 1})
    assert run["s"].tolist() == [[1, 2], [12, 22], [122, 222]]
    assert run["a2"].tolist() == [10, 100, 1000]
    assert run["e"] == (222, 1000)
    swept = pipe.run({"s": 0}, sweep=weft.grid(a=[1, 2]))
    assert swept["s"].tolist() == [[[1, 2], [12, 22], [122, 222]], [[2, 4], [24, 44], [244, 444]]]
    assert swept["e"].tolist() == [(222, 1000), (444, 2000)]


def test_random_streams_differ_by_iteration_and_never_by_backend(tmp_path: Path) -> None:
    loop = weft.Loop([weft.Step(_walk, "place", name="walk")], n_iterations=5, name="t")
    pipe = weft.Pipeline([loop])
    first = pipe.run({"place": 0.0}, seed=3)["place"]
    assert len(set(np.diff(first))) == 4
    for backend in BACKENDS[1:]:
        found = pipe.run({"place": 0.0}, seed=3, backend=backend, n_jobs=2, run_dir=tmp_path / backend)[
            "place"
        ]
        np.testing.assert_array_equal(found, first)
    np.testing.assert_array_equal(
        weft.Pipeline([weft.Loop([weft.Step(_walk, "place", name="walk")], n_iterations=3, name="t")]).run(
            {"place": 0.0}, seed=3
        )["place"],
        first[:3],
    )


def _walk(place: float, rng: np.random.Generator) -> float:
    return place + float(rng.normal())


def test_the_context_knows_the_iteration() -> None:
    loop = weft.Loop([weft.Step(_knows, "x", name="knows")], n_iterations=3, name="t")
    assert weft.Pipeline([loop]).run({"x": ""})["x"].tolist() == ["0", "01", "012"]


def _knows(x: str, ctx: weft.Context) -> str:
    return x + str(ctx.iteration["t"])


def test_what_goes_in_may_be_made_by_a_step_and_have_a_default() -> None:
    start = weft.step("start")(lambda: 5)
    loop = weft.Loop(
        [weft.step("next", name="go")(lambda start, by=2: start + by)],
        n_iterations=3,
        carry={"start": "next"},
    )
    assert weft.Pipeline([start, loop]).run()["next"].tolist() == [7, 9, 11]
    lone = weft.Loop([weft.step("v", name="up")(lambda v=1: v * 3)], n_iterations=3)
    assert weft.Pipeline([lone]).run()["v"].tolist() == [3, 9, 27]
    assert weft.Pipeline([lone]).run({"v": 2})["v"].tolist() == [6, 18, 54]


def test_a_failure_blocks_what_follows_from_it_and_resumes_there(tmp_path: Path) -> None:
    marker = tmp_path / "mended"

    def fragile(x: int) -> int:
        if x == 3 and not marker.exists():
            raise ValueError("three")
        return x + 1

    plot = weft.step("picture", name="plot")(lambda new: -new)
    loop = weft.Loop(
        [weft.Step(fragile, "new", name="fragile"), plot], n_iterations=6, name="t", carry={"x": "new"}
    )
    pipe = weft.Pipeline([loop, weft.step("end")(lambda new: new)])
    run = pipe.run({"x": 0}, run_dir=tmp_path / "r", on_error="continue")
    assert not run.ok and len(run.errors) == 1
    assert run.get("new", missing="mask").compressed().tolist() == [1, 2, 3]
    assert [row["state"] for row in run.elements("fragile")] == ["done"] * 3 + ["failed"] + ["blocked"] * 2
    assert [row["state"] for row in run.elements("plot")] == ["done"] * 3 + ["blocked"] * 3
    with pytest.raises(weft.MissingResult):
        run["end"]
    marker.touch()
    assert pipe.run({"x": 0}, run_dir=tmp_path / "r")["end"] == 6


def test_a_failure_stops_with_its_iteration(tmp_path: Path) -> None:
    def fragile(x: int) -> int:
        return 10 // (2 - x) and x + 1

    loop = weft.Loop(
        [weft.Step(fragile, "new", name="fragile")], n_iterations=6, name="t", carry={"x": "new"}
    )
    with pytest.raises(weft.StepError, match="'fragile' failed at t=2"):
        weft.Pipeline([loop]).run({"x": 0}, run_dir=tmp_path / "r")


def test_growth_of_a_data_axis_flows_through_the_iterations(tmp_path: Path) -> None:
    part = weft.Step(lambda x, m: x * m, "part", mapspec="x[i] -> part[i]", name="part")
    mean = weft.Step(lambda part: float(part.sum()), "m2", name="mean")
    loop = weft.Loop([part, mean], n_iterations=3, name="t", carry={"m": "m2"})
    pipe = weft.Pipeline([loop, weft.step("end")(lambda m2: m2)])

    def expected(x: list[float], m: float) -> list[float]:
        found = []
        for _ in range(3):
            m = sum(v * m for v in x)
            found.append(m)
        return found

    for x in ([1.0, 2.0], [1.0, 2.0, 0.5], [2.0], [1.0, 2.0]):
        run = pipe.run({"x": x, "m": 1.0}, run_dir=tmp_path / "r", block_size=2)
        assert run["m2"].tolist() == expected(x, 1.0)
        assert run["end"] == expected(x, 1.0)[-1]


def test_a_killed_run_goes_on_in_the_middle_of_an_iteration(tmp_path: Path) -> None:
    script = tmp_path / "study.py"
    script.write_text(
        textwrap.dedent(
            """
            import os, sys, weft
            from weft.testing import Calls
            calls = Calls(sys.argv[2])

            @weft.step("a")
            def first(x: int, t: int) -> int:
                calls("a", t)
                return x + 1

            @weft.step("b")
            def second(a: int, t: int) -> int:
                calls("b", t)
                if t == 3 and sys.argv[3] == "die":
                    os.kill(os.getpid(), 9)
                return a * 2

            loop = weft.Loop([first, second], n_iterations=5, name="t", carry={"x": "b"})
            pipe = weft.Pipeline([loop], name="k")
            run = pipe.run({"x": 0}, run_dir=sys.argv[1], flush_seconds=0.01, progress=False, block_size=1)
            print(run["b"].tolist())
            """
        )
    )
    calls = Calls(tmp_path / "calls")

    def start(how: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, str(script), str(tmp_path / "r"), calls.path, how]
        return subprocess.run(line, capture_output=True, text=True)

    assert start("die").returncode == -9
    made = calls.take()
    assert made[-1] == "b 3"
    done = weft.open_run(tmp_path / "r").get("b", missing="mask").compressed().tolist()
    ended = start("go on")
    assert ended.stdout.strip() == "[2, 6, 14, 30, 62]", ended.stderr
    again = calls.take()
    assert not {f"b {t}" for t in range(len(done))} & set(again)
    assert len([line for line in [*made, *again] if line.startswith("b")]) <= 5 + 1 + (3 - len(done))


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(1, 5), starts=st.lists(st.integers(0, 5), min_size=1, max_size=3), limit=st.integers(1, 40),
    until=st.booleans(), size=st.sampled_from(["auto", 1, 3]), split=st.booleans(),
)  # fmt: skip
def test_a_loop_equals_the_loop_that_python_has(
    n: int, starts: list[int], limit: int, until: bool, size: Any, split: bool
) -> None:
    grow = weft.step("v", name="grow")(lambda v, w, t: 2 * v + w + t)
    keep = weft.step("w", name="keep")(lambda v, w: w + (v % 3))
    stop = weft.step("big")(lambda v: v > limit)
    loop = weft.Loop([grow, keep, stop], n_iterations=n, name="t", until="big" if until else None)
    backend: Any = {"w": "thread_pool", "": "sequential"} if split else "sequential"
    run = weft.Pipeline([loop, weft.step("end")(lambda v, w: (v, w))]).run(
        {"w": 1}, sweep=weft.grid(v=starts), block_size=size, backend=backend, n_jobs=2
    )
    for k, v in enumerate(starts):
        w, history = 1, []
        for t in range(n):
            v = 2 * v + w + t
            w = w + (v % 3)
            history.append((v, w))
            if until and v > limit:
                break
        assert (
            run["v"][k].compressed().tolist()
            if np.ma.isMaskedArray(run["v"])
            else run["v"][k].tolist() == [a for a, _ in history]
        )
        assert run["end"][k] == history[-1]


def test_bad_loops_are_refused_when_they_are_built() -> None:
    go = weft.step("b")(lambda a: a)
    with pytest.raises(ValueError, match="n_iterations"):
        weft.Loop([go], n_iterations=0)
    with pytest.raises(weft.WiringError, match="until names 'done', which its body does not make"):
        weft.Loop([go], until="done")
    with pytest.raises(weft.WiringError, match=r"carry names 'c', which its body does not make. Did"):
        weft.Loop([go, weft.step("cc")(lambda b: b)], carry={"a": "c"})
    with pytest.raises(weft.WiringError, match="collect names"):
        weft.Loop([go], collect="loss")
    with pytest.raises(weft.WiringError, match="no steps"):
        weft.Loop([])
    with pytest.raises(weft.WiringError, match="made of steps"):
        weft.Loop([lambda a: a])
    loop = weft.Loop([go], name="turn", carry={"a": "b"})
    with pytest.raises(weft.WiringError, match="name of a loop"):
        weft.Pipeline([loop, weft.step("turn")(lambda: 1)])
    with pytest.raises(weft.WiringError, match="name of a loop"):
        weft.Pipeline([loop, weft.Loop([weft.step("z")(lambda a: a)], name="turn")])
    with pytest.raises(weft.WiringError, match="exists only in its body"):
        weft.Pipeline([loop, weft.step("z")(lambda turn: turn)])
    with pytest.raises(weft.WiringError, match="carry="):
        weft.Pipeline([loop, weft.step("b", name="other")(lambda: 1)])
    with pytest.raises(weft.WiringError, match="has no mapspec"):
        mapped = weft.step("y", mapspec="x[i] -> y[i]")(lambda x: x)
        weft.Pipeline([weft.Loop([mapped, weft.step("x2")(lambda y: y)], carry={"x": "x2"})])
    with pytest.raises(weft.InvalidInput, match="counts by itself"):
        weft.Pipeline([loop]).run({"a": 1, "turn": 3})
    with pytest.raises(weft.InvalidInput, match="iteration"):
        weft.Pipeline([loop]).run({"a": 1}, indices={"turn": 0})


def test_smaller_pipelines_take_a_loop_whole() -> None:
    pipe = shrinking(3)
    assert list(pipe.subpipeline("smaller").steps) == ["halve", "is_small", "number"]
    assert list(pipe.from_step("number").steps) == ["halve", "is_small", "number", "outside"]
    assert list(pipe.from_step("turn").steps) == list(pipe.from_step(0).steps) == list(pipe.steps)
    assert list(pipe.from_step(1).steps) == ["outside"]
    assert list(pipe.drop("turn").steps) == ["outside"]
    other = pipe.replace("halve", weft.step("smaller", name="third")(lambda x: x / 4))
    assert other.run({"x": 64.0})["smaller"].tolist() == [16.0, 4.0, 1.0]
    assert pipe.configure({"halve": {"retries": 2}}).steps["halve"].retries == 2


def test_loops_are_planned_and_drawn(tmp_path: Path) -> None:
    plan = shrinking(1000).plan({"x": 8.0})
    assert plan["halve"].n_elements == 1000 and "turn: 1,000" in str(plan)
    drawing = str(shrinking(3).draw("text")) + str(shrinking(3).draw("mermaid"))
    assert "turn" in drawing


def test_the_last_of_a_data_axis_is_taken_whole_under_a_sweep() -> None:
    scale = weft.step("y", mapspec="x[i] -> y[i]", name="scale")(lambda x, k, turn: k * x + turn)
    loop = weft.Loop([scale], n_iterations=3, name="turn")
    pipe = weft.Pipeline([loop, weft.step("total")(lambda y: int(y.sum()))])
    run = pipe.run({"x": [1, 2]}, sweep=weft.grid(k=[0, 10]), progress=False)
    assert run["total"].tolist() == [4, 34]
    for spec in ("y[j] -> z[j]", "y[i, j] -> z[i, j]"):
        with pytest.raises(weft.WiringError, match=r"along \[i\] after loop 'turn', but step 'z' takes it"):
            pipe.add(weft.step("z", mapspec=spec, name="z")(lambda y: y))
