"""A real run of two processes, killed a hundred times: its driver or the whole group, at every phase."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from tests.crash import killable
from tests.crash.drivers import DEADLINE, Drivers
from tests.crash.phases import AFTER, BEFORE, KINDS, NAMED, PHASES, SYNCED, WRITING, WRITTEN, alive

import weft
from weft.errors import InvalidInput, StoreError

pytestmark = [pytest.mark.crash, pytest.mark.slow, pytest.mark.timeout(300)]

ONCE = (
    BEFORE,
    WRITING,
    WRITTEN,
    SYNCED,
    NAMED,
)  # of a file that is made once: each but the last leaves it unmade
ALL = (*ONCE, AFTER)
N = 300
GROWN = 10  # values that a growth adds


class Killer(Drivers):
    """Kills drivers of the study at points of the protocol, and counts at which."""

    def __init__(self, folder: Path) -> None:
        self.counts = folder / "counts"
        self.counts.mkdir()
        super().__init__(folder, "tests.crash.killable", {"WEFT_TEST_COUNTS": str(self.counts)})
        self.killed: Counter[tuple[str, str, str]] = Counter()
        self.slowest_orphan = 0.0

    def finish(self, run_dir: Path, n: int) -> None:
        self.control.order("none", -1)
        self.start(run_dir=str(run_dir), n=n)
        self.check_success()

    def kill_at(self, run_dir: Path, n: int, kind: str, phase: int, group: bool, skip: int = 0) -> bool:
        """Kill at a point of the protocol; False if the run came to its end without reaching it."""
        self.control.order(kind, phase, skip)
        driver = self.start(run_dir=str(run_dir), n=n)
        if not self.reach(lambda: self.control.waiting, (kind, PHASES[phase])):
            return False
        self.killed["group" if group else "driver", kind, PHASES[phase]] += 1
        self._killed(driver, group)
        return True

    def kill_after(self, run_dir: Path, n: int, seconds: float, group: bool) -> bool:
        """Kill at any moment; False if the run had ended."""
        self.control.order("none", -1)
        driver = self.start(run_dir=str(run_dir), n=n)
        over = time.monotonic() + seconds
        if not self.reach(lambda: time.monotonic() > over, seconds):
            return False
        for _, (kind, phase) in self.control.phases().items():
            self.killed["random, each process", kind, phase] += 1
        self._killed(driver, group)
        return True

    def _killed(self, driver: int, group: bool) -> None:
        self.kill(driver, group)
        killed = time.monotonic()
        self.wait_for_workers()
        self.slowest_orphan = max(self.slowest_orphan, time.monotonic() - killed)

    def executions(self) -> dict[int, int]:
        return {int(path.name): path.stat().st_size for path in self.counts.iterdir()}

    def report(self, seconds: float) -> None:
        print(f"\n{len(self.killed)} points, {seconds:.0f} s, slowest orphan {self.slowest_orphan:.1f} s")
        for who in ("driver", "group", "random, each process"):
            for kind in KINDS:
                hit = {p: n for (w, k, p), n in sorted(self.killed.items()) if (w, k) == (who, kind)}
                if hit:
                    print(f"  {who:20} {kind:8} " + ", ".join(f"{p}: {n}" for p, n in hit.items()))


class Watched:
    """A study over its kills: what it shows must be right, what it committed is never made again."""

    def __init__(self, killer: Killer, run_dir: Path, right: Any) -> None:
        self.killer, self.run_dir, self.right = killer, run_dir, right
        self.n = N
        self.kept: dict[int, int] = {}
        self.kills = 0

    def look(self) -> None:
        """Read it as it is now."""
        try:
            run = weft.open_run(self.run_dir)
        except (InvalidInput, StoreError) as error:
            assert "holds no run" in str(error) or "never started" in str(error), error
            assert not self.kept
            return
        shown = run.get("y", missing="mask")
        done = np.flatnonzero(~np.ma.getmaskarray(shown))
        assert np.ma.getdata(shown)[done].tobytes() == self.right[done].tobytes()
        whole = run.get("s", missing="mask")
        assert whole is np.ma.masked or whole == float(self.right[: len(shown)].sum())
        counts = self.killer.executions()
        assert self.kept.items() <= counts.items(), "committed elements were executed again"
        assert all(count <= 1 + self.kills for count in counts.values())
        assert set(self.kept) <= set(done.tolist()), "committed elements are gone"
        self.kept = {i: counts[i] for i in done.tolist()}

    def kill(self, kind: str, phase: int, group: bool, skip: int = 0) -> None:
        """One kill at a point; where nothing is left to do, the study grows until there is."""
        self.kills += 1
        if not self.killer.kill_at(self.run_dir, self.n, kind, phase, group, skip):
            self.n += GROWN
            assert self.killer.kill_at(self.run_dir, self.n, kind, phase, group), (kind, PHASES[phase])
        self.look()


@pytest.fixture
def killer(tmp_path: Path) -> Iterator[Killer]:
    made = Killer(tmp_path)
    yield made
    made.close()


def plan(group: bool, random: Random) -> Iterator[tuple[str, int, int]]:
    """Each point in an order in which each is reached, and how many such points to pass before."""
    for kind in ("run", "inputs", "code", "changes", "grid"):
        for phase in ONCE:
            yield kind, phase, 0
    commits = [(phase, skip) for phase in ALL for skip in (0, 3)] + [(p, 1) for p in (NAMED, SYNCED)]
    random.shuffle(commits)
    for phase, skip in commits:
        yield "commit", phase, skip
    if group:
        for phase in (BEFORE, SYNCED, NAMED):
            yield "lease", phase, 0


def test_a_hundred_kills(
    killer: Killer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    random = Random(5)
    begun = time.monotonic()
    most = N + 60 * GROWN
    aside = tmp_path / "aside"
    aside.mkdir()
    monkeypatch.setenv("WEFT_TEST_COUNTS", str(aside))
    whole = killable.PIPE.run(
        {"x": list(range(most)), **killable.INPUTS},
        run_dir=tmp_path / "whole",
        backend="sequential",
        seed=3,
        progress=False,
    )
    right = whole["y"]
    for group in (False, True):
        study = Watched(killer, tmp_path / ("group" if group else "driver"), right)
        for path in killer.counts.iterdir():
            path.unlink()
        for kind, phase, skip in plan(group, random):
            study.kill(kind, phase, group, skip)
        for phase in ALL:  # of a study that grows
            for kind in ("inputs", "changes")[: 2 if group else 1]:
                study.n += GROWN
                study.kill(kind, phase, group)
        while study.kills < 60:
            study.kills += killer.kill_after(study.run_dir, study.n, random.uniform(0.02, 0.7), group)
            study.look()
            study.n += GROWN
        killer.finish(study.run_dir, study.n)
        study.look()
        assert len(study.kept) == study.n
        finished = weft.open_run(study.run_dir)
        assert finished["y"].tobytes() == right[: study.n].tobytes()
        assert finished["s"] == float(right[: study.n].sum())
    assert sum(n for (who, _, _), n in killer.killed.items() if who != "random, each process") >= 80
    for who in ("driver", "group"):
        for kind in ("run", "inputs", "code", "changes", "grid", "commit"):
            for phase in ALL if kind in ("inputs", "commit") else ONCE:
                assert killer.killed[who, kind, PHASES[phase]], (who, kind, PHASES[phase])
    with capsys.disabled():
        killer.report(time.monotonic() - begun)


ORPHANS = """
import os, sys, time, weft
from pathlib import Path
folder = Path(sys.argv[1])
def waiting(x, folder):
    Path(folder, str(os.getpid())).touch()
    while not Path(folder, "go").exists():
        time.sleep(0.005)
    return x
