"""Runs on the workers of Dask: one's own on this machine, or those of a scheduler that is there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import weft


@pytest.fixture(autouse=True)
def _needed(require: Callable[..., Any]) -> None:
    require("distributed")


def _square(x: int) -> int:
    return x * x


def _total(y: np.ndarray) -> int:
    return int(y.sum())


def _noisy(x: int, rng: np.random.Generator) -> float:
    return x + float(rng.normal())


def _fragile(x: int) -> float:
    return 1 / (x - 2)


def _deadly(x: int) -> int:
    if x == 3:
        os._exit(1)
    return x


def _slow(x: int) -> int:
    import time

    time.sleep(0.02)
    return x


def _half(v: float) -> float:
    return v / 2


SQUARES = weft.Pipeline([weft.Step(_square, "y", mapspec="x[i] -> y[i]"), weft.Step(_total, "t")])


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
    ) as made:
        yield made


def test_workers_of_its_own_give_what_one_process_gives(tmp_path: Path) -> None:
    noisy = weft.Step(_noisy, "z", mapspec="x[i] -> z[i]")
    pipe = SQUARES.add(noisy, weft.Loop([weft.Step(_half, "v")], n_iterations=4, name="turn"))
    inputs = {"x": list(range(50)), "v": 8.0}
    here = pipe.run(inputs, backend="sequential")
    run = pipe.run(inputs, backend="dask", n_jobs=2, run_dir=tmp_path / "r", block_size=7)
    assert run["t"] == here["t"] == sum(x * x for x in range(50))
    assert run["v"].tolist() == [4.0, 2.0, 1.0, 0.5]
    np.testing.assert_array_equal(run["z"], here["z"])
    grown = pipe.run({**inputs, "x": list(range(60))}, backend="sequential", run_dir=tmp_path / "r")
    assert grown["t"] == sum(x * x for x in range(60))


def test_a_scheduler_that_is_there_by_address_or_client(cluster: Any) -> None:
    distributed = pytest.importorskip("distributed")
    run = SQUARES.run({"x": [1, 2, 3]}, backend="dask", n_jobs=2, address=cluster.scheduler_address)
    assert run["t"] == 14
    with distributed.Client(cluster, set_as_default=False) as client:
        assert SQUARES.run({"x": [1, 2, 3]}, backend="dask", n_jobs=2, client=client)["t"] == 14
        assert client.submit(_square, 3).result() == 9  # it is the user's, and still open


def test_failures_are_as_elsewhere(cluster: Any) -> None:
    pipe = weft.Pipeline([weft.Step(_fragile, "y", mapspec="x[i] -> y[i]")])
    options = {"backend": "dask", "n_jobs": 2, "address": cluster.scheduler_address}
    run = pipe.run({"x": [1, 2, 3]}, on_error="continue", **options)
    assert [e.index for e in run.errors] == [{"i": 1}] and run.get("y", missing="nan")[0] == -1.0
    with pytest.raises(weft.StepError, match="failed at i=1"):
        pipe.run({"x": [1, 2, 3]}, **options)


def test_a_worker_that_dies_is_one_elements_failure() -> None:
    pipe = weft.Pipeline([weft.Step(_deadly, "y", mapspec="x[i] -> y[i]")])
    run = pipe.run({"x": list(range(8))}, backend="dask", n_jobs=2, on_error="continue", block_size=2)
    assert [e.index for e in run.errors] == [{"i": 3}]
    assert run.get("y", missing="mask").compressed().tolist() == [0, 1, 2, 4, 5, 6, 7]


def test_what_runs_can_be_cancelled(tmp_path: Path) -> None:
    pipe = weft.Pipeline([weft.Step(_slow, "y", mapspec="x[i] -> y[i]")])
    run = pipe.run(
        {"x": list(range(500))}, backend="dask", n_jobs=2, run_dir=tmp_path / "r", wait=False, block_size=5
    )
    while not run.status["_slow"]["done"]:
        pass
    run.cancel()
    run.wait()
    found = weft.open_run(tmp_path / "r")
    assert 0 < found.status["_slow"]["done"] < 500
    assert pipe.run({"x": list(range(500))}, run_dir=tmp_path / "r", backend="thread_pool", n_jobs=8).ok


def test_a_stream_on_dask(cluster: Any, tmp_path: Path) -> None:
    outputs = weft.run_pipeline(
        weft.stream(Letters()).write(Written(str(tmp_path))), backend="dask", n_jobs=2, indices=[2, 0],
        address=cluster.scheduler_address,
    )  # fmt: skip
    assert [[os.path.basename(path) for path in paths] for paths in outputs] == [["2.txt"], ["0.txt"]]
    assert (tmp_path / "2.txt").read_text() == "c"


class Letters(weft.Source):
    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Iterator[str]:
        yield "abc"[index]


class Written(weft.Sink):
    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __call__(self, items: Iterator[str], index: int) -> list[str]:
        path = f"{self.folder}/{index}.txt"
        Path(path).write_text("".join(items))
        return [path]


def test_bad_options_are_refused_before_work_starts() -> None:
    with pytest.raises(weft.InvalidInput, match="'dask' has no option 'adress'"):
        SQUARES.run({"x": [1]}, backend="dask", adress="tcp://127.0.0.1:1")
    with pytest.raises(weft.InvalidInput, match=r"a distributed\.Client"):
        SQUARES.run({"x": [1]}, backend="dask", client="here")
    with pytest.raises(weft.BackendUnavailable, match="no Dask scheduler at"):
        SQUARES.run({"x": [1]}, backend="dask", address="tcp://127.0.0.1:9", n_jobs=2)
    assert weft.list_backends()["dask"]["available"] and weft.list_backends()["dask"]["requires"] == "dask"


def test_a_script_without_a_main_guard_is_told_so(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    script = tmp_path / "unguarded.py"
    script.write_text(
        "import weft\n"
        "step = weft.step('y', mapspec='x[i] -> y[i]')(lambda x: x)\n"
        "step.run({'x': [1, 2]}, backend='dask', n_jobs=2, progress=False)\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120)
    assert done.returncode != 0
    assert "weft.errors.WeftError: The workers of 'dask' cannot be started" in done.stderr
    assert "if __name__ == '__main__':" in done.stderr.splitlines()[-2]
