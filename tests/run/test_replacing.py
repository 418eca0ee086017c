"""``on_change="replace"``: the old run is kept until the new one stands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import weft


def study(add: Callable[[int], int]) -> weft.Pipeline:
    return weft.Pipeline([weft.step("y", mapspec="x[i] -> y[i]", name="f")(add)])


def one(x: int) -> int:
    return x + 1


def two(x: int) -> int:
    return x + 2


def two_but_not_for_two(x: int) -> int:
    if x == 2:
        raise ValueError("not two")
    return x + 2


def folders(path: Path) -> set[str]:
    return {folder.name for folder in (path / "results" / "f").iterdir()}


def test_replaced_results_go_when_the_new_run_is_complete(tmp_path: Path) -> None:
    study(one).run({"x": [1, 2]}, run_dir=tmp_path / "run", progress=False)
    before = folders(tmp_path / "run")
    run = study(two).run({"x": [1, 2]}, run_dir=tmp_path / "run", on_change="replace", progress=False)
    assert run["y"].tolist() == [3, 4]
    assert len(folders(tmp_path / "run")) == 1
    assert not folders(tmp_path / "run") & before


def test_replaced_results_stay_while_the_new_run_is_not_complete(tmp_path: Path) -> None:
    path = tmp_path / "run"
    study(one).run({"x": [1, 2]}, run_dir=path, progress=False)
    before = folders(path)
    with pytest.raises(weft.StepError):
        study(two_but_not_for_two).run({"x": [1, 2]}, run_dir=path, on_change="replace", progress=False)
    assert before < folders(path)
    # Back to the first code: it is another change, and a run again from the first element.
    study(two).run({"x": [1, 2]}, run_dir=path, on_change="rerun", progress=False)
    assert weft.open_run(path)["y"].tolist() == [3, 4]
    assert not before & folders(path)


def test_results_that_were_rerun_stay_until_gc(tmp_path: Path) -> None:
    path = tmp_path / "run"
    study(one).run({"x": [1, 2]}, run_dir=path, progress=False)
    study(two).run({"x": [1, 2]}, run_dir=path, on_change="rerun", progress=False)
    assert len(folders(path)) == 2
    weft.open_run(path).gc()
    assert len(folders(path)) == 1
