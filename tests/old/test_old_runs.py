"""Runs that earlier versions of weft wrote: they open, they are right, and they go on where they were."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from tests.old.study import INPUTS, pipeline

import weft

KEPT = sorted(Path(__file__).parent.glob("run-*.zip"))

Y = [[3.0, 12.0], [1.0, 4.0], [4.0, 16.0], [1.0, 4.0], [5.0, 20.0]]
PARTS = [[3, {"a": None}], [1, {"b": None}], [4, {"c": None}], None, [5, {"e": None}]]


def test_there_is_a_run_of_this_version() -> None:
    assert any(path.name == f"run-{weft.__version__}.zip" for path in KEPT)


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_an_old_run_opens(path: Path) -> None:
    run = weft.open_run(path)
    assert run["y"].tolist() == Y
    assert run["mean"].tolist() == [7.5, 2.5, 10.0, 2.5, 12.5]
    assert run["best"] == 4
    assert run["noise"].dtype == np.float64
    assert len(set(run["noise"].tolist())) == 5  # the second 1 is an element of its own
    assert run.get("label", missing=None).tolist() == ["aaa", "b", "cccc", None, "eeeee"]
    assert run.get("parts", missing=None).tolist() == PARTS
    assert not run.ok
    assert [(error.step, error.index) for error in run.errors] == [("labelled", {"i": 3})]
    assert run.inputs["settings"] == INPUTS["settings"]
    assert run.seed == 7
    assert [row["reason"] for row in run.history()] == ["start", "growth"]
    assert not run.verify()


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_an_old_run_goes_on(path: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path)
    run_dir = next(found.parent for found in tmp_path.rglob("run.json"))
    before = weft.open_run(run_dir)["noise"].tolist()
    sent: list[str] = []
    run = pipeline.run(
        INPUTS, run_dir=run_dir, backend="sequential", progress=False, on_error="continue",
        observers=[lambda event: sent.append(event.step) if event.kind == "job-sent" else None],
    )  # fmt: skip
    assert set(sent) == {"labelled"}  # the failed element, and nothing else
    assert run["noise"].tolist() == before
    grown = {**INPUTS, "w": np.array([0.5, 2.0, 3.0])}
    run = pipeline.run(grown, run_dir=run_dir, backend="sequential", progress=False, on_error="continue")
    assert run["y"][:, 2].tolist() == [18.0, 6.0, 24.0, 6.0, 30.0]
    assert run["best"] == 4
