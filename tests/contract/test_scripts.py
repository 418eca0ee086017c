"""Real scripts in real processes: functions of ``__main__``, a missing guard, Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import weft
from weft.testing import Calls

Script = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def script(tmp_path: Path) -> Iterator[Script]:
    """Start a script; what is left of it at the end is killed, with all that it started."""
    started: list[subprocess.Popen[str]] = []

    def start(text: str, *arguments: str) -> subprocess.Popen[str]:
        file = tmp_path / "script.py"
        file.write_text(text)
        started.append(
            subprocess.Popen(
                [sys.executable, str(file), *arguments],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
                cwd=tmp_path,
            )
        )
        return started[-1]

    yield start
    for process in started:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.communicate()


def until(condition: Callable[[], Any], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


MAIN = """
import sys
from dataclasses import dataclass
import numpy as np
import weft

RATE = 3

@dataclass
class Point:
    x: int

def helper(x):
    return RATE * x

@weft.step("y", mapspec="x[i] -> y[i]")
def f(x):
    return Point(helper(x))

def closure(k):
    return lambda y: y.x + k

def study():
    g = weft.step("z", mapspec="y[i] -> z[i]")(closure(10))
    s = weft.step("s")(lambda z: int(np.sum(z)))
    return weft.Pipeline([f, g, s], name="script")

if __name__ == "__main__":
    backend, context, where = sys.argv[1:4]
    options = {"mp_context": context} if context else {}
    where = {"run_dir": where} if where else {}
    run = study().run({"x": [1, 2, 3]}, backend=backend, n_jobs=2, progress=False, **options, **where)
    assert run["s"] == 48 and list(run["y"]) == [Point(3), Point(6), Point(9)]
    print("sum", run["s"])
"""


@pytest.mark.parametrize("where", ["", "run"], ids=["memory", "files"])
@pytest.mark.parametrize(
    ("name", "context"),
    [("process_pool", "spawn"), ("process_pool", "forkserver"), ("process_pool", ""), ("loky", "")],
)
def test_functions_of_main_lambdas_and_closures(
    name: str, context: str, where: str, script: Script, tmp_path: Path
) -> None:
    for _ in range(2 if where else 1):
        out, err = script(MAIN, name, context, where).communicate(timeout=60)
        assert "sum 48" in out, err
    if where:
        run = weft.open_run(tmp_path / "run")
        assert run["z"].tolist() == [13, 16, 19]
        # The class of a script is kept by value, which is code: without trust it stays closed.
        assert [point.x for point in run["y"]] == [3, 6, 9]
        with pytest.raises(weft.UnsafePayload):
            weft.open_run(tmp_path / "run", trust=False)["y"]


NOTED = """
import sys
import numpy as np
import weft

class Noisy:
    def __init__(self, rate: float = 0.1) -> None:
        self.rate = rate

    def run(self, x: float, rng: np.random.Generator) -> float:
        return x * self.rate + float(rng.normal())

if __name__ == "__main__":
    pipe = weft.Pipeline([weft.Step(Noisy, "y", mapspec="x[i] -> y[i]", name="noisy")])
    first = pipe.run({"x": [1.0, 2.0]}, run_dir="run", backend=sys.argv[1], n_jobs=2, progress=False)["y"]
    run = weft.open_run("run").resume(inputs={"x": [1.0, 2.0, 3.0]}, progress=False)
    print("same", run["y"][:2].tolist() == first.tolist(), len(run["y"]))
"""


@pytest.mark.parametrize("name", ["sequential", "loky"])
def test_what_only_annotations_of_a_class_name_is_not_its_code(name: str, script: Script) -> None:
    out, err = script(NOTED, name).communicate(timeout=60)
    assert "same True 3" in out, err


CONFIGURED = """
import sys
from dataclasses import dataclass
import weft

@dataclass(frozen=True)
class Config:
    rate: float = 0.1

@weft.step("y", mapspec="x[i] -> y[i]")
def scaled(x, config: Config):
    assert type(config) is Config
    return x * config.rate

if __name__ == "__main__":
    run = scaled.run({"x": [1, 2], "config": Config(0.5)}, run_dir="run", backend=sys.argv[1], progress=False)
    print("changes", len(run.history()), run["y"].tolist())
