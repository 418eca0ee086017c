"""Pipelines of many steps: what they take grows with the number of steps, and with nothing else of it."""

from __future__ import annotations

from pathlib import Path

import pytest

import weft
from weft.testing import Calls

STEPS = 2000


def chain(calls: Calls | None = None, n: int = STEPS) -> weft.Pipeline:
    def add_one(x: int) -> int:
        if calls is not None:
            calls("add_one", x)
        return x + 1

    return weft.Pipeline(
        [weft.Step(add_one, f"x{k + 1}", name=f"s{k}", renames={"x": f"x{k}"}) for k in range(n)]
    )


def test_a_chain_of_2000_steps_runs() -> None:
    run = chain().run({"x0": 0}, backend="sequential")
    assert run[f"x{STEPS}"] == STEPS
    assert run[f"x{STEPS // 2}"] == STEPS // 2


def test_a_chain_of_2000_steps_is_planned() -> None:
    plan = chain().plan({"x0": 0})
    assert len(plan.steps) == STEPS


def test_a_long_chain_resumes_where_it_was(tmp_path: Path, calls: Calls) -> None:
    pipe, n = chain(calls, 300), 300
    pipe.run({"x0": 0}, run_dir=tmp_path / "run", outputs="x100", backend="sequential")
    run = pipe.run({"x0": 0}, run_dir=tmp_path / "run", backend="sequential")
    assert run[f"x{n}"] == n
    assert calls.take() == [f"add_one {x}" for x in range(n)]
    again = pipe.run({"x0": 0}, run_dir=tmp_path / "run", backend="sequential")
    assert again[f"x{n}"] == n
    assert calls.take() == []


def test_many_mapped_steps_over_axes_of_their_own() -> None:
    n = 200

    def take(xs: list[int], y: int) -> int:
        return len(xs) + y

    pipe = weft.Pipeline(
        [
            weft.Step(
                take,
                f"x{k + 1}",
                f"y{k}[i{k}] -> x{k + 1}[i{k}]",
                f"s{k}",
                renames={"xs": f"x{k}", "y": f"y{k}"},
            )
            for k in range(n)
        ]
    )
    run = pipe.run({"x0": [1, 2], **{f"y{k}": [0, 1] for k in range(n)}}, backend="sequential")
    assert list(run[f"x{n}"]) == [2, 3]


def test_many_steps_side_by_side() -> None:
    n = 500
    pipe = weft.Pipeline(
        [weft.Step(lambda x, k=k: x + k, f"y{k}", name=f"s{k}", bound={"k": k}) for k in range(n)]
    )
    run = pipe.run({"x": 1}, backend="thread_pool", n_jobs=2)
    assert [run[f"y{k}"] for k in range(n)] == [k + 1 for k in range(n)]


def test_a_failure_blocks_all_that_follow() -> None:
    def fail(x: int) -> int:
        raise ValueError("no")

    pipe = weft.Pipeline([weft.Step(fail, "x0", name="fail"), chain(n=300)])
    run = pipe.run({"x": 0}, backend="sequential", on_error="continue")
    with pytest.raises(weft.MissingResult, match="1 failed"):
        run["x0"]
    with pytest.raises(weft.MissingResult, match="1 blocked"):
        run["x300"]


def test_a_long_fused_chain_goes_on_in_its_middle(tmp_path: Path, calls: Calls) -> None:
    broken, n, at = tmp_path / "broken", 80, 70
    broken.touch()

    def add(x: int, k: int) -> int:
        calls("add", k)
        if k == at and x == at + 1 and broken.exists():
            raise ValueError("not yet")
        return x + 1

    steps = [
        weft.Step(
            add, f"x{k + 1}", f"x{k}[i] -> x{k + 1}[i]", f"s{k}", renames={"x": f"x{k}"}, bound={"k": k}
        )
        for k in range(n)
    ]
    pipe, inputs = weft.Pipeline(steps), {"x0": [0, 1, 2]}
    pipe.run(inputs, run_dir=tmp_path / "run", backend="sequential", on_error="continue")
    broken.unlink()
    calls.take()
    run = pipe.run(inputs, run_dir=tmp_path / "run", backend="sequential")
    assert list(run[f"x{n}"]) == [n, n + 1, n + 2]
    assert calls.take() == [f"add {k}" for k in range(at, n)]
