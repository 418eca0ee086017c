"""YAML files wherever a command takes a pipeline."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

import weft as library

Weft = Callable[..., Result]
Program = Callable[..., "subprocess.Popen[str]"]

STUDY = """\
name: yaml
steps:
  - study_of_mine.scale
  - {function: study_of_mine.total, retries: 1}
inputs:
  x: [1, 2]
sweep:
  k: [1.0, 2.0]
run:
  on_error: continue
  backend: sequential
"""


@pytest.fixture
def file(study: str, require: Callable[..., object]) -> Path:
    """A YAML file beside a module of steps."""
    require("hydra")
    path = Path(study).with_name("study.yaml")
    path.write_text(STUDY)
    return path


def test_run_and_what_wins(file: Path, weft: Weft, tmp_path: Path) -> None:
    assert "total = [ 6. 12.]" in weft("run", file, "-q").stdout
    assert "total = 12.0" in weft("run", file, "sweep=", "x=[2]", "k=3.0", "-q").stdout
    assert "total = [30.]" in weft("run", file, "--sweep", "k=5.0", "-q").stdout
    np.save(tmp_path / "x.npy", np.arange(4.0))
    assert "total = [12. 24.]" in weft("run", file, f"x=@{tmp_path}/x.npy", "-q").stdout
    assert "total = [ 0.  6. 12. 18. 24.]" in weft("run", file, "sweep.k=range(5)", "-q").stdout
    file.write_text(STUDY.replace("[1, 2]", "???"))
    assert "total = [ 6. 12.]" in weft("run", file, "inputs.x=range(3)", "-q").stdout
    assert "total = [ 0. 12. 24.]" in weft("run", file, "x=[1, 2, 3]", "sweep.k=range(3)", "-q").stdout
    swept = f"sweep.k=@{tmp_path}/x.npy"
    assert "total = [ 0. 12. 24. 36.]" in weft("run", file, "x=range(1, 4)", swept, "-q").stdout
    refused = weft("run", file, "x=[1]", "run.timeout=3", status=2)
    assert "'timeout' is no option of a run" in refused.stderr
    weft("run", file, "x=[1]", "run.timeout=3", "run.backend=loky", "-b", "sequential", "-q")


def test_the_files_options_hold_and_the_commands_win(file: Path, weft: Weft, tmp_path: Path) -> None:
    where = tmp_path / "run"
    told = weft("run", file, "x=[12, 13]", f"run.run_dir={where}", "--json", status=1).stdout
    assert json.loads(told)["state"] == "failed" and json.loads(told)["path"] == str(where)
    stopped = weft("run", file, "x=[12, 13]", "--on-error", "stop", "-d", tmp_path / "other", "-q", status=1)
    assert "thirteen" in stopped.stderr


def test_a_mistake_ends_with_2_and_its_line(file: Path, weft: Weft) -> None:
    file.write_text(STUDY.replace("on_error", "on_eror"))
    assert f"{file}:10: 'on_eror' is no option of a run" in weft("run", file, status=2).stderr
    refused = weft("plan", file, "xx=1", status=2).stderr
    assert "on_eror" in refused
    file.write_text(STUDY)
    refused = weft("plan", file, "xx=1", status=2).stderr
    assert refused.startswith(f"weft: {file}, xx=1: There is no input 'xx'. Did you mean 'x'?")


def test_plan_and_graph(file: Path, weft: Weft) -> None:
    told = json.loads(weft("plan", file, "x=range(1000)", "--json").stdout)
    assert told["name"] == "yaml" and told["n_elements"] == 2 * 1000 + 2
    assert "total" in weft("graph", file).stdout
    assert "sum" in weft("graph", file, "steps.1.name=sum").stdout
    assert "Of a YAML file" in " ".join(weft("plan", "--help").output.split())


def test_resume_with_the_code_of_a_file(file: Path, weft: Weft, tmp_path: Path, program: Program) -> None:
    where = tmp_path / "run"
    weft("run", file, "x=[12, 13]", "-d", where, "--json", status=1)
    code = file.with_name("study_of_mine.py")
    code.write_text(code.read_text().replace("LIMIT = 13", "LIMIT = -1"))
    arguments = ["--from", file, "steps.1.retries=3", "--on-change", "keep", "-q"]
    child = program("resume", where, *arguments)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 0, err
    assert library.open_run(where)["total"].tolist() == [50.0, 100.0]
    assert "--from STUDY.yaml" in weft("resume", where, "k=1", status=2).stderr
    weft("resume", where, "-q")


def test_functions_beside_reach_other_processes(file: Path, program: Program, tmp_path: Path) -> None:
    where = tmp_path / "run"
    child = program("run", file, "x=range(12)", "-b", "process_pool", "-j", "2", "-d", where, "--json")
    out, err = child.communicate(timeout=60)
    assert child.returncode == 0, err
    assert json.loads(out)["ok"] is True
    assert library.open_run(where)["total"].tolist() == [132.0, 264.0]


def test_resume_of_a_sweep_over_configs(file: Path, weft: Weft, tmp_path: Path) -> None:
    where = tmp_path / "run"
    file.write_text(
        STUDY.replace("study_of_mine.scale", "{function: study_of_mine.scale, config: {wait: [0.0, 0.1]}}")
    )
    weft("run", file, "-d", where, "-q")
    plan = weft("plan", file, "-d", where, "--json")
    assert json.loads(plan.stdout)["done"] == json.loads(plan.stdout)["n_elements"] == 2 * 2 * 2 + 2 * 2
    weft("resume", where, "--from", file, "-q")
