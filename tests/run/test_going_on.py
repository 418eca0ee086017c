"""Resume, retry, cancel and reset, in memory and in a directory."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import weft
from weft.engine.lease import Lease
from weft.store.fs import current

HERE = {"backend": "sequential", "progress": False}
BAD: set[int] = set()
CALLS: list[Any] = []


@weft.step("y", mapspec="x[i] -> y[i]")
def first(x: int, k: int = 1) -> int:
    CALLS.append(("first", x))
    if x in BAD:
        raise ValueError(f"bad {x}")
    return x + k


@weft.step("z", mapspec="y[i] -> z[i]")
def second(y: int) -> int:
    CALLS.append(("second", y))
    return 10 * y


@weft.step("s")
def third(z: Any) -> int:
    CALLS.append("third")
    return int(z.sum())


PIPELINE = weft.Pipeline([first, second, third], name="going")


@pytest.fixture(autouse=True)
def fresh() -> None:
    CALLS.clear()
    BAD.clear()


@pytest.fixture(params=["memory", "files"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return tmp_path / "run" if request.param == "files" else None


def started(place: Path | None, **options: Any) -> Any:
    return PIPELINE.run({"x": [0, 1, 2, 3]}, run_dir=place, **HERE, **options)


def test_resume_runs_what_is_open_or_failed(place: Path | None) -> None:
    BAD.update({1, 3})
    run = started(place, on_error="continue")
    BAD.clear()
    CALLS.clear()
    after = run.resume(**HERE)
    assert after.ok and run.ok
    assert run["s"] == after["s"] == 100
    assert sorted(CALLS, key=str) == sorted(
        [("first", 1), ("first", 3), ("second", 2), ("second", 4), "third"], key=str
    )


def test_resume_of_a_complete_run_does_nothing(place: Path | None) -> None:
    run = started(place)
    CALLS.clear()
    assert run.resume(**HERE).ok
    assert CALLS == []


def test_resume_takes_the_options_of_run(place: Path | None) -> None:
    seen: list[str] = []
    run = started(place, indices={"i": [0]})
    run.resume(indices={"i": [0, 1]}, observers=[lambda event: seen.append(event.kind)], **HERE)
    assert [row["state"] for row in run.elements("y")] == ["done", "done", "open", "open"]
    assert "run-started" in seen
    with pytest.raises(weft.InvalidInput, match="run_dir"):
        run.resume(run_dir="elsewhere")
    with pytest.raises(weft.InvalidInput, match="on_error"):
        run.resume(on_error="never")


def test_resume_raises_what_fails(place: Path | None) -> None:
    BAD.add(2)
    run = started(place, on_error="continue")
    with pytest.raises(weft.StepError, match="bad 2"):
        run.resume(**HERE)
    live = run.resume(wait=False, **HERE)
    with pytest.raises(weft.StepError, match="bad 2"):
        live.wait(20)


def test_resume_with_other_code(place: Path | None) -> None:
    BAD.add(2)
    run = started(place, on_error="continue")
    fixed = PIPELINE.replace(
        "first", weft.step("y", mapspec="x[i] -> y[i]", name="first")(lambda x, k=1: x + k)
    )
    if place is not None:
        with pytest.raises(weft.RunMismatch):
            run.resume(pipeline=fixed, **HERE)
    options = {"on_change": "keep"} if place is not None else {}
    CALLS.clear()
    assert run.resume(pipeline=fixed, **options, **HERE)["s"] == 100
    assert ("second", 1) not in CALLS


def test_resume_from_the_record_alone(tmp_path: Path) -> None:
    script = tmp_path / "study.py"
    script.write_text(
        "import os, sys, weft\n"
        "@weft.step('y', mapspec='x[i] -> y[i]')\n"
        "def f(x, k=2):\n"
        "    if x == 1 and not os.path.exists('fixed'):\n"
        "        raise ValueError('not yet')\n"
        "    return k * x\n"
        "if __name__ == '__main__':\n"
        "    here = {'backend': 'sequential', 'progress': False}\n"
        "    assert not f.run({'x': [0, 1, 2]}, run_dir='r', on_error='continue', **here).ok\n"
    )
    subprocess.run([sys.executable, str(script)], check=True, cwd=tmp_path, timeout=60)
    (tmp_path / "fixed").touch()
    more = "import weft; print(weft.open_run('r').resume(progress=False, n_jobs=1)['y'].tolist())"
    done = subprocess.run(
        [sys.executable, "-c", more], check=True, cwd=tmp_path, timeout=60, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[0, 2, 4]"


def test_resume_with_force_and_inputs_from_the_record(tmp_path: Path) -> None:
    PIPELINE.run({"x": [0, 1], "k": 5}, run_dir=tmp_path / "r", **HERE)
    before = time.time()
    run = weft.open_run(tmp_path / "r").resume(force="second+", **HERE)
    assert run["y"].tolist() == [5, 6]
    assert [run.attempts(step)[0]["started"] > before for step in ("first", "second")] == [False, True]


def test_in_memory_a_run_goes_on_as_it_is() -> None:
    with pytest.raises(weft.InvalidInput, match="'force' needs a new run"):
        started(None).resume(force="all")


def test_retry_runs_what_failed_and_what_it_blocked(place: Path | None) -> None:
    BAD.update({1, 3})
    run = started(place, on_error="continue")
    BAD.clear()
    CALLS.clear()
    after = run.retry("first", i=1, on_error="continue", **HERE)
    assert CALLS == [("first", 1), ("second", 2)]
    assert [row["state"] for row in after.elements("z")] == ["done", "done", "done", "blocked"]
    assert run.retry(**HERE).ok
    assert run["s"] == 100


def test_retry_leaves_what_never_ran(place: Path | None) -> None:
    BAD.add(0)
    run = started(place, on_error="continue", indices={"i": [0, 1]})
    BAD.clear()
    CALLS.clear()
    run.retry("y", sel={"x": 0}, **HERE)
    assert [row["state"] for row in run.elements("y")] == ["done", "done", "open", "open"]
    assert ("first", 2) not in CALLS


def test_retry_of_nothing_does_nothing(place: Path | None) -> None:
    run = started(place)
    CALLS.clear()
    assert run.retry(**HERE).ok
    assert CALLS == []
    with pytest.raises(weft.InvalidInput, match="no axis"):
        run.retry("first", q=1)


def test_reset_reopens_elements_and_what_follows(place: Path | None) -> None:
    run = started(place)
    run.reset("first", i=[1, 2])
    assert [row["state"] for row in run.elements("z")] == ["done", "open", "open", "done"]
    assert run.elements("s")[0]["state"] == "open"
    with pytest.raises(weft.MissingResult):
        run["s"]
    CALLS.clear()
    assert run.resume(**HERE)["s"] == 100
    # The sum's input is what it was, by its digest: it need not run again.
    assert sorted(CALLS) == [("first", 1), ("first", 2), ("second", 2), ("second", 3)]


def test_reset_of_a_later_step_leaves_the_earlier(place: Path | None) -> None:
    run = started(place)
    run.reset("z", sel={"x": 3})
    CALLS.clear()
    run.resume(**HERE)
    assert [c for c in CALLS if c != "third"] == [("second", 4)]


def test_reset_of_everything(place: Path | None) -> None:
    run = started(place)
    run.reset()
    assert all(row["done"] == 0 for row in run.status.values())
    CALLS.clear()
    assert run.resume(**HERE).ok
    assert len(CALLS) == 9


def test_reset_twice_reopens_again(place: Path | None) -> None:
    run = started(place)
    for _ in range(2):
        run.reset("y", i=0)
        assert run.elements("y", i=0)[0]["state"] == "open"
        assert run.resume(**HERE)["s"] == 100


def test_reset_under_a_driver_is_refused(tmp_path: Path) -> None:
    run = started(tmp_path / "r")
    lease = Lease(str(tmp_path / "r"), current()).take()
    try:
        with pytest.raises(weft.RunLocked):
            run.reset()
    finally:
        lease.release()
    assert run.ok


def test_cancel_stops_a_run_of_this_process() -> None:
    entered = threading.Event()

    @weft.step("y", mapspec="x[i] -> y[i]")
    def hold(x: int, ctx: weft.Context) -> int:
        entered.set()
        deadline = time.monotonic() + 20
        while not ctx.stop_requested and time.monotonic() < deadline:
            time.sleep(0.01)
        return x

    run = hold.run({"x": range(50)}, wait=False, block_size=1, **HERE)
    assert entered.wait(20)
    assert run.status.state == "running"
    assert not run.ok
    assert "running" in repr(run)
    with pytest.raises(weft.RunLocked):
        run.resume()
    assert run.cancel()
    run.wait(20)
    assert run.status["hold"]["done"] == 1
    assert not run.cancel()


def test_cancel_reaches_another_driver(tmp_path: Path) -> None:
    script = tmp_path / "study.py"
    script.write_text(
        "import time, weft\n"
        "@weft.step('y', mapspec='x[i] -> y[i]')\n"
        "def f(x):\n"
        "    print('in', flush=True)\n"
        "    time.sleep(0.05)\n"
        "    return x\n"
        "if __name__ == '__main__':\n"
        "    f.run({'x': range(2000)}, run_dir='r', backend='sequential', progress=False, block_size=1)\n"
    )
    driver = subprocess.Popen([sys.executable, str(script)], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    try:
        assert driver.stdout is not None
        assert driver.stdout.readline().strip() == "in"
        run = weft.open_run(tmp_path / "r")
        assert run.status.state == "running"
        assert run.cancel()
        driver.communicate(timeout=60)
        assert driver.returncode == 0
    finally:
        driver.kill()
        driver.wait()
    assert run.status.state == "open"
    assert 0 < run.status["f"]["done"] < 2000
    assert not list((tmp_path / "r" / "jobs").iterdir())


@pytest.mark.parametrize(("shared", "mode"), [(False, 0o700), (True, 0o770)])
def test_a_run_of_a_group_stays_one(shared: bool, mode: int, tmp_path: Path) -> None:
    def own(x: int, ctx: weft.Context) -> str:
        print("in", ctx.dir)
        return str(ctx.dir)

    pipe = weft.Pipeline([weft.step("y", mapspec="x[i] -> y[i]")(own)])
    options: dict[str, Any] = {"run_dir": tmp_path / "run", "progress": False, "n_jobs": 1}
    before = os.umask(0o007)
    try:
        run = pipe.run({"x": [1]}, shared=shared, **options)
        run = pipe.run({"x": [1, 2]}, **options)
        run = weft.open_run(tmp_path / "run").resume(
            pipeline=pipe.add(weft.step("z")(lambda y: len(y))), progress=False
        )
    finally:
        os.umask(before)
    assert all(stat.S_IMODE(os.stat(folder).st_mode) == mode for folder in run["y"])
    found = [tmp_path / "run", *(path for path in (tmp_path / "run").rglob("*") if path.is_dir())]
    assert {path.name for path in found} >= {"events", "logs", "z"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in found if path.name != "scratch"} == {mode}
