"""Any sequence of growth, interruption, reset and resume equals one uninterrupted run of the final study."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

import weft


class Fuse:
    """Interrupts, once, the call that burns it down; counts those that came through."""

    def __init__(self) -> None:
        self._left: int | None = None
        self._calls: Counter[Any] = Counter()

    def burn(self, *what: Any) -> None:
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                self._left = None
                raise KeyboardInterrupt
        self._calls[what] += 1

    def set(self, left: int | None) -> None:
        self._left = left

    def take(self) -> Counter[Any]:
        found, self._calls = self._calls, Counter()
        return found


FUSE = Fuse()


@weft.step("y", mapspec="x[i] -> y[i]", version="1")
def value(x: int, k: int) -> int:
    FUSE.burn("value", x, k)
    return x * x + k


@weft.step("s", version="1")
def total(y: np.ndarray) -> int:
    FUSE.burn("total")
    return int(y.sum())


@weft.step("z", mapspec="y[i] -> z[i]", version="1")
def share(y: int, s: int) -> float:
    FUSE.burn("share")
    return y / (1 + s)


@weft.step("v2", version="1")
def forward(v: int, s: int, t: int) -> int:
    FUSE.burn("forward", v, s, t)
    return 2 * v + s + t


@weft.step("rows", mapspec="x[i] -> rows[i, j?]", version="1")
def rows(x: int) -> list[int]:
    FUSE.burn("rows", x)
    return list(range(x))


@weft.step("cells", mapspec="rows[i, j] -> cells[i, j]", version="1")
def cells(rows: int) -> int:
    FUSE.burn("cells")
    return -rows


@weft.step("end", version="1")
def end(v2: int, z: np.ndarray, cells: Any) -> tuple[int, float, int]:
    FUSE.burn("end")
    return v2, float(z.sum()), int(np.ma.sum(cells)) if cells.size else 0


def study(n: int) -> weft.Pipeline:
    loop = weft.Loop([forward], n_iterations=n, name="t", carry={"v": "v2"})
    return weft.Pipeline([value, total, share, loop, rows, cells, end], name="any order")


def expected(x: list[int], ks: list[int], n: int) -> list[Any]:
    found = []
    for k in ks:
        y = [a * a + k for a in x]
        v = 1
        for t in range(n):
            v = 2 * v + sum(y) + t
        found.append((v, sum(a / (1 + sum(y)) for a in y), -sum(sum(range(a)) for a in x)))
    return found


VALUES = st.lists(st.integers(0, 4), min_size=1, max_size=4, unique=True)
STEPS = ("value", "total", "forward", "rows", "cells")
MOVES = st.one_of(
    st.tuples(st.just("x"), VALUES), st.tuples(st.just("k"), VALUES),
    st.tuples(st.just("n"), st.integers(1, 4)),
    st.tuples(st.just("interrupt"), st.integers(0, 12)), st.tuples(st.just("reset"), st.sampled_from(STEPS)),
    st.tuples(st.just("resume"), st.none()),
)  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(moves=st.lists(MOVES, max_size=7), size=st.sampled_from(["auto", 1, 2]))
@example(moves=[("interrupt", 3), ("x", [0, 4, 2]), ("interrupt", 5), ("n", 4), ("reset", "rows")], size=1)
def test_any_sequence_comes_to_the_same(moves: list[tuple[str, Any]], size: Any) -> None:
    FUSE.take()
    x, ks, n = [1, 2], [0], 2
    resets: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "r"

        def run() -> weft.Run:
            return study(n).run(
                {"x": x, "v": 1}, sweep=weft.grid(k=ks), run_dir=place, backend="sequential", block_size=size
            )

        for move, what in moves:
            if move == "x":
                x = what
            elif move == "k":
                ks = what
            elif move == "n":
                n = what
            elif move == "interrupt":
                FUSE.set(what)
            elif move == "reset" and place.exists():
                weft.open_run(place).reset(what)
                resets[what] += 1
            try:
                run()
            except KeyboardInterrupt:
                pass
        FUSE.set(None)
        last = run()
        assert last.ok
        wanted = expected(x, ks, n)
        for (v, z, c), (v_, z_, c_) in zip(last["end"].tolist(), wanted, strict=True):
            assert (v, c) == (v_, c_) and np.isclose(z, z_)
        calls = FUSE.take()
        for what, count in calls.items():
            if what[0] in ("value", "rows"):  # they depend on nothing that may grow: once, and once a reset
                assert count <= 1 + resets[what[0]], (what, count)
        before = FUSE.take()
        assert run().ok and not before and not FUSE.take()
        reopened = weft.open_run(place)
        assert reopened.ok and reopened["end"].tolist() == last["end"].tolist()
