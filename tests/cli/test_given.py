from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft import InvalidInput
from weft.cli.given import parsed, pipeline, several, sweep, values

literals = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(literals)
def test_a_literal_is_read_as_python_reads_it(value: Any) -> None:
    assert parsed(repr(value)) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("range(10)", range(10)),
        ("range(2, 1_000, 3)", range(2, 1000, 3)),
        ("range(5, 0, -1)", range(5, 0, -1)),
        ("hello world", "hello world"),
        ("range(a)", "range(a)"),
        ("__import__('os')", "__import__('os')"),
        ("1:10", "1:10"),
        ("", ""),
        ("inf", math.inf),
        ("1e-3", 0.001),
        ("'1'", "1"),
    ],
)
def test_ranges_and_text(text: str, value: Any) -> None:
    assert parsed(text) == value and type(parsed(text)) is type(value)


def test_names_and_values() -> None:
    assert values(["a=1", "b.c=x=y"]) == {"a": 1, "b.c": "x=y"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a"], "name=value"),
        (["1=2"], "name=value"),
        (["a=1", "a=2"], "given twice"),
        (["a=@none.json"], "cannot be read"),
        (["a=@some.txt"], ".json, .csv or .npy"),
    ],
)
def test_what_is_no_input_is_refused(arguments: list[str], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        values(arguments)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("0.1,0.2", [0.1, 0.2]),
        ("1,1.0,True,01,'1'", [1, 1.0, True, "01", "1"]),
        ("sgd,adam", ["sgd", "adam"]),
        ("sgd,", ["sgd"]),
        ("inf,1e-3", [math.inf, 0.001]),
        ("(1, 2),(3,)", [(1, 2), (3,)]),
        ("[1, 2]", [[1, 2]]),
        ("7", [7]),
        ("a:b", ["a:b"]),
        ("'1:3'", ["1:3"]),
        ("1:10", range(1, 10)),
        ("1:10:2", range(1, 10, 2)),
        ("3:-1:-1", range(3, -1, -1)),
        ("range(2, 5)", range(2, 5)),
    ],
)
def test_values_along_a_study_axis(text: str, wanted: Any) -> None:
    found = several("a", text)
    assert found == wanted and [type(v) for v in found] == [type(v) for v in wanted]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a"], "name=value"),
        (["a=1", "a=2"], "given twice"),
        (["a=5:1"], "no values to vary. In start:stop, stop is not included"),
        (["a="], "no values"),
        (["a=1:5:0"], "step not 0"),
        (["a=0.1:1:0.1"], "whole numbers.*a=0.1,0.2"),
    ],
)
def test_what_is_no_study_axis_is_refused(arguments: list[str], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        sweep(arguments)


def test_several_study_axes_are_a_grid_in_order() -> None:
    made = sweep(["b=1:3", "m.a=x,y"])
    assert made.names == ("b", "m_a")
    assert list(made)[:3] == [{"b": 1, "m.a": "x"}, {"b": 1, "m.a": "y"}, {"b": 2, "m.a": "x"}]


def test_files(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"k": [1, 2.5]}))
    (tmp_path / "t.csv").write_text("x,name\n1,one\n2.5,two\n")
    (tmp_path / "one.csv").write_text("any\n1\n2\n")
    np.save(tmp_path / "n.npy", np.arange(3))
    found = values(
        [f"a=@{tmp_path}/a.json", f"x=@{tmp_path}/t.csv", f"y=@{tmp_path}/one.csv", f"n=@{tmp_path}/n.npy"]
    )
    assert found["a"] == {"k": [1, 2.5]} and found["x"] == [1, 2.5] and found["y"] == [1, 2]
    assert found["n"].tolist() == [0, 1, 2]
    with pytest.raises(InvalidInput, match=r"no column 'nam'. Did you mean 'name'\? Its columns: x, name"):
        values([f"nam=@{tmp_path}/t.csv"])
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(InvalidInput, match="cannot be read"):
        values([f"a=@{tmp_path}/bad.json"])
    np.save(tmp_path / "o.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(InvalidInput, match="cannot be read"):
        values([f"a=@{tmp_path}/o.npy"])


def test_a_pipeline_a_step_or_a_function_that_makes_one(study: str) -> None:
    assert list(pipeline(f"{study}:pipe").steps) == ["scale", "total"]
    assert list(pipeline(f"{study}:scale").steps) == ["scale"]
    assert list(pipeline(f"{study}:make").steps) == ["scale", "total"]
    assert list(pipeline(study).steps) == ["scale", "total"], "the only one there is"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pip", "Did you mean 'pipe'"),
        ("number", "is an int, not a pipeline"),
        ("wrong", "called without arguments"),
    ],
)
def test_what_is_no_pipeline_is_refused(study: str, name: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        pipeline(f"{study}:{name}")


def test_a_file_that_is_missing_or_broken(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no Python file"):
        pipeline(f"{tmp_path}/none.py:pipe")
    (tmp_path / "broken_study.py").write_text("a = 1\nb = a / 0\n")
    with pytest.raises(InvalidInput, match=r"ZeroDivisionError.*line 2"):
        pipeline(f"{tmp_path}/broken_study.py:pipe")
    (tmp_path / "empty_study.py").write_text("a = 1\n")
    with pytest.raises(InvalidInput, match="There: no pipeline"):
        pipeline(f"{tmp_path}/empty_study.py")
