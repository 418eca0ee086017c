import weft
from typing import Any
def _a(x: int, ctx: weft.Context) -> int:
    return x
def _b(x: int) -> int:
    return x
def test_a():
    weft.Pipeline([weft.Step(_a,"y",mapspec="x[i] -> y[i]")]).run({"x":[1,2]},backend="process_pool",n_jobs=2,progress=False)
def test_b():
    weft.Pipeline([weft.Step(_b,"y",mapspec="x[i] -> y[i]")]).run({"x":[1,2]},backend="process_pool",n_jobs=2,progress=False)
