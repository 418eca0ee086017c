"""Loops beside everything else: options of steps, deaths, resets, explanations."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import weft
from weft.testing import Calls


def _up(x: int, t: int) -> int:
    return x + 1


def _deadly(x: int, t: int, place: str) -> int:
    if t == 4 and not os.path.exists(place):
        open(place, "w").close()
        os._exit(1)
    return x + 1


def _always_deadly(x: int, t: int) -> int:
    if t == 4:
        os._exit(1)
    return x + 1


def counting(step: weft.Step, n: int = 8, **options: Any) -> weft.Pipeline:
    loop = weft.Loop([step], n_iterations=n, name="t", carry={"x": "y"}, **options)
    return weft.Pipeline([loop], name="loop")


@pytest.mark.parametrize("backend", ["process_pool", "loky"])
@pytest.mark.parametrize("kept", [False, True])
def test_a_worker_that_dies_in_an_iteration_is_its_failure_or_is_retried(
    backend: str, kept: bool, tmp_path: Path
) -> None:
    where = {"run_dir": tmp_path / "r"} if kept else {}
    step = weft.Step(_deadly, "y", retries=1)
    run = counting(step).run({"x": 0, "place": str(tmp_path / "died")}, backend=backend, n_jobs=2, **where)
    assert run["y"].tolist() == list(range(1, 9))
    again = counting(weft.Step(_always_deadly, "y", name="_deadly"))
    failed = again.run({"x": 0}, backend=backend, n_jobs=2, on_error="continue")
    assert failed.get("y", missing="mask").compressed().tolist() == [1, 2, 3, 4]
    assert [e.index for e in failed.errors] == [{"t": 4}]


def test_batches_are_iterations_of_many() -> None:
    step = weft.Step(lambda x, t: np.asarray(x) * 2, "y", mapspec="x[i] -> y[i]", batch=True, name="double")
    run = counting(step, 3).run({"x": [1.0, 2.0]})
    assert run["y"].tolist() == [[2, 4], [4, 8], [8, 16]]


def test_what_is_not_kept_is_still_carried(tmp_path: Path) -> None:
    half = weft.step("half", name="half", keep=False)(lambda x: x / 2)
    more = weft.step("y", name="more")(lambda half: half + 1)
    pipe = weft.Pipeline([weft.Loop([half, more], n_iterations=4, name="t", carry={"x": "y"})])
    assert pipe.run({"x": 4.0}, run_dir=tmp_path / "r")["y"].tolist() == [3.0, 2.5, 2.25, 2.125]


class Adder:
    def __init__(self, by: int = 2) -> None:
        self.by = by

    def run(self, x: int) -> int:
        return x + self.by


def test_class_steps_and_their_configs_go_round() -> None:
    step = weft.Step(Adder, "y", config={"by": [1, 10]}, name="add")
    run = counting(step, 3).run({"x": 0})
    assert run["y"].tolist() == [[1, 2, 3], [10, 20, 30]]


def test_shared_results_go_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEFT_CACHE", str(tmp_path / "cache"))
    calls = Calls(tmp_path / "calls")

    def step(x: int) -> int:
        calls(x)
        return x + 1

    pipe = counting(weft.Step(step, "y", cache=True, name="step"), 3)
    assert pipe.run({"x": 0})["y"].tolist() == [1, 2, 3] and len(calls.take()) == 3
    assert pipe.run({"x": 1})["y"].tolist() == [2, 3, 4] and calls.take() == ["3"]


def test_a_reset_opens_later_iterations_too(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.write_text("1")

    @weft.step("y")
    def step(x: int) -> int:
        return x + int(state.read_text())

    pipe = counting(step, 4)
    assert pipe.run({"x": 0}, run_dir=tmp_path / "r")["y"].tolist() == [1, 2, 3, 4]
    state.write_text("10")
    run = weft.open_run(tmp_path / "r").reset("step", t=2)
    assert [row["state"] for row in run.elements("step")] == ["done", "done", "open", "open"]
    assert pipe.run({"x": 0}, run_dir=tmp_path / "r")["y"].tolist() == [1, 2, 12, 22]


def test_only_some_elements_of_a_data_axis_go_round(tmp_path: Path) -> None:
    step = weft.Step(_up, "y", mapspec="x[i] -> y[i]")
    pipe = counting(step, 3)
    run = pipe.run({"x": [0, 10, 20]}, indices={"i": [1]}, run_dir=tmp_path / "r")
    assert run.isel("y", i=1).tolist() == [11, 12, 13]
    assert pipe.run({"x": [0, 10, 20]}, run_dir=tmp_path / "r")["y"][2].tolist() == [3, 13, 23]
    total = weft.step("m", name="mean")(lambda part: part.sum())
    part = weft.step("part", mapspec="x[i] -> part[i]", name="part")(lambda x, m: x * m)
    reduced = weft.Pipeline([weft.Loop([part, total], n_iterations=2, name="t")])
    with pytest.raises(weft.InvalidInput, match="takes axis 'i' whole"):
        reduced.run({"x": [1, 2], "m": 1}, indices={"i": 0}, outputs="m")
    left = reduced.run({"x": [1, 2], "m": 1}, indices={"i": 0})
    assert left.get("m", missing="mask").mask.all()


def test_values_of_iterations_are_explained_and_exported(tmp_path: Path) -> None:
    run = counting(weft.Step(_up, "y")).run({"x": 5}, run_dir=tmp_path / "r")
    assert "_up" in str(run.explain("y", t=3))
    assert run.sel("y", t=2) == 8 and run.isel("y", t=-1) == 13
    assert run.isel("y", t=slice(0, 2)).tolist() == [6, 7]
    assert run.to_xarray("y")["y"].dims == ("t",)
    assert run.to_dataframe("y")["t"].tolist() == list(range(8))
    assert run.elements("_up", t=1)[0]["t"] == 1


def test_a_failure_in_a_loop_can_be_reproduced(tmp_path: Path) -> None:
    def fragile(x: int) -> int:
        return 0 * (1 // (3 - x)) + x + 1

    run = counting(weft.Step(fragile, "y", name="fragile")).run(
        {"x": 0}, run_dir=tmp_path / "r", on_error="continue"
    )
    error = run.errors[0]
    assert error.step == "fragile"
    with pytest.raises(ZeroDivisionError):
        error.reproduce()
    assert error.arguments()["x"] == 3


def test_other_backends_for_a_part_of_a_body_later(tmp_path: Path) -> None:
    one = weft.Step(_up, "a", name="one")
    two = weft.step("y", name="two")(lambda a: a * 2)
    pipe = lambda n: weft.Pipeline([weft.Loop([one, two], n_iterations=n, name="t", carry={"x": "y"})])  # noqa: E731
    pipe(3).run({"x": 0}, run_dir=tmp_path / "r")
    backends = {"two": "thread_pool", "": "sequential"}
    run = pipe(6).run({"x": 0}, run_dir=tmp_path / "r", backend=backends, n_jobs=2)
    assert run["y"].tolist() == [2, 6, 14, 30, 62, 126]


def test_steps_wait_within_a_loop_without_data() -> None:
    seen: list[str] = []
    first = weft.step("a", name="first")(lambda x, t: seen.append(f"a{t}") or x)
    second = weft.step("y", name="second", after="first")(lambda x, t: seen.append(f"y{t}") or x + 1)
    run = weft.Pipeline([weft.Loop([first, second], n_iterations=2, name="t", carry={"x": "y"})]).run(
        {"x": 0}, backend="sequential"
    )
    assert run["y"].tolist() == [1, 2]
    assert seen.index("a0") < seen.index("y0") and seen.index("a1") < seen.index("y1")


def test_a_step_waits_for_a_whole_loop_without_data(tmp_path: Path) -> None:
    calls = Calls(tmp_path / "calls")

    def step(x: int) -> int:
        calls("step")
        return x + 1

    def report() -> int:
        return len(calls.made())

    loop = weft.Loop([weft.Step(step, "y", name="step")], n_iterations=3, name="t", carry={"x": "y"})
    pipe = weft.Pipeline([weft.Step(report, "n", after="t", name="report"), loop])
    assert pipe.run({"x": 0}, backend="sequential")["n"] == 3


def test_hints_say_the_names_that_users_know() -> None:
    pipe = weft.Pipeline([weft.Loop([weft.Step(lambda guess: guess / 2, "guess")], n_iterations=2)])
    with pytest.raises(weft.InvalidInput, match=r"no input 'gess'\. Did you mean 'guess'\?"):
        pipe.run({"gess": 1.0})
    with pytest.raises(weft.WiringError, match=r"Did you mean 'guess'\?"):
        pipe.vary("gess")


def test_a_loop_in_a_loop_in_a_loop_starts_with_what_its_own_surroundings_made() -> None:
    x = weft.Step(lambda x0, outer, middle: x0 + 10 * middle + 100 * outer, "x")
    inner = weft.Loop([weft.Step(lambda x: x + 1, "y")], n_iterations=2, name="inner", carry={"x": "y"})
    middle = weft.Loop([x, inner], n_iterations=2, name="middle")
    run = weft.Pipeline([weft.Loop([middle], n_iterations=2, name="outer")])(x0=0)
    assert run["x"].tolist() == [[0, 10], [100, 110]]
    assert run["y"].tolist() == [[[1, 2], [11, 12]], [[101, 102], [111, 112]]]


def test_a_step_of_any_names_gets_its_own_ones_in_loops_and_sweeps() -> None:
    def names(k: int = 1, **given: int) -> str:
        return f"{k} {given}"

    def last(**given: int) -> int:
        return given["said"] and 2

    step = weft.Step(names, "said", mapspec="x[i] -> said[i]", scope="s")
    assert weft.Pipeline([step]).run({"s.x": [1]}, sweep=weft.points([{"s.k": 3}]))["s.said"] == "3 {'x': 1}"
    loop = weft.Loop(
        [step.replace(scope=None), weft.Step(last, "x", mapspec="said[i] -> x[i]")], n_iterations=2, name="t"
    )
    assert weft.Pipeline([loop]).run({"x": [1]})["said"].tolist() == [["1 {'x': 1}"], ["1 {'x': 2}"]]
