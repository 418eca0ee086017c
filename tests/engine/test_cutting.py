"""Elements that turn slow in the middle of a block: commits come on time, and a wish to stop is heard."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

import weft

QUICK = 5_000
moment = threading.Event()


def turns_slow(x: int) -> int:
    if x >= QUICK:
        moment.wait(0.25)
        if x == QUICK + 4:
            raise ValueError("late")
    return x


def turns_slow_lazily(x: int, rng: np.random.Generator) -> int:
    return turns_slow(x)


class Numbers:
    """Read one by one, as a user's own sequence is."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, position: int) -> int:
        return position


@pytest.mark.parametrize("backend", ["sequential", "thread_pool"])
@pytest.mark.parametrize("where", ["memory", "files"])
@pytest.mark.parametrize("given", [range(16_000), Numbers(16_000)], ids=["range", "sequence"])
def test_a_failure_ends_a_chunk_that_turned_slow(
    backend: str, where: str, given: object, tmp_path: Path
) -> None:
    step = weft.step("y", mapspec="x[i] -> y[i]")(turns_slow)
    run_dir = tmp_path / "run" if where == "files" else None
    run = step.run(
        {"x": given}, run_dir=run_dir, backend=backend, n_jobs=2, block_size=16_000, wait=False,
        progress=False,
    )  # fmt: skip
    # Without an end of the chunk, the eleven thousand slow elements of the block would take most of an hour.
    with pytest.raises(weft.StepError) as failed:
        run.wait(timeout=30)
    assert failed.value.index == {"i": QUICK + 4}


def test_what_a_long_chunk_has_done_is_committed_on_time(tmp_path: Path) -> None:
    step = weft.step("y", mapspec="x[i] -> y[i]")(turns_slow)
    with pytest.raises(weft.StepError):
        step.run(
            {"x": range(16_000)}, run_dir=tmp_path / "run", backend="sequential", block_size=16_000,
            flush_seconds=0.3, progress=False,
        )  # fmt: skip
    attempts = weft.open_run(tmp_path / "run").attempts("turns_slow")
    assert sum(row["state"] == "done" for row in attempts) > 1
