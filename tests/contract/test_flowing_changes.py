"""A value that is made again, because an axis grew or it was reset, opens everything that read it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import weft
from weft.testing import Calls

BACKENDS = ["sequential", "thread_pool", "process_pool", "loky"]


@weft.step("y", mapspec="a[j], x[i] -> y[j, i]")
def times(a: int, x: int) -> int:
    return a * x


@weft.step("most", mapspec="y[j, :] -> most[j]")
def highest(y: Any) -> int:
    return int(y.max())


@weft.step("w", mapspec="most[j] -> w[j]")
def negative(most: int) -> int:
    return -most


@weft.step("v", mapspec="w[j], a[j] -> v[j]")
def plus(w: int, a: int) -> str:
    return f"{w + a}"


@weft.step("u", mapspec="v[j], w[j] -> u[j]")
def both(v: str, w: int) -> tuple[str, int]:
    return v, w


PIPE = weft.Pipeline([times, highest, negative, plus, both], name="flow")


def expected(a: list[int], x: list[int]) -> list[Any]:
    return [(f"{j - max(j * i for i in x)}", -max(j * i for i in x)) for j in a]


@pytest.mark.parametrize("backend", BACKENDS)
def test_growth_flows_through_elements_of_what_took_the_axis_whole(backend: str, tmp_path: Path) -> None:
    first = PIPE.run({"a": [1, 2], "x": [1, 2]}, run_dir=tmp_path / "r", backend=backend, n_jobs=2)
    assert list(first["u"]) == expected([1, 2], [1, 2])
    grown = PIPE.run({"a": [1, 2], "x": [1, 2, 5]}, run_dir=tmp_path / "r", backend=backend, n_jobs=2)
    assert list(grown["u"]) == expected([1, 2], [1, 2, 5])
    assert grown.ok and list(weft.open_run(tmp_path / "r")["u"]) == expected([1, 2], [1, 2, 5])


def test_what_comes_out_the_same_ends_the_flow(tmp_path: Path) -> None:
    calls = Calls(tmp_path / "calls")

    def count(most: int) -> int:
        calls("w", most)
        return -most

    pipe = PIPE.replace("negative", weft.Step(count, "w", mapspec="most[j] -> w[j]", name="negative"))
    pipe.run({"a": [1, 2], "x": [1, 5]}, run_dir=tmp_path / "r", backend="sequential")
    assert len(calls) == 2
    again = pipe.run({"a": [1, 2], "x": [1, 5, 3]}, run_dir=tmp_path / "r", backend="sequential")
    assert len(calls) == 2 and again.ok
    pipe.run({"a": [1, 2], "x": [1, 5, 3, 6]}, run_dir=tmp_path / "r", backend="sequential")
    assert len(calls) == 4
    pipe.run({"a": [1, 2], "x": [1, 5, 3, 6]}, run_dir=tmp_path / "r", backend="sequential")
    assert len(calls) == 4


def test_growth_flows_where_blocks_and_jobs_are_separate(tmp_path: Path) -> None:
    for x in ([1, 2], [1, 2, 7], [1, 2]):
        run = PIPE.run(
            {"a": list(range(1, 8)), "x": x}, run_dir=tmp_path / "r", block_size=2,
            backend={"w": "thread_pool", "": "sequential"}, n_jobs=2,
        )  # fmt: skip
        assert list(run["u"]) == expected(list(range(1, 8)), x)


def test_a_reset_flows_on_to_elements_of_what_follows(tmp_path: Path) -> None:
    state = tmp_path / "offset"
    state.write_text("0")

    @weft.step("base")
    def base() -> int:
        return int(state.read_text())

    @weft.step("p", mapspec="x[i] -> p[i]")
    def shifted(x: int, base: int) -> int:
        return x + base

    @weft.step("q", mapspec="p[i] -> q[i]")
    def doubled(p: int) -> int:
        return 2 * p

    pipe = weft.Pipeline([base, shifted, doubled], name="reset")
    assert list(pipe.run({"x": [1, 2]}, run_dir=tmp_path / "r")["q"]) == [2, 4]
    state.write_text("10")
    run = weft.open_run(tmp_path / "r").reset("base")
    assert list(pipe.run({"x": [1, 2]}, run_dir=tmp_path / "r")["q"]) == [22, 24]
    assert run.path


def test_in_memory_anything_flows_also_what_has_no_digest() -> None:
    made = weft.step("lock")(lambda: threading.Lock())
    held = weft.step("held", mapspec="x[i] -> held[i]")(lambda x, lock: (x, lock))
    first = weft.step("first", mapspec="held[i] -> first[i]")(lambda held: held[0])
    run = weft.Pipeline([made, held, first])(x=[1, 2])
    np.testing.assert_array_equal(run["first"], [1, 2])
