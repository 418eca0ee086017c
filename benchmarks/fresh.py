"""What only a new process can tell: memory and the time of imports. Prints JSON."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any


def megabytes(key: str) -> float:
    """A size of this process as the kernel counts it (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"{key} is not known on this system")


def importing(what: str) -> dict[str, Any]:
    """Seconds that an import takes; of weft with the two names that every study uses."""
    start = time.perf_counter()
    if what == "weft":
        import weft

        weft.Pipeline, weft.step  # noqa: B018 - lazy names: to name them is to import them
    else:
        __import__(what)
    return {"seconds": time.perf_counter() - start}


def memory(n: str, run_dir: str, backend: str) -> dict[str, Any]:
    """Peak of the driver over what it had after importing, for a range of `n` elements kept on disk."""
    from benchmarks.studies import simple

    before = megabytes("VmRSS")
    start = time.perf_counter()
    simple.run({"x": range(int(n))}, run_dir=run_dir, backend=backend, n_jobs=2, progress=False)
    return {"seconds": time.perf_counter() - start, "peak": megabytes("VmHWM") - before}


def plan(n: str) -> dict[str, Any]:
    """Time and memory of a plan of `n` elements."""
    from benchmarks.studies import simple

    before = megabytes("VmRSS")
    start = time.perf_counter()
    text = str(simple.plan({"x": range(int(n))}))
    assert text
    return {"seconds": time.perf_counter() - start, "peak": megabytes("VmHWM") - before}


if __name__ == "__main__":
    kinds: dict[str, Any] = {"import": importing, "memory": memory, "plan": plan}
    print(json.dumps(kinds[sys.argv[1]](*sys.argv[2:])))
