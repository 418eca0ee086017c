"""How the driver ends: with what was asked for, or with an error that says what is left."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import weft
from weft.study.tracks import Track

BAD: set[int] = set()


@weft.step("y", mapspec="x[i] -> y[i]")
def made(x: int) -> int:
    if x in BAD:
        raise ValueError("bad")
    return 2 * x


@weft.step("z", mapspec="y[i] -> z[i]", backend="thread_pool")
def after(y: int) -> int:
    return y + 1


@weft.step("total")
def total(z: Any) -> int:
    return int(np.sum(z))


PIPELINE = weft.Pipeline([made, after, total], name="ending")
HERE = {"backend": "sequential", "progress": False}


@pytest.fixture(autouse=True)
def fresh() -> None:
    BAD.clear()


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Blocks of the group of a step are never found to be ready, as by a mistake of the driver."""

    def stick(step: str) -> None:
        real = Track.consider

        def consider(track: Track, number: int) -> None:
            if step not in track.counts:
                real(track, number)

        monkeypatch.setattr(Track, "consider", consider)

    return stick


def test_a_run_that_ends_with_elements_open_says_so(
    stuck: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck("after")
    message = r"elements open, though none failed: after \(3 of 3\), total \(1 of 1\)\. .* please report it"
    with pytest.raises(weft.WeftError, match=message) as told:
        PIPELINE.run({"x": [1, 2, 3]}, block_size=2, **HERE)
    assert "running again" not in str(told.value)
    with pytest.raises(weft.WeftError, match=message) as told:
        PIPELINE.run({"x": [1, 2, 3]}, run_dir=tmp_path / "run", block_size=2, **HERE)
    assert f"is kept in {tmp_path / 'run'}, and running again may go on" in str(told.value)
    live = PIPELINE.run({"x": [1, 2, 3]}, wait=False, block_size=2, **HERE)
    with pytest.raises(weft.WeftError, match=message):
        live.wait(30)
    monkeypatch.undo()
    run = weft.open_run(tmp_path / "run")
    assert run.status["made"]["done"] == 3 and run.resume(**HERE)["total"] == 15


@pytest.mark.parametrize("kept", [False, True])
def test_ordinary_endings_are_none_of_that(kept: bool, tmp_path: Path) -> None:
    def done(pipe: Any, inputs: Any = None, **options: Any) -> dict[str, int]:
        where = tmp_path / str(len(list(tmp_path.iterdir()))) if kept else None
        run = pipe.run(inputs or {"x": [1, 2, 3]}, run_dir=where, block_size=1, **{**HERE, **options})
        return {name: count["done"] for name, count in run.status.items()}

    assert done(PIPELINE, indices={"i": slice(0, 2)}) == {"made": 2, "after": 2, "total": 0}
    assert done(PIPELINE, outputs="y") == {"made": 3, "after": 0, "total": 0}
    assert done(PIPELINE, {"x": []}) == {"made": 0, "after": 0, "total": 1}
    dropped = PIPELINE.replace("after", after.replace(keep=False))
    assert done(dropped)["total"] == 1

    opened = weft.step("c", mapspec="n[i] -> c[i, j?]", name="cells")(lambda n: np.arange(n))
    each = weft.step("d", mapspec="c[i, j] -> d[i, j]", name="each")(lambda c: c)
    assert done(weft.Pipeline([opened, each]), {"n": [0, 2, 0]}) == {"cells": 3, "each": 2}
    assert done(weft.Pipeline([opened, each]), {"n": [0, 0]}) == {"cells": 2, "each": 0}

    halve = weft.step("s", name="halve")(lambda x: x // 2)
    over = weft.step("over", name="over")(lambda s: s <= 1)
    loop = weft.Loop([halve, over], n_iterations=9, until="over", carry={"x": "s"})
    assert done(weft.Pipeline([loop]), {"x": 8}) == {"halve": 3, "over": 3}

    BAD.add(2)
    assert done(PIPELINE, on_error="continue") == {"made": 2, "after": 2, "total": 0}
    with pytest.raises(weft.StepError):
        done(PIPELINE)


@pytest.mark.parametrize("rows", [[0, 0, 0], [0, 2, 0], [2, 0, 1]])
@pytest.mark.parametrize("ragged", [False, True])
def test_rows_of_iterations_may_be_empty(rows: list[int], ragged: bool) -> None:
    if not ragged:
        rows = [rows[0]] * 3
    fill = weft.step("c", mapspec=f"... -> c[j{'?' * ragged}]", name="fill")(
        lambda state, round: np.arange(rows[round])
    )
    each = weft.step("d", mapspec="c[j] -> d[j]", name="each")(lambda c: c)
    gather = weft.step("new", name="gather")(lambda d, state: state + len(d))
    loop = weft.Loop([fill, each, gather], n_iterations=3, name="round", carry={"state": "new"})
    run = weft.Pipeline([loop]).run({"state": 0}, **HERE)
    assert run["new"].tolist() == np.cumsum(rows).tolist()


def test_a_loop_whose_opener_failed_ends() -> None:
    def fill(state: int) -> Any:
        raise ValueError("bad")

    steps = [
        weft.step("c", mapspec="... -> c[j]")(fill),
        weft.step("d", mapspec="c[j] -> d[j]", name="each")(lambda c: c),
        weft.step("new", name="gather")(lambda d, state: state + len(d)),
    ]
    loop = weft.Loop(steps, n_iterations=3, name="round", carry={"state": "new"})
    run = weft.Pipeline([loop]).run({"state": 0}, on_error="continue", **HERE)
    assert not run.ok and run.status["fill"]["failed"] == 1


def test_what_is_stopped_or_held_back_is_none_of_that(tmp_path: Path) -> None:
    live: list[weft.Run] = []
    there = threading.Event()

    def stop(event: Any) -> None:
        if event.kind == "job-ended":
            there.wait(30)
            live[0].cancel()

    live.append(PIPELINE.run({"x": range(9)}, observers=stop, wait=False, block_size=1, **HERE))
    there.set()
    assert live[0].wait(30).status["total"]["done"] == 0

    BAD.update({2, 3})
    given = {"run_dir": tmp_path / "run", "block_size": 1, **HERE}
    run = PIPELINE.run({"x": [1, 2, 3, 4]}, on_error="continue", **given)
    assert not run.ok
    BAD.remove(2)
    run = run.retry("made", i=1, **HERE)
    assert (
        run.status["made"]["done"] == 3
        and run.status["after"]["done"] == 3
        and run.status["total"]["done"] == 0
    )


@pytest.mark.parametrize("rates", [[1], [1, 2, 3]])
def test_rows_that_grow_do_not_keep_the_blocks_of_the_first(rates: list[int], tmp_path: Path) -> None:
    fill = weft.step("c", mapspec="k[k] -> c[k, j?]", name="fill")(
        lambda state, round, k: np.arange(k * 10**round - 1)
    )
    each = weft.step("d", mapspec="c[k, j] -> d[k, j]", name="each")(lambda c: c)
    gather = weft.step("new", name="gather")(lambda d, state: state + np.ma.count(d))
    loop = weft.Loop([fill, each, gather], n_iterations=5, name="round", carry={"state": "new"})
    run = weft.Pipeline([loop]).run({"state": 0, "k": rates}, run_dir=tmp_path / "run", **HERE)
    cells = sum(k * 10**round - 1 for k in rates for round in range(5))
    assert run.status["each"]["done"] == cells
    # A file for each iteration, and for a thousand cells; blocks of the first row would be some of a cell.
    assert len(run.attempts("each")) <= 5 + 3 * 10**4 // 300 + 5
