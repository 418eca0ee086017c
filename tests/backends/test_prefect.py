"""Runs as tasks of a Prefect flow, which a server of its own shows."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import weft
from weft.backends.prefect import Prefect

PREFECT: dict[str, Any] = {"backend": "prefect", "n_jobs": 2, "progress": False}


@pytest.fixture
def server(prefect_server: Any) -> Any:
    return prefect_server


def _square(x: int) -> int:
    return x * x


def _noisy(y: int, rng: np.random.Generator) -> float:
    return y + float(rng.normal())


def _total(z: np.ndarray) -> float:
    return float(z.sum())


PIPELINE = weft.Pipeline(
    [
        weft.Step(_square, "y", mapspec="x[i] -> y[i]"),
        weft.Step(_noisy, "z", mapspec="y[i] -> z[i]"),
        weft.Step(_total, "t"),
    ]
)


def test_results_are_those_of_a_sequential_run(server: Any) -> None:
    run = PIPELINE.run({"x": range(40)}, seed=1, block_size=5, **PREFECT)
    alone = PIPELINE.run({"x": range(40)}, seed=1, backend="sequential", progress=False)
    assert run["y"].tolist() == [x * x for x in range(40)]
    assert run["z"].tolist() == alone["z"].tolist() and run["t"] == alone["t"]


class _Numbers(weft.Source[int]):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Iterator[int]:
        yield from (index, index)


class _Text(weft.Sink[int]):
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, items: Iterator[int], index: int) -> list[str]:
        path = self.folder / f"{index}.txt"
        path.write_text(" ".join(map(str, items)))
        return [str(path)]


def test_a_stream_runs_on_it(server: Any, tmp_path: Path) -> None:
    stream = weft.stream(_Numbers()).write(_Text(tmp_path))
    assert weft.run_pipeline(stream, **PREFECT) == [[str(tmp_path / f"{i}.txt")] for i in range(4)]
    assert (tmp_path / "3.txt").read_text() == "3 3"


def test_failures_are_recorded_and_tried_again_by_a_resume(server: Any, tmp_path: Path) -> None:
    flag = tmp_path / "mended"
    called = tmp_path / "called"
    called.mkdir()

    def fragile(x: int) -> int:
        (called / str(x)).touch()
        if x == 2 and not flag.exists():
            raise ValueError("bad 2")
        return x + 1

    pipeline = weft.Pipeline([weft.Step(fragile, "y", mapspec="x[i] -> y[i]")])
    options: dict[str, Any] = {**PREFECT, "run_dir": tmp_path / "run", "block_size": 1, "retries": 1}
    run = pipeline.run({"x": range(4)}, on_error="continue", **options)
    assert {error.index["i"]: error.message for error in run.errors} == {2: "bad 2"}
    assert [row["state"] for row in run.elements("y")] == ["done", "done", "failed", "done"]
    with pytest.raises(weft.StepError, match="bad 2"):
        pipeline.run({"x": range(4)}, **options)
    for path in called.iterdir():
        path.unlink()
    flag.touch()
    assert pipeline.run({"x": range(4)}, **options)["y"].tolist() == [1, 2, 3, 4]
    assert [path.name for path in called.iterdir()] == ["2"]


def test_what_prefect_is_told_of_a_job(server: Any) -> None:
    def seen(x: int) -> list[Any]:
        context = importlib.import_module("prefect.context").TaskRunContext.get()
        flow = importlib.import_module("prefect.context").FlowRunContext.get()
        task = context.task
        return [task.name, task.retries, task.retry_delay_seconds, flow.flow_run.name, flow.flow.name]

    pipeline = weft.Pipeline([weft.Step(seen, "y", mapspec="x[i] -> y[i]")])
    given = {"retries": 2, "retry_delay_seconds": 0.5, "flow_run_name": "my run"}
    run = pipeline.run({"x": range(3)}, **PREFECT, **given)
    assert run["y"].tolist() == [["weft job", 2, 0.5, "my run", "weft"]] * 3


def test_the_server_shows_a_flow_run_and_its_tasks(server: Any) -> None:
    PIPELINE.run({"x": range(6)}, block_size=2, flow_run_name="shown", **PREFECT)
    filters = importlib.import_module("prefect.client.schemas.filters")
    only = filters.FlowRunFilter(name=filters.FlowRunFilterName(any_=["shown"]))
    tasks: list[Any] = []
    with importlib.import_module("prefect").get_client(sync_client=True) as client:
        [flow] = client.read_flow_runs(flow_run_filter=only)
        assert flow.state_name == "Completed"
        until = time.monotonic() + 30  # tasks are told by messages, which the server takes in its own time
        while time.monotonic() < until and not any(task.state_name == "Completed" for task in tasks):
            tasks = client.read_task_runs(flow_run_filter=only)
    assert any(task.state_name == "Completed" for task in tasks)
    assert all(task.name.startswith("weft job") for task in tasks)


def test_prefect_tries_a_job_again_that_the_machinery_failed(server: Any) -> None:
    tried: list[int] = []

    def flaky() -> str:
        tried.append(len(tried))
        if len(tried) < 2:
            raise OSError("the disk is away")
        return "done"

    def use(act: Callable[[], Any], **options: Any) -> Future[Any]:
        backend = Prefect(**options)
        executor = backend.start(1)
        future = executor.submit(act)
        future.exception()
        backend.stop(executor)
        with pytest.raises(RuntimeError, match="after shutdown"):
            executor.submit(act)
        return future

    assert use(flaky, retries=1).result() == "done" and tried == [0, 1]
    tried.clear()
    assert isinstance(use(flaky).exception(), OSError) and tried == [0]


def test_calls_that_have_not_begun_can_be_taken_back(server: Any) -> None:
    import threading

    begun, go = threading.Event(), threading.Event()

    def hold() -> bool:
        begun.set()
        return go.wait(30)

    executor = Prefect().start(1)
    first, second = executor.submit(hold), executor.submit(hold)
    assert begun.wait(30)
    executor.shutdown(wait=False, cancel_futures=True)
    assert second.cancelled()
    go.set()
    executor.shutdown()
    assert first.result() is True


def test_it_says_nothing_over_the_progress(server: Any, capfd: pytest.CaptureFixture[str]) -> None:
    PIPELINE.run({"x": range(4)}, **PREFECT)
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


def test_what_is_no_option_is_refused() -> None:
    for options, said in (
        ({"retries": -1}, "retries is"),
        ({"retries": True}, "retries is"),
        ({"retry_delay_seconds": [1, "soon"]}, "retry_delay_seconds is"),
        ({"flow_run_name": ""}, "flow_run_name is"),
    ):
        with pytest.raises(weft.InvalidInput, match=said):
            Prefect(**options)


def test_an_unknown_option_is_refused_before_anything_runs(require: Callable[..., Any], server: Any) -> None:
    called: list[int] = []
    pipeline = weft.Pipeline([weft.Step(lambda x: called.append(x), "y", mapspec="x[i] -> y[i]")])
    with pytest.raises(weft.InvalidInput, match=r"'prefect' has no option 'colour'\. Its options: retries"):
        pipeline.run({"x": range(4)}, colour="red", **PREFECT)
    assert called == []


def _program(text: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", text],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    return done.stdout


TRY = """
import sys, weft
{before}
def called(x):
    print("called")
