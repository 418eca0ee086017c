"""The functions that every contender runs. Nothing of weft here: the peers' environments import this too."""

from __future__ import annotations

from typing import Any

import numpy as np


def add_one(x: int) -> int:
    return x + 1


def add_keyword(*, x: int, k: int) -> int:
    return x + k


def draw(x: int, rng: np.random.Generator) -> float:
    return x + rng.random()


def fail_often(x: int) -> int:
    if x % 100 == 7:
        raise ValueError(f"no {x}")
    return x + 1


def add_many(x: Any) -> Any:
    return x + 1


def small_array(x: int) -> Any:
    return np.full(8, float(x))


def text(x: int) -> str:
    return f"element {x}"


def spin(x: int) -> int:
    """About half a millisecond of pure Python."""
    total = 0
    for i in range(14_000):
        total += i ^ x
    return total
