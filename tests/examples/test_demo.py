"""``weft demo``: killed on the way, resumed, counted."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import weft
from weft.cli import demo, demo_study


@pytest.mark.slow
@pytest.mark.crash
@pytest.mark.timeout(300)
def test_demo_is_killed_and_loses_nothing(
    tmp_path: Path, require: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    pandas = require("pandas")
    require("sklearn")
    require("matplotlib")
    directory = tmp_path / "demo"
    demo.main(str(directory))
    told = capsys.readouterr().out
    needed, executed = map(int, re.search(r"(\d+) fits needed, (\d+) executed", told).groups())  # type: ignore[union-attr]
    assert needed == demo_study.N_FITS <= executed
    assert executed == len((directory / "executions.txt").read_text().splitlines())
    assert (directory / "accuracy.png").read_bytes().startswith(b"\x89PNG")
    assert (directory / "mistakes.png").read_bytes().startswith(b"\x89PNG")
    assert len(pandas.read_csv(directory / "accuracy.csv")) == needed // demo_study.N_FOLDS
    run = weft.open_run(directory / "run")
    assert run.ok
    assert run["best"]["accuracy"] == run["accuracy"].max() > 0.95
    assert (
        len(list((directory / "run" / "events").iterdir())) == 2
    )  # the driver that died, and the one that went on


def every_fit() -> Counter[str]:
    return Counter(
        demo_study.line(C, gamma, fold)
        for C in demo_study.COSTS
        for gamma in demo_study.GAMMAS
        for fold in range(demo_study.N_FOLDS)
    )


def test_count_tells_what_was_in_flight() -> None:
    tally = every_fit()
    for line in list(tally)[10:13]:
        tally[line] += 1
    told = demo._count(list(tally)[:10], tally)
    assert f"{demo_study.N_FITS} fits needed, {demo_study.N_FITS + 3} executed" in told
    assert "only the 3 in flight" in told


def test_count_admits_a_lie() -> None:
    tally = every_fit()
    tally[next(iter(tally))] += 1
    with pytest.raises(weft.WeftError, match=r"1 safe fit\(s\) ran again"):
        demo._count(list(tally)[:10], tally)


def test_an_existing_directory_is_left_alone(tmp_path: Path) -> None:
    first = demo._new(str(tmp_path / "demo"))
    assert demo._new(str(tmp_path / "demo")) == f"{first}-2"


def test_without_the_extra_it_says_which(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(
        demo.importlib.util, "find_spec", lambda name: None if name == "sklearn" else object()
    )
    with pytest.raises(weft.BackendUnavailable, match=r"sklearn: pip install 'weft\[demo\]'"):
        demo.main(str(tmp_path / "demo"))
    assert not (tmp_path / "demo").exists()