try:
    weft.Pipeline([weft.Step(called, "y", mapspec="x[i] -> y[i]")]).run(
        {{"x": range(4)}}, backend="prefect", n_jobs=2, progress=False
    )
except weft.BackendUnavailable as error:
    print(weft.list_backends()["prefect"]["available"], error)
"""


def test_a_missing_package_is_named_before_anything_runs() -> None:
    said = _program(TRY.format(before="sys.modules['prefect'] = None"))
    assert said == "False The backend 'prefect' needs prefect: pip install 'weft[prefect]'.\n"


def test_a_server_that_does_not_answer_ends_the_run_at_once(server: Any, tmp_path: Path) -> None:
    said = _program(
        TRY.format(before=""), PREFECT_API_URL="http://127.0.0.1:1/api", PREFECT_HOME=str(tmp_path)
    )
    assert said.startswith("True Prefect could not begin a flow run") and "called" not in said


OWN = """
import importlib, weft
def called(x):
    return x
weft.Pipeline([weft.Step(called, "y", mapspec="x[i] -> y[i]")]).run(
    {"x": range(4)}, backend="prefect", n_jobs=2, progress=False
)
[server] = importlib.import_module("prefect.server.api.server").SubprocessASGIServer._instances.values()
with open(f"/proc/{server.server_process.pid}/status") as lines:
    [mask] = [line.split()[1] for line in lines if line.startswith("SigBlk")]
print(server.server_process.pid, server.address.rpartition(":")[0], int(mask, 16) & 2)
"""


def test_a_server_of_its_own_outlives_ctrl_c_and_ends_with_the_program(server: Any) -> None:
    pid, address, blocked = _program(OWN).split()
    assert (address, blocked) == ("http://127.0.0.1", "2")
    assert not Path(f"/proc/{pid}").exists()
