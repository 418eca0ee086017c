"""What steps took, in seconds and in memory, wherever they ran."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import weft

QUIET: dict[str, Any] = {"progress": False, "n_jobs": 2}
BIG = 200 << 20


def work(size: int) -> int:
    until = time.perf_counter() + 0.02
    while time.perf_counter() < until:
        pass
    return int(np.ones(size, np.uint8).sum())


@pytest.mark.parametrize("backend", ["sequential", "thread_pool", "process_pool", "loky"])
@pytest.mark.parametrize("kept", ["memory", "files"])
def test_time_and_memory_of_each_commit(backend: str, kept: str, tmp_path: Path) -> None:
    step = weft.step("y", mapspec="size[i] -> y[i]")(work)
    options = {"run_dir": tmp_path / "run"} if kept == "files" else {}
    sizes = [1, BIG, 1, 1]
    run = step.run({"size": sizes}, backend=backend, block_size=1, **QUIET, **options)
    assert run["y"].tolist() == sizes
    rows = run.attempts("y")
    assert len(rows) == 4 and all(row["seconds"] >= 0.02 for row in rows)
    (big,) = run.attempts("y", i=1)
    assert big["peak_memory"] > BIG
    if backend in ("process_pool", "loky") and sys.platform == "linux":
        assert run.attempts("y", i=3)[0]["peak_memory"] < big["peak_memory"] - BIG // 2
