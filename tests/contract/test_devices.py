"""``devices=``: each worker has one of its own for as long as it lives, on every backend."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import weft
from weft.testing import Calls

QUIET: dict[str, Any] = {"progress": False}
POOLS = ["thread_pool", "process_pool", "loky"]


@pytest.fixture(params=POOLS)
def pool(request: pytest.FixtureRequest) -> str:
    """Every backend that has workers."""
    return str(request.param)


def meeting(folder: Path, n: int) -> Any:
    """A step whose first element on each worker waits until `n` workers have one; gives worker and device."""

    def f(x: int, ctx: weft.Context) -> Any:
        me = f"{os.getpid()}-{threading.get_ident()}"
        (folder / me).touch()
        until = time.monotonic() + 30
        while len(list(folder.iterdir())) < n and time.monotonic() < until:
            time.sleep(0.005)
        return me, ctx.device

    return weft.step("y", mapspec="x[i] -> y[i]")(f)


def alone(calls: Calls, folder: Path, deadly: Any = None) -> Any:
    """A step that fails if another worker has its device at the same time."""

    def f(x: int, ctx: weft.Context) -> Any:
        if deadly is not None and x in deadly:
            calls("deadly")
            os._exit(1)
        with open(folder / str(ctx.device), "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            until = time.perf_counter() + 0.002
            while time.perf_counter() < until:
                pass
        return ctx.device

    return weft.step("y", mapspec="x[i] -> y[i]")(f)


@pytest.mark.parametrize("devices", [["cuda:0", "cuda:1"], [("node", 7), None]])
def test_each_worker_has_one(pool: str, devices: Any, tmp_path: Path) -> None:
    run = meeting(tmp_path, 2).run(
        {"x": range(20)}, backend=pool, n_jobs=2, devices=devices, block_size=1, **QUIET
    )
    assert sorted(map(repr, dict(run["y"]).values())) == sorted(map(repr, devices))
    assert len(set(map(tuple, run["y"]))) == 2


def test_as_many_workers_as_devices(pool: str, tmp_path: Path) -> None:
    step = meeting(tmp_path, 2)
    run = step.run({"x": range(40)}, backend=pool, n_jobs=4, devices=["a", "b"], block_size=1, **QUIET)
    assert len(dict(run["y"])) == 2 and set(dict(run["y"]).values()) == {"a", "b"}


def test_more_devices_than_workers_stay_idle(pool: str, tmp_path: Path) -> None:
    step = meeting(tmp_path, 2)
    run = step.run({"x": range(8)}, backend=pool, n_jobs=2, devices=range(5), block_size=1, **QUIET)
    assert sorted(dict(run["y"]).values()) == [0, 1]


def test_a_device_named_twice_is_for_two_workers(pool: str, tmp_path: Path) -> None:
    step = meeting(tmp_path, 2)
    run = step.run({"x": range(8)}, backend=pool, n_jobs=3, devices=["a", "a"], block_size=1, **QUIET)
    assert list(dict(run["y"]).values()) == ["a", "a"]


def test_one_worker_has_the_first(backend: str, kept: dict[str, Any]) -> None:
    def f(ctx: weft.Context) -> Any:
        return ctx.device

    step = weft.step("y")(f)
    assert step.run(backend=backend, n_jobs=1, devices=["a", "b"], **QUIET, **kept)["y"] == "a"
    assert step.run(backend=backend, n_jobs=2, devices=["a"], **QUIET)["y"] == "a"
    assert step.run(backend=backend, n_jobs=2, **QUIET)["y"] is None
    assert step.run(backend="auto", n_jobs=2, devices=["a"], **QUIET)["y"] == "a"


def test_a_device_is_no_part_of_what_identifies_a_result(calls: Calls, tmp_path: Path) -> None:
    def f(x: int, ctx: weft.Context) -> Any:
        calls(x)
        return ctx.device

    step = weft.step("y", mapspec="x[i] -> y[i]")(f)
    options = {"backend": "sequential", "run_dir": tmp_path / "run", **QUIET}
    assert step.run({"x": [1, 2]}, devices=["a"], **options)["y"].tolist() == ["a", "a"]
    assert step.run({"x": [1, 2, 3]}, devices=["b"], **options)["y"].tolist() == ["a", "a", "b"]
    assert len(calls) == 3


@pytest.mark.parametrize("context", ["spawn", "forkserver", "fork"])
def test_every_start_method(context: str, tmp_path: Path) -> None:
    step = meeting(tmp_path, 2)
    options = {"backend": "process_pool", "mp_context": context, "block_size": 1, **QUIET}
    run = step.run({"x": range(8)}, n_jobs=2, devices=["a", "b"], **options)
    assert sorted(dict(run["y"]).values()) == ["a", "b"]


def test_workers_that_end_pass_theirs_on(calls: Calls, tmp_path: Path) -> None:
    step = alone(calls, tmp_path)
    options = {"backend": "process_pool", "max_tasks_per_child": 1, "block_size": 1, **QUIET}
    run = step.run({"x": range(6)}, n_jobs=2, devices=["a", "b"], **options)
    assert set(run["y"]) <= {"a", "b"}


@pytest.mark.parametrize("deadly", [{0}, {3, 4, 17}])
def test_no_two_live_workers_have_the_same_when_workers_die(
    processes: str, deadly: set[int], calls: Calls, tmp_path: Path
) -> None:
    folder = tmp_path / "held"
    folder.mkdir()
    run = alone(calls, folder, deadly).run(
        {"x": range(30)},
        backend=processes,
        n_jobs=2,
        devices=["a", "b"],
        block_size=3,
        on_error="continue",
        **QUIET,
    )
    assert {error.index["i"] for error in run.errors} == deadly
    assert {error.cause for error in run.errors} == {"death"}
    assert set(run.get("y", missing="-")) <= {"a", "b", "-"}


def test_other_steps_wait_while_a_suspect_has_the_devices(
    processes: str, calls: Calls, tmp_path: Path
) -> None:
    """Each branch has pilots of its own, which would start workers that keep the suspect from its device."""
    folder = tmp_path / "held"
    folder.mkdir()
    first = alone(calls, folder, {0, 1})

    def opened(n: int, ctx: weft.Context) -> Any:
        return [ctx.device] * n

    def followed(z: str, ctx: weft.Context) -> Any:
        return ctx.device

    branches: list[Any] = []
    for k in range(4):
        spec = f"z{k}[j, k{k}]"
        branches += [
            weft.Step(opened, f"z{k}", mapspec=f"n[j] -> {spec}", name=f"opened{k}"),
            weft.Step(
                followed,
                f"w{k}",
                mapspec=f"{spec} -> w{k}[j, k{k}]",
                name=f"followed{k}",
                renames={"z": f"z{k}"},
            ),
        ]
    run = weft.Pipeline([first, *branches]).run(
        {"x": range(12), "n": [2, 2, 2]},
        backend=processes,
        n_jobs=2,
        devices=["a", "b"],
        on_error="continue",
        **QUIET,
    )
    assert run.status["f"]["failed"] == 2
    for k in range(4):
        assert set(run[f"w{k}"].ravel()) <= {"a", "b"}


def test_a_run_after_another_has_its_own(pool: str, tmp_path: Path) -> None:
    for number, (devices, n_jobs) in enumerate(
        [(["a", "b"], 2), (["b", "c"], 2), (["b", "c"], 2), (["c"], 2), (None, 2), (["a", "b", "c"], 3)]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        n = min(n_jobs, len(devices or [1, 2]))
        options = {"devices": devices} if devices else {}
        run = meeting(folder, n).run(
            {"x": range(8)}, backend=pool, n_jobs=n_jobs, block_size=1, **options, **QUIET
        )
        found = dict(run["y"]).values()
        assert sorted(found) == devices if devices else set(found) == {None}


def test_devices_for_some_steps() -> None:
    def f(x: int, ctx: weft.Context) -> Any:
        return ctx.device

    steps = [
        weft.step(name, mapspec=f"x[i] -> {name}[i]", name=f"step_{name}")(f) for name in ("here", "there")
    ]
    pipe = weft.Pipeline(steps)
    for n_jobs in (1, 2):
        for name in POOLS:
            there = weft.get_backend(name, devices=["a"])
            backend = {"": "sequential", "there": there}
            run = pipe.run({"x": [1, 2]}, backend=backend, n_jobs=n_jobs, **QUIET)
            assert run["there"].tolist() == ["a", "a"] and run["here"].tolist() == [None, None]
    run = pipe.run(
        {"x": [1, 2]}, backend={"": "loky", "here": "thread_pool"}, devices=["a"], n_jobs=2, **QUIET
    )
    assert run["there"].tolist() == ["a", "a"] and run["here"].tolist() == [None, None]


def test_a_batch_has_one_too(pool: str) -> None:
    def f(x: Any, ctx: weft.Context) -> Any:
        return [ctx.device] * len(x)

    step = weft.step("y", mapspec="x[i] -> y[i]", batch=True)(f)
    run = step.run({"x": range(8)}, backend=pool, n_jobs=2, devices=["a"], **QUIET)
    assert run["y"].tolist() == ["a"] * 8


@pytest.mark.parametrize("bad", ["cuda:0", [], 3, {"a": 1}, b"a"])
def test_what_is_no_list_is_refused(backend: str, bad: Any, tmp_path: Path) -> None:
    step = weft.step("y")(lambda: 1)
    for n_jobs in (1, 2):
        with pytest.raises(weft.InvalidInput, match=r"devices=\['cuda:0', 'cuda:1'\]"):
            step.run(backend=backend, n_jobs=n_jobs, devices=bad, **QUIET)
    with pytest.raises(weft.InvalidInput, match="devices"):
        step.run(devices=bad, **QUIET)
    with pytest.raises(weft.InvalidInput, match="devices"):
        step.run(backend={"y": backend}, devices=bad, **QUIET)
    with pytest.raises(weft.InvalidInput, match="devices"):
        step.plan(backend=backend, devices=bad)


def test_what_cannot_be_sent_is_refused(processes: str) -> None:
    with pytest.raises(weft.InvalidInput, match="cannot be pickled"):
        weft.step("y")(lambda: 1).run(backend=processes, n_jobs=2, devices=[threading.Lock()], **QUIET)


def test_an_executor_takes_none() -> None:
    with ThreadPoolExecutor(2) as executor, pytest.raises(weft.InvalidInput, match="no option 'devices'"):
        weft.step("y")(lambda: 1).run(backend=executor, devices=["a"], **QUIET)
