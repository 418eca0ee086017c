"""Wherever a run with loops and ragged rows stops: what is there is right, and resuming completes it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tests.crash.machine import QUIET, RUN, Machine, each_crash, machine, opened

import weft

pytestmark = pytest.mark.crash


@weft.step("y", mapspec="x[i] -> y[i]", version="1")
def squared(x: int) -> int:
    return x * x


@weft.step("x2", mapspec="... -> x2[i]", version="1")
def longer(x: list, y: np.ndarray) -> list[int]:
    return [*x, int(y.sum()) % 5]


@weft.step("last", version="1")
def last(y: np.ndarray) -> int:
    return int(y.sum())


@weft.step("v2", version="1")
def grown(v: int, t: int) -> int:
    return 3 * v + t


@weft.step("big", version="1")
def big(v2: int) -> bool:
    return v2 > 30


@weft.step("end", version="1")
def end(v2: int, last: int) -> int:
    return v2 + last


def study(n: int) -> weft.Pipeline:
    rows = weft.Loop([squared, longer], n_iterations=n, name="turn", carry={"x": "x2"})
    chain = weft.Loop([grown, big], n_iterations=6, name="t", until="big", carry={"v": "v2"})
    return weft.Pipeline([rows, last, chain, end], name="loops")


def run(n: int = 2, **options: Any) -> weft.Run:
    return study(n).run({"x": [1, 2], "v": 1}, **{"backend": "sequential", **QUIET, **options})


def expected(n: int) -> dict[str, Any]:
    x, rows = [1, 2], []
    for _ in range(n):
        rows.append([v * v for v in x])
        x = [*x, sum(v * v for v in x) % 5]
    v, chain = 1, []
    for t in range(6):
        v = 3 * v + t
        chain.append(v)
        if v > 30:
            break
    return {"y": rows, "v2": chain, "last": sum(rows[-1]), "end": chain[-1] + sum(rows[-1])}


def check(found: weft.Run, n: int) -> None:
    wanted = expected(n)
    assert found.ok
    assert [np.ma.compressed(row).tolist() for row in found["y"]] == wanted["y"]
    assert found["v2"].tolist() == wanted["v2"] and found["end"] == wanted["end"]


def check_part(found: weft.Run, n: int) -> None:
    """What is there of an unfinished run is right."""
    wanted = expected(n)
    for row, right in zip(found.get("y", missing="mask"), wanted["y"], strict=False):
        there = ~np.ma.getmaskarray(np.ma.asarray(row))
        assert [v for v, is_there in zip(row.tolist(), there, strict=True) if is_there] == [
            right[place] for place in np.flatnonzero(there)
        ]
    chain = np.ma.compressed(found.get("v2", missing="mask")).tolist()
    assert chain == wanted["v2"][: len(chain)]


@pytest.fixture
def computer() -> Iterator[Machine]:
    with machine() as made:
        yield made


def test_first_run(computer: Machine) -> None:
    for _ in each_crash(computer, run, kinds=1):
        found = opened()
        if found is not None:
            check_part(found, 2)
        check(run(), 2)
    check(weft.open_run(RUN), 2)


def test_more_iterations(computer: Machine) -> None:
    run()
    for _ in each_crash(computer, lambda: run(3), kinds=1):
        check_part(weft.open_run(RUN), 3)
        check(run(3), 3)
