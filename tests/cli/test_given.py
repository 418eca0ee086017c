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
from weft.cli.given import parsed, pipeline, values

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
        ("number", "is a int, not a pipeline"),
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
