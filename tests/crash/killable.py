"""A study of two processes, made to be killed: the script forks a driver for each line on its input."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from tests.crash.phases import Control, PhasedDisk

import weft
import weft.store.fs


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


def install() -> None:
    """Watch the disk in this process, and tell the parent that it is there."""
    Path(os.environ["WEFT_TEST_PIDS"], str(os.getpid())).touch()
    weft.store.fs._current = weft.store.fs.FileSystem(
        PhasedDisk(Control(Path(os.environ["WEFT_TEST_CONTROL"])))
    )


def drive(run_dir: str, n: int) -> None:
    """Run, or go on with, a study of `n` values."""
    os.setsid()
    os.environ["WEFT_TEST_DRIVER"] = str(os.getpid())
    install()
    PIPE.run(
        {"x": list(range(n)), **INPUTS}, run_dir=run_dir, backend="loky", n_jobs=2, block_size=8, seed=3,
        progress=False, initializer=install,
    )  # fmt: skip


def main() -> None:
    """Fork a driver for each order, say its number, and then how it ended."""
    import cloudpickle  # noqa: F401
    import loky  # noqa: F401

    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            status = 1
            os.dup2(2, 1)  # the answers of this script stand alone on its output
            try:
                drive(order["run_dir"], order["n"])
                status = 0
            finally:
                sys.stderr.flush()
                if status:
                    import traceback

                    traceback.print_exc()
                os._exit(status)
        print(json.dumps({"pid": pid}), flush=True)
        _, status = os.waitpid(pid, 0)
        print(json.dumps({"status": status}), flush=True)
