from __future__ import annotations

import json
import logging
import os
import pty
import select
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import pytest

import weft
from weft.contracts import Event
from weft.views.progress import Lines, Progress, display_here, observer_for
from weft.views.tally import Tally

STARTED = Event("run-started", 100.0, "", {"name": "demo", "path": None, "steps": ["f", "g"]})


def count(done: int = 0, failed: int = 0, blocked: int = 0, total: int | None = 10) -> dict[str, object]:
    return {"done": done, "failed": failed, "blocked": blocked, "total": total, "seconds": 0.0}


def failure(n: int) -> Event:
    return Event(
        "element-failed",
        101.0,
        "f",
        {"message": f"step 'f' failed at i={n}\nmore", "traceback": f"Traceback {n}"},
    )


@pytest.fixture
def unconfigured(monkeypatch: pytest.MonkeyPatch) -> None:
    """No handlers of log lines, as in a script that sets none up; pytest has its own."""
    monkeypatch.setattr(logging.Logger, "hasHandlers", lambda self: False)


def test_lines_tell_start_progress_failures_and_end(
    unconfigured: None, capsys: pytest.CaptureFixture[str]
) -> None:
    tally, lines = Tally(), Lines()
    tally(STARTED)
    lines.show(tally, 100.0)
    tally(Event("job-sent", 100.0, "f", {"n": 5, "token": "t"}))
    data = {"n": 5, "seconds": 1.0, "worker": "h:1", "token": "t", "counts": {"f": count(4, 1)}}
    tally(Event("job-ended", 105.0, "f", data))
    tally(failure(3))
    for now in (105.0, 106.0, 109.0, 110.0, 111.0):
        tally.sample(now)
        lines.show(tally, now)
    tally(Event("run-ended", 112.0, "", {"counts": {"f": count(9, 1), "g": count(0, 0, 2, 2)}}))
    lines.show(tally, 112.0, ended=True)
    told = [line[9:] for line in capsys.readouterr().err.splitlines() if line[:2].isdigit()]
    assert told == [
        "demo: 2 steps in memory: f, g",
        "Traceback 3",
        "step 'f' failed at i=3",
        "demo: f 4/10 (1 failed) 0.5/s 00:10 left",
        "demo: ended after 12.0 s: f 9 done, 1 failed; g 0 done, 2 blocked",
    ]


