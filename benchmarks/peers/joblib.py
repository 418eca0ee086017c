"""The lines in joblib, which keeps results in memory."""

from __future__ import annotations

from joblib import Parallel, delayed

from benchmarks.functions import add_one, spin
from benchmarks.peers.timing import answer, clocked


def timed(function, n):
    with Parallel(n_jobs=2) as pool:
        pool(delayed(function)(x) for x in range(64))
        return {"seconds": clocked(lambda: pool(delayed(function)(x) for x in range(n)))}


def processes(n, folder):
    return timed(add_one, n)


def spinning(n, folder):
    return timed(spin, n)


if __name__ == "__main__":
    answer({"processes": processes, "spin": spinning})
