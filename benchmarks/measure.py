"""Clocks, and what a measured line is."""

from __future__ import annotations

import gc
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "benchmarks" / ".work"  # beside the code, because /tmp may be memory, where syncing is free


@dataclass
class Measured:
    """What one line took.

    Attributes
    ----------
    value
        What the target is about: a ratio to bare Python, or a number of `unit`.
    bare, weft
        Seconds, best of the rounds; `cpu` is the ratio of the processor time of this process, which other
        work on the machine disturbs less.
    """

    n: int
    value: float
    unit: str
    bare: float | None = None
    weft: float | None = None
    cpu: float | None = None
    note: str = ""
    peers: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For the JSON file."""
        return asdict(self)


@contextmanager
def folder() -> Iterator[Path]:
    """An empty folder on the disk of the repository, removed afterwards."""
    WORK.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=WORK))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def clocked(work: Callable[[], Any]) -> tuple[float, float]:
    """Seconds by the wall clock and of this process's processors."""
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def interleaved(
    bare: Callable[[Path], Any], weft: Callable[[Path], Any], rounds: int
) -> tuple[float, float, float]:
    """Best seconds of both, measured in turns so that the machine's moods hit both; the ratio of CPU time.

    Each call gets an empty folder of its own.
    """
    best = {"bare": [9e9, 9e9], "weft": [9e9, 9e9]}
    for _ in range(rounds):
        for name, work in (("bare", bare), ("weft", weft)):
            with folder() as where:
                best[name] = [
                    min(pair) for pair in zip(best[name], clocked(lambda w=work, f=where: w(f)), strict=True)
                ]
    return best["bare"][0], best["weft"][0], best["weft"][1] / max(best["bare"][1], 1e-9)


def compared(
    n: int, bare: Callable[[Path], Any], weft: Callable[[Path], Any], rounds: int, note: str = ""
) -> Measured:
    """A line whose target is a ratio."""
    b, w, cpu = interleaved(bare, weft, rounds)
    return Measured(n, w / b, "×", b, w, cpu, note)


def fresh(*arguments: Any, timeout: float = 300) -> dict[str, Any]:
    """What `benchmarks.fresh` prints when it is run in a new process."""
    command = [sys.executable, "-m", "benchmarks.fresh", *map(str, arguments)]
    # An installed package has its bytecode on disk; where none may be written, each import would compile it.
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout, env=kept)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def files_in(where: Path) -> int:
    """Number of files in a tree."""
    return sum(len(files) for _, _, files in os.walk(where))
