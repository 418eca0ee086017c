from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

import weft as library
from weft.cli.commands import cli

Weft = Callable[..., Result]
Program = Callable[..., "subprocess.Popen[str]"]


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, f"not within a minute: {what}"
        time.sleep(0.02)


@pytest.fixture
def failed(study: str, weft: Weft, tmp_path: Path) -> str:
    """A run directory in which one of 15 elements failed."""
    where = str(tmp_path / "run")
    weft("run", f"{study}:pipe", "x=range(15)", "--run-dir", where, "--on-error", "continue", status=1)
    return where


def test_help_lists_every_command_and_imports_none(weft: Weft) -> None:
    text = weft("--help").output
    assert all(f"\n  {name} " in text for name in cli.commands)
    code = "import sys; from weft.cli import main; sys.argv[1:] = ['--help']\n"
    code += "try: main()\nfinally: print(*sys.modules)"
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert not {"weft.pipeline", "rich", "pandas", "loky", "numpy"} & set(told.stdout.split())


@pytest.mark.parametrize("name", list(cli.commands))
def test_every_command_has_help(weft: Weft, name: str) -> None:
    text = " ".join(weft(name, "--help").output.split())
    told = cli.commands[name].help
    assert told and told.split()[0] in text and "--help" in text


@pytest.mark.parametrize(
    "words",
    [["status", ""], ["run", "st"], ["run", "s.py:f", "-d", ""], ["export", "run", ""], ["graph", ""]],
)
def test_paths_are_completed_by_the_shell(words: list[str]) -> None:
    environment = {"_WEFT_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(["weft", *words])}
    told = subprocess.run(
        [sys.executable, "-c", "import sys; sys.argv[0] = 'weft'; from weft.cli import main; main()"],
        env={**os.environ, **environment, "COMP_CWORD": str(len(words))},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert told.stdout.startswith("file,"), told


def test_run_shows_what_came_out(study: str, weft: Weft) -> None:
    result = weft("run", f"{study}:pipe", "x=[1, 2]", "k=2.5", "--quiet")
    assert "total = 15.0" in result.stdout
    assert result.stderr == ""


def test_progress_goes_to_standard_error(study: str, weft: Weft) -> None:
    result = weft("run", f"{study}:pipe", "x=[1, 2]", "--json")
    assert json.loads(result.stdout)["steps"]["scale"]["done"] == 2


def test_failed_elements_end_with_1(study: str, weft: Weft) -> None:
    result = weft("run", f"{study}:pipe", "x=[12, 13]", "--json", status=1)
    told = json.loads(result.stdout)
    assert told["ok"] is False and told["step"] == "scale" and told["index"] == {"i": 1}
    assert "thirteen" in result.stderr and "Traceback" not in result.stderr


def test_a_mistake_ends_with_2_and_one_message(study: str, weft: Weft, tmp_path: Path) -> None:
    for arguments, message in [
        (["run", f"{study}:pip"], "Did you mean 'pipe'"),
        (["run", f"{study}:pipe", "xx=1"], "Did you mean 'x'"),
        (["run", f"{study}:pipe", "x=[1]", "--backend", "lokky"], "loky"),
        (["run", f"{study}:pipe", "x=[1]", "--n-jobs", "0"], "at least 1"),
        (["plan", f"{study}:pipe"], "'x' of step 'scale' is missing"),
        (["status", tmp_path / "nothing"], "holds no run"),
        (["stats"], "Did you mean 'status'"),
        (["run"], "Missing argument"),
        (["export", tmp_path, "table.xls"], "--format"),
    ]:
        result = weft(*arguments, status=2)
        assert message in result.stderr and "Traceback" not in result.stderr, result.stderr


def test_a_traceback_on_request_wherever_it_stands(study: str, weft: Weft) -> None:
    assert "Traceback" in weft("run", f"{study}:pip", "--traceback", status=2).stderr
    assert "Traceback" in weft("--traceback", "run", f"{study}:pip", status=2).stderr


def test_functions_of_the_file_reach_other_processes(study: str, program: Program, tmp_path: Path) -> None:
    arguments = ["--backend", "process_pool", "-j", "2", "-d", tmp_path / "run", "--json"]
    child = program("run", f"{study}:pipe", "x=range(12)", *arguments)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 0, err
    assert json.loads(out)["ok"] is True
    assert library.open_run(tmp_path / "run")["total"] == 2.0 * sum(range(12))


def test_plan(study: str, weft: Weft, failed: str) -> None:
    assert "14 of them done" in weft("plan", f"{study}:pipe", "x=range(15)", "--run-dir", failed).stdout
    told = json.loads(weft("plan", f"{study}:make", "x=range(1000000000)", "--json").stdout)
    assert told["n_elements"] == 10**9 + 1 and told["steps"][0]["name"] == "scale"


def test_sweep(study: str, weft: Weft, tmp_path: Path) -> None:
    where = tmp_path / "swept"
    axes = ("--sweep", "k=0.5,1", "--sweep", "wait=0:1")
    planned = weft("plan", f"{study}:pipe", "x=[1, 2]", *axes, "--json")
    assert json.loads(planned.stdout)["n_elements"] == 2 * 2 + 2
    weft("run", f"{study}:pipe", "x=[1, 2]", *axes, "--run-dir", where, "--quiet")
    assert library.open_run(where)["total"].tolist() == [[3.0], [6.0]]
    weft("run", f"{study}:pipe", "x=[1, 2]", *axes, "--sweep", "k=3", status=2)
    refused = weft("run", f"{study}:pipe", "x=[1, 2]", "--sweep", "kk=1:3", status=2)
    assert "Did you mean 'k'" in refused.stderr
    assert "without stop" in " ".join(weft("run", "--help").output.split())


def test_status_and_errors(weft: Weft, failed: str) -> None:
    assert weft("status", failed).stdout.startswith("failed\nstep")
    told = json.loads(weft("status", failed, "--json").stdout)
    assert told["state"] == "failed" and told["steps"]["scale"]["failed"] == 1
    assert weft("errors", failed).stdout == "step 'scale' at i=13 (x=13): ValueError: thirteen\n"
    assert 'raise ValueError("thirteen")' in weft("errors", failed, "--full").stdout
    assert json.loads(weft("errors", failed, "--json").stdout)[0]["i"] == 13
    assert "Traceback" in json.loads(weft("errors", failed, "--json", "--full").stdout)[0]["traceback"]


def test_resume_with_the_recorded_code_and_with_other(study: str, weft: Weft, failed: str) -> None:
    assert "thirteen" in weft("resume", failed, "-q", status=1).stderr
    other = Path(study).with_name("mended_study.py")
    other.write_text(Path(study).read_text().replace("LIMIT = 13", "LIMIT = -1"))
    assert "'keep'" in weft("resume", failed, "--from", f"{other}:pipe", status=2).stderr
    weft("resume", failed, "--from", f"{other}:pipe", "--on-change", "keep", "-q")
    assert library.open_run(failed)["y"].tolist() == [2.0 * x for x in range(15)]
    assert "keep" in weft("history", failed).stdout
    assert "No element failed" in weft("errors", failed).stdout
    reasons = [row["reason"] for row in json.loads(weft("history", failed, "--json").stdout)]
    assert reasons[0] == "start" and reasons[-1] == "keep"


TALKING = """
import weft

print("loading")

@weft.step("y", mapspec="x[i] -> y[i]")
def f(x):
    print("computing", x)
    return 1 // (2 - x)
"""


@pytest.mark.parametrize("backend", ["sequential", "process_pool", "loky"])
def test_json_stands_alone_whatever_a_study_prints(backend: str, tmp_path: Path) -> None:
    (tmp_path / "study.py").write_text(TALKING)

    def told(*arguments: str, status: int = 0) -> dict[str, object]:
        code = "from weft.cli import main; main()"
        given = [sys.executable, "-c", code, *arguments, "--json"]
        ended = subprocess.run(given, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert ended.returncode == status, ended.stderr
        assert "computing" in ended.stderr or "plan" in arguments
        return dict(json.loads(ended.stdout))

    workers = ["--backend", backend, "-j", "2"]
    assert told("plan", "study.py:f", "x=0,1")["n_elements"] == 2
    assert told("run", "study.py:f", "x=0,1", *workers)["ok"] is True
    assert told("run", "study.py:f", "x=0,1,2", "-d", "run", *workers, status=1)["index"] == {"i": 2}
    assert told("resume", "run", *workers, status=1)["index"] == {"i": 2}
    assert told("retry", "run", *workers, status=1)["step"] == "f"


def test_retry(weft: Weft, failed: str) -> None:
    told = json.loads(
        weft("retry", failed, "scale", "i=13", "--on-error", "continue", "--json", status=1).stdout
    )
    assert told["steps"]["scale"]["failed"] == 1
    assert "i=13" in weft("retry", failed, "-q", status=1).stderr


@pytest.mark.parametrize("command", ["resume", "retry"])
def test_recorded_functions_find_modules_in_the_current_directory(command: str, tmp_path: Path) -> None:
    (tmp_path / "near.py").write_text("LIMIT = 2\n\ndef bound(x):\n    return 1 // (LIMIT - x)\n")
    text = "import near\nimport weft\ny = weft.step('y', mapspec='x[i] -> y[i]')(near.bound)\n"
    (tmp_path / "study.py").write_text(text)

    def weft(*arguments: str) -> subprocess.CompletedProcess[str]:
        code = "from weft.cli import main; main()"
        given = [sys.executable, "-P", "-c", code, *arguments]
        return subprocess.run(given, cwd=tmp_path, capture_output=True, text=True, timeout=60)

    assert weft("run", "study.py:y", "x=1,2,3", "-d", "run", "--on-error", "continue").returncode == 1
    ended = weft(command, "run", "-q", "--on-error", "continue")
    assert ended.returncode == 1 and ended.stdout.split()[4:8] == ["bound", "2", "1", "3"], ended.stderr


def test_watch_of_a_run_that_nobody_drives(weft: Weft, failed: str) -> None:
    assert "failed" in weft("watch", failed, status=1).stdout
    assert "Nobody is working" in weft("cancel", failed).stdout


def test_export(weft: Weft, failed: str, tmp_path: Path, require: Callable[..., object]) -> None:
    require("pandas")
    weft("export", failed, tmp_path / "y.csv", "y")
    lines = (tmp_path / "y.csv").read_text().splitlines()
    assert len(lines) == 16 and lines[3].endswith("4.0")
    assert "does not overwrite" in weft("export", failed, tmp_path / "y.csv", status=2).stderr
    assert (tmp_path / "y.csv").read_text().splitlines() == lines
    weft("export", failed, "/dev/null", "--format", "csv")
    require("pyarrow")
    weft("export", failed, tmp_path / "y.parquet", "y")
    assert (tmp_path / "y.parquet").stat().st_size > 0


def test_verify_and_gc(weft: Weft, failed: str) -> None:
    assert "whole" in weft("verify", failed).stdout
    assert json.loads(weft("gc", failed, "--json").stdout) is not None
    damaged = next(Path(failed).rglob("*.weft"))
    data = bytearray(damaged.read_bytes())
    data[-1] ^= 1
    damaged.chmod(0o600)
    damaged.write_bytes(data)
    told = json.loads(weft("verify", failed, "--json", status=1).stdout)
    assert told["ok"] is False and damaged.name in told["problems"][0]["path"]


def test_graph_of_a_file_and_of_a_run(study: str, weft: Weft, failed: str) -> None:
    drawn = weft("graph", f"{study}:pipe").stdout
    assert "scale" in drawn and "y[i]" in drawn
    assert "y[i]" in weft("graph", failed).stdout
    assert weft("graph", failed, "--kind", "mermaid").stdout.startswith("flowchart")


@pytest.fixture
def gated(study: str, program: Program, tmp_path: Path) -> tuple[subprocess.Popen[str], Path, Path]:
    """A run in a process of its own, whose first element waits until a file is removed."""
    gate, where = tmp_path / "gate", tmp_path / "gated"
    gate.touch()
    arguments = ["x=range(3)", f"gate={gate}", "-d", where, "-b", "sequential", "--block-size", "1"]
    child = program("run", f"{study}:pipe", *arguments)
    until(lambda: (tmp_path / "gate.0").exists() or child.poll() is not None, "the first element begins")
    assert child.poll() is None, child.communicate()
    return child, gate, where


def test_ctrl_c_ends_with_130_and_the_run_goes_on_later(
    gated: tuple[subprocess.Popen[str], Path, Path], weft: Weft
) -> None:
    child, gate, where = gated
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 130, err
    assert "Interrupted" in err and "Traceback" not in err
    gate.unlink()
    weft("resume", where, "-q")
    assert library.open_run(where)["total"] == 6.0


def test_watch_follows_another_process_to_its_end(
    gated: tuple[subprocess.Popen[str], Path, Path], program: Program
) -> None:
    child, gate, where = gated
    watching = program("watch", where)
    assert watching.stderr is not None
    assert "study: 2 steps" in watching.stderr.readline()
    gate.unlink()
    out, err = watching.communicate(timeout=60)
    assert watching.returncode == 0, err
    assert "complete" in out and "ended after" in err
    child.communicate(timeout=60)
    assert child.returncode == 0


def test_ctrl_c_on_watch_leaves_the_run_alone(
    gated: tuple[subprocess.Popen[str], Path, Path], program: Program
) -> None:
    child, gate, where = gated
    watching = program("watch", where)
    assert watching.stderr is not None
    assert "study" in watching.stderr.readline()
    watching.send_signal(signal.SIGINT)
    _, err = watching.communicate(timeout=60)
    assert watching.returncode == 130
    assert "left alone" in err and "Interrupted" not in err
    assert child.poll() is None
    gate.unlink()
    child.communicate(timeout=60)
    assert child.returncode == 0


def test_cancel_stops_another_process(gated: tuple[subprocess.Popen[str], Path, Path], weft: Weft) -> None:
    child, gate, where = gated
    assert "weft resume" in weft("cancel", where).stdout
    assert child.stderr is not None
    assert any("stopping" in line for line in iter(child.stderr.readline, ""))
    gate.unlink()
    out, _ = child.communicate(timeout=60)
    assert child.returncode == 1
    assert "weft resume" in out and "weft errors" not in out
    status = library.open_run(where).status
    assert status.state == "open" and status["scale"]["done"] >= 1 and status["total"]["done"] == 0
