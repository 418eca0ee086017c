"""What the peers' scripts share: run the line that is asked for, print what it took."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any


def clocked(work: Callable[[], Any]) -> float:
    """Seconds that it takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def files_in(folder: str) -> int:
    """Number of files in a tree."""
    return sum(len(files) for _, _, files in os.walk(folder))


def answer(lines: dict[str, Callable[[int, str], dict[str, float]]]) -> None:
    """Run ``LINE N`` from the command line in an empty folder; the last line printed is the answer."""
    name, n = sys.argv[1], int(sys.argv[2])
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_WORK")) as folder:
        found = lines[name](n, folder)
    print("\n" + json.dumps({"n": n, **found}))
