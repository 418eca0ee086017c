"""How outputs are kept: codecs by type, codecs and stores of a step."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import threading
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import weft


class Point:
    """A type of the user's."""

    def __init__(self, x: float, lock: bool = False) -> None:
        self.x = x
        self.lock = threading.Lock() if lock else None


def _save_zipped(value: Any, file: Any) -> None:
    file.write(gzip.compress(json.dumps(value).encode(), mtime=0))


def _load_zipped(file: Any) -> Any:
    return json.loads(gzip.decompress(file.read()))


def _load_point(file: Any) -> Point:
    return Point(float(file.read()), lock=True)


weft.register_codec("zipped", (), ".json.gz", _save_zipped, _load_zipped)
weft.register_codec("npy-here", (), ".npy", lambda value, file: np.save(file, value), np.load)
weft.register_codec(
    "point", Point, ".txt", lambda value, file: file.write(str(value.x)), _load_point, binary=False
)


@weft.step("text", mapspec="n[i] -> text[i]", codec="zipped")
def repeated(n: int) -> str:
    return "ab" * 5000 * n


@weft.step("length", mapspec="text[i] -> length[i]")
def measured(text: str) -> int:
    return len(text)


@weft.step(("low", "high"), mapspec="n[i] -> low[i, k], high[i, k]", codec={"low": "zipped"})
def both(n: int) -> tuple[list[Any], list[float]]:
    return [{"n": n}, {"n": n + 1}], [0.5 * n, 1.5 * n]


@weft.step("point", mapspec="n[i] -> point[i]")
def located(n: int) -> Point:
    return Point(n / 2, lock=True)


@weft.step("x", mapspec="point[i] -> x[i]")
def unlocated(point: Point) -> float:
    return point.x


def test_outputs_are_kept_by_the_codec_of_their_step(backend: str, kept: dict[str, Any]) -> None:
    pipe = weft.Pipeline([repeated, measured, both], name="codecs")
    run = pipe.run({"n": [1, 2, 3]}, backend=backend, n_jobs=2, progress=False, **kept)
    assert run["text"].tolist() == ["ab" * 5000 * n for n in (1, 2, 3)]
    assert run["length"].tolist() == [10000, 20000, 30000]
    assert run["low"].tolist() == [[{"n": n}, {"n": n + 1}] for n in (1, 2, 3)]
    assert run["high"].dtype == float and run["high"][2].tolist() == [1.5, 4.5]
    assert run.isel("text", i=1) == "ab" * 10000


def test_a_type_with_a_codec_goes_everywhere(backend: str, kept: dict[str, Any]) -> None:
    # Without its codec the lock in a point could neither be stored nor sent.
    pipe = weft.Pipeline([located, unlocated])
    run = pipe.run({"n": range(4)}, backend=backend, n_jobs=2, progress=False, **kept)
    assert run["x"].tolist() == [0.0, 0.5, 1.0, 1.5]
    assert [point.x for point in run["point"]] == [0.0, 0.5, 1.0, 1.5]


def test_whole_values_of_a_type_with_a_codec_go_everywhere(backend: str, kept: dict[str, Any]) -> None:
    def listed(point: list) -> float:
        return sum(p.x for p in point)

    two = weft.step("pair", mapspec="n[i] -> pair[i, k]")(lambda n: [Point(n, lock=True)] * 2)
    steps = [
        located,
        two,
        weft.step("whole")(lambda point: point[-1]),
        weft.step("listed")(listed),
        weft.step("one")(lambda whole: whole.x),
        weft.step("row", mapspec="pair[i, :] -> row[i]")(lambda pair: pair[1].x),
        weft.step("given", mapspec="n[i] -> given[i]")(lambda n, start: start["at"][0].x + n),
        weft.Loop([weft.step("at", name="go")(lambda at: Point(at.x + 1, lock=True))], 2, name="turn"),
    ]
    inputs = {"n": range(4), "start": {"at": [Point(5, lock=True)]}, "at": Point(0, lock=True)}
    run = weft.Pipeline(steps).run(inputs, backend=backend, n_jobs=2, progress=False, **kept)
    assert run["whole"].x == run["one"] == 1.5 and run["listed"] == 3.0
    assert run["row"].tolist() == [0, 1, 2, 3] and run["given"].tolist() == [5, 6, 7, 8]
    assert [point.x for point in run["at"]] == [1, 2]


def test_a_codec_is_no_part_of_what_a_result_is(go: Any) -> None:
    first = go([repeated], {"n": [1, 2]})
    small = sum(row["bytes"] for row in first.files() if row["step"] == "repeated")
    plain = weft.Pipeline([repeated], name="study").configure({"text": {"codec": None}})
    again = go(plain, {"n": [1, 2, 3]})
    assert again["text"].tolist() == ["ab" * 5000 * n for n in (1, 2, 3)]
    assert sum(row["elements"] for row in again.attempts("repeated")) == 3  # what was done is kept as it was
    assert small < 5000 < sum(row["bytes"] for row in again.files() if row["step"] == "repeated")


