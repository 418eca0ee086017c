"""Any sweep expression is its naive expansion."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import weft
from weft import InvalidInput

Expansion = tuple[weft.Sweep, list[dict[str, Any]]]

scalars = st.sampled_from([0, 1, -1, 1.0, 0.1, True, False, "1", "01", "", None, (1, 2)])


@st.composite
def expressions(draw: Any, names: tuple[str, ...] = ("a", "b", "c"), least: int = 0) -> Expansion:
    """A sweep of exactly these inputs, and the list of its points made by hand."""

    def values(n: int | None = None) -> list[Any]:
        low, high = (least, 3) if n is None else (n, n)
        return list(draw(st.lists(scalars, min_size=low, max_size=high)))

    kinds = ["grid", "zipped", "points", "sum"] + ["product"] * 2 * (len(names) > 1)
    kind = draw(st.sampled_from(kinds))
    if kind == "grid":
        given_ = {name: values() for name in names}
        return weft.grid(**given_), [
            dict(zip(given_, row, strict=True)) for row in itertools.product(*given_.values())
        ]
    if kind == "zipped":
        n = draw(st.integers(least, 3))
        given_ = {name: values(n) for name in names}
        return weft.zipped(**given_), [{name: given_[name][i] for name in names} for i in range(n)]
    if kind == "points":
        rows = draw(st.lists(st.dictionaries(st.sampled_from(names), scalars), max_size=3))
        rows.append({name: draw(scalars) for name in names})
        return weft.points(rows).named("_".join(("p", *names))), rows
    if kind == "sum":
        (one, first), (two, second) = draw(expressions(names[:1], least)), draw(expressions(names, least))
        return (one + two).named("_".join(("s", *names))), first + second
    at = draw(st.integers(1, len(names) - 1))
    (one, first), (two, second) = draw(expressions(names[:at], least)), draw(expressions(names[at:], least))
    return one * two, [{**x, **y} for x, y in itertools.product(first, second)]


def typed(rows: Any) -> list[dict[str, tuple[type, Any]]]:
    return [{name: (type(value), value) for name, value in row.items()} for row in rows]


@given(expressions())
def test_any_expression_is_its_naive_expansion(made: Expansion) -> None:
    sweep, expected = made
    assert len(sweep) == len(expected)
    assert typed(sweep) == typed(expected)
    assert typed(sweep) == typed(expected), "iterating does not use it up"


def u(a: Any = "A", b: Any = "B") -> str:
    return f"{a!r} {b!r}"


def v(u: str, c: Any = "C") -> str:
    return f"{u} {c!r}"


@given(expressions(least=1), st.booleans())
def test_running_along_it_is_a_loop_over_its_points(made: Expansion, turned: bool) -> None:
    sweep, expected = made
    steps = [weft.step("u")(u), weft.step("v")(v)]
    run = weft.Pipeline(steps[::-1] if turned else steps).run(
        sweep=sweep, backend="sequential", progress=False
    )
    assert run["v"].shape == tuple(map(len, sweep.axes))
    wanted = [
        v(u(**{n: x for n, x in row.items() if n != "c"}), **{n: x for n, x in row.items() if n == "c"})
        for row in expected
    ]
    assert run["v"].ravel().tolist() == wanted


def test_names_of_axes() -> None:
    assert weft.grid(lr=[1], bs=[2]).names == ("lr", "bs")
    assert weft.zipped(lr=[1], bs=[2]).names == ("lr_bs",)
    assert weft.points([{"lr": 1, "bs": 2}]).names == ("point",)
    assert (weft.grid(a=[1]) * weft.zipped(b=[1], c=[2])).names == ("a", "b_c")
    assert (weft.grid(a=[1]) + weft.grid(b=[1])).names == ("point",)
    assert (weft.grid(a=[1]) + weft.grid(a=[2])).names == ("a",), "more points on its own axis"
    assert weft.zipped(lr=[1], bs=[2]).named("pair").names == ("pair",)


def test_more_points_may_lack_names() -> None:
    more = weft.points([{"a": 1}, {"b": 2}]) + weft.grid(a=[7])
    assert list(more) == [{"a": 1}, {"b": 2}, {"a": 7}]
    assert "point (3)" in repr(more)


def test_values_are_any_iterable_and_stay_as_they_are() -> None:
    sweep = weft.grid(a=range(3), b=(str(x) for x in range(2)), c=np.arange(2.0))
    assert len(sweep) == 12 and len(list(sweep)) == 12
    assert sweep.values["a"] == range(3)


def test_points_of_a_dataframe(require: Callable[..., Any]) -> None:
    pd = require("pandas")
    table = pd.DataFrame({"lr": [0.1, 0.2], "n": [1, 2], "opt": ["sgd", "01"]})
    assert typed(weft.points(table)) == typed(
        [{"lr": 0.1, "n": 1, "opt": "sgd"}, {"lr": 0.2, "n": 2, "opt": "01"}]
    )


def test_no_axes_is_one_point() -> None:
    assert len(weft.grid()) == 1 and list(weft.grid()) == [{}]
    sweep = weft.grid(a=[1, 2])
    assert list(weft.grid() * sweep) == list(sweep)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: weft.zipped(a=[1, 2], b=[1]), r"a has 2, b has 1.*weft\.grid"),
        (lambda: weft.grid(a="abc"), r"'a' in a sweep are a list, got 'abc'. One value: \['abc'\]"),
        (lambda: weft.grid(a=3), r"One value: \[3\]"),
        (lambda: weft.grid(a={"x": 1}), "are a list"),
        (lambda: weft.grid(a=[1]) * weft.grid(a=[2]), "varies 'a' twice"),
        (lambda: weft.points([{"a": 1}]) * weft.points([{"b": 1}]), r"one name.*\.named"),
        (lambda: weft.grid(a=[1], b=[2]).named("x"), "one axis; this one has a, b"),
        (lambda: weft.grid(a=np.array(3)), "are a list"),
        (lambda: weft.points([1, 2]), "points takes dicts"),
        (lambda: weft.points([{1: 2}]), "values by name"),
        (lambda: weft.points([]), "varies nothing"),
        (lambda: weft.points([{}]), "varies nothing"),
    ],
)
def test_what_is_no_sweep_is_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        make()


def test_only_sweeps_combine() -> None:
    with pytest.raises(TypeError):
        weft.grid(a=[1]) * 2
    with pytest.raises(TypeError):
        weft.grid(a=[1]) + 2
