from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cloudpickle
import pytest
from click.testing import CliRunner, Result

from weft.cli.commands import cli

STUDY = """
import os
import time
import weft
from beside import FACTOR

LIMIT = 13

@weft.step("y", mapspec="x[i] -> y[i]")
def scale(x: float, k: float = 1.0, wait: float = 0.0, gate: str = "") -> float:
    if gate:
        open(f"{gate}.{x}", "w").close()
        while os.path.exists(gate):
            time.sleep(0.01)
    time.sleep(wait)
    if x == LIMIT:
        raise ValueError("thirteen")
    return x * k * FACTOR

@weft.step("total")
def total(y) -> float:
    return float(y.sum())

pipe = weft.Pipeline([scale, total], name="study")
number = 3

def make():
    return pipe

def wrong(a):
    return pipe
"""


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The path of a file with pipelines; what loading it leaves in this process is undone."""
    folder = tmp_path / "my studies"
    folder.mkdir()
    (folder / "beside.py").write_text("FACTOR = 2\n")
    (folder / "study_of_mine.py").write_text(STUDY)
    monkeypatch.setattr(sys, "path", sys.path[:])
    before = set(sys.modules)
    yield str(folder / "study_of_mine.py")
    for name in set(sys.modules) - before:
        if name in cloudpickle.list_registry_pickle_by_value():
            cloudpickle.unregister_pickle_by_value(sys.modules[name])
        if name in ("beside", "study_of_mine") or name.startswith("weft_study_"):
            del sys.modules[name]


@pytest.fixture
def weft() -> Callable[..., Result]:
    """Call the program in this process."""

    def call(*arguments: object, status: int = 0) -> Result:
        result = CliRunner().invoke(cli, [str(a) for a in arguments], prog_name="weft")
        assert result.exit_code == status, f"{result.exit_code}: {result.output}\n{result.exception!r}"
        return result

    return call


@pytest.fixture
def program() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start the program as a process of its own; it is ended with the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: object) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, "-c", "from weft.cli import main; main()", *(str(a) for a in arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "COLUMNS": "120"},
        )
        started.append(child)
        return child

    yield start
    for child in started:
        child.kill()
        child.communicate()
