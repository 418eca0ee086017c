"""What the tests of the public contract share; they import only `weft` and `weft.testing`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import weft
from weft.testing import Calls

BACKENDS = ["sequential", "thread_pool", "process_pool", "loky"]


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """Every local backend."""
    return str(request.param)


@pytest.fixture(params=["process_pool", "loky"])
def processes(request: pytest.FixtureRequest) -> str:
    """Every backend whose workers are processes."""
    return str(request.param)


@pytest.fixture(params=["memory", "files"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """Options of ``run`` for every store."""
    return {"run_dir": tmp_path / "run"} if request.param == "files" else {}


@pytest.fixture
def calls(tmp_path: Path) -> Calls:
    """Counts what really ran."""
    return Calls(tmp_path / "calls")


@pytest.fixture
def go(tmp_path: Path) -> Callable[..., weft.Run]:
    """Run some steps in the test's run directory, in this process."""

    def run(steps: Any, inputs: Any = None, **options: Any) -> weft.Run:
        pipe = steps if isinstance(steps, weft.Pipeline) else weft.Pipeline(steps, name="study")
        settings = {"run_dir": tmp_path / "run", "backend": "sequential", "progress": False, **options}
        return pipe.run(inputs, **settings)

    return run
