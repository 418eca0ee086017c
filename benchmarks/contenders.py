"""The peers: each in an environment of its own, made when it is first needed, each line in a new process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any

from benchmarks.measure import ROOT, WORK

ENVS = ROOT / "benchmarks" / ".envs"
SECONDS = 120  # that a peer may take for a line
PACKAGES = {
    "pipefunc": ["pipefunc==0.93.1"],
    "fluidml": ["fluidml==0.3.4"],
    "joblib": ["joblib==1.6.0", "numpy"],
}


@dataclass
class Peers:
    """Runs lines in other libraries.

    Attributes
    ----------
    absent
        Why a peer is not here.
    """

    absent: dict[str, str] = field(default_factory=dict)

    def run(self, peer: str, line: str, n: int) -> dict[str, Any]:
        """What a peer took: ``n``, ``seconds`` and, where it keeps files, ``files``; or its ``problem``."""
        python = self._python(peer)
        if python is None:
            return {"n": n, "problem": self.absent[peer]}
        WORK.mkdir(parents=True, exist_ok=True)
        command = [python, "-m", f"benchmarks.peers.{peer}", line, str(n)]
        try:
            done = subprocess.run(
                command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS,
                env={**os.environ, "BENCH_WORK": str(WORK)},
            )  # fmt: skip
            found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
            return found
        except subprocess.TimeoutExpired:
            return {"n": n, "problem": f"more than {SECONDS} s"}
        except (IndexError, ValueError):
            return {"n": n, "problem": (done.stderr.strip().splitlines() or ["no answer"])[-1]}

    def imported(self, peer: str) -> dict[str, Any]:
        """Seconds that importing it takes, best of three."""
        python = self._python(peer)
        if python is None:
            return {"n": 1, "problem": self.absent[peer]}
        code = f"import time; t = time.perf_counter(); import {peer}; print(time.perf_counter() - t)"
        kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        best = min(
            float(subprocess.check_output([python, "-c", code], text=True, env=kept)) for _ in range(3)
        )
        return {"n": 1, "seconds": best}

    def _python(self, peer: str) -> str | None:
        python = ENVS / peer / "bin" / "python"
        ready = ENVS / peer / "ready"
        if peer not in self.absent and not ready.exists():
            print(f"making an environment for {peer} (once)", file=sys.stderr)
            for command in (
                [sys.executable, "-m", "venv", "--clear", str(ENVS / peer)],
                [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *PACKAGES[peer]],
            ):
                done = subprocess.run(command, capture_output=True, text=True)
                if done.returncode:
                    self.absent[peer] = (
                        f"not here: {(done.stderr.strip().splitlines() or ['cannot be installed'])[-1]}"
                    )
                    return None
            ready.touch()
        return None if peer in self.absent else str(python)
