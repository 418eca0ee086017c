"""The functions as weft's steps."""

from __future__ import annotations

from collections.abc import Iterator

import weft
from benchmarks import functions


def mapped(function: object, **options: object) -> weft.Pipeline:
    return weft.Pipeline([weft.step("y", mapspec="x[i] -> y[i]", **options)(function)])


simple = mapped(functions.add_one)
keyword = mapped(functions.add_keyword, defaults={"k": 1})
random = mapped(functions.draw)
failing = mapped(functions.fail_often)
batch = mapped(functions.add_many, batch=True)
arrays = mapped(functions.small_array)
texts = mapped(functions.text)
spinning = mapped(functions.spin)


class Numbers(weft.Source[int]):
    """One number for each index."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> Iterator[int]:
        yield index


class Total(weft.Filter[int]):
    """The sum of all numbers."""

    total = 0

    def __call__(self, items: Iterator[int]) -> Iterator[int]:
        for item in items:
            self.total += item
            yield item

    def flush(self) -> int:
        return self.total

    def merge(self, states: list[int]) -> int:
        return sum(states)


def nowhere(items: Iterator[int], index: int) -> list[str]:
    """Write nothing."""
    for _ in items:
        pass
    return []


chain = weft.Pipeline(
    [
        weft.step("y", name="first", mapspec="x[i] -> y[i]")(functions.add_one),
        weft.step("z", name="second", mapspec="y[i] -> z[i]")(lambda y: y + 1),
        weft.step("total")(lambda z: z.sum()),
    ]
)


def long_chain(n: int) -> weft.Pipeline:
    """Steps one after the other, each run once: ``x0 -> x1 -> …``."""
    return weft.Pipeline(
        [weft.Step(functions.add_one, f"x{k + 1}", name=f"step{k}", renames={"x": f"x{k}"}) for k in range(n)]
    )


def grown(v: int, w: int) -> int:
    return v + w


def kept(v: int, w: int) -> int:
    return (w + v) % 7


def large(v: int) -> bool:
    return v > 1_000_000_000


def rounds(n: int) -> weft.Pipeline:
    """A loop of `n` iterations whose body is three trivial steps."""
    body = [weft.Step(grown, "v"), weft.Step(kept, "w"), weft.Step(large, "end")]
    return weft.Pipeline([weft.Loop(body, n_iterations=n, until="end")], name="rounds")


def added(a: int, b: int, c: int, d: int, e: int) -> int:
    return a + b + c + d + e


def five() -> weft.Pipeline:
    """One step of five parameters."""
    return weft.Pipeline([weft.Step(added, "sum")], name="five")
