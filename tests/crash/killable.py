"""A study of two processes, made to be killed."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np
from tests.crash.drivers import install, serve

import weft


@weft.step("y", mapspec="x[i] -> y[i]", version="1")
def noisy(x: int, k: float, rng: np.random.Generator) -> float:
    """Leaves a mark each time that it is executed."""
    handle = os.open(f"{os.environ['WEFT_TEST_COUNTS']}/{x}", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.write(handle, b".")
    os.close(handle)
    time.sleep(0.0005)
    return k * x + float(rng.normal())


@weft.step("s", version="1", name="total")
def total(y: Any) -> float:
    return float(y.sum())


PIPE = weft.Pipeline([noisy, total], name="killable")
INPUTS = {"k": 0.5}


def drive(run_dir: str, n: int) -> None:
    """Run, or go on with, a study of `n` values."""
    PIPE.run(
        {"x": list(range(n)), **INPUTS}, run_dir=run_dir, backend="loky", n_jobs=2, block_size=8, seed=3,
        progress=False, initializer=install,
    )  # fmt: skip


def main() -> None:
    """What the script does."""
    serve(drive)
