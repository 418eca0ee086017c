"""What users of f3dasm have, line by line of its list of features, as far as weft has come."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import weft
from weft.experiments import Block, Category, Domain, Experiments, Float, Int
from weft.testing import Calls

HERE: dict[str, Any] = {"backend": "sequential", "progress": False}
BACKENDS = ["sequential", "thread_pool", "process_pool", "loky"]
DOMAIN = Domain(x=Float(-5, 5), k=Int(0, 9))


def value_of(row: dict[str, Any]) -> float:
    return float(row["x"] ** 2 + row["k"])


class Grow(Block):
    """Adds open rows to a table."""

    def __init__(self, n: int) -> None:
        self.n = n

    def arm(self, data: list[dict[str, Any]]) -> None:
        self.offset = len(data)

    def call(self, data: list[dict[str, Any]], rng: np.random.Generator) -> list[dict[str, Any]]:  # type: ignore[override]
        return [*data, *DOMAIN.sample(self.n, seed=int(rng.integers(2**32)) + self.offset)]


class Evaluate(Block):
    def call(self, data: list[dict[str, Any]], **options: Any) -> list[dict[str, Any]]:
        return [row if "f" in row else {**row, "f": value_of(row)} for row in data]


@weft.step("sampled")
def sample(table: list[Any], rng: np.random.Generator) -> list[Any]:
    return [*table, *DOMAIN.sample(2, seed=int(rng.integers(2**32)))]


@weft.step("table")
def evaluate(sampled: list[Any]) -> list[Any]:
    return [row if "f" in row else {**row, "f": value_of(row)} for row in sampled]


@weft.step("best")
def pick(table: list[Any]) -> float:
    return min(float(row["f"]) for row in table)


@weft.step("rows2", mapspec="... -> rows2[i]")
def add(rows: list[Any], rng: np.random.Generator) -> list[Any]:
    """Two rows more, whatever the number of rows."""
    return [*rows, *DOMAIN.sample(2, seed=int(rng.integers(2**32)))]


@weft.step("f", mapspec="rows2[i] -> f[i]")
def evaluate_row(rows2: dict[str, Any]) -> float:
    return value_of(rows2)


@weft.step("n")
def count(f: list[float]) -> int:
    return len(f)


def functions() -> weft.Pipeline:
    return weft.Pipeline([weft.Loop([sample, evaluate], n_iterations=3, name="iteration"), pick])


def growing(n: int = 2) -> weft.Pipeline:
    body = [add, evaluate_row, count]
    return weft.Pipeline([weft.Loop(body, n_iterations=n, name="iteration", carry={"rows": "rows2"})])


def test_f3dasm_01_a_pipeline_is_steps_and_loops_functions_and_blocks() -> None:
    run = functions().run({"table": []}, **HERE)
    assert [len(table) for table in run["table"]] == [2, 4, 6]
    assert run["best"] == min(row["f"] for row in run.isel("table", iteration=-1))
    blocks = Grow(7) >> Evaluate() >> (Grow(2) >> Evaluate()).loop(3)
    pipe = weft.Pipeline([*blocks.steps("table", "grown"), pick.replace(renames={"table": "grown"})])
    run = pipe.run({"table": []}, **HERE)
    assert [len(table) for table in run["grown"]] == [9, 11, 13]
    assert run["best"] == min(row["f"] for row in run.isel("grown", round=-1))


def test_f3dasm_01_made_from_yaml(tmp_path: Path) -> None:
    pytest.importorskip("omegaconf", reason="needs weft[yaml]")
    (tmp_path / "halving_steps.py").write_text(
        "def halve(x: float) -> float:\n    return x / 2\n"
        "def small(half: float) -> bool:\n    return half < 1\n"
    )
    (tmp_path / "study.yaml").write_text(
        "steps:\n"
        "  - loop:\n"
        "      name: turn\n"
        "      n_iterations: 10\n"
        "      carry: {x: half}\n"
        "      until: is_small\n"
        "      steps:\n"
        "        - {function: halving_steps.halve, output: half}\n"
        "        - {function: halving_steps.small, output: is_small}\n"
        "inputs: {x: 8.0}\n"
    )
    assert weft.load_study(tmp_path / "study.yaml").run(**HERE)["half"].tolist() == [4.0, 2.0, 1.0, 0.5]


def test_f3dasm_02_resources_extra_arguments_and_order_by_step() -> None:
    made = weft.step("a", mapspec="x[i] -> a[i]", bound={"k": 3}, resources={"cpus": 2, "memory": "1G"})(
        lambda x, k: 10 // x * k
    )
    after = weft.step("b", allow_missing=True, after="a")(lambda a: int(a.sum()))
    run = weft.Pipeline([made, after]).run({"x": [1, 0, 2]}, on_error="continue", **HERE)
    assert run["b"] == 45 and not run.ok


@pytest.mark.parametrize("pipe", [functions(), growing()], ids=["passed on", "by row"])
def test_f3dasm_04_the_same_on_every_backend(pipe: weft.Pipeline, tmp_path: Path) -> None:
    inputs: dict[str, Any] = {"table": []} if "table" in pipe.graph.producer else {"rows": DOMAIN.sample(7)}
    last = list(pipe.graph.outputs)[-1]
    runs = [
        pipe.run(inputs, seed=5, backend=backend, n_jobs=2, run_dir=tmp_path / backend, progress=False)
        for backend in BACKENDS
    ]
    for run in runs:
        assert run.ok
        np.testing.assert_array_equal(run[last], runs[0][last])
        if "f" in run:
            np.testing.assert_array_equal(run["f"].filled(-1), runs[0]["f"].filled(-1))
            assert run["rows2"].tolist() == runs[0]["rows2"].tolist()
    other = pipe.run(inputs, seed=6, **HERE)
    assert other.isel(next(iter(other)), iteration=-1) is not None
    assert not np.array_equal(other["f"], runs[0]["f"]) if "f" in other else other["best"] != runs[0]["best"]


def test_f3dasm_05_from_a_step_or_a_loop_on(tmp_path: Path) -> None:
    calls = Calls(tmp_path / "calls")

    def judge(table: list[Any]) -> float:
        calls(len(table))
        return max(float(row["f"]) for row in table)

    pipe = functions().add(weft.Step(judge, "worst"))
    run = pipe.run({"table": []}, run_dir=tmp_path / "r", **HERE)
    assert calls.take() == ["6"]
    assert list(pipe.from_step("judge").steps) == ["judge"]
    assert list(pipe.from_step(0).steps) == list(pipe.from_step("iteration").steps) == list(pipe.steps)
    assert list(pipe.from_step("evaluate").steps) == list(pipe.steps), "a loop is taken whole"
    again = pipe.from_step("judge").run(run_dir=tmp_path / "r", force="judge", **HERE)
    assert calls.take() == ["6"] and again["worst"] == run["worst"]
    for wrong in ("nothing", 17):
        with pytest.raises(ValueError, match=str(wrong)):
            pipe.from_step(wrong)
    with pytest.raises(weft.WiringError, match="named 'pick'"):
        functions().add(weft.step("other", name="pick")(lambda table: 1))
    with pytest.raises(weft.WiringError, match="named 'sample'"):
        weft.Pipeline([functions(), weft.Loop([weft.step("o", name="sample")(lambda: 1)], name="second")])


def test_f3dasm_05_what_follows_a_loop_reads_it_as_before(tmp_path: Path) -> None:
    half = weft.step("x2", name="halve")(lambda x: x / 2)
    note = weft.step("note")(lambda x2: int(x2 * 10))
    end = weft.step("end")(lambda x2, note: (x2, list(note)))
    loop = weft.Loop([half, note], n_iterations=3, name="t", carry={"x": "x2"}, collect="note")
    second = weft.Loop(
        [weft.step("x3", name="up")(lambda x2: x2 + 1)], n_iterations=2, name="u", carry={"x2": "x3"}
    )
    pipe, kept = weft.Pipeline([loop, end, second]), {"run_dir": tmp_path / "r", **HERE}
    pipe.run({"x": 8.0}, **kept)
    new = weft.step("new")(lambda x2, note: (x2, len(note)))
    run = pipe.from_step("end").add(new).run(force="end", **kept)
    assert run["end"] == (1.0, [40, 20, 10]) and run["new"] == (1.0, 3)
    assert pipe.from_step("u").run(force="up", **kept)["x3"].tolist() == [2.0, 3.0]
    assert pipe.run({"x": 8.0}, **kept)["end"] == (1.0, [40, 20, 10])


def _told(iteration: int, told: list[Any], ctx: weft.Context) -> list[Any]:
    return [*told, (iteration, ctx.iteration["iteration"])]


@pytest.mark.parametrize("backend", BACKENDS)
def test_f3dasm_07_the_iteration_is_seen_inside_and_not_outside(backend: str, tmp_path: Path) -> None:
    loop = weft.Loop([weft.Step(_told, "told")], n_iterations=4)
    pipe = weft.Pipeline([loop, weft.step("end", name="end")(_outside)])
    run = pipe.run({"told": []}, backend=backend, n_jobs=2, run_dir=tmp_path / "r", progress=False)
    assert run.isel("told", iteration=-1) == [(k, k) for k in range(4)]
    assert run["end"] == ([(k, k) for k in range(4)], {})
    with pytest.raises(weft.WiringError, match="exists only in its body"):
        weft.Pipeline([loop, weft.step("no")(lambda iteration: iteration)])


def _outside(told: list[Any], ctx: weft.Context) -> Any:
    return told, dict(ctx.iteration)


@pytest.mark.parametrize("backend", BACKENDS)
def test_f3dasm_09_rows_made_inside_a_loop(backend: str, tmp_path: Path) -> None:
    start = weft.step("rows", mapspec="... -> rows[r]")(_seven)
    first = weft.step("f0", mapspec="rows[r] -> f0[r]")(_first)
    options: dict[str, Any] = {"backend": backend, "n_jobs": 2, "progress": False, "run_dir": tmp_path / "r"}
    pipe = weft.Pipeline([start, first, growing()])
    run = pipe.run(**options)
    assert run.ok
    assert [len(run["f0"]), *run["n"]] == [7, 9, 11]
    assert run["f"].count(axis=1).tolist() == [9, 11]
    for made, values in zip(run["rows2"], run["f"], strict=True):
        rows = made.compressed()
        assert values.compressed().tolist() == [value_of(row) for row in rows]
    assert run["rows2"][1].compressed()[:9].tolist() == run["rows2"][0].compressed().tolist()
    assert run.status["evaluate_row"]["done"] == 20
    known = run["rows2"].tolist()
    more = weft.Pipeline([start, first, growing(3)]).run(**options)
    assert more["n"].tolist() == [9, 11, 13]
    assert more["rows2"][:2].tolist() == [[*row, *[None] * (13 - len(row))] for row in known]


def _seven(rng: np.random.Generator) -> list[dict[str, Any]]:
    return DOMAIN.sample(7, seed=int(rng.integers(2**32)))


def _first(rows: dict[str, Any]) -> float:
    return value_of(rows)


def test_f3dasm_09_only_rows_that_failed_run_again(tmp_path: Path) -> None:
    calls, mended = Calls(tmp_path / "calls"), tmp_path / "mended"

    def fragile(rows2: dict[str, Any]) -> float:
        calls(rows2["k"])
        if rows2["k"] == 99 and not mended.exists():
            raise ValueError("99")
        return value_of(rows2)

    def appended(rows: list[Any], iteration: int) -> list[Any]:
        return [*rows, {"x": 0.0, "k": 99 - iteration}, {"x": 0.0, "k": 1000 + iteration}]

    steps = [
        weft.Step(appended, "rows2", mapspec="... -> rows2[i]"),
        weft.Step(fragile, "f", mapspec="rows2[i] -> f[i]"),
    ]
    loop = weft.Loop([*steps, count], n_iterations=2, name="iteration", carry={"rows": "rows2"})
    go: dict[str, Any] = {"run_dir": tmp_path / "r", "on_error": "continue", **HERE}
    run = weft.Pipeline([loop]).run({"rows": [{"x": 1.0, "k": k} for k in range(3)]}, **go)
    assert not run.ok and {e.index["iteration"] for e in run.errors} == {0, 1}
    assert run.get("f", missing="mask").count() == 5 + 7 - 2
    assert len(calls.take()) == 5 + 7
    mended.touch()
    run = weft.open_run(tmp_path / "r").resume(progress=False)
    assert calls.take() == ["99", "99"]
    assert run.ok and run["n"].tolist() == [5, 7]


def test_f3dasm_15_rows_of_a_loop_are_a_table(tmp_path: Path) -> None:
    run = growing().run({"rows": DOMAIN.sample(7)}, run_dir=tmp_path / "r", **HERE)
    table = Experiments.open(tmp_path / "r", axis=["iteration", "i"])
    there = table.where(state="done")
    assert len(there) == 20
    assert there.best(1, by="f")["f"] == [run["f"].min()]
    assert [type(row["rows2"]["k"]) for row in there] == [int] * 20


def test_f3dasm_15_types_survive_a_loop(tmp_path: Path) -> None:
    values = [3, 3.0, "01", float("nan"), (1, (2,)), True, None, np.arange(3)]
    domain = Domain(v=Category(*[v for v in values if not isinstance(v, np.ndarray)]))
    assert len(domain.sample({"v": 7}, "grid")) == 7
    keep = weft.step("kept", name="keep")(lambda kept: kept)
    pipe = weft.Pipeline([weft.Loop([keep], n_iterations=3, name="t")])
    pipe.run(sweep=weft.grid(kept=values), run_dir=tmp_path / "r", **HERE)
    table = Experiments.open(tmp_path / "r").where(t=2)
    for found, value in zip(table["kept"], values, strict=True):
        assert type(found) is type(value) and repr(found) == repr(value)


def test_f3dasm_16_large_outputs_of_iterations_load_when_asked(tmp_path: Path) -> None:
    step = weft.step("field", name="smooth")(lambda field: (field + np.roll(field, 1)) / 2)
    mean = weft.step("mean")(lambda field: float(field.mean()))
    pipe = weft.Pipeline([weft.Loop([step, mean], n_iterations=3, name="t")])
    pipe.run({"field": np.arange(2000.0)}, run_dir=tmp_path / "r", **HERE)
    row = Experiments.open(tmp_path / "r")[-1]
    assert row["t"] == 2 and isinstance(row["field"], weft.Lazy)
    assert row["field"].load().shape == (2000,) and row["mean"] == 999.5


def test_f3dasm_15_rows_are_given_as_a_data_frame() -> None:
    pd = pytest.importorskip("pandas", reason="needs weft[labels]")
    half = weft.step("half", mapspec="x[row] -> half[row]", name="halve")(lambda x: x / 2)
    small = weft.step("small")(lambda half: bool((half < 1).all()))
    loop = weft.Loop([half, small], n_iterations=9, name="t", carry={"x": "half"}, until="small")
    run = weft.Pipeline([loop]).run(pd.DataFrame({"x": [8.0, 1.0]}), **HERE)
    assert run["half"].tolist() == [[4.0, 0.5], [2.0, 0.25], [1.0, 0.125], [0.5, 0.0625]]
    assert run.isel("half", t=-1).tolist() == [0.5, 0.0625] and run.sel("half", x=8.0).tolist() == [
        4,
        2,
        1,
        0.5,
    ]
