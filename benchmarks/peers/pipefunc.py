"""The lines in pipefunc."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor

import pipefunc
from pipefunc.map import load_outputs

from benchmarks.functions import add_one, spin
from benchmarks.peers.timing import answer, clocked, files_in


def made(function=add_one):
    return pipefunc.Pipeline([pipefunc.PipeFunc(function, "y", mapspec="x[i] -> y[i]")])


def memory(n, folder):
    pipe, xs = made(), list(range(n))
    return {"seconds": clocked(lambda: pipe.map({"x": xs}, parallel=False, storage="dict"))}


def persisted(n, folder):
    pipe, xs = made(), list(range(n))
    seconds = clocked(lambda: pipe.map({"x": xs}, folder, parallel=False, storage="file_array"))
    return {"seconds": seconds, "files": files_in(folder)}


def processes(n, folder):
    pipe, xs = made(), list(range(n))
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(add_one, range(8)))
        return {"seconds": clocked(lambda: pipe.map({"x": xs}, folder, executor=pool, storage="file_array"))}


def spinning(n, folder):
    pipe, xs = made(spin), list(range(n))
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(spin, range(8)))
        return {"seconds": clocked(lambda: pipe.map({"x": xs}, folder, executor=pool, storage="file_array"))}


def again(n, folder):
    pipe, xs = made(), list(range(n))
    pipe.map({"x": xs}, folder, parallel=False, storage="file_array")
    return {
        "seconds": clocked(
            lambda: pipe.map({"x": xs}, folder, parallel=False, storage="file_array", resume=True)
        )
    }


def load(n, folder):
    pipe, xs = made(), list(range(n))
    pipe.map({"x": xs}, folder, parallel=False, storage="file_array")
    return {"seconds": clocked(lambda: load_outputs("y", run_folder=folder))}


if __name__ == "__main__":
    answer(
        {
            "memory": memory,
            "persisted": persisted,
            "processes": processes,
            "spin": spinning,
            "again": again,
            "load": load,
        }
    )