"""


@pytest.mark.parametrize("name", ["sequential", "loky"])
def test_an_input_of_a_class_of_the_script_is_the_same_in_its_next_process(name: str, script: Script) -> None:
    for _ in range(2):
        out, err = script(CONFIGURED, name).communicate(timeout=60)
        assert "changes 1 [0.5, 1.0]" in out, err


def test_a_script_without_a_guard_gets_a_clear_error(script: Script) -> None:
    bare = MAIN.replace('if __name__ == "__main__":', "if True:")
    process = script(bare, "process_pool", "spawn", "")
    out, err = process.communicate(timeout=40)
    assert process.returncode != 0 and "sum" not in out
    assert "if __name__ == '__main__':" in err and "loky" in err


def test_a_script_from_standard_input_is_told_why_its_workers_ended() -> None:
    text = "\n".join([
        "import weft",
        "step = weft.step('y', mapspec='x[i] -> y[i]')(lambda x: 2 * x)",
        "if __name__ == '__main__':",
        "    step.run({'x': [1, 2]}, backend='process_pool', n_jobs=2, progress=False)",
    ])  # fmt: skip
    done = subprocess.run([sys.executable, "-"], input=text, capture_output=True, text=True, check=False)
    told = done.stderr.rpartition("WeftError")[2]
    assert "there is no file '<stdin>'" in told and "Use backend='loky'" in told and "if __name" not in told


def test_a_script_without_a_guard_works_with_loky(script: Script) -> None:
    out, err = script(MAIN.replace('if __name__ == "__main__":', "if True:"), "loky", "", "").communicate(
        timeout=60
    )
    assert "sum 48" in out, err


def test_a_script_from_standard_input() -> None:
    done = subprocess.run(
        [sys.executable, "-", "loky", "", ""],
        input=MAIN,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "sum 48" in done.stdout, done.stderr


INTERRUPTED = """
import sys, time
import weft
from weft.testing import Calls

calls = Calls("calls")

@weft.step("y", mapspec="x[i] -> y[i]")
def f(x):
    calls(x)
    time.sleep(0.05)
    return 2 * x

if __name__ == "__main__":
    backend = sys.argv[1]
    try:
        weft.Pipeline([f], name="long").run(
            {"x": list(range(400))}, run_dir="run", backend=backend, n_jobs=2, progress=False,
            block_size=int(sys.argv[2]),
        )
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        raise
"""


@pytest.mark.parametrize("block_size", ["400", "10"])
def test_ctrl_c_commits_what_is_done_and_says_how_to_go_on(
    block_size: str, backend: str, script: Script, tmp_path: Path
) -> None:
    calls = Calls(tmp_path / "calls")
    process = script(INTERRUPTED, backend, block_size)
    until(lambda: len(calls) >= 8)
    # A terminal sends it to the whole group.
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert "interrupted" in out, err
    assert process.returncode in (-signal.SIGINT, 130), err
    said = out + err
    assert "run" in said and ("resume" in said or "go on" in said), said
    done = weft.open_run(tmp_path / "run").status["f"]["done"]
    # Two workers may lose the element that they were at.
    assert 0 < len(calls) - 2 <= done <= len(calls)
    assert done < 400
    assert "Traceback" not in err or "KeyboardInterrupt" in err


def test_a_killed_driver_leaves_no_worker(processes: str, script: Script, tmp_path: Path) -> None:
    calls = Calls(tmp_path / "calls")
    process = script(INTERRUPTED, processes, "10")
    until(lambda: len(calls) >= 4)
    process.kill()
    process.wait()

    def quiet() -> bool:
        before = len(calls)
        time.sleep(0.3)
        return len(calls) == before

    until(quiet)
    run = weft.open_run(tmp_path / "run")
    assert run.status["f"]["done"] <= len(calls) < 400


RELOADED = """
import importlib, sys
import numpy as np
import weft

sys.dont_write_bytecode = True
open("mine.py", "w").write("def h(x):\\n    return x * 2\\n")
import mine

y = weft.step("y", mapspec="x[i] -> y[i]")(lambda x: mine.h(x))
options = dict(run_dir="run", backend="loky", n_jobs=2, progress=False)
assert y.run({"x": range(4)}, **options)["y"].tolist() == [0, 2, 4, 6]
open("mine.py", "w").write("def h(x):\\n    return x * 300\\n")
importlib.reload(mine)
print(y.run({"x": range(4)}, on_change="rerun", **options)["y"].tolist())
"""


def test_warm_workers_do_not_run_a_module_as_it_was_before_it_was_edited(script: Script) -> None:
    out, err = script(RELOADED).communicate(timeout=60)
    assert out.strip() == "[0, 300, 600, 900]", err


CHANGED = """
import sys
import weft

sys.dont_write_bytecode = True
open("mine.py", "w").write("K = 2\\ndef h(x):\\n    return x * K\\n")
import mine

mine.K = 7  # which only this process knows
y = weft.step("y", mapspec="x[i] -> y[i]")(lambda x: mine.h(x))
options = dict(run_dir="run", n_jobs=2, progress=False)
try:
    y.run({"x": range(4)}, backend="loky", **options)
except weft.RunMismatch as error:
    print(error)
print(y.run({"x": range(4)}, backend="thread_pool", **options)["y"].tolist())
"""


def test_workers_refuse_a_module_that_the_script_has_changed_in_memory(script: Script) -> None:
    out, err = script(CHANGED).communicate(timeout=60)
    refused, found = out.strip().splitlines()
    assert "(mine) is not what was submitted" in refused, err
    assert found == "[0, 7, 14, 21]"