def test_it_is_told_that_nothing_had_to_run(
    unconfigured: None, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pipe = weft.Pipeline([weft.step("y", mapspec="x[i] -> y[i]")(lambda x: x)], name="demo")
    for told in (False, True):
        pipe.run({"x": [1, 2]}, run_dir=tmp_path / "run", backend="sequential", progress=True)
        assert (" s, nothing had to run: y 2 done" in capsys.readouterr().err) is told


def test_lines_show_the_first_traceback_and_ten_failures(
    unconfigured: None, capsys: pytest.CaptureFixture[str]
) -> None:
    tally, lines = Tally(), Lines()
    tally(STARTED)
    for n in range(30):
        tally(failure(n))
        lines.show(tally, 101.0)
    text = capsys.readouterr().err
    assert text.count("Traceback") == 1 and "Traceback 0" in text
    assert text.count("failed at") == 10 and text.count("more elements fail") == 1


def test_lines_go_to_the_logger_where_there_is_one(caplog: pytest.LogCaptureFixture) -> None:
    tally = Tally()
    tally(STARTED)
    with caplog.at_level(logging.INFO, "weft"):
        Lines().show(tally, 100.0)
    assert caplog.messages == ["demo: 2 steps in memory: f, g"]


class Recorder:
    """A display that says what was asked of it."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.refreshed = threading.Event()

    def show(self, tally: Tally, now: float, ended: bool = False) -> None:
        self.calls.append("end" if ended else "show")
        if len(self.calls) > 1:
            self.refreshed.set()


def test_a_display_is_kept_fresh_without_events() -> None:
    shown = Recorder()
    progress = Progress(0.0, shown)
    progress(STARTED)
    assert shown.refreshed.wait(10)
    progress(Event("run-ended", 101.0, "", {"counts": {}}))
    progress.close()
    assert shown.calls[0] == "show" and shown.calls[-1] == "end" and shown.calls.count("end") == 1


def test_auto_shows_nothing_of_a_short_run() -> None:
    shown = Recorder()
    progress = Progress(60.0, shown)
    progress(STARTED)
    for n in range(1000):
        progress(failure(n))
    progress(Event("run-ended", 101.0, "", {"counts": {}}))
    assert shown.calls == []


def test_a_run_that_never_started_closes() -> None:
    Progress(0.0, Recorder()).close()


def test_options() -> None:
    assert observer_for(False) is None
    assert isinstance(observer_for("auto"), Progress) and isinstance(observer_for(True), Progress)
    with pytest.raises(weft.InvalidInput, match="progress is True, False or 'auto'"):
        observer_for("yes")


QUICK = """
import sys, weft
step = weft.step("y", mapspec="x[i] -> y[i]")(lambda x: x)
step.run({"x": [1, 2, 3]}, progress="auto", backend="sequential")
print("rich" in sys.modules)
"""

LIVE = """
import threading, weft
@weft.step("y", mapspec="x[i] -> y[i]")
def slow(x):
    if x == 3:
        raise ValueError("three")
    return x
@weft.step("z", mapspec="y[i] -> z[i]")
def after(y):
    print("said by a function")
    return y
pipe = weft.Pipeline([slow, after], name="demo")
pipe.run({"x": list(range(20))}, progress=True, backend="sequential", on_error="continue")
print("THE END")
"""


def test_a_quick_run_neither_shows_nor_imports_anything() -> None:
    told = subprocess.run(
        [sys.executable, "-c", QUICK], capture_output=True, text=True, timeout=60, check=True
    )
    assert told.stdout == "False\n" and told.stderr == ""


def on_terminal(code: str) -> str:
    """What a terminal gets from a program."""
    mine, its = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}
    child = subprocess.Popen([sys.executable, "-c", code], stdin=its, stdout=its, stderr=its, env=environment)
    os.close(its)
    seen = b""
    deadline = time.monotonic() + 60
    try:
        while time.monotonic() < deadline:
            if not select.select([mine], [], [], 1)[0]:
                continue
            try:
                part = os.read(mine, 1 << 16)
            except OSError:
                break
            if not part:
                break
            seen += part
    finally:
        child.kill()
        child.wait()
        os.close(mine)
    return seen.decode()


def test_a_terminal_gets_a_live_table() -> None:
    text = on_terminal(LIVE)
    assert "\x1b[" in text
    assert "19/20" in text and "1 failed" in text and "1 blocked" in text
    assert "ValueError: three" in text and "Traceback" in text
    assert "said by a function" in text and "THE END" in text


def test_a_notebook_gets_a_table_that_is_updated(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []

    class Handle:
        def update(self, page: str) -> None:
            shown.append(page)

    def display(page: str, display_id: bool) -> Handle:
        shown.append(page)
        return Handle()

    part = types.SimpleNamespace(display=display, HTML=str)
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: 1, display=part))  # type: ignore[misc]
    monkeypatch.setitem(sys.modules, "IPython.display", part)  # type: ignore[misc]
    tally, here = Tally(), display_here()
    tally(STARTED)
    here.show(tally, 100.0)
    tally(failure(1))
    here.show(tally, 101.0)
    tally(Event("run-ended", 112.0, "", {"counts": {"f": count(9, 1), "g": count(2, total=2)}}))
    here.show(tally, 112.0, ended=True)
    assert shown[0].startswith("<pre>") and "demo" in shown[0]
    assert "Traceback 1" in shown[1]
    assert "9/10" in shown[2] and "1 failed" in shown[2]


def test_a_live_run_is_followed_by_observers_beside_it(tmp_path: Path) -> None:
    events: list[Event] = []
    step = weft.step("y", mapspec="x[i] -> y[i]")(lambda x: x)
    step.run({"x": [1, 2]}, run_dir=tmp_path / "run", observers=[events.append], progress=False)
    kinds = [event.kind for event in events]
    assert kinds[0] == "run-started" and kinds[-1] == "run-ended"
    assert json.dumps([event.data for event in events], default=str)


def test_counts_in_events_never_exceed_what_there_is() -> None:
    events: list[Event] = []

    def fails(x: int) -> int:
        if x == 13:
            raise ValueError
        return x

    step = weft.step("y", mapspec="x[i] -> y[i]")(fails)
    with pytest.raises(weft.StepError):
        step.run({"x": [12, 13]}, observers=[events.append], backend="sequential", progress=False)
    found = [c for e in events for c in e.data.get("counts", {}).values() if c["total"] is not None]
    assert found and all(c["done"] + c["failed"] + c["blocked"] <= c["total"] for c in found)