if __name__ == "__main__":
    weft.step("y", mapspec="x[i] -> y[i]")(waiting).run(
        {"x": [1, 2], "folder": str(folder)}, run_dir=folder / "run", backend=sys.argv[2], n_jobs=2,
        block_size=1, progress=False)
"""


@pytest.mark.parametrize("backend", ["loky", "process_pool"])
def test_orphans_commit_what_they_have_and_end(tmp_path: Path, backend: str) -> None:
    """In the midst of an element, which they finish first."""
    script = tmp_path / "script.py"
    script.write_text(ORPHANS)
    driver = subprocess.Popen([sys.executable, str(script), str(tmp_path), backend])
    workers: list[int] = []
    over = time.monotonic() + DEADLINE
    while len(workers) < 2:
        assert time.monotonic() < over and driver.poll() is None
        time.sleep(0.005)
        workers = [int(path.name) for path in tmp_path.iterdir() if path.name.isdigit()]
    driver.kill()
    driver.wait(DEADLINE)
    assert all(alive(pid) for pid in workers)
    (tmp_path / "go").touch()
    over = time.monotonic() + DEADLINE
    while left := [pid for pid in workers if alive(pid)]:
        assert time.monotonic() < over, left
        time.sleep(0.005)
    assert weft.open_run(tmp_path / "run")["y"].tolist() == [1, 2]
