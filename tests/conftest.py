"""What all tests share: optional packages, Hypothesis settings, and a guard against processes left behind."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import HealthCheck, settings

REQUIRE_ALL = os.environ.get("WEFT_REQUIRE_ALL") == "1"

EXTRA_OF = {
    "xarray": "labels",
    "pandas": "labels",
    "pyarrow": "parquet",
    "zarr": "zarr",
    "sklearn": "demo",
    "matplotlib": "demo",
    "hydra": "yaml",
    "distributed": "dask",
    "prefect": "prefect",
}

settings.register_profile(
    "default",
    deadline=None,
    max_examples=60,
    derandomize=REQUIRE_ALL or "CI" in os.environ,
    # The guard below is function-scoped and autouse; it holds no state that examples could share.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("default")


def _absent(message: str) -> None:
    if REQUIRE_ALL:
        pytest.fail(f"{message} (WEFT_REQUIRE_ALL=1 allows no skip)", pytrace=False)
    pytest.skip(message)


@pytest.fixture(scope="session")
def require() -> Callable[..., Any]:
    """``require("xarray")`` is the module; ``require("sbatch", program=True)`` is the program's path.

    Where it is missing the test is skipped with what to install, or fails under ``WEFT_REQUIRE_ALL=1``.
    """

    def get(name: str, *, program: bool = False) -> Any:
        if program:
            found = shutil.which(name)
            if found is None:
                _absent(f"needs the program {name!r} on PATH")
            return found
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name.partition(".")[0]:
                raise
            extra = EXTRA_OF.get(error.name)
            _absent(f"needs {name}: pip install " + (f"'weft[{extra}]'" if extra else name))

    return get


@pytest.fixture(scope="session")
def prefect_server(require: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Prefect's own server, on the loopback interface, with its files in a temporary folder."""
    with pytest.MonkeyPatch.context() as patch:
        # Prefect reads them when it is imported, and hands them on to the server.
        for name in [name for name in os.environ if name.startswith("PREFECT_")]:
            patch.delenv(name)
        patch.setenv("PREFECT_HOME", str(tmp_path_factory.mktemp("prefect")))
        patch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
        patch.setenv("PREFECT_SERVER_LOGGING_LEVEL", "CRITICAL")
        patch.setenv("PREFECT_LOGGING_TO_API_ENABLED", "false")
        patch.setenv("DO_NOT_TRACK", "1")
        assert "prefect" not in sys.modules, "Prefect would have its files in the user's home"
        require("prefect")
        server = importlib.import_module("prefect.server.api.server").SubprocessASGIServer()
        server.start(timeout=90)
        yield server
        server.stop()


def _children() -> set[int]:
    """Ids of the direct children: from /proc (50 µs), where psutil takes milliseconds for each test."""
    try:
        lists = [task.joinpath("children").read_text() for task in Path("/proc/self/task").iterdir()]
    except OSError:
        lists = []
    if not lists:
        return {child.pid for child in psutil.Process().children()}
    return {int(pid) for pids in lists for pid in pids.split()}


def _warm_pools() -> set[int]:
    """Workers that a run left warm for the next, and those of loky's reusable pool: both outlive a call."""
    pools = [warm[1] for warm in getattr(sys.modules.get("weft.backends.executors"), "_warm", [])]
    module = sys.modules.get("loky.reusable_executor")
    # Newer versions of loky keep the pool for each thread, older ones in the module.
    pools.append(getattr(getattr(module, "_executor_storage", None), "executor", None))
    pools.append(getattr(module, "_executor", None))
    return {pid for pool in pools for pid in getattr(pool, "_processes", None) or ()}


def _is_left(process: psutil.Process) -> bool:
    """Whether it is a live process, other than the trackers that Python keeps until the interpreter ends."""
    try:
        helper = any("resource_tracker" in word or "forkserver" in word for word in process.cmdline())
        return process.status() != psutil.STATUS_ZOMBIE and not helper
    except psutil.NoSuchProcess:
        return False


@pytest.fixture(autouse=True)
def no_process_left() -> Iterator[None]:
    """Kill, and fail, what a test started and did not end."""
    before = _children()
    yield
    started = [psutil.Process(pid) for pid in _children() - before - _warm_pools() if psutil.pid_exists(pid)]
    started = [process for process in started if _is_left(process)]
    if not started:
        return
    _, alive = psutil.wait_procs(started, timeout=5)
    left = [process for process in alive if _is_left(process)]
    names = []
    for process in left:
        family = [process, *process.children(recursive=True)]
        names.append(" ".join(process.cmdline())[:120] or process.name())
        for member in family:
            if member.is_running():
                member.kill()
    assert not left, f"the test left {len(left)} process(es) running, now killed: {names}"
