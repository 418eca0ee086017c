"""Domains and samplers: every point lies where its parameter says, in the type it was given, seeded."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import weft
from weft.experiments import Array, Category, Constant, Domain, Float, Int
from weft.values.content import decode, digest, encode

METHODS = ["random", "latin", "sobol", "halton"]
few = settings(max_examples=40, deadline=None)

finite = st.floats(allow_nan=False, allow_infinity=False)
values = st.one_of(
    st.integers(), st.floats(), st.text(max_size=3), st.booleans(), st.none(), st.tuples(st.integers())
)


@st.composite
def floats(draw: st.DrawFn) -> Float:
    log = draw(st.booleans())
    bounds = st.floats(1e-300, 1e300) if log else finite
    low, high = sorted(draw(st.lists(bounds, min_size=2, max_size=2, unique=True)))
    return Float(low, high, log=log)


@st.composite
def ints(draw: st.DrawFn) -> Int:
    low = draw(st.integers(-(2**70), 2**70))
    span = draw(st.integers(1, 50))
    return Int(low, low + span, step=draw(st.integers(1, span)))


arrays = st.builds(
    Array, st.lists(st.integers(1, 3), min_size=1, max_size=2).map(tuple), st.just(-1), st.floats(0, 9)
)
parameters = st.one_of(
    floats(),
    ints(),
    arrays,
    st.builds(Constant, values),
    st.lists(values, min_size=1).map(lambda v: Category(*v)),
)
domains = st.dictionaries(st.text("abcd", min_size=1, max_size=3), parameters, max_size=4).map(Domain)


def fits(parameter: Any, value: Any) -> bool:
    match parameter:
        case Float():
            return type(value) is float and parameter.low <= value <= parameter.high
        case Int():
            return type(value) is int and value in range(parameter.low, parameter.high + 1, parameter.step)
        case Category():
            return any(value is choice for choice in parameter.choices)
        case Constant():
            return value is parameter.value
        case _:
            inside = bool(((value >= parameter.low) & (value <= parameter.high)).all())
            return value.shape == parameter.shape and value.dtype == np.float64 and inside


@few
@given(domains, st.sampled_from(METHODS), st.integers(0, 20), st.integers(0, 2**40))
def test_every_point_lies_in_the_domain_in_its_type(domain: Domain, method: str, n: int, seed: int) -> None:
    rows = domain.sample(n, method, seed)
    assert len(rows) == n
    for row in rows:
        assert list(row) == list(domain)
        assert all(fits(domain[name], value) for name, value in row.items())


@few
@given(domains, st.sampled_from(METHODS), st.integers(0, 20), st.integers(0, 2**40))
def test_a_seed_gives_the_same_points(domain: Domain, method: str, n: int, seed: int) -> None:
    assert digest(list(domain.sample(n, method, seed))) == digest(list(domain.sample(n, method, seed)))


@few
@given(domains, st.sampled_from(["random", "sobol", "halton"]), st.integers(0, 40), st.integers(0, 40))
def test_fewer_points_are_the_first_of_more(domain: Domain, method: str, n: int, more: int) -> None:
    longer = domain.sample(n + more, method)
    assert digest(list(domain.sample(n, method))) == digest(longer[:n])


@few
@given(domains, st.integers(1, 3))
def test_a_grid_has_every_combination_of_levels(domain: Domain, n: int) -> None:
    rows = domain.sample(n, "grid")
    expected = 1
    for parameter in domain.values():
        levels = parameter.levels(n)
        assert all(fits(parameter, value) for value in levels)
        expected *= len(levels)
    assert len(rows) == expected
    assert all(fits(domain[name], value) for row in rows for name, value in row.items())


def test_levels_of_a_grid() -> None:
    domain = Domain(x=Float(1, 100, log=True), n=Int(1, 10), kind=Category("a", None), w=Array((2,), 0, 1))
    rows = domain.sample({"x": 3, "w": 2}, "grid")
    assert len(rows) == 3 * 10 * 2 * 4
    assert sorted({row["x"] for row in rows}) == pytest.approx([1, 10, 100])
    assert sorted({row["x"] for row in rows})[::2] == [1.0, 100.0]
    assert [row["w"].tolist() for row in rows[:4]] == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert [row["n"] for row in Domain(n=Int(1, 10)).sample(4, "grid")] == [1, 4, 7, 10]
    assert [row["n"] for row in Domain(n=Int(1, 3)).sample(9, "grid")] == [1, 2, 3]
    assert [row["n"] for row in Domain(n=Int(1, 10, step=4)).sample({}, "grid")] == [1, 5, 9]


def test_strata_are_hit_once_by_a_latin_hypercube() -> None:
    rows = Domain(x=Float(0, 1), n=Int(0, 31)).sample(32, "latin")
    assert sorted(int(row["x"] * 32) for row in rows) == list(range(32))
    assert sorted(row["n"] for row in rows) == list(range(32))


def test_a_log_float_is_even_in_its_logarithm() -> None:
    rows = Domain(lr=Float(1e-4, 1, log=True)).sample(64, "sobol")
    decades = [math.floor(math.log10(row["lr"])) for row in rows]
    assert {decade: decades.count(decade) for decade in (-4, -3, -2, -1)} == dict.fromkeys(
        (-4, -3, -2, -1), 16
    )


def test_points_go_into_a_sweep_with_their_types() -> None:
    nan = float("nan")
    domain = Domain(
        v=Category(3, 3.0, True, "01", nan, (1, 2), None), w=Array((2, 2), 0, 1), c=Constant([1, 2])
    )
    rows = domain.sample({"w": 1}, "grid")
    seen: list[Any] = []
    step = weft.step("y")(lambda v, w, c: seen.append((v, w, c)) or 0)
    step.run(sweep=weft.points(rows), backend="sequential", progress=False)
    assert [type(v) for v, _, _ in seen] == [int, float, bool, str, float, tuple, type(None)]
    assert seen[4][0] != seen[4][0]
    assert all(w.shape == (2, 2) and c == [1, 2] for _, w, c in seen)


def test_a_domain_is_a_value() -> None:
    domain = Domain({"opt.lr": Float(0, 1)}, n=Int(0, 3)) | Domain(n=Constant("x"))
    assert dict(domain) == {"opt.lr": Float(0, 1), "n": Constant("x")}
    assert decode(encode(domain)) == domain
    assert digest(domain) != digest(Domain({"opt.lr": Float(0, 2), "n": Constant("x")}))
    with pytest.raises(AttributeError):
        domain.parameters = {}  # type: ignore[misc]


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Float(1, 1), "low is not below high.*Constant"),
        (lambda: Float(0, 1, log=True), "no logarithm of 0"),
        (lambda: Float(0, math.inf), "finite numbers, got inf"),
        (lambda: Float("0", 1), "finite numbers, got '0'"),  # type: ignore[arg-type]
        (lambda: Float(0, 10**400), "finite numbers"),
        (lambda: Int(0, 5, step=0), "a step is between 1 and high - low, 5"),
        (lambda: Int(0, 5, step=6), "a step is between"),
        (lambda: Int(5, 0), "low is not below high"),
        (lambda: Int(0.5, 3), "0.5 is not a whole number"),  # type: ignore[arg-type]
        (lambda: Category(), "needs values"),
        (lambda: Category(["a", "b"]), r"one by one.*Category\(\*values\)"),
        (lambda: Array((), 0, 1), "positive lengths"),
        (lambda: Array((2, 0), 0, 1), "positive lengths"),
        (lambda: Array(3, 1, 0), "low is not below high"),  # type: ignore[arg-type]
        (lambda: Domain(n=3), r"Constant\(3\)"),  # type: ignore[arg-type]
        (lambda: Domain({1: Float(0, 1)}), "have names, got 1"),  # type: ignore[dict-item]
        (lambda: Domain(x=Float(0, 1)).sample(3, "sobal"), "Did you mean 'sobol'"),
        (lambda: Domain(x=Float(0, 1)).sample(-1), "number of points is a whole number ≥ 0, got -1"),
        (lambda: Domain(x=Float(0, 1)).sample(3, seed=-1), "seed is a whole number"),
        (lambda: Domain(x=Float(0, 1)).sample({"x": 3}), "levels of a grid"),
        (lambda: Domain(x=Float(0, 1)).sample({"y": 3}, "grid"), "no parameter 'y'"),
        (lambda: Domain(x=Float(0, 1)).sample({}, "grid"), "A grid needs a number of levels for Float"),
        (lambda: Domain(x=Float(0, 1)).sample(0, "grid"), "levels of 'x' is a whole number ≥ 1"),
    ],
)
def test_what_cannot_be_is_named(make: Any, told: str) -> None:
    with pytest.raises(weft.InvalidInput, match=f"(?i){told}"):
        make()


def test_without_scipy_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    domain = Domain(x=Float(0, 1))
    assert len(domain.sample(3)) == len(domain.sample(3, "grid")) == 3
    with pytest.raises(ImportError, match=r"weft\[experiments\]"):
        domain.sample(3, "sobol")
