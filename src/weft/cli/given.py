"""What is given on the command line: ``name=value``, ``FILE.py:pipe``, ``study.yaml``."""

from __future__ import annotations

import ast
import csv
import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from weft.configuration.document import SECTIONS, as_range
from weft.configuration.importing import pipeline
from weft.configuration.study import ConfiguredStudy, load_study
from weft.errors import InvalidInput, nearest
from weft.model.sweep import Sweep, grid

_READ = re.compile(r"[\w.]+=@.*|(inputs\.)?\w+=\s*range\(.*\)\s*")
_FLOATS = {"nan", "inf", "-inf"}
_SPAN = re.compile(r"[-+]?[\d_.]+(?:[eE][-+]?\d+)?(?::[-+]?[\d_.]+(?:[eE][-+]?\d+)?){1,2}")


def values(given: Iterable[str]) -> dict[str, Any]:
    """The inputs in ``name=value`` arguments.

    Raises
    ------
    InvalidInput
        For what is not of that form, a name given twice, or a file that cannot be read.
    """
    return {
        name: _file(name, value[1:]) if value.startswith("@") else parsed(value)
        for name, value in _named(given).items()
    }


def sweep(given: Iterable[str]) -> Sweep:
    """The grid of ``name=values`` options, an axis each: see `several`."""
    return grid(**{name: several(name, text) for name, text in _named(given).items()})


def several(name: str, text: str) -> Sequence[Any]:
    """Values separated by commas, each as `parsed` reads it, or ``start:stop[:step]``, which is a `range`.

    Examples
    --------
    >>> several("lr", "0.1,0.2"), several("a", "1:10:4"), several("opt", "sgd,01")
    ([0.1, 0.2], range(1, 10, 4), ['sgd', '01'])
    """
    found: Sequence[Any]
    whole = parsed(text)
    if _SPAN.fullmatch(text):
        try:
            found = range(*map(int, text.split(":")))
        except ValueError:
            raise InvalidInput(
                f"{name}={text}: start:stop[:step] are whole numbers, step not 0. "
                f"List others: {name}=0.1,0.2."
            ) from None
    elif isinstance(whole, range):
        found = whole
    else:
        as_list = parsed(f"[{text}]")
        values = text.removesuffix(",").split(",") if text else []
        found = as_list if isinstance(as_list, list) else [parsed(value) for value in values]
    if not found:
        raise InvalidInput(f"{name}={text} has no values to vary. In start:stop, stop is not included.")
    return found


def _named(given: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not all(part.isidentifier() for part in name.split(".")):
            raise InvalidInput(f"{text!r} is not of the form name=value.")
        if name in found:
            raise InvalidInput(f"{name!r} is given twice.")
        found[name] = value
    return found


def parsed(text: str) -> Any:
    """A value: a Python literal, ``range(...)``, or else the text itself.

    Examples
    --------
    >>> parsed("0.5"), parsed("[1, 2]"), parsed("range(3)"), parsed("hello")
    (0.5, [1, 2], range(0, 3), 'hello')
    """
    if (found := as_range(text)) is not None:
        return found
    if text.strip() in _FLOATS:
        return float(text)
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def _file(name: str, path: str) -> Any:
    suffix = os.path.splitext(path)[1]
    try:
        if suffix == ".json":
            with open(path, encoding="utf-8") as file:
                return json.load(file)
        if suffix == ".npy":
            import numpy as np

            return np.load(path, allow_pickle=False)
        if suffix == ".csv":
            with open(path, encoding="utf-8", newline="") as file:
                return _column(name, path, list(csv.DictReader(file)))
    except (OSError, ValueError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(f"{name}=@{path} cannot be read: {error}.") from error
    raise InvalidInput(f"{name}=@{path}: a file ends in .json, .csv or .npy.")


def _column(name: str, path: str, rows: list[dict[str, str]]) -> list[Any]:
    columns = list(rows[0]) if rows else []
    column = name if name in columns else columns[0] if len(columns) == 1 else None
    if column is None:
        there = ", ".join(columns) or "none"
        raise InvalidInput(f"{path} has no column {name!r}.{nearest(name, columns)} Its columns: {there}.")
    return [parsed(row[column]) for row in rows]


def _plain(value: Any) -> Any:
    """A value as YAML has it."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return list(value) if isinstance(value, range) else value


def study(target: str, given: Sequence[str]) -> ConfiguredStudy:
    """What ``FILE.py:name`` or a YAML file says to run, with the inputs, or overrides, that are given.

    Raises
    ------
    InvalidInput
        For what is not there, or cannot be understood.
    """
    if not target.endswith((".yaml", ".yml")):
        return ConfiguredStudy(pipeline(target), values(given), {"progress": True})
    # What YAML has no form for is read as for a Python file; a long range is not made a list.
    read = [text for text in given if _READ.match(text)]
    others = [text for text in given if text not in read]
    inputs = []
    for text in read:
        if text.partition(".")[0] in SECTIONS and not text.startswith("inputs."):
            others += [f"{name}={json.dumps(_plain(value))}" for name, value in values([text]).items()]
        else:
            inputs.append(text.removeprefix("inputs."))
    found = load_study(target, others, values(inputs))
    return replace(found, options={"progress": True, **found.options})
