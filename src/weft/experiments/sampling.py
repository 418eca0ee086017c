"""Points of the unit cube by method, and the points of a domain that they stand for."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from weft.errors import InvalidInput, nearest
from weft.experiments.parameters import Parameter, Unit
from weft.study.labels import needed
from weft.values.table import Table

METHODS = ("random", "latin", "sobol", "halton", "grid")


def sampled(domain: Mapping[str, Parameter], n: int | Mapping[str, int], method: str, seed: int) -> Table:
    """Points of a domain; see `Domain.sample`."""
    if method not in METHODS:
        raise InvalidInput(
            f"There is no method {method!r}.{nearest(str(method), METHODS)} Methods: {', '.join(METHODS)}."
        )
    if method == "grid":
        return _grid(domain, n)
    if isinstance(n, Mapping):
        raise InvalidInput(f"Numbers by name are levels of a grid; {method!r} takes one number of points.")
    _number(n, 0, "a number of points")
    _number(seed, 0, "a seed")
    unit = _unit(method, n, sum(parameter.width for parameter in domain.values()), seed)
    columns, at = [], 0
    for parameter in domain.values():
        columns.append(parameter.values(unit[:, at : at + parameter.width]))
        at += parameter.width
    return Table({name: column[k] for name, column in zip(domain, columns, strict=True)} for k in range(n))


def _grid(domain: Mapping[str, Parameter], n: int | Mapping[str, int]) -> Table:
    if isinstance(n, Mapping):
        for name in n:
            if name not in domain:
                raise InvalidInput(f"The domain has no parameter {name!r}.{nearest(str(name), domain)}")
    levels = {name: n.get(name) if isinstance(n, Mapping) else n for name in domain}
    for name, number in levels.items():
        if number is not None:
            _number(number, 1, f"the number of levels of {name!r}")
    along = [parameter.levels(levels[name]) for name, parameter in domain.items()]
    return Table(dict(zip(domain, point, strict=True)) for point in itertools.product(*along))


def _unit(method: str, n: int, width: int, seed: int) -> Unit:
    if method == "random" or not (n and width):
        return np.random.default_rng(seed).random((n, width))
    qmc = needed("scipy", "experiments").stats.qmc
    if method == "sobol":
        # Its balance holds for powers of two, and it warns of others; the first n are the same.
        made = qmc.Sobol(width, seed=seed).random_base2((n - 1).bit_length())[:n]
    else:
        made = {"latin": qmc.LatinHypercube, "halton": qmc.Halton}[method](width, seed=seed).random(n)
    unit: Unit = made
    return unit


def _number(value: Any, least: int, what: str) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise InvalidInput(f"{what} is a whole number ≥ {least}, got {value!r}.".capitalize())
