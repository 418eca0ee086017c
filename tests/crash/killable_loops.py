"""A study of loops, ragged rows, a reduction, a stream and a cache, made to be killed in their midst."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tests.crash.drivers import install, serve

import weft
from weft.testing import Calls

CALLS, MOMENT, OUT = "WEFT_TEST_CALLS", "WEFT_TEST_MOMENT", "WEFT_TEST_OUT"
RUN_LENGTH = 3
N_VALUES = 20


def note(*what: Any) -> None:
    """Note an execution; in the one that a test waits for, stay until the test has done its deed."""
    key = " ".join(map(str, what))
    Calls(os.environ[CALLS])(key)
    time.sleep(0.002)
    wanted = Path(os.environ[MOMENT], "wanted")
    reached = wanted.with_name(f"reached-{os.getpid()}")
    try:
        if wanted.read_text() != key:
            return
        wanted.rename(reached)
    except FileNotFoundError:
        return
    while reached.exists():
        time.sleep(0.002)


# A loop that ends at another iteration for each k.
@weft.step("v2")
def grown(v: float, k: int, t: int, rng: np.random.Generator) -> float:
    note("grown", k, t)
    return 1.5 * v + k + t + float(rng.random())


@weft.step("enough")
def is_enough(v2: float, k: int, t: int) -> bool:
    note("is_enough", k, t)
    return v2 > 40


@weft.step("mark")
def marked(v2: float, k: int, t: int) -> str:
    note("marked", k, t)
    return f"{t}:{v2.hex()}"


@weft.step("end")
def ended(v2: float, mark: Any, k: int) -> tuple[float, list[str]]:
    note("ended", k)
    return v2, list(mark)


# A loop that makes longer rows each time; the whole part of a value is its position.
@weft.step("y", mapspec="x[i] -> y[i]")
def powered(x: float, k: int, turn: int, rng: np.random.Generator) -> float:
    note("powered", k, turn, int(x))
    return x**k + float(rng.random())


@weft.step("x2", mapspec="... -> x2[i]")
def longer(x: list, y: np.ndarray, k: int, turn: int) -> list[float]:
    note("longer", k, turn)
    return [*x, *(len(x) + new + float(y.sum()) % 1 for new in range(turn % 3))]


@weft.step("last")
def summed(y: np.ndarray, k: int) -> float:
    note("summed", k)
    return float(y.sum())


# Rows of data.
@weft.step("x3", mapspec="n[j] -> x3[j, c?]")
def opened(n: int, ctx: weft.Context) -> list[int]:
    note("opened", ctx.index["j"])
    return list(range(n))


@weft.step("cell", mapspec="x3[j, c], n[j] -> cell[j, c]")
def celled(x3: int, n: int, ctx: weft.Context, rng: np.random.Generator) -> float:
    note("celled", ctx.index["j"], ctx.index["c"])
    return n + x3 / 10 + float(rng.random())


@weft.step("row", mapspec="cell[j, :] -> row[j]")
def rowed(cell: list, ctx: weft.Context) -> tuple[int, list[float]]:
    note("rowed", ctx.index["j"])
    return len(cell), cell


# Values from the cache, reduced.
@weft.step("w", mapspec="u[m] -> w[m]", cache=True)
def cached(u: int) -> float:
    note("cached", u)
    return u + abs(float(np.sin(u))) / 2


def update(state: list[float], w: float) -> list[float]:
    note("update", int(w))
    return [*state, w]


def merge(a: list[float], b: list[float]) -> list[float]:
    note("all")
    return a + b


# A stream that gathers.
class Words(weft.Source[str]):
    """Fourteen indices of a few letters."""

    def __len__(self) -> int:
        return 14

    def __getitem__(self, index: int) -> Iterator[str]:
        note("stream", index)
        yield from "abcde"[index % 5 :]


class Letters(weft.Filter[str]):
    """Counts letters."""

    name = "letters"

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def __call__(self, items: Iterator[str]) -> Iterator[str]:
        for item in items:
            self.counts[item] = self.counts.get(item, 0) + 1
            yield item

    def flush(self) -> dict[str, int]:
        return self.counts

    def merge(self, states: list[dict[str, int]]) -> dict[str, int]:
        note("letters")
        return {letter: sum(state.get(letter, 0) for state in states) for letter in "abcde"}


def written(items: Iterator[str], index: int) -> list[str]:
    path = Path(os.environ[OUT], f"{index}.txt")
    path.write_text("".join(items))
    return [str(path)]


def study() -> weft.Pipeline:
    """All of it."""
    ending = weft.Loop(
        [grown, is_enough, marked],
        n_iterations=12,
        name="t",
        until="enough",
        carry={"v": "v2"},
        collect=["mark"],
    )
    rows = weft.Loop([powered, longer], n_iterations=5, name="turn", carry={"x": "x2"})
    reduction = weft.Step(weft.Reduction([], update, merge, run_length=RUN_LENGTH), "all")
    steps = [ending, ended, rows, summed, opened, celled, rowed, cached, reduction]
    return weft.Pipeline(steps, name="killable") | weft.stream(Words()).filter(Letters()).write(written)


INPUTS = {
    "v": 1.0,
    "x": [0.5, 1.5, 2.5],
    "n": [3, 0, 6, 2, 4, 1],
    "u": list(range(N_VALUES)),
}
GIVEN: dict[str, Any] = {"sweep": weft.grid(k=[0, 1, 2]), "seed": 7, "progress": False}


def executions(step: str, at: tuple[int, ...]) -> list[str]:
    """What is noted when an element is executed."""
    if step == "all.parts":
        first = at[0] * RUN_LENGTH
        return [f"update {u}" for u in range(first, min(first + RUN_LENGTH, N_VALUES))]
    return [" ".join(map(str, (step, *at)))]


def surround(environment: dict[str, str]) -> None:
    """Give a worker what its driver's environment says: a warm one has that of an earlier driver."""
    os.environ.update(environment)


def drive(run_dir: str, backend: str, environment: dict[str, str]) -> None:
    """Run, or go on."""
    surround(environment)
    # By this name the semaphores that a killed group leaves are found.
    multiprocessing.current_process()._config["semprefix"] = f"/weft-{os.getpid()}"  # type: ignore[attr-defined]
    study().run(
        INPUTS, run_dir=run_dir, backend=backend, n_jobs=2, block_size=3, initializer=install,
        flush_seconds=0.05, **GIVEN,
    )  # fmt: skip


def main() -> None:
    """What the script does."""
    serve(drive)
