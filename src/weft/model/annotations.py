"""What the annotations of a step's function say about the values it takes and returns."""

from __future__ import annotations

import collections.abc as abc
import contextlib
import datetime
import enum
import functools
import importlib
import inspect
import numbers
import pathlib
import re
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Want = Literal["array", "list", "dataarray", "dataframe", "labelled", "iterator", "lazy"]

_SCALARS = (
    int,
    float,
    complex,
    str,
    bytes,
    np.generic,
    enum.Enum,
    numbers.Number,
    datetime.date,
    datetime.time,
    datetime.timedelta,
    pathlib.PurePath,
    type(None),
)
_NUMBERS = (int, float, complex, numbers.Number, np.number, np.bool_)
_LISTS = (list, tuple, abc.Sequence, abc.MutableSequence, abc.Collection)
_ITERATORS = (abc.Iterator, abc.Iterable, abc.Generator)
_LABELLED_TABLES: dict[tuple[str, str], Want] = {
    ("xarray", "DataArray"): "dataarray",
    ("pandas", "DataFrame"): "dataframe",
    ("weft", "Lazy"): "lazy",
}
# For annotations under `if TYPE_CHECKING`, of which only the text is left.
_UNRESOLVED_TABLES: tuple[tuple[re.Pattern[str], Want], ...] = (
    (re.compile(r"((xr|xarray)\.)?DataArray"), "dataarray"),
    (re.compile(r"((pd|pandas)\.)?DataFrame"), "dataframe"),
    (re.compile(r"list\[(weft\.)?Labelled\b.*\]"), "labelled"),
    (re.compile(r"(weft\.)?Lazy(\[.*\])?"), "lazy"),
    (re.compile(r"([\w.]+\.)?(Iterator|Iterable|Generator)(\[.*\])?"), "iterator"),
)


@dataclass(frozen=True, slots=True)
class Unresolved:
    """An annotation that names something that is not there; only its text is known."""

    text: str


