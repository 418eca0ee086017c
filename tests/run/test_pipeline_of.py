"""``run.pipeline``: what made a run, also of one that was opened from disk."""

from __future__ import annotations

from pathlib import Path

import pytest

import weft


def half(x: float, k: float) -> float:
    return x / 2 + k


def test_a_run_knows_its_pipeline_along_its_sweep(tmp_path: Path) -> None:
    pipeline = weft.Pipeline([weft.step("y", mapspec="x[i] -> y[i]")(half)], name="halves")
    run = pipeline.run({"x": [2, 4]}, sweep=weft.grid(k=[0, 1]), run_dir=tmp_path / "run", progress=False)
    assert str(run.pipeline.steps["half"].spec) == "x[i], k[k] -> y[k, i]"
    opened = weft.open_run(tmp_path / "run")
    assert opened.pipeline.name == "halves"
    again = opened.pipeline(x=[8], k=[10.0])
    assert again["y"].tolist() == [[14.0]]


def test_the_functions_of_an_untrusted_run_are_not_loaded(tmp_path: Path) -> None:
    weft.step("y", mapspec="x[i] -> y[i]")(half).run(
        {"x": [2], "k": 1}, run_dir=tmp_path / "run", progress=False
    )
    with pytest.raises(weft.UnsafePayload):
        _ = weft.open_run(tmp_path / "run", trust=False).pipeline
