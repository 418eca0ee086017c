"""The functions as weft's steps."""

from __future__ import annotations

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
chain = weft.Pipeline(
    [
        weft.step("y", name="first", mapspec="x[i] -> y[i]")(functions.add_one),
        weft.step("z", name="second", mapspec="y[i] -> z[i]")(lambda y: y + 1),
        weft.step("total")(lambda z: z.sum()),
    ]
)
