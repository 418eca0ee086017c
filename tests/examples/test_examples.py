"""The examples run, are short, and go on where they were."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import weft

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))
SHORTER = {
    "active_learning": {
        "loop = weft.Loop([propose, branin, learn], 30": "loop = weft.Loop([propose, branin, learn], 3"
    },
    "curation": {'"data/clean"), 1000': '"data/clean"), 60'},
    "digits": {"logspace(-1, 3, 9)": "logspace(0, 2, 3)", "logspace(-3, 0.5, 8)": "logspace(-2, -1, 2)"},
    "training": {
        "[0.03, 0.1, 0.3, 1.0], [16, 64]": "[0.3, 1.0], [16, 64]",
        "range(3)": "range(2)",
        "train, validate], 100": "train, validate], 6",
    },
    "gray_scott": {"0.056, 8)": "0.056, 3)", "0.066, 8)": "0.066, 3)", '"n_steps": 5000': '"n_steps": 100'},
}


def load(name: str) -> ModuleType:
    """An example as a module, its main part left out."""
    path = next(p for p in EXAMPLES if p.stem == name)
    spec = importlib.util.spec_from_file_location(f"example_{name}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_at_most_60_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 60


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_runs_as_a_script_and_runs_nothing_again(
    path: Path, tmp_path: Path, require: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("matplotlib", "sklearn", "pandas"):
        require(package)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    source = path.read_text()
    for long, short in SHORTER[path.stem].items():
        assert long in source
        source = source.replace(long, short)
    (tmp_path / "study.py").write_text(source)
    command = [sys.executable, "study.py"]
    subprocess.run(command, cwd=tmp_path, check=True)
    (run_dir,) = (tmp_path / "runs").iterdir()
    commits = set(run_dir.glob("results/*/*/*.weft"))
    pictures = list(tmp_path.glob("*.png"))
    subprocess.run(command, cwd=tmp_path, check=True)
    assert commits and commits == set(run_dir.glob("results/*/*/*.weft"))
    assert pictures and all(picture.stat().st_size > 5_000 for picture in pictures)


def test_gray_scott_batch_equals_one_by_one(require: Callable[..., Any]) -> None:
    require("matplotlib")
    example = load("gray_scott")
    settings = {"feed": [0.03, 0.05], "kill": [0.06, 0.062], "n_steps": 50, "size": 16}
    one = example.simulate.run(settings, backend="sequential", progress=False)["pattern"]
    many = example.simulate_many.run(settings, backend="sequential", progress=False)["pattern"]
    assert one.shape == many.shape == (2, 2, 16, 16)
    np.testing.assert_allclose(one, many, atol=1e-6)
    assert one.std() > 0


def test_curation_repairs_what_is_damaged_and_runs_nothing_else(
    require: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require("matplotlib")
    monkeypatch.chdir(tmp_path)
    example = load("curation")
    example.RAW.mkdir(parents=True), example.CLEAN.mkdir(parents=True)
    for case in range(1000):
        example.simulate(case)
    (example.RAW / "case-0041.npz").write_bytes(b"PK")
    pipe = weft.stream(example.Cases(), "curation").filter(example.Moments()).write(example.save)
    # Warm workers of other tests are in other directories, and the paths are relative.
    run = pipe.run(run_dir="run", on_error="continue", n_jobs=1, progress=False)
    assert [error.index for error in run.errors] == [{"index": 41}]
    assert run.status["stream"]["done"] == 999 and run.status["Moments"]["blocked"] == 1
    example.simulate(41)
    run = pipe.run(run_dir="run", n_jobs=1, progress=False)
    velocity = np.concatenate([np.load(path)["velocity"] for path in sorted(example.RAW.iterdir())])
    assert run["Moments"] == f"{velocity.mean():.2f} ± {velocity.std():.2f}"
    assert sum(row["elements"] for row in run.attempts("stream") if row["state"] == "done") == 1000
    (row,) = run.files(run["paths"][41][0])
    assert row["index"] == 41


def test_digits_from_a_configuration_file(require: Callable[..., Any], tmp_path: Path) -> None:
    for package in ("matplotlib", "sklearn", "hydra"):
        require(package)
    file = EXAMPLES[0].with_name("digits.yaml")
    example = load("digits")
    grid = {"C": np.logspace(-1, 3, 9), "gamma": np.logspace(-3, 0.5, 8), "fold": range(5)}
    here = weft.load_study(file, [f"run.run_dir={tmp_path}/run"])
    assert here.plan().n_elements == example.study.plan(grid).n_elements == 434
    assert all(np.array_equal(here.inputs[name], grid[name]) for name in grid)


def test_digits_best_setting_is_judged_on_digits_held_out(require: Callable[..., Any]) -> None:
    require("matplotlib")
    require("sklearn")
    grid = {"C": np.array([0.001, 10.0]), "gamma": np.array([0.05]), "fold": range(2)}
    run = load("digits").study.run(grid, backend="sequential", progress=False)
    assert run["score"].shape == (2, 1, 2)
    assert run["accuracy"][1, 0] > 0.95 > run["accuracy"][0, 0]
    assert (run["read"] == run["new_labels"]).mean() > 0.95


def test_active_learning_finds_the_lowest_point(require: Callable[..., Any], tmp_path: Path) -> None:
    require("matplotlib")
    require("sklearn")
    search = load("active_learning").search
    here: dict[str, Any] = {"backend": "sequential", "progress": False, "run_dir": tmp_path / "run"}
    run = search.run({"known": np.empty((0, 3))}, **here)
    value = run.isel("learned", round=-1)[:, 2]
    assert 0.397887 < value.min() < 0.41
    assert len(value) == 4 * run.status["propose"]["done"] < 4 * 30
    assert run.isel("converged", round=-1) and not run["converged"][:-1].any()
    np.testing.assert_array_equal(weft.open_run(tmp_path / "run").isel("learned", round=-1)[:, 2], value)


def test_training_ends_each_network_when_it_gets_no_better(require: Callable[..., Any]) -> None:
    for package in ("matplotlib", "sklearn", "xarray"):
        require(package)
    study = load("training").study
    sweep = weft.grid(rate=[0.001, 0.3], size=[64], seed=range(2))
    run = study.run(sweep=sweep, backend="sequential", progress=False)
    loss = run["loss"]
    assert loss.shape == (2, 1, 2, 100)
    assert loss[0].count() == 200, "slow ones get better to the end"
    for history in loss[1, 0]:
        history = history.compressed()
        assert len(history) < 100
        before, after = history[:-5], history[-5:]
        assert after.min() > before.min() - 0.001
    assert run["setting"] == (0.3, 64)
    assert run["lowest"][1].min() < 0.2