def test_a_value_that_its_codec_refuses_fails_its_element(go: Any) -> None:
    @weft.step("y", mapspec="x[i] -> y[i]", codec="zipped")
    def given(x: int) -> Any:
        return {1, 2} if x == 1 else x

    run = go([given], {"x": [0, 1, 2]}, on_error="continue")
    (error,) = run.errors
    assert error.index == {"i": 1} and "zipped" in str(error) and "set" in str(error)
    assert run.get("y", missing="mask").tolist() == [0, None, 2]


def test_a_batch_and_a_cached_step_keep_by_codec(
    go: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEFT_CACHE", str(tmp_path / "cache"))

    @weft.step("y", mapspec="x[i] -> y[i]", codec="npy-here", batch=True)
    def scaled(x: np.ndarray) -> np.ndarray:
        return x[:, None] * np.arange(3)

    @weft.step("z", mapspec="x[i] -> z[i]", codec="zipped", cache=True)
    def worded(x: int) -> str:
        return f"{x}"

    run = go([scaled, worded], {"x": [1, 2]})
    assert run["y"].tolist() == [[0, 1, 2], [0, 2, 4]] and run["z"].tolist() == ["1", "2"]
    again = weft.Pipeline([worded]).run({"x": [1, 2, 3]}, progress=False)
    assert again["z"].tolist() == ["1", "2", "3"]


def test_nested_steps_keep_their_codecs() -> None:
    pipe = weft.Pipeline([repeated, measured]).nest(["text", "length"], "both")
    assert list(pipe.graph.steps["both"].codecs) == ["text"]
    assert pipe.run({"n": [2]}, progress=False)["length"].tolist() == [20000]


class Here(Executor):
    """Runs jobs in this process, though nothing tells weft that it does."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def test_jobs_in_the_process_of_the_driver_leave_its_codecs_alone(kept: dict[str, Any]) -> None:
    weft.Pipeline([repeated]).run({"n": [1, 2]}, backend=Here(), progress=False, **kept)
    with pytest.raises(ValueError, match="'zipped' is registered already"):
        weft.register_codec("zipped", (), ".x", print, print)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("zippd", "step 'f': no codec named 'zippd' is registered (registered: "),
        ({"z": "zipped"}, "step 'f': codec names 'z'; its outputs are y."),
    ],
)
def test_a_codec_that_is_not_there_is_an_error(option: Any, message: str) -> None:
    with pytest.raises(weft.InvalidInput) as raised:
        weft.Step(lambda x: x, "y", name="f", codec=option)
    assert message in str(raised.value)


def test_stores_by_step(tmp_path: Path) -> None:
    pipe = weft.Pipeline([repeated, measured])
    where = {"run_dir": tmp_path / "run", "progress": False}
    assert pipe.run({"n": [1]}, store={"text": "files", "": "auto"}, **where).ok
    with pytest.raises(weft.InvalidInput, match="store names 'tekst', no step or output"):
        pipe.run({"n": [1]}, store={"tekst": "files"}, **where)
    with pytest.raises(weft.InvalidInput, match="store='memory' keeps nothing in a run_dir"):
        pipe.configure({"repeated": {"store": "memory"}}).run({"n": [1]}, **where)
    with pytest.raises(weft.InvalidInput, match="store='files' needs a run_dir"):
        pipe.configure({"repeated": {"store": "files"}}).run({"n": [1]}, progress=False)


SCRIPT = """
import threading, weft

class Grid:
    def __init__(self, n):
        self.n, self.lock = n, threading.Lock()

weft.register_codec(
    "grid", Grid, ".txt", lambda grid, file: file.write(str(grid.n)), lambda file: Grid(int(file.read())),
    binary=False,
)

@weft.step("grid", mapspec="n[i] -> grid[i]")
def make(n: int) -> Grid:
    return Grid(n)

@weft.step("size", mapspec="grid[i] -> size[i]", backend="BACKEND")
def size(grid: Grid) -> int:
    return grid.n

if __name__ == "__main__":
    pipe = weft.Pipeline([make, size])
    run = pipe.run({"n": [3, 4]}, run_dir="DIR", backend="BACKEND", n_jobs=2, progress=False)
    print(run["size"].tolist(), [grid.n for grid in run["grid"]])
"""


def test_a_codec_of_a_script_is_known_to_its_workers_and_to_who_goes_on(
    processes: str, tmp_path: Path
) -> None:
    script, run_dir = tmp_path / "study.py", tmp_path / "run"
    script.write_text(SCRIPT.replace("BACKEND", processes).replace("DIR", str(run_dir)))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert done.stdout == "[3, 4] [3, 4]\n", done.stderr
    resumed = subprocess.run(
        [sys.executable, "-c", f"import weft; r = weft.open_run({str(run_dir)!r}); r.reset('size'); "
         "r.resume(progress=False); print(r['size'].tolist())"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert resumed.stdout == "[3, 4]\n", resumed.stderr
