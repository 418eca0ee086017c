"""One driver at a time, judged by whether it lives or its lease changes, never by a clock on the wall."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import weft
import weft.store.fs
from weft.engine import lease
from weft.engine.lease import Lease
from weft.errors import RunLocked
from weft.testing.machine import simulated_disk

pytestmark = pytest.mark.crash

ROOT = Path(__file__).resolve().parents[2]
DEADLINE = 30.0

DRIVER = """
import sys, time, pathlib, weft
from weft.engine import lease
lease.BEAT = 0.2
folder = pathlib.Path(sys.argv[1])
def waiting(x):
    (folder / "runs").touch()
    while not (folder / "go").exists():
        time.sleep(0.005)
    return x
weft.step("y", mapspec="x[i] -> y[i]", version="1")(waiting).run(
    {"x": [1]}, run_dir=folder / "run", backend="sequential", progress=False)
"""

RACER = """
import sys
from weft.engine import lease
from weft.errors import RunLocked
from weft.store.fs import FileSystem
lease.BEAT, lease.PATIENCE = 0.05, 10.0
for line in sys.stdin:
    held = lease.Lease(line.strip(), FileSystem())
    try:
        held.take()
        print("won", flush=True)
        sys.stdin.readline()
        held.release()
        print("released", flush=True)
    except RunLocked:
        print("locked", flush=True)
"""


def script(text: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", text, *arguments],
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def study(**options: Any) -> weft.Run:
    step = weft.Step(lambda x: x, "y", mapspec="x[i] -> y[i]", name="waiting", version="1")
    return weft.Pipeline([step], name="waiting").run(
        {"x": [1]}, **{"backend": "sequential", "progress": False, **options}
    )


def until(path: Path) -> None:
    deadline = time.monotonic() + DEADLINE
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not come"
        time.sleep(0.005)


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A driver at work in another process; it ends when the file ``go`` is there."""
    process = script(DRIVER, str(tmp_path))
    try:
        until(tmp_path / "runs")
        yield process
    finally:
        process.kill()
        process.communicate()


def foreign(**changes: Any) -> bytes:
    """A lease of a driver that cannot be looked at."""
    record = {
        "token": "theirs",
        "beat": 0,
        "host": "elsewhere",
        "pid": os.getpid(),
        "born": "1",
        "boot": "",
        "status": {},
    }
    return json.dumps({**record, **changes}).encode()


def test_a_second_driver_is_kept_out_and_says_by_whom(tmp_path: Path, driver: subprocess.Popen[str]) -> None:
    with pytest.raises(RunLocked, match=f"process {driver.pid} on {platform.node()}"):
        study(run_dir=tmp_path / "run")
    assert not len(weft.open_run(tmp_path / "run").get("y", missing="mask").compressed())
    (tmp_path / "go").touch()
    assert driver.wait(DEADLINE) == 0
    assert study(run_dir=tmp_path / "run")["y"].tolist() == [1]


def test_a_killed_driver_is_followed_at_once(
    tmp_path: Path, driver: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    driver.kill()
    driver.wait(DEADLINE)
    monkeypatch.setattr(Lease, "_changes", lambda *_: pytest.fail("a dead process is not waited for"))
    assert study(run_dir=tmp_path / "run")["y"].tolist() == [1]


class JumpingClock:
    """A wall clock that goes back and forth by years; the monotonic one is right."""

    monotonic = staticmethod(time.monotonic)

    def __init__(self) -> None:
        self.now = 0.0

    def time(self) -> float:
        self.now = -self.now + 1e9
        return self.now


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> float:
    monkeypatch.setattr(lease, "PATIENCE", 0.4)
    monkeypatch.setattr(lease, "time", JumpingClock())
    return 0.4


def test_a_lease_from_elsewhere_is_taken_when_it_does_not_change(patience: float) -> None:
    with simulated_disk():
        files = weft.store.fs.current()
        files.write_new("/sim/lease.json", [foreign()])
        begun = time.monotonic()
        held = Lease("/sim", files).take()
        assert time.monotonic() - begun >= patience, "it must be watched before it is called dead"
        assert json.loads(files.read("/sim/lease.json"))["token"] == held.token
        held.release()
        assert files.listdir("/sim") == []


def test_a_lease_from_elsewhere_that_changes_is_alive(patience: float) -> None:
    with simulated_disk():
        files = weft.store.fs.current()
        files.write_new("/sim/lease.json", [foreign()])
        over = threading.Event()

        def beat() -> None:
            number = 0
            while not over.wait(0.02):
                number += 1
                files.replace("/sim/lease.json", foreign(beat=number))

        beating = threading.Thread(target=beat)
        beating.start()
        try:
            with pytest.raises(RunLocked, match="on elsewhere"):
                Lease("/sim", files).take()
        finally:
            over.set()
            beating.join()


@pytest.mark.parametrize("content", [b"", b"\0\0\0\0", foreign()[:40]], ids=["empty", "zeros", "cut"])
def test_a_lease_that_a_loss_of_power_damaged_is_dead(patience: float, content: bytes) -> None:
    with simulated_disk():
        files = weft.store.fs.current()
        files.write_new("/sim/lease.json", [content])
        held = Lease("/sim", files).take()
        assert json.loads(files.read("/sim/lease.json"))["token"] == held.token
        held.release()


def test_of_two_processes_that_race_for_a_dead_lease_one_wins(tmp_path: Path) -> None:
    dead = {"host": platform.node(), "boot": lease._boot(), "born": "0"}
    racers = [script(RACER), script(RACER)]
    try:
        for number in range(12):
            folder = tmp_path / str(number)
            folder.mkdir()
            (folder / "lease.json").write_bytes(foreign(**dead))
            for racer in racers:
                tell(racer, str(folder))
            answers = [hear(racer) for racer in racers]
            assert sorted(answers) == ["locked", "won"]
            winner = racers[answers.index("won")]
            tell(winner, "")
            assert hear(winner) == "released"
            assert list(folder.iterdir()) == []
    finally:
        for racer in racers:
            racer.kill()
            racer.communicate()


def tell(racer: subprocess.Popen[str], line: str) -> None:
    assert racer.stdin is not None
    racer.stdin.write(line + "\n")
    racer.stdin.flush()


def hear(racer: subprocess.Popen[str]) -> str:
    assert racer.stdout is not None
    return racer.stdout.readline().strip()
