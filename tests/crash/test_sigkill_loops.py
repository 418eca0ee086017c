"""Loops, ragged rows, a reduction, a stream and a cache under SIGKILL: of drivers, groups and workers."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from tests.crash import killable_loops as killable
from tests.crash.drivers import DEADLINE, Drivers
from tests.crash.phases import AFTER, BEFORE, NAMED, SYNCED, WRITING, WRITTEN

import weft
from weft.errors import InvalidInput, StoreError
from weft.store.cache import Cache
from weft.store.commits import STATES
from weft.testing import Calls

pytestmark = [pytest.mark.crash, pytest.mark.slow, pytest.mark.timeout(180)]

MOMENTS = [  # both of is_enough end their loops
    "grown 1 2", "powered 0 0 1", "stream 3", "cached 13", "longer 2 1", "is_enough 1 4", "celled 2 4",
    "update 10", "grown 0 5", "letters", "is_enough 0 5", "all",
]  # fmt: skip
TIMED = {"stages", "stamps"}  # of a stream: seconds, and when files were written


def exact(value: Any) -> Any:
    """A value with its types and all its bits, to be compared."""
    if value is np.ma.masked:
        return None
    if isinstance(value, np.generic):
        return (value.dtype.str, value.tobytes())
    if isinstance(value, np.ndarray):
        holes = np.ma.getmaskarray(value).ravel()
        cells = np.ma.getdata(value).ravel()
        return (
            value.dtype.str,
            value.shape,
            [None if hole else exact(cell) for cell, hole in zip(cells, holes, strict=True)],
        )
    if isinstance(value, list | tuple):
        return (type(value).__name__, [exact(v) for v in value])
    if isinstance(value, dict):
        return {key: exact(v) for key, v in value.items()}
    return (type(value).__name__, value.hex() if isinstance(value, float) else value)


def states(run: weft.Run) -> dict[str, dict[tuple[int, ...], str]]:
    """The state of each element of each step; in one survey, for fifteen tables take half a second."""
    survey = run._survey()
    found: dict[str, dict[tuple[int, ...], str]] = {}
    for step in survey.study.graph.order:
        found[step.name] = {}
        for at, state in survey.elements(step.name):
            places = zip(*(at[axis].tolist() for axis in step.axes), strict=True) if step.axes else [()]
            found[step.name] |= zip(places, (STATES[s] for s in state.tolist()), strict=True)
    return found


@dataclass
class Whole:
    """The study without any interruption."""

    out: Path
    results: dict[str, Any]
    states: dict[str, Any]
    calls: Counter[str]
    files: dict[str, str]

    def check_complete(self, run: weft.Run) -> None:
        assert run.ok
        assert states(run) == self.states
        for name, value in self.results.items():
            assert exact(run[name]) == exact(value), name
        assert contents(self.out) == self.files

    def check_part(self, run: weft.Run) -> None:
        """What is there of an unfinished run is right."""
        for name, right in self.results.items():
            found = run.get(name, missing="mask")
            if found is np.ma.masked:
                continue
            if not isinstance(found, np.ndarray):
                assert exact(found) == exact(right), name
                continue
            holes = np.ma.getmaskarray(found)
            for place in zip(*np.nonzero(~holes), strict=True):
                assert exact(_plain(found[place])) == exact(_plain(right[place])), (name, place)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    folder = tmp_path_factory.mktemp("whole")
    out = folder / "out"
    out.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(folder, out).items():
            patch.setenv(name, value)
        run = killable.study().run(
            killable.INPUTS, run_dir=folder / "run", backend="sequential", **killable.GIVEN
        )
        calls = Counter(Calls(folder / "calls").made())
    results = {name: run[name] for name in run if name not in TIMED}
    return Whole(out, results, states(run), calls, contents(out))


def environment(folder: Path, out: Path) -> dict[str, str]:
    return {
        killable.CALLS: str(folder / "calls"), killable.MOMENT: str(folder), killable.OUT: str(out),
        "WEFT_CACHE": str(folder / "cache"), "WEFT_CACHE_SIZE": "100M",
    }  # fmt: skip


class Study:
    """A study over its kills: what it shows must be right, what it committed is never made again."""

    def __init__(self, killer: Drivers, whole: Whole, folder: Path, backend: str) -> None:
        self.killer, self.whole, self.folder, self.backend = killer, whole, folder, backend
        folder.mkdir()
        for path in whole.out.iterdir():
            path.unlink()
        self.calls = Calls(folder / "calls")
        self.kept: dict[str, int] = {}
        self.kills = 0

    def look(self) -> None:
        """Read it as it is now."""
        try:
            run = weft.open_run(self.folder / "run")
        except (InvalidInput, StoreError) as error:
            assert "holds no run" in str(error) or "never started" in str(error), error
            assert not self.kept
            return
        self.whole.check_part(run)
        counts = Counter(self.calls.made())
        assert counts.keys() <= self.whole.calls.keys(), "what a loop skipped was executed"
        again = {call for call, count in self.kept.items() if counts[call] != count}
        assert not again, f"committed elements were executed again: {again}"
        for call, count in counts.items():
            assert count <= (1 + self.kills) * self.whole.calls[call], call
        done = set(self._cached())
        for step, elements in states(run).items():
            for at, state in elements.items():
                done |= set(killable.executions(step, at)) if state == "done" else set()
        assert self.kept.keys() <= done, "committed elements are gone"
        self.kept = {call: counts[call] for call in done}

    def _cached(self) -> Iterator[str]:
        """Executions whose results the cache has."""
        cache = Cache(str(self.folder / "cache"), 10**8)
        for file in cache.files():
            entry = cache.get("cached", Path(file.path).stem) if file.whole else None
            if entry is not None:
                yield f"cached {int(entry.columns[0].tolist()[0])}"

    def start(self) -> int:
        return self.killer.start(
            run_dir=str(self.folder / "run"), backend=self.backend,
            environment=environment(self.folder, self.whole.out),
        )  # fmt: skip

    def kill_at(self, moment: str, group: bool) -> bool:
        """Kill in the midst of an element; False if the run came to its end without it."""
        driver = self.start_to(moment)
        if driver is None:
            return False
        self._killed(driver, group)
        return True

    def start_to(self, moment: str) -> int | None:
        """Start a driver and wait until an element is under way; None if the run ended without it."""
        (self.folder / "wanted").write_text(moment)
        self.killer.control.order("none", -1)
        driver = self.start()
        if self.killer.reach(lambda: self.holder is not None, moment):
            return driver
        (self.folder / "wanted").unlink()
        return None

    def kill_at_disk(self, kind: str, phase: int, skip: int, group: bool) -> bool:
        """Kill at a point of the protocol; False if the run came to its end without reaching it."""
        self.killer.control.order(kind, phase, skip)
        driver = self.start()
        if not self.killer.reach(lambda: self.killer.control.waiting, (kind, phase)):
            return False
        self._killed(driver, group)
        return True

    def kill_after(self, seconds: float, group: bool) -> bool:
        """Kill at any moment; False if the run had ended."""
        self.killer.control.order("none", -1)
        driver = self.start()
        over = time.monotonic() + seconds
        if not self.killer.reach(lambda: time.monotonic() > over, seconds):
            return False
        self._killed(driver, group)
        return True

    @property
    def holder(self) -> int | None:
        """The process that is in the midst of the element that was asked for."""
        return next((int(path.name.partition("-")[2]) for path in self.folder.glob("reached-*")), None)

    def _killed(self, driver: int, group: bool) -> None:
        self.killer.kill(driver, group)
        self.kills += 1
        self.release()
        self.look()

    def release(self) -> None:
        """Let orphans go on, and end."""
        for path in self.folder.glob("reached-*"):
            path.unlink()
        self.killer.wait_for_workers()

    def finish(self) -> None:
        self.killer.control.order("none", -1)
        self.start()
        self.killer.check_success()
        self.check()

    def check(self) -> None:
        """It is complete, and all of it was executed."""
        self.look()
        self.whole.check_complete(weft.open_run(self.folder / "run"))
        assert Counter(self.calls.made()).keys() == self.whole.calls.keys()


@pytest.fixture
def killer(tmp_path: Path) -> Iterator[Drivers]:
    made = Drivers(tmp_path, "tests.crash.killable_loops")
    yield made
    made.close()


def plan(number: int, group: bool, random: Random) -> list[Callable[[Study], bool]]:
    """Moments of all kinds, shared out among four plans."""
    kills: list[Callable[[Study], bool]] = [
        partial(Study.kill_at, moment=moment, group=group) for moment in MOMENTS[number::4]
    ]
    phases = [(BEFORE, WRITTEN), (WRITING, NAMED), (SYNCED, AFTER), (WRITTEN, NAMED)][number]
    kills += [
        partial(Study.kill_at_disk, kind="commit", phase=phase, skip=random.randint(0, 9), group=group)
        for phase in phases
    ]
    kills.append(partial(Study.kill_after, seconds=random.uniform(0.3, 1.5), group=group))
    random.shuffle(kills)
    return kills


@pytest.mark.parametrize("group", [False, True])
@pytest.mark.parametrize("backend", ["loky", "process_pool"])
def test_killed_and_resumed(backend: str, group: bool, killer: Drivers, whole: Whole, tmp_path: Path) -> None:
    number = 2 * (backend == "loky") + group
    study = Study(killer, whole, tmp_path / "study0", backend)
    for place, kill in enumerate(plan(number, group, Random(number)), 1):
        if not kill(study):  # nothing was left to do
            study.check()
            study = Study(killer, whole, tmp_path / f"study{place}", backend)
            kill(study)
    study.finish()


@pytest.mark.parametrize("backend", ["loky", "process_pool"])
def test_another_driver_waits_for_the_first_and_never_for_its_orphans(
    backend: str, killer: Drivers, whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Study(killer, whole, tmp_path / "study", backend)
    for name, value in environment(study.folder, whole.out).items():
        monkeypatch.setenv(name, value)

    def drive() -> weft.Run:
        return killable.study().run(
            killable.INPUTS,
            run_dir=study.folder / "run",
            backend="sequential",
            block_size=2,
            **killable.GIVEN,
        )

    driver = study.start_to("is_enough 1 2")
    assert driver is not None
    before = study.calls.made()
    with pytest.raises(weft.RunLocked, match=f"process {driver} "):
        drive()
    with pytest.raises(weft.RunLocked, match=f"process {driver} "):
        weft.open_run(study.folder / "run").resume(progress=False)
    assert study.calls.made()[: len(before)] == before
    killer.kill(driver, group=False)
    study.kills += 1
    study.look()
    assert "is_enough 1 2" not in study.kept and study.holder is not None
    committed = dict(study.kept)
    whole.check_complete(drive())
    study.release()  # the orphan commits what was made meanwhile
    whole.check_complete(weft.open_run(study.folder / "run"))
    counts = Counter(study.calls.made())
    assert counts.keys() == whole.calls.keys()
    assert {call: counts[call] for call in committed} == committed
    assert counts["is_enough 1 2"] == 2


@pytest.mark.parametrize(
    ("backend", "moment", "deaths", "retries", "first"),
    [
        ("loky", "is_enough 1 2", 1, 0, ""),
        ("process_pool", "powered 2 1 2", 1, 0, ""),
        ("loky", "longer 1 2", 2, 1, "longer 0 2"),  # only the dead worker knows that rows are longer now
        ("process_pool", "grown 1 3", 2, 1, ""),
        ("loky", "powered 1 2 1", 2, 0, ""),
        ("process_pool", "is_enough 1 2", 2, 0, ""),
    ],
)
def test_a_worker_that_is_killed_in_the_body_of_a_loop(
    backend: str, moment: str, deaths: int, retries: int, first: str, whole: Whole, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The first death makes suspects, which run alone; from then on it is known whose death it is."""
    given = environment(tmp_path, whole.out)  # for workers too: warm ones have that of another test
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    calls = Calls(tmp_path / "calls")
    step, *where = moment.split()
    pipe = killable.study().subpipeline(["end", "last"])
    inputs = {name: killable.INPUTS[name] for name in ("v", "x")}

    def drive(**options: Any) -> weft.Run:
        return pipe.configure({step: {"retries": retries}}).run(
            inputs, run_dir=tmp_path / "run", backend=backend, n_jobs=2, block_size=3, flush_seconds=0.05,
            on_error="continue", initializer=killable.surround, initargs=(given,),
            **killable.GIVEN, **options,
        )  # fmt: skip

    def done() -> set[str]:
        found = states(weft.open_run(tmp_path / "run"))
        return {
            call
            for step, elements in found.items()
            for at, state in elements.items()
            if state == "done"
            for call in killable.executions(step, at)
        }

    (tmp_path / "wanted").write_text(moment)
    live = drive(wait=False)
    kept: dict[str, int] = {}
    for death in range(deaths):
        over = time.monotonic() + DEADLINE
        while not (holders := list(tmp_path.glob("reached-*"))) or (first and first not in done()):
            assert time.monotonic() < over and not live.ok
            time.sleep(0.002)
        committed, counts = done(), Counter(calls.made())
        kept |= {call: counts[call] for call in committed - kept.keys()}
        if death + 1 < deaths:
            (tmp_path / "wanted").write_text(moment)
        os.kill(int(holders[0].name.partition("-")[2]), signal.SIGKILL)
        holders[0].unlink()
    run = live.wait()
    counts = Counter(calls.made())
    assert {call: counts[call] for call in kept} == kept
    assert counts.keys() <= whole.calls.keys()
    assert counts[moment] == deaths + (retries >= deaths - 1)
    assert all(count <= 1 + deaths for count in counts.values())
    if retries < deaths - 1:
        (error,) = run.errors
        assert error.step == step and [*map(str, error.index.values())] == where
        assert "died" in error.message
        for name, elements in states(run).items():
            for at, state in elements.items():
                right = whole.states[name][at]
                assert state in (right, "failed" if (name, [*map(str, at)]) == (step, where) else "blocked")
                assert state == right or at[0] == int(where[0])
        run = drive()
    assert run.ok
    for name in ("v2", "enough", "mark", "y", "x2", "end", "last"):
        assert exact(run[name]) == exact(whole.results[name]), name
    assert {name: whole.states[name] for name in pipe.steps} == states(run)
