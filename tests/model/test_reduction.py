"""A reduction called with values, as a function like any other."""

from __future__ import annotations

import operator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import weft
from weft.model.coarse import Coarse
from weft.model.reduction import merged


@given(values=st.lists(st.text(max_size=2), max_size=40), run_length=st.integers(1, 9))
def test_is_the_fold(values: list[str], run_length: int) -> None:
    joined = weft.Reduction("", lambda state, y: state + y, operator.add, run_length=run_length)
    assert joined(values) == joined(iter(values)) == "".join(values)


@given(n=st.integers(0, 70))
def test_neighbours_are_merged_first(n: int) -> None:
    def merge(a: tuple[int, int, int], b: tuple[int, int, int]) -> tuple[int, int, int]:
        assert a[1] == b[0], "not neighbours, or not in order"
        return a[0], b[1], 1 + max(a[2], b[2])

    low, high, height = merged(merge, ((k, k + 1, 0) for k in range(n)), (0, 0, 0))
    assert (low, high) == (0, n) and height <= max(n - 1, 0).bit_length() + 1


def test_a_state_may_be_changed_in_place() -> None:
    def update(state: list[int], y: int) -> list[int]:
        state.append(y)
        return state

    def merge(a: list[int], b: list[int]) -> list[int]:
        a.extend(b)
        return a

    init: list[int] = []
    for start in (init, list):
        collected = weft.Reduction(start, update, merge, final=tuple, run_length=2)
        assert collected(range(5)) == collected(range(5)) == (0, 1, 2, 3, 4)
        assert collected([]) == ()
    assert init == []


def test_several_arrays_and_constants() -> None:
    dot = weft.Reduction(0, lambda state, x, y, *, scale=1: state + scale * x * y, operator.add)
    assert dot([1, 2], [3, 4]) == 11
    assert dot([1, 2], [3, 4], scale=2) == 22
    with pytest.raises(TypeError, match="called with values"):
        dot()


def test_a_step_is_called_as_its_output_is() -> None:
    total = weft.Reduction(0, lambda state, y: state + y, operator.add)
    step = weft.Step(total, "total")
    assert step.name == "total" and [p.name for p in step.inputs] == ["y"]
    assert step([1, 2]) == 3
    assert weft.step("total", name="sum")(total).name == "sum"


@given(n=st.integers(0, 100), length=st.integers(1, 12), low=st.integers(0, 99))
def test_coarse_axes(n: int, length: int, low: int) -> None:
    coarse: Any = Coarse("run", "i", length)
    spans = [coarse.span(k, k + 1) for k in range(coarse.size(n))]
    assert [i for a, b in spans for i in range(a, min(b, n))] == list(range(n))
    first, last = coarse.runs(low, low + 7)
    assert coarse.span(first, last)[0] <= low and coarse.span(first, last)[1] >= low + 7
