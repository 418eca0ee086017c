"""Every type that a result may have comes back equal and of its type; only the last row needs a pickle."""

from __future__ import annotations

import datetime
import decimal
import enum
import fractions
import pathlib
import uuid
import zoneinfo
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

import weft


@dataclass(frozen=True)
class Point:
    x: int
    tags: tuple[str, ...] = ()


class Colour(enum.Enum):
    RED = "r"


class Pair(NamedTuple):
    left: int
    right: float


ZONE = zoneinfo.ZoneInfo("Europe/Zurich")
NAN = float("nan")

# What a step returns, and the dtype of the array of three of them (None: objects).
TABLE: dict[str, tuple[Any, str | None]] = {
    "int": (3, "int64"),
    "large int": (10**40, None),
    "float": (0.1, "float64"),
    "nan": (NAN, "float64"),
    "bool": (True, "bool"),
    "complex": (1 + 2j, "complex128"),
    "str": ("Grüße\n", "<U6"),
    "bytes": (b"\x00\xff", None),
    "none": (None, None),
    "numpy scalar": (np.float32(0.5), "float32"),
    "datetime": (datetime.datetime(2026, 7, 1, 12, tzinfo=ZONE), None),
    "date": (datetime.date(2026, 7, 1), None),
    "timedelta": (datetime.timedelta(days=1, microseconds=5), None),
    "tuple": ((1, "a", (2.0,)), None),
    "list": ([1, [2, None]], None),
    "set": ({1, "b"}, None),
    "frozenset": (frozenset({1, 2}), None),
    "dict": ({"a": [1, {2: (3,)}], 4: b"x"}, None),
    "array": (np.arange(6, dtype=">i2").reshape(2, 3), ">i2"),
    "datetime64 array": (np.array(["2026-07-01"], "datetime64[D]"), "datetime64[D]"),
    "structured array": (np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]), None),
    "object array": (np.array([1, "a", None], dtype=object), None),
    "masked array": (np.ma.array([1.0, 2.0], mask=[False, True]), None),
    "series": (pd.Series([1, 2], index=["a", "b"], name="s"), None),
    "frame": (pd.DataFrame({"a": [1, 2], "b": ["x", None], "c": pd.Categorical(["u", "v"])}), None),
    "dataclass": (Point(1, ("t",)), None),
    "enum": (Colour.RED, None),
    "namedtuple": (Pair(1, 2.0), None),
    "path": (pathlib.PurePosixPath("a/b"), None),
    "decimal": (decimal.Decimal("1.10"), None),
    "fraction": (fractions.Fraction(1, 3), None),
    "uuid": (uuid.UUID(int=7), None),
    "range": (range(1, 9, 2), None),
    "slice": (slice(1, None, 2), None),
    "anything else": (OrderedDict(a=1), None),  # the last row: a pickle
}


def returned(which: str, i: int) -> Any:
    return TABLE[which][0]


def same(found: Any, given: Any) -> bool:
    """Whether two values are equal and of one type, NaN and masked places included."""
    if type(found) is not type(given):
        return False
    if isinstance(given, np.ma.MaskedArray):
        return (
            bool(np.array_equal(found.mask, given.mask))
            and found.filled(0).tolist() == given.filled(0).tolist()
        )
    if isinstance(given, np.ndarray):
        return found.dtype == given.dtype and found.tolist() == given.tolist()
    if isinstance(given, (pd.DataFrame, pd.Series)):
        return bool(found.equals(given)) and list(found.index) == list(given.index)
    return bool(found == given) or (found != found and given != given)


def run_of(which: str, run_dir: Path | None, backend: str) -> weft.Run:
    step = weft.step("y", mapspec="i[i] -> y[i]")(returned)
    return step.run(
        {"which": which, "i": range(3)}, run_dir=run_dir, backend=backend, n_jobs=2, progress=False
    )


@pytest.mark.parametrize("backend", ["sequential", "loky"])
@pytest.mark.parametrize("which", TABLE)
def test_a_type_survives_the_run_directory(which: str, backend: str, tmp_path: Path) -> None:
    given, dtype = TABLE[which]
    run_of(which, tmp_path / "run", backend)
    run = weft.open_run(tmp_path / "run", trust=which == "anything else")
    found = run["y"]
    if dtype is not None:
        assert found.dtype == np.dtype(dtype)
    if dtype is None or which in ("int", "float", "nan", "bool", "complex", "str"):
        values = found.tolist()
        assert len(values) == 3
        if which != "structured array":  # stacked, so that it lists as tuples
            assert all(same(value, given) for value in values)
    else:
        assert all(same(value, given) for value in found)


@pytest.mark.parametrize("which", TABLE)
def test_a_type_is_the_same_in_memory(which: str) -> None:
    run = weft.step("y")(returned).run({"which": which, "i": 0}, progress=False)
    assert same(run["y"], TABLE[which][0])


def test_only_the_last_row_is_a_pickle(tmp_path: Path) -> None:
    run_of("anything else", tmp_path / "run", "sequential")
    with pytest.raises(weft.UnsafePayload):
        weft.open_run(tmp_path / "run", trust=False)["y"]
