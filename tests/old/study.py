"""The study of which every released version of weft keeps a run among the tests; see test_old_runs.py."""

from __future__ import annotations

from typing import Any

import numpy as np

import weft

INPUTS: dict[str, Any] = {
    "x": [3, 1, 4, 1, 5],
    "w": np.array([0.5, 2.0]),
    "names": ["a", "b", "c", "d", "e"],
    "settings": {"scale": 2, "tags": ("old", {"run"})},
}


@weft.step("y", mapspec="x[i], w[j] -> y[i, j]")
def scaled(x: int, w: float, settings: dict[str, Any]) -> float:
    return float(x * w * settings["scale"])


@weft.step(("label", "parts"), mapspec="names[i], x[i] -> label[i], parts[i]")
def labelled(names: str, x: int) -> tuple[str, list[Any]]:
    if names == "d":
        raise ValueError("no label for d")
    return names * x, [x, {names: None}]


@weft.step("noise", mapspec="x[i] -> noise[i]")
def noisy(x: int, rng: np.random.Generator) -> float:
    return float(rng.normal())


@weft.step("mean", mapspec="y[i, :] -> mean[i]")
def averaged(y: Any) -> float:
    return float(y.mean())


@weft.step("best")
def best(mean: Any) -> int:
    return int(mean.argmax())


pipeline = weft.Pipeline([scaled, labelled, noisy, averaged, best], name="old")


def make(path: str) -> None:
    """Make the run as it is kept: begun with three elements, grown, with a failure, and archived."""
    begun = {**INPUTS, "x": INPUTS["x"][:3], "names": INPUTS["names"][:3]}
    pipeline.run(begun, run_dir=f"{path}/run", backend="sequential", progress=False, seed=7)
    run = pipeline.run(
        INPUTS, run_dir=f"{path}/run", backend="sequential", progress=False, on_error="continue", block_size=2
    )
    run.archive(f"{path}/run-{weft.__version__}.zip")
