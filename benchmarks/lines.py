"""Every line of the table: what is measured, on how much, and what it must reach."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import weft
from benchmarks import functions, studies
from benchmarks.measure import Measured, clocked, compared, files_in, folder, fresh, interleaved

ROUNDS = 3


@dataclass(frozen=True)
class Line:
    """One line of the table.

    Attributes
    ----------
    measure
        Takes the number of elements and of rounds.
    target
        The largest value that will do; None where no target is set.
    peers
        How many elements each peer is given, which is as many as it does in reasonable time.
    same_as
        The line that peers run for this one, if it is not their own of that name.
    """

    name: str
    work: str
    n: int
    measure: Callable[[int, int], Measured]
    target: float | None = None
    peers: dict[str, int] = field(default_factory=dict)
    same_as: str = ""


def saved(where: Path, array: Any) -> None:
    """Keep an array as carefully as weft does: synced, file and folder."""
    with open(where / "y.npy", "wb") as file:
        np.save(file, array)
        file.flush()
        os.fsync(file.fileno())
    number = os.open(where, os.O_RDONLY)
    os.fsync(number)
    os.close(number)


def kept(pipe: weft.Pipeline, xs: Any, where: Path, **options: Any) -> weft.Run:
    """Run in a directory, silently."""
    options = {"backend": "sequential", "progress": False, **options}
    return pipe.run({"x": xs}, run_dir=where / "run", **options)


def memory(n: int, rounds: int) -> Measured:
    xs, function = list(range(n)), functions.add_one
    return compared(
        n, lambda _: np.asarray([function(x) for x in xs]), lambda _: studies.simple(x=xs)["y"], rounds
    )


def persisted(n: int, rounds: int) -> Measured:
    xs, function = list(range(n)), functions.add_one
    return compared(
        n,
        lambda where: saved(where, np.asarray([function(x) for x in xs])),
        lambda where: kept(studies.simple, xs, where),
        rounds,
    )


def processes(n: int, rounds: int) -> Measured:
    xs = list(range(n))
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(functions.add_one, range(8)))

        def bare(_: Path) -> Any:
            return np.asarray(list(pool.map(functions.add_one, xs, chunksize=1000)))

        def ours(where: Path) -> Any:
            return kept(studies.simple, xs, where, backend="loky", n_jobs=2)

        with folder() as where:
            cold, _ = clocked(lambda: ours(where))
        b, w, cpu = interleaved(bare, ours, rounds)
    return Measured(
        n,
        w / n * 1e6,
        "µs",
        b,
        w,
        cpu,
        f"first run of the process, which starts the workers: {cold / n * 1e6:.2f} µs",
    )


def spin(n: int, rounds: int) -> Measured:
    xs = list(range(n))
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(functions.spin, range(64)))

        def bare(_: Path) -> Any:
            return np.asarray(list(pool.map(functions.spin, xs, chunksize=20)))

        def ours(where: Path) -> Any:
            return kept(studies.spinning, xs, where, backend="loky", n_jobs=2)

        with folder() as where:
            ours(where)
        return compared(n, bare, ours, rounds)


def again(n: int, rounds: int) -> Measured:
    xs = list(range(n))
    with folder() as where:
        kept(studies.simple, xs, where)
        best = min(clocked(lambda: kept(studies.simple, xs, where))[0] for _ in range(rounds))
    return Measured(n, best, "s", None, best)


def load(n: int, rounds: int) -> Measured:
    xs = list(range(n))
    bare = ours = opening = 9e9
    with folder() as where:
        kept(studies.simple, xs, where)
        saved(where, np.arange(n))
        for _ in range(rounds + 2):
            bare = min(bare, clocked(lambda: np.load(where / "y.npy"))[0])
            found: list[weft.Run] = []
            opening = min(opening, clocked(lambda f=found: f.append(weft.open_run(where / "run")))[0])
            ours = min(ours, clocked(lambda f=found: f[0]["y"])[0])
    note = f"run['y']; opening the run before takes {opening * 1e3:.1f} ms more"
    return Measured(n, ours * 1e3, "ms", bare, ours, None, note)


def files(n: int, rounds: int) -> Measured:
    with folder() as where:
        kept(studies.simple, range(n), where)
        alone = files_in(where)
    with folder() as where:
        kept(studies.simple, range(n), where, backend="loky", n_jobs=2)
        two = files_in(where)
    return Measured(n, max(alone, two), "files", note=f"{alone} by one process, {two} by two")


def driver_memory(n: int, rounds: int) -> Measured:
    found = {}
    for backend in ("loky", "sequential"):
        with folder() as where:
            found[backend] = fresh("memory", n, where / "run", backend)
    note = "driver of two processes {loky:.0f} MB; driver that is its own worker {sequential:.0f} MB"
    peaks = {name: one["peak"] for name, one in found.items()}
    return Measured(n, max(peaks.values()), "MB", None, found["loky"]["seconds"], None, note.format(**peaks))


def importing(n: int, rounds: int) -> Measured:
    times: dict[str, list[float]] = {"numpy": [], "weft": []}
    for _ in range(rounds + 2):
        for name, seconds in times.items():
            seconds.append(fresh("import", name)["seconds"])
    bare, ours = min(times["numpy"]), min(times["weft"])
    return Measured(1, ours, "s", bare, ours, None, f"of which numpy {bare:.3f} s")


def plan(n: int, rounds: int) -> Measured:
    found = fresh("plan", n, timeout=60)
    note = f"{found['peak']:.0f} MB (target 50)"
    return Measured(n, max(found["seconds"], found["peak"] / 50), "s", None, found["seconds"], None, note)


# The lines that show that there is no special path for trivial functions: all persisted, one process.


def keyword(n: int, rounds: int) -> Measured:
    xs, function = list(range(n)), functions.add_keyword
    return compared(
        n,
        lambda where: saved(where, np.asarray([function(x=x, k=1) for x in xs])),
        lambda where: kept(studies.keyword, xs, where),
        rounds,
    )


def rng(n: int, rounds: int) -> Measured:
    xs, function, spawned = list(range(n)), functions.draw, np.random.SeedSequence

    def bare(where: Path) -> None:
        made = (np.random.Generator(np.random.PCG64(spawned(0, spawn_key=(x,)))) for x in xs)
        saved(where, np.asarray([function(x, rng) for x, rng in zip(xs, made, strict=True)]))

    return compared(n, bare, lambda where: kept(studies.random, xs, where), rounds)


def failures(n: int, rounds: int) -> Measured:
    xs, function = list(range(n)), functions.fail_often

    def bare(where: Path) -> None:
        results = []
        for x in xs:
            try:
                results.append(function(x))
            except ValueError:
                results.append(-1)
        saved(where, np.asarray(results))

    note = "bare Python forgets why; weft keeps each failure with its traceback"
    return compared(
        n, bare, lambda where: kept(studies.failing, xs, where, on_error="continue"), rounds, note
    )


def batch(n: int, rounds: int) -> Measured:
    xs = np.arange(n)
    return compared(
        n,
        lambda where: saved(where, functions.add_many(xs)),
        lambda where: kept(studies.batch, xs, where),
        rounds,
        "one NumPy call",
    )


def arrays(n: int, rounds: int) -> Measured:
    xs, function = list(range(n)), functions.small_array
    return compared(
        n,
        lambda where: saved(where, np.stack([function(x) for x in xs])),
        lambda where: kept(studies.arrays, xs, where),
        rounds,
    )


def texts(n: int, rounds: int) -> Measured:
    xs, function = list(range(n)), functions.text
    return compared(
        n,
        lambda where: saved(where, np.asarray([function(x) for x in xs])),
        lambda where: kept(studies.texts, xs, where),
        rounds,
    )


def chain(n: int, rounds: int) -> Measured:
    xs, function = list(range(n)), functions.add_one

    def bare(where: Path) -> None:
        y = [function(x) for x in xs]
        z = np.asarray([function(v) for v in y])
        saved(where, np.asarray(y))
        saved(where, z)
        z.sum()

    return compared(n, bare, lambda where: kept(studies.chain, xs, where), rounds, "both steps kept")


def steps(n: int, rounds: int) -> Measured:
    built = min(clocked(lambda: studies.long_chain(n))[0] for _ in range(rounds))
    pipe, xs = studies.long_chain(n), {"x0": 0}
    ours = min(clocked(lambda: pipe.run(xs, backend="sequential", progress=False))[0] for _ in range(rounds))
    with folder() as where:
        disk, again = (
            clocked(lambda: pipe.run(xs, run_dir=where / "run", backend="sequential", progress=False))[0]
            for _ in range(2)
        )
    note = f"built; run in memory in {ours:.2f} s, persisted in {disk:.2f} s, again in {again:.2f} s"
    return Measured(n, built, "s", None, built, None, note)


def loop(n: int, rounds: int) -> Measured:
    pipe = studies.rounds(n)

    def bare(where: Path) -> None:
        v, w, history = 0, 1, []
        for _ in range(n):
            v, w = studies.grown(v, w), studies.kept(v, w)
            history.append((v, w, studies.large(v)))
        saved(where, np.asarray(history))

    def ours(where: Path) -> None:
        pipe.run({"v": 0, "w": 1}, run_dir=where / "run", progress=False, backend="sequential")

    b, w, cpu = interleaved(bare, ours, rounds)
    return Measured(n, w / n * 1e6, "µs", b, w, cpu, "a body of three steps, ended by a truth")


def loops(n: int, rounds: int) -> Measured:
    pipe, starts = studies.rounds(100), list(range(n // 100))

    def bare(where: Path) -> None:
        history = []
        for v in starts:
            w = 1
            for _ in range(100):
                v, w = studies.grown(v, w), studies.kept(v, w)
                history.append((v, w, studies.large(v)))
        saved(where, np.asarray(history))

    def ours(where: Path) -> None:
        options = {"run_dir": where / "run", "progress": False, "backend": "sequential"}
        pipe.run({"w": 1}, sweep=weft.grid(v=starts), **options)

    b, w, cpu = interleaved(bare, ours, rounds)
    return Measured(n, w / n * 1e6, "µs", b, w, cpu, "1,000 loops of 100 iterations, a body of three steps")


def grid(n: int, rounds: int) -> Measured:
    levels = {name: list(range(10)) for name in "abcde"}
    pipe = studies.five()
    seconds = min(clocked(lambda: pipe.plan(sweep=weft.grid(**levels)))[0] for _ in range(rounds))
    return Measured(n, seconds, "s", None, seconds, None, "5 axes of 10 values, expanded and planned")


def stream(n: int, rounds: int) -> Measured:
    pipe = weft.stream(studies.Numbers(n)).filter(studies.Total()).write(studies.nowhere)

    def bare(where: Path) -> None:
        states, total = [], 0
        for index in range(n):
            one = studies.Total()
            states.append((studies.nowhere(one(pipe.source[index]), index), one.flush()))
        total = sum(state for _, state in states)
        saved(where, np.asarray([total]))

    def ours(where: Path, **options: Any) -> None:
        pipe.run(run_dir=where / "run", progress=False, **{"backend": "sequential", **options})

    b, w, cpu = interleaved(bare, ours, rounds)
    two = 9e9
    for _ in range(rounds + 1):  # the first one starts the workers
        with folder() as where:
            two = min(two, clocked(lambda w=where: ours(w, backend="loky", n_jobs=2))[0])
    note = f"{w / n * 1e6:.1f} by one process, {two / n * 1e6:.1f} by two; with a filter that is merged"
    return Measured(n, max(w, two) / n * 1e6, "µs", b, w, cpu, note)


MILLION = 1_000_000
LINES = [
    Line("memory", "in memory, sequential", MILLION, memory, 3.0, {"pipefunc": 100_000, "fluidml": 300}),
    Line(
        "persisted", "persisted, sequential", MILLION, persisted, 4.0, {"pipefunc": 100_000, "fluidml": 300}
    ),
    Line(
        "processes",
        "persisted, 2 processes",
        MILLION,
        processes,
        1.0,
        {"pipefunc": 100_000, "fluidml": 300, "joblib": MILLION},
    ),
    Line("spin", "`spin`, 2 processes, warm", 4_000, spin, 1.03, {"pipefunc": 4_000, "joblib": 4_000}),
    Line("again", "run again, all done", MILLION, again, 0.1, {"pipefunc": 100_000, "fluidml": 300}),
    Line("load", "load all results", MILLION, load, 10.0, {"pipefunc": 100_000}),
    Line("files", "files on disk", MILLION, files, 300, {"pipefunc": 10_000, "fluidml": 300}, "persisted"),
    Line("driver", "memory of the driver", 10 * MILLION, driver_memory, 150),
    Line("import", "import", 1, importing, 0.12, {"pipefunc": 1, "fluidml": 1, "joblib": 1}),
    Line("plan", "plan 10⁹ elements", 1000 * MILLION, plan, 1.0),
    Line("steps", "build 2,000 steps", 2_000, steps, 1.0),
    Line("keyword", "persisted: keyword-only arguments", MILLION, keyword),
    Line("chain", "persisted: two steps and a sum", MILLION, chain),
    Line("rng", "persisted: a random stream each", 100_000, rng),
    Line("failures", "persisted: 1 % fail, go on", 200_000, failures),
    Line("batch", "persisted: batch=True", MILLION, batch),
    Line("arrays", "persisted: arrays of 8 as results", 200_000, arrays),
    Line("texts", "persisted: strings as results", MILLION, texts),
    Line("loop", "persisted: iterations of a loop", 10_000, loop, 200),
    Line("loops", "persisted: loops of a sweep", 100_000, loops, 200),
    Line("grid", "plan a grid of 10⁵", 100_000, grid, 0.2),
    Line("stream", "persisted: a stream of trivial indices", 10_000, stream, 50),
]
