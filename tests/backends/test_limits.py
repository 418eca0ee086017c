"""Numerical libraries of workers share the cores, unless the step or the user says otherwise."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import weft

NAMES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
SHARE = max(1, len(os.sched_getaffinity(0)) // 2)


def threads(x: int) -> Any:
    from threadpoolctl import threadpool_info

    np.ones((2, 2)) @ np.ones((2, 2))
    return {library["num_threads"] for library in threadpool_info()}, os.environ.get("OMP_NUM_THREADS")


@pytest.fixture
def found(
    processes: str, require: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., list[Any]]:
    """What workers have that are started under the environment of the test."""
    if not require("threadpoolctl").threadpool_info():
        pytest.skip("the numpy here has no library whose threads can be counted")
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)

    def run(timeout: float, **options: Any) -> list[Any]:
        fresh = {"timeout": timeout} if processes == "loky" else {"mp_context": "spawn"}
        step = weft.step("y", mapspec="x[i] -> y[i]", **options)(threads)
        return list(step.run({"x": [1, 2]}, backend=processes, n_jobs=2, progress=False, **fresh)["y"])

    return run


@pytest.fixture(params=["process_pool", "loky"])
def processes(request: pytest.FixtureRequest) -> str:
    """Every backend whose workers are processes."""
    return str(request.param)


def test_workers_share_the_cores(found: Callable[..., list[Any]]) -> None:
    assert found(71) == [({SHARE}, str(SHARE))] * 2


def test_a_step_has_the_cpus_that_it_asks_for(found: Callable[..., list[Any]]) -> None:
    assert [limits for limits, _ in found(72, resources={"cpus": SHARE + 1})] == [{SHARE + 1}] * 2
    assert [limits for limits, _ in found(72)] == [{SHARE}] * 2


def test_the_users_environment_has_the_last_word(
    found: Callable[..., list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", str(SHARE + 1))
    assert found(73, resources={"cpus": 1}) == [({SHARE + 1}, str(SHARE + 1))] * 2
