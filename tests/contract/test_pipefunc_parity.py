"""What users of pipefunc have, line by line of its list of features."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import weft
from weft.testing import Calls

Go = Callable[..., weft.Run]


def add(a, b=1):
    return a + b


def test_pipefunc_01_decorator_or_wrapping_and_called_alone() -> None:
    @weft.step("y", mapspec="x[i] -> y[i]")
    def f(x: int) -> int:
        """Double."""
        return 2 * x

    assert f(4) == 8 and f.__doc__ == "Double." and f.run({"x": [1, 2]})["y"].tolist() == [2, 4]
    for wrapped in (weft.step("s")(np.add), weft.Step(add, "s"), weft.step("s")(add)):
        assert wrapped(1, 2) == 3
    assert weft.Pipeline([weft.Step(add, "s")])(a=1)["s"] == 2


def test_pipefunc_02_outputs_picker_renames_defaults_bound_scope() -> None:
    pair = weft.step(("q", "r"))(lambda a, b: divmod(a, b))
    named = weft.step(("u", "v"))(lambda q: {"v": -q, "u": q})
    picked = weft.step(("low", "high"), output_picker=lambda found, name: found[f"<{name}>"])(
        lambda r: {"<low>": r - 1, "<high>": r + 1}
    )
    run = weft.Pipeline([pair, named, picked])(a=7, b=2)
    assert [run[name] for name in ("q", "r", "u", "v", "low", "high")] == [3, 1, 3, -3, 0, 2]
    assert weft.Pipeline([weft.Step(add, "s", renames={"a": "first"})])(first=1)["s"] == 2
    assert weft.Pipeline([weft.Step(add, "s", defaults={"b": 10})])(a=1)["s"] == 11
    assert weft.Pipeline([weft.Step(add, "s", bound={"b": 100})])(a=1)["s"] == 101
    scoped = weft.Pipeline([weft.Step(add, "s", scope="one"), weft.Step(add, "s", scope="two", name="again")])
    run = scoped.run({"one.a": 1, "two.a": 2, "two.b": 3}, progress=False)
    assert run["one.s"] == 2 and run["two.s"] == 5


def test_pipefunc_03_mapspecs() -> None:
    steps = [
        weft.step("t", mapspec="a[i], b[j] -> t[j, i]")(lambda a, b: 10 * a + b),
        weft.step("row", mapspec="t[:, i] -> row[i]")(lambda t: int(t.sum())),
        weft.step("g", mapspec="... -> g[k]")(lambda n: range(n)),
        weft.step(("p", "m"), mapspec="g[k], a[i] -> p[k, i], m[k, i]")(lambda g, a: (g + a, g - a)),
    ]
    run = weft.Pipeline(steps)(a=[1, 2], b=[3, 4, 5], n=2)
    assert run["t"].tolist() == [[13, 23], [14, 24], [15, 25]] and run["row"].tolist() == [42, 72]
    assert run["p"].tolist() == [[1, 2], [2, 3]] and run["m"].tolist() == [[-1, -2], [0, -1]]


def test_pipefunc_04_the_parser_rejects_what_it_does_not_understand() -> None:
    with pytest.raises(weft.MapSpecError, match=r"\^"):
        weft.step("c", mapspec="a[i], b -> c[i]")(add)


def test_pipefunc_05_axes_added_to_an_existing_pipeline() -> None:
    scale = weft.step("y", mapspec="x[i] -> y[i]")(lambda x, k: x * k)
    total = weft.step("total")(lambda y: int(np.sum(y)))
    pipeline = weft.Pipeline([scale, total])
    assert pipeline(x=[1, 2, 3], k=10)["total"] == 60
    run = pipeline.vary("k")(x=[1, 2, 3], k=[1, 10])
    assert run["y"].tolist() == [[1, 2, 3], [10, 20, 30]] and run["total"].tolist() == [6, 60]


def test_pipefunc_06_nested_joined_parts_fused_and_variants(calls: Calls) -> None:
    clean = weft.step("y", mapspec="x[i] -> y[i]", name="clean")(lambda x, k=1: calls("clean") or x + k)
    scale = weft.step("z", mapspec="y[i] -> z[i]", name="scale")(lambda y: 10 * y)
    total = weft.step("total")(lambda z: int(z.sum()))
    worst = weft.step("worst")(lambda z: int(z.min()))
    first, second = weft.Pipeline([clean, scale]), weft.Pipeline([total, worst])
    joined = first | second
    assert list(joined.steps) == ["clean", "scale", "total", "worst"] and joined(x=[1, 2])["total"] == 50
    with pytest.raises(weft.WiringError, match="'clean'"):
        joined | first

    calls.take()
    part = joined.subpipeline("worst")
    assert list(part.steps) == ["clean", "scale", "worst"] and part(x=[1, 2])["worst"] == 20
    assert list(joined.subpipeline("y").steps) == ["clean"] and list(joined.from_step("scale").steps) == [
        "scale", "total", "worst"
    ]  # fmt: skip

    nested = joined.nest("z", "prepare")
    assert list(nested.steps) == ["prepare", "total", "worst"] and "y" not in nested(x=[1, 2])
    assert nested.steps["prepare"].mapspec == "x[i] -> z[i]" and nested(x=[1, 2], k=2)["total"] == 70
    whole = joined.nest(["total", "worst"], "all")
    assert list(whole.steps) == ["all"] and dict(whole(x=[1, 2])) == {"total": 50, "worst": 20}

    groups = {step.name: step.group for step in joined.plan({"x": [1, 2]}).steps}
    assert groups["clean"] == groups["scale"] == ("clean", "scale") and groups["total"] == ("total",)

    other = weft.step("z", mapspec="y[i] -> z[i]", name="cube")(lambda y: y**3)
    assert joined.replace("scale", other)(x=[1, 2])["total"] == 35 and joined(x=[1, 2])["total"] == 50
    variants = {step.name: joined.replace("z", step)(x=[1, 2])["worst"] for step in (scale, other)}
    assert variants == {"scale": 20, "cube": 8}


def test_pipefunc_07_annotations_are_checked() -> None:
    def text(x: int) -> str:
        return str(x)

    def number(y: int) -> int:
        return y

    with pytest.raises(weft.WiringError, match=r"returns str as 'y'.*takes int"):
        weft.Pipeline([weft.step("y")(text), weft.step("z")(number)])


def test_pipefunc_07_a_whole_axis_is_no_scalar() -> None:
    def one(y: float) -> float:
        return y

    made = weft.step("y", mapspec="x[i] -> y[i]", name="made")(lambda x: x)
    with pytest.raises(weft.WiringError, match="'y' whole along i"):
        weft.Pipeline([made, weft.step("z")(one)])
    assert weft.Pipeline([made, weft.step("z", mapspec="y[i] -> z[i]")(one)])(x=[1.0])["z"].tolist() == [1.0]
    single = weft.step("y", name="made")(lambda x: x)
    run = weft.Pipeline([single, weft.step("z")(one)]).run(sweep=weft.grid(x=[1.0, 2.0]), progress=False)
    assert run["z"].tolist() == [1.0, 2.0]


def test_pipefunc_08_lengths_unknown_or_declared() -> None:
    def pipe(**options: Any) -> weft.Pipeline:
        opened = weft.step("x", mapspec="... -> x[i]", **options)(lambda n: list(range(n)))
        return weft.Pipeline([opened, weft.step("y", mapspec="x[i] -> y[i]")(lambda x: x * x)])

    assert pipe()(n=4)["y"].tolist() == [0, 1, 4, 9]
    assert pipe(sizes={"i": 4})(n=4)["y"].tolist() == [0, 1, 4, 9]
    with pytest.raises((weft.ShapeError, weft.StepError), match=r"length 3.*4 values"):
        pipe(sizes={"i": 3})(n=4)


def test_pipefunc_09_backends_executors_and_one_per_step(backend: str) -> None:
    steps = [weft.step("y", mapspec="x[i] -> y[i]")(lambda x: x + 1), weft.step("s")(lambda y: int(y.sum()))]
    pipe = weft.Pipeline(steps)
    assert pipe.run({"x": [1, 2]}, backend=backend, n_jobs=2, progress=False)["s"] == 5
    with ThreadPoolExecutor(2) as pool:
        assert pipe.run({"x": [1, 2]}, backend={"": "sequential", "y": pool}, progress=False)["s"] == 5
        assert pipe.run({"x": [1, 2]}, backend={"": backend, "s": pool}, n_jobs=2, progress=False)["s"] == 5


async def _sum(run: weft.Run) -> int:
    return int((await run)["y"].sum())


def test_pipefunc_10_async_with_progress_meanwhile() -> None:
    import asyncio

    gate = threading.Event()
    step = weft.step("y", mapspec="x[i] -> y[i]")(lambda x: gate.wait(60) and x)
    run = weft.Pipeline([step]).run(
        {"x": [1, 2]}, backend="thread_pool", n_jobs=2, wait=False, progress=False
    )
    assert not run.ok
    gate.set()
    assert asyncio.run(_sum(run)) == 3 and run.ok


def test_pipefunc_11_indices(calls: Calls) -> None:
    steps = [
        weft.step("c", mapspec="a[i], b[j] -> c[i, j]")(lambda a, b: (calls(a, b), a * b)[1]),
        weft.step("s")(lambda c: int(c.sum())),
    ]
    pipe = weft.Pipeline(steps)
    run = pipe.run({"a": [1, 2], "b": [3, 4]}, indices={"i": 1}, backend="sequential", progress=False)
    assert calls.take() == ["2 3", "2 4"] and run.get("c", missing=0).tolist() == [[0, 0], [6, 8]]
    with pytest.raises(weft.MissingResult):
        run["s"]
    with pytest.raises(weft.InvalidInput, match="'s'"):
        pipe.run({"a": [1, 2], "b": [3, 4]}, indices={"i": 1}, outputs="s", progress=False)


def test_pipefunc_13_values_xarray_and_dataframe(require: Callable[..., Any]) -> None:
    require("xarray"), require("pandas")
    run = weft.Pipeline([weft.step("c", mapspec="a[i], b[j] -> c[i, j]")(lambda a, b: a * b)])(
        a=[1, 2], b=[3, 4, 5]
    )
    dataset, frame = run.to_xarray(), run.to_dataframe()
    assert dataset["c"].dims == ("i", "j") and dataset["c"].values.tolist() == run["c"].tolist()
    assert dataset["a"].values.tolist() == [1, 2] and dataset["b"].values.tolist() == [3, 4, 5]
    assert frame["c"].tolist() == [3, 4, 5, 6, 8, 10]
    assert frame["a"].tolist() == [1, 1, 1, 2, 2, 2] and frame["b"].tolist() == [3, 4, 5] * 2


def test_pipefunc_14_resume(go: Go, calls: Calls, tmp_path: Path) -> None:
    cure = tmp_path / "cure"

    def steps(k: int) -> list[Any]:
        def f(x):
            calls(x)
            if x == 2 and not cure.exists():
                raise ValueError("two")
            return x + k

        return [weft.step("y", mapspec="x[i] -> y[i]")(f)]

    with pytest.raises(weft.StepError):
        go(steps(0), {"x": [1, 2]})
    (tmp_path / "run" / "mine.txt").write_text("not weft's")
    cure.touch()
    calls.take()
    assert go(steps(0), {"x": [1, 2, 3]})["y"].tolist() == [1, 2, 3]
    assert sorted(calls.take()) == ["2", "3"]
    with pytest.raises(weft.RunMismatch):
        go(steps(1), {"x": [1, 2, 3]})
    go(steps(1), {"x": [1, 2, 3]}, on_change="replace")
    assert (tmp_path / "run" / "mine.txt").read_text() == "not weft's"


def test_pipefunc_15_failures_are_kept_and_reproduced(kept: dict[str, Any], backend: str) -> None:
    def f(x, k):
        if x == 7:
            raise ValueError("seven")
        return x * k

    steps = [weft.step("y", mapspec="x[i] -> y[i]")(f), weft.step("s")(lambda y: 1)]
    run = weft.Pipeline(steps).run(
        {"x": list(range(20)), "k": 3},
        backend=backend,
        n_jobs=2,
        block_size=20,
        on_error="continue",
        progress=False,
        **kept,
    )
    assert not run.ok and run.status["f"]["failed"] == 1 and run.status["s"]["blocked"] == 1
    assert len(run.errors) == 1
    with pytest.raises(ValueError, match="seven"):
        run.errors[0].reproduce()


def test_pipefunc_16_caching_across_runs(
    backend: str, calls: Calls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEFT_CACHE", str(tmp_path / "cache"))

    def expensive(x: int) -> int:
        calls(x)
        return x * x

    step = weft.step("y", mapspec="x[i] -> y[i]", cache=True)(expensive)
    options = {"backend": backend, "n_jobs": 2, "progress": False}
    assert step.run({"x": [1, 2, 3]}, run_dir=tmp_path / "first", **options)["y"].tolist() == [1, 4, 9]
    assert sorted(calls.take()) == ["1", "2", "3"]
    assert step.run({"x": [3, 4, 1]}, run_dir=tmp_path / "second", **options)["y"].tolist() == [9, 16, 1]
    assert calls.take() == ["4"]
    again = weft.Pipeline([step]).run({"x": [4, 2]}, **options)
    assert again["y"].tolist() == [16, 4] and not calls.take()


def test_pipefunc_16_steps_are_profiled_also_when_parallel(backend: str, kept: dict[str, Any]) -> None:
    def build(n: int) -> int:
        until = time.perf_counter() + 0.01
        while time.perf_counter() < until:
            pass
        return int(np.ones(n, np.uint8).sum())

    big = 100 << 20
    steps = [
        weft.step("y", mapspec="n[i] -> y[i]", name="build")(build),
        weft.step("s", name="sum")(lambda y: int(y.sum())),
    ]
    run = weft.Pipeline(steps).run(
        {"n": [1, big, 1]}, backend=backend, n_jobs=2, block_size=1, progress=False, **kept
    )
    rows = run.attempts("build")
    assert len(rows) == 3 and all(row["seconds"] >= 0.01 for row in rows)
    assert run.attempts("build", i=1)[0]["peak_memory"] > big
    assert [row["step"] for row in run.attempts()] == ["build"] * 3 + ["sum"]
    assert run.status["build"]["seconds"] >= 0.03
