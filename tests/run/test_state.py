"""Status, errors, tables and explanations of a run, in memory and in a directory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import weft
from weft.run.run import Run

HERE = {"backend": "sequential", "progress": False}


@weft.step("y", mapspec="x[i] -> y[i]")
def shifted(x: int, k: int = 1) -> int:
    if x == 3:
        raise ValueError("no three")
    return x + k


@weft.step("z", mapspec="y[i] -> z[i]")
def doubled(y: int) -> float:
    return 2.0 * y


@weft.step("s")
def total(z: Any) -> float:
    return float(z.sum())


@weft.step("r", mapspec="x[i] -> r[i]")
def drawn(x: int, rng: np.random.Generator, ctx: weft.Context) -> float:
    if ctx.index["i"] == 1:
        raise RuntimeError(f"drew {rng.random()}")
    return float(rng.random())


PIPELINE = weft.Pipeline([shifted, doubled, total], name="demo")


@pytest.fixture(params=["memory", "files"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    place = tmp_path / "run" if request.param == "files" else None
    return PIPELINE.run({"x": [0, 1, 2, 3, 4]}, run_dir=place, on_error="continue", **HERE)


def test_status_counts_elements_by_state(run: Run) -> None:
    status = run.status
    assert status.state == "failed"
    assert not run.ok
    assert (status["shifted"]["done"], status["shifted"]["failed"]) == (4, 1)
    assert (status["doubled"]["done"], status["doubled"]["blocked"]) == (4, 1)
    assert status["total"]["blocked"] == 1
    assert list(status) == ["shifted", "doubled", "total"]
    assert repr(status).splitlines()[0] == "failed"


def test_a_complete_run_is_ok() -> None:
    run = PIPELINE.run({"x": [0, 1]}, **HERE)
    assert run.ok
    assert run.status.state == "complete"
    assert not run.errors
    assert repr(run.errors) == "(no errors)"


def test_ok_is_about_what_was_asked_for(tmp_path: Path) -> None:
    asked = PIPELINE.run({"x": [0, 1, 2]}, run_dir=tmp_path / "r", indices={"i": [0, 1]}, **HERE)
    assert asked.ok
    assert not weft.open_run(tmp_path / "r").ok
    assert asked.status["shifted"]["open"] == 1


def test_an_error_knows_its_element(run: Run) -> None:
    (error,) = run.errors
    assert (error.step, error.index, error.coords) == ("shifted", {"i": 3}, {"x": 3})
    assert (error.type, error.message, error.cause, error.attempt) == (
        "ValueError",
        "no three",
        "exception",
        1,
    )
    assert "raise ValueError" in error.traceback
    assert str(error) == "step 'shifted' at i=3 (x=3): ValueError: no three"
    assert run.errors[0].index == run.errors[-1].index
    assert len(run.errors[:5]) == 1
    with pytest.raises(IndexError):
        run.errors[1]


def test_an_error_reproduces(run: Run) -> None:
    error = run.errors[0]
    assert error.arguments() == {"x": 3, "k": 1}
    with pytest.raises(ValueError, match="no three"):
        error.reproduce()


def test_an_error_reproduces_with_the_recorded_code(tmp_path: Path) -> None:
    PIPELINE.run({"x": [2, 3], "k": 5}, run_dir=tmp_path / "r", on_error="continue", **HERE)
    opened = weft.open_run(tmp_path / "r")
    assert opened.errors[0].arguments() == {"x": 3, "k": 5}
    with pytest.raises(ValueError, match="no three"):
        opened.errors[0].reproduce()
    with pytest.raises(weft.UnsafePayload, match="trust"):
        weft.open_run(tmp_path / "r", trust=False).errors[0].reproduce()


def test_reproducing_gives_the_same_random_stream_and_context(tmp_path: Path) -> None:
    run = drawn.run({"x": [7, 8, 9]}, seed=5, run_dir=tmp_path / "r", on_error="continue", **HERE)
    error = run.errors[0]
    assert error.arguments()["ctx"].index == {"i": 1}
    with pytest.raises(RuntimeError) as raised:
        error.reproduce()
    assert str(raised.value) == error.message


def test_many_errors_are_read_as_they_are_looked_at() -> None:
    fails = weft.step("y", mapspec="x[i] -> y[i]")(lambda x: 1 // (x % 2))
    run = fails.run({"x": range(100)}, on_error="continue", block_size=8, **HERE)
    assert len(run.errors) == 50
    assert [e.index["i"] for e in run.errors] == list(range(0, 100, 2))
    assert run.errors[7].index == {"i": 14}
    assert len(run.errors.to_dataframe()) == 50
    assert "30 more" in repr(run.errors)


def test_elements_are_rows(run: Run) -> None:
    rows = run.elements("z")
    assert [row["state"] for row in rows] == ["done", "done", "done", "blocked", "done"]
    assert rows[4] == {"i": 4, "x": 4, "state": "done"}
    assert [row["i"] for row in run.elements("shifted", i=slice(2, 4))] == [2, 3]
    assert [row["state"] for row in run.elements("shifted", sel={"x": 3})] == ["failed"]
    assert run.elements("total")[0]["state"] == "blocked"
    with pytest.raises(weft.InvalidInput, match="no axis 'j'"):
        run.elements("z", j=1)
    with pytest.raises(weft.InvalidInput, match="no step 'shifte'"):
        run.elements("shifte")


def test_attempts_are_what_was_committed(run: Run) -> None:
    rows = run.attempts("shifted")
    assert sum(row["elements"] for row in rows if row["state"] == "done") == 4
    assert [row["elements"] for row in rows if row["state"] == "failed"] == [1]
    assert all(row["host"] and row["attempt"] == 1 for row in rows)
    assert [row["state"] for row in run.attempts("shifted", i=3)] == ["failed"]
    assert {row["step"] for row in run.attempts()} == {"shifted", "doubled"}


def test_attempts_count_retries() -> None:
    fails = weft.step("y", mapspec="x[i] -> y[i]", retries=2)(lambda x: 1 // 0)
    run = fails.run({"x": [1]}, on_error="continue", **HERE)
    assert run.attempts()[0]["attempt"] == 3
    assert run.errors[0].attempt == 3


def test_an_explanation_names_every_input(run: Run) -> None:
    found = run.explain("y", i=2)
    assert (found["step"], found["state"], found["index"], found["coords"]) == (
        "shifted",
        "done",
        {"i": 2},
        {"x": 2},
    )
    by_name = {given["name"]: given for given in found["inputs"]}
    assert (by_name["x"]["value"], by_name["x"]["from"]) == ("2", "an input")
    assert by_name["k"]["from"] == "the default"
    assert run.explain("y", i=3)["state"] == "failed"
    whole = run.explain("s")
    assert "taken whole" in whole["inputs"][0]["from"]
    assert "made by step 'shifted'" in repr(run.explain("z", sel={"x": 1}))


def test_an_explanation_names_file_and_stream(tmp_path: Path) -> None:
    run = drawn.run({"x": [7, 8, 9]}, seed=5, run_dir=tmp_path / "r", on_error="continue", **HERE)
    found = run.explain("r", i=0)
    assert (tmp_path / "r" / found["file"]).is_file()
    assert "seed 5" in found["rng"]
    assert {given["name"] for given in found["inputs"]} == {"x"}
    assert {given["name"] for given in weft.open_run(tmp_path / "r").explain("r", i=0)["inputs"]} == {"x"}


def test_history_and_events(tmp_path: Path) -> None:
    pipe = weft.Pipeline([shifted, doubled])
    pipe.run({"x": [0, 1]}, run_dir=tmp_path / "r", **HERE)
    run = pipe.run({"x": [0, 1, 2]}, run_dir=tmp_path / "r", **HERE)
    first, second = run.history()
    assert (first["reason"], second["reason"]) == ("start", "growth")
    assert "axis i: 2 → 3" in second["what"]
    run.reset("z", i=0)
    assert run.history()[-1]["reason"] == "reset"
    kinds = [event["kind"] for event in run.events()]
    assert kinds.count("run-started") == kinds.count("run-ended") == 2


def test_files_know_their_elements(tmp_path: Path) -> None:
    @weft.step("y", mapspec="x[i] -> y[i]")
    def kept(x: int, ctx: weft.Context) -> int:
        Path(ctx.dir, "checkpoint").write_text("half")
        return x

    run = kept.run({"x": [4, 5]}, run_dir=tmp_path / "r", **HERE)
    rows = {row["path"]: row for row in run.files()}
    assert "run.json" in rows
    mine = [row for path, row in rows.items() if path.endswith("checkpoint")]
    assert sorted(row["i"] for row in mine) == [0, 1]
    assert all(row["path"].startswith("results/kept") for row in run.files("results"))
    assert run.files("results")
    assert run.logs("kept") == run.submissions() == []


def test_in_memory_there_are_no_files() -> None:
    run = PIPELINE.run({"x": [1]}, **HERE)
    assert run.files() == run.events() == run.history() == []


def test_a_table_is_a_dataframe(run: Run) -> None:
    frame = run.elements("y").to_dataframe()
    assert list(frame.columns) == ["i", "x", "state"]
    assert "<table>" in run.elements("y")._repr_html_()


def test_a_run_shows_itself(run: Run) -> None:
    text = repr(run)
    assert "'demo'" in text
    assert "4/5 done, 1 failed" in text
    assert "y (i: 5)" in text
    assert "step 'shifted' at i=3" in text
    assert "retry" in text
    page = run._repr_html_()
    assert "demo" in page and "4/5 done" in page


def test_a_stale_value_is_open(tmp_path: Path) -> None:
    pipe = weft.Pipeline([doubled, total])
    pipe.run({"y": [1, 2]}, run_dir=tmp_path / "r", **HERE)
    grown = pipe.run({"y": [1, 2, 3]}, run_dir=tmp_path / "r", outputs="z", **HERE)
    assert grown.ok
    assert grown.status["total"]["open"] == 1
    assert not weft.open_run(tmp_path / "r").ok


def test_logs_are_kept_by_element(tmp_path: Path) -> None:
    @weft.step("y", mapspec="x[i] -> y[i]")
    def loud(x: int, ctx: weft.Context) -> int:
        print(f"given {x}")
        ctx.log.warning("careful with %s", x)
        return x

    run = loud.run({"x": [4, 5]}, run_dir=tmp_path / "r", **HERE)
    texts = [(row["i"], row["stream"], row["text"]) for row in run.logs("loud")]
    assert ("0 stdout given 4" in [" ".join(map(str, row)) for row in texts]) and len(texts) == 4
    assert {row["text"] for row in run.logs("y", i=1)} == {"given 5", "careful with 5"}
    assert loud.run({"x": [4]}, **HERE).logs("loud") == []


class TestUnkept:
    """A step with ``keep=False`` has nothing on disk, and still takes part in everything."""

    def run(self, path: Path) -> Run:
        half = weft.step("half", mapspec="x[i] -> half[i]", keep=False)(lambda x: x + 1)

        fixed = f"{path}.fixed"

        def finish(half: int) -> int:
            if half == 3 and not os.path.exists(fixed):
                raise ValueError("three")
            return 10 * half

        pipe = weft.Pipeline([half, weft.step("y", mapspec="half[i] -> y[i]")(finish)])
        return pipe.run({"x": [1, 2, 3]}, run_dir=path, on_error="continue", **HERE)

    def test_errors_have_arguments(self, tmp_path: Path) -> None:
        run = self.run(tmp_path / "r")
        assert run.errors[0].arguments() == {"half": 3}
        with pytest.raises(weft.MissingResult, match="keep=False"):
            run["half"]

    def test_retry_makes_it_again(self, tmp_path: Path) -> None:
        run = self.run(tmp_path / "r")
        (tmp_path / "r.fixed").touch()
        assert run.retry(**HERE)["y"].tolist() == [20, 30, 40]
        assert run.ok
        assert run.reset("y", i=0).resume(**HERE)["y"].tolist() == [20, 30, 40]

    def test_exports_leave_it_out(self, tmp_path: Path, require: Any) -> None:
        require("xarray")
        assert list(self.run(tmp_path / "r").to_xarray().data_vars) == ["y"]