def resolve_annotations(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of a callable by parameter, and ``"return"``, evaluated as far as possible.

    One name that cannot be resolved does not spoil the others: it becomes `Unresolved`.
    """
    target = _annotated_function(function)
    namespace = getattr(inspect.unwrap(target), "__globals__", {})
    local = closed_over(inspect.unwrap(target))
    try:
        hints = typing.get_type_hints(target, localns=local, include_extras=True)
    except Exception:
        hints = {name: _resolve_one(raw, namespace, local) for name, raw in _raw_annotations(target).items()}
    if inspect.isclass(function):
        hints["return"] = function
    return hints


def _annotated_function(function: Any) -> Callable[..., Any]:
    while isinstance(function, functools.partial):
        function = function.func
    target: Any = function
    if inspect.isclass(function):
        target = function.__init__
    elif (
        not inspect.isroutine(function)
        and not {"__wrapped__", "__annotations__"} & getattr(function, "__dict__", {}).keys()
    ):
        target = type(function).__call__
    return typing.cast("Callable[..., Any]", target)


def closed_over(function: Any) -> dict[str, Any]:
    """The variables that a function closes over, but for those that have no value yet."""
    found = {}
    cells = getattr(function, "__closure__", None) or ()
    for name, cell in zip(function.__code__.co_freevars if cells else (), cells, strict=True):
        with contextlib.suppress(ValueError):
            found[name] = cell.cell_contents
    return found


def _raw_annotations(target: Any) -> dict[str, Any]:
    try:
        return dict(getattr(target, "__annotations__", None) or {})
    except NameError:
        # Python 3.14 evaluates annotations when they are read; ask it for their text instead.
        annotationlib = importlib.import_module("annotationlib")
        return dict(annotationlib.get_annotations(target, format=annotationlib.Format.STRING))


def _resolve_one(raw: Any, namespace: dict[str, Any], local: dict[str, Any]) -> Any:
    holder = types.SimpleNamespace(__annotations__={"it": raw})
    try:
        return typing.get_type_hints(holder, namespace, local, include_extras=True)["it"]
    except Exception:
        return Unresolved(raw if isinstance(raw, str) else repr(raw))


def scalar_annotation(annotation: Any) -> bool:
    """Whether a list can certainly not be meant: numbers, strings, enums, dates, and unions of them."""
    members = _members(annotation)
    return bool(members) and all(isinstance(kind, type) and issubclass(kind, _SCALARS) for kind in members)


def wants(annotation: Any) -> Want:
    """In which form a parameter so annotated wants a whole axis.

    Examples
    --------
    >>> wants(list[float]), wants(np.ndarray), wants(int | None)
    ('list', 'array', 'array')
    """
    for member in _union_members(annotation):
        if isinstance(member, Unresolved):
            return next((want for text, want in _UNRESOLVED_TABLES if text.fullmatch(member.text)), "array")
        kind = _origin(member)
        if not isinstance(kind, type) or issubclass(kind, _SCALARS):
            continue
        package = kind.__module__.partition(".")[0]
        table = _LABELLED_TABLES.get((package, kind.__qualname__))
        if table is not None:
            return table
        if kind in _LISTS:
            return "labelled" if any(map(_is_labelled, typing.get_args(member))) else "list"
        return "iterator" if kind in _ITERATORS else "array"
    return "array"


def many_passes(annotation: Any) -> bool:
    """Whether what is iterated over may be iterated over again: an ``Iterable``, and no ``Iterator``."""
    return any(
        re.match(r"([\w.]+\.)?Iterable\b", member.text) is not None
        if isinstance(member, Unresolved)
        else _origin(member) is abc.Iterable
        for member in _union_members(annotation)
    )


def promised(annotation: Any) -> Any:
    """What a ``Lazy[T]`` loads: `T`; anything for other annotations."""
    for member in _union_members(annotation):
        if typing.get_args(member) and wants(member) == "lazy":
            return typing.get_args(member)[0]
    return Any


def fits(produced: Any, wanted: Any) -> bool:
    """Whether a value annotated as `produced` may be given to a parameter annotated as `wanted`.

    Only a certain misfit counts: all numbers fit each other and arrays (``float`` covers integers, and
    broadcasting takes either), what is abstract, generic inside or unresolved fits.

    Examples
    --------
    >>> fits(str, int), fits(int, float), fits(str, int | str)
    (False, True, True)
    """
    sources, targets = _members(produced), _members(wanted)
    if not sources or not targets:
        return True
    return any(_class_fits(source, target) for source in sources for target in targets)


def _class_fits(source: Any, target: Any) -> bool:
    if not isinstance(source, type) or not isinstance(target, type):
        return True
    for kind in (source, target):
        weft_adapts = kind.__module__.partition(".")[0] == "weft"
        if kind is object or weft_adapts or inspect.isabstract(kind) or getattr(kind, "_is_protocol", False):
            return True
    try:
        if issubclass(source, target) or issubclass(target, source):
            return True
    except TypeError:
        return True
    kinds = {_kind(source), _kind(target)}
    return None not in kinds and kinds != {"number", "list"}


def _kind(kind: type) -> Literal["number", "array", "list"] | None:
    """What arithmetic takes it for; arrays stand for numbers and lists, and these for arrays."""
    if issubclass(kind, _NUMBERS):
        return "number"
    if issubclass(kind, (list, tuple)):
        return "list"
    return "array" if hasattr(kind, "__array__") and not issubclass(kind, np.generic) else None


def _is_labelled(annotation: Any) -> bool:
    kind = _origin(annotation)
    return getattr(kind, "__qualname__", "") == "Labelled" and kind.__module__.partition(".")[0] == "weft"


def _strip(annotation: Any) -> Any:
    """The annotation under ``Annotated``, ``NewType`` and ``type`` aliases."""
    while True:
        if typing.get_origin(annotation) is typing.Annotated:
            annotation = typing.get_args(annotation)[0]
        elif isinstance(annotation, typing.NewType):
            annotation = annotation.__supertype__
        elif type(annotation).__name__ == "TypeAliasType":
            annotation = annotation.__value__
        else:
            return type(None) if annotation is None else annotation


def _origin(annotation: Any) -> Any:
    annotation = _strip(annotation)
    return typing.get_origin(annotation) or annotation


def _union_members(annotation: Any) -> list[Any]:
    annotation = _strip(annotation)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [inner for member in typing.get_args(annotation) for inner in _union_members(member)]
    return [annotation]


def _members(annotation: Any) -> list[type]:
    """The classes an annotation may stand for; none if it says nothing certain."""
    classes: list[type] = []
    for member in _union_members(annotation):
        if typing.get_origin(member) is Literal:
            classes += [type(value) for value in typing.get_args(member)]
            continue
        kind = _origin(member)
        if not isinstance(kind, type) or kind in (object, Any, inspect.Parameter.empty):
            return []
        classes.append(kind)
    return classes
