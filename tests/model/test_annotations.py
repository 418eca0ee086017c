from __future__ import annotations

import collections.abc as abc
import datetime
import enum
import functools
import typing
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import numpy as np
import pytest
from numpy.typing import NDArray

from weft.model.annotations import (
    Unresolved,
    fits,
    resolve_annotations,
    scalar_annotation,
    wants,
)

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")
UserId = typing.NewType("UserId", int)


class Colour(enum.Enum):
    RED = 1


class Model: ...


class BetterModel(Model): ...


class Other: ...


class Predicts(typing.Protocol):
    def predict(self) -> int: ...


class Labelled(typing.Generic[T]): ...


class Lazy(typing.Generic[T]): ...


Labelled.__module__ = Lazy.__module__ = "weft.run.values"


@pytest.mark.parametrize(
    "annotation",
    [int, float, complex, bool, str, bytes, None, np.float64, np.integer, Colour, Path, datetime.date,
     int | None, typing.Optional[str], typing.Union[int, str], Literal["a", 1], Literal["a"] | None, UserId,  # noqa: UP007, UP045
     Annotated[float, "m"], Annotated[int | None, "m"]],
)  # fmt: skip
def test_scalars_cannot_be_lists(annotation: Any) -> None:
    assert scalar_annotation(annotation)


@pytest.mark.parametrize(
    "annotation",
    [Any, object, list, list[int], np.ndarray, NDArray[np.float64], int | list[int], float | np.ndarray, T,
     Unresolved("x"), abc.Iterable[int], dict, Model, typing.Union[int, Any]],  # noqa: UP007
)  # fmt: skip
def test_what_may_be_a_list_is_no_scalar(annotation: Any) -> None:
    assert not scalar_annotation(annotation)


@pytest.mark.parametrize(
    ("annotation", "want"),
    [
        (Any, "array"),
        (np.ndarray, "array"),
        (NDArray[np.int64], "array"),
        (object, "array"),
        (float, "array"),
        (Unresolved("Foo"), "array"),
        (np.ndarray | list, "array"),
        (list, "list"),
        (list[float], "list"),
        (tuple[int, ...], "list"),
        (typing.List[int], "list"),  # noqa: UP006
        (abc.Sequence[str], "list"),
        (list[int] | None, "list"),
        (int | list[int], "list"),
        (Annotated[list[int], "m"], "list"),
        (list[Labelled], "labelled"),
        (list[Labelled[float]], "labelled"),
        (abc.Iterator[int], "iterator"),
        (typing.Iterable[int], "iterator"),
        (abc.Iterator[Labelled[int]], "iterator"),
        (Lazy[int], "lazy"),
        (Lazy, "lazy"),
        (Unresolved("pd.DataFrame"), "dataframe"),
        (Unresolved("xr.DataArray"), "dataarray"),
        (Unresolved("polars.DataFrame"), "array"),
        (Model, "array"),
    ],
)
def test_wants(annotation: Any, want: str) -> None:
    assert wants(annotation) == want


def test_wants_tables(require: Callable[[str], Any]) -> None:
    pandas, xarray = require("pandas"), require("xarray")
    assert wants(pandas.DataFrame) == wants(pandas.DataFrame | None) == "dataframe"
    assert wants(xarray.DataArray) == "dataarray"
    assert wants(pandas.Series) == wants(xarray.Dataset) == "array"


@pytest.mark.parametrize(
    ("produced", "wanted"),
    [
        (int, int), (int, float), (bool, int), (float, int), (np.float64, float), (int, np.int64),
        (np.bool_, bool), (Any, int), (str, Any), (T, int), (Unresolved("Foo"), int),
        (int, Unresolved("Foo")),
        (int | str, str), (str, int | str | None), (list[int], list[str]), (list[int], abc.Sequence[int]),
        (abc.Sequence[int], np.ndarray), (tuple[int, ...], list[int]), (np.ndarray, list[float]),
        (list, NDArray[np.float64]), (np.ndarray, float), (float, np.ndarray), (BetterModel, Model),
        (Model, BetterModel), (Model, Predicts), (Literal["a"], str), (UserId, int),
        (Annotated[int, "m"], float),
        (object, int), (str, abc.Iterable[str]), (int, Lazy[int]), (typing.Callable[[int], int], Model),
        (type[Model], type[Other]), (Other, "forward"),
    ],
)  # fmt: skip
def test_fits(produced: Any, wanted: Any) -> None:
    assert fits(produced, wanted)


@pytest.mark.parametrize(
    ("produced", "wanted"),
    [
        (str, int), (int, str), (str, int | float | None), (dict, float), (dict[str, int], list[int]),
        (list[int], dict), (Model, Other), (str, np.ndarray), (None, int), (Model, int), (str, bytes),
        (Literal["a"], int), (Annotated[str, "m"], int), (list[float], float), (str, Path), (set, list),
    ],
)  # fmt: skip
def test_certain_misfits(produced: Any, wanted: Any) -> None:
    assert not fits(produced, wanted)


def test_resolves_strings_and_keeps_extras() -> None:
    def function(a: int, b: Annotated[float, "m"], c: list[Model] | None = None, *, d) -> BetterModel: ...  # type: ignore[no-untyped-def, empty-body]

    assert resolve_annotations(function) == {
        "a": int,
        "b": Annotated[float, "m"],
        "c": list[Model] | None,
        "return": BetterModel,
    }


def test_one_unknown_name_does_not_spoil_the_others() -> None:
    def function(a: int, b: Missing, c: pd.DataFrame) -> float: ...  # type: ignore[name-defined, empty-body] # noqa: F821

    assert resolve_annotations(function) == {
        "a": int,
        "b": Unresolved("Missing"),
        "c": Unresolved("pd.DataFrame"),
        "return": float,
    }


def test_names_of_the_enclosing_function_are_found_where_the_function_uses_them() -> None:
    class Local: ...

    def function(a: Local, b: Missing) -> Local:  # type: ignore[name-defined] # noqa: F821
        return Local()

    assert resolve_annotations(function) == {"a": Local, "b": Unresolved("Missing"), "return": Local}


def test_resolves_every_kind_of_callable() -> None:
    def function(a: int, b: float) -> str:
        return ""

    class Callable:
        def __call__(self, a: int) -> str:
            return ""

        def method(self, a: float) -> str:
            return ""

    class Built:
        def __init__(self, a: int) -> None: ...

    @functools.wraps(function)
    def wrapper(*args: Any) -> Any: ...

    assert resolve_annotations(functools.partial(function, 1)) == {"a": int, "b": float, "return": str}
    assert resolve_annotations(wrapper) == {"a": int, "b": float, "return": str}
    assert resolve_annotations(functools.cache(function)) == {"a": int, "b": float, "return": str}
    assert resolve_annotations(Callable()) == {"a": int, "return": str}
    assert resolve_annotations(Callable().method) == {"a": float, "return": str}
    assert resolve_annotations(Built) == {"a": int, "return": Built}
    assert resolve_annotations(len) == resolve_annotations(np.sin) == {}
