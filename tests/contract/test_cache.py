"""``cache=True``: results shared between runs by content, whatever writes, dies, damages or removes them."""

from __future__ import annotations

import linecache
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import weft
from weft.testing import Calls

QUIET: dict[str, Any] = {"progress": False}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv("WEFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("WEFT_CACHE_SIZE", raising=False)
    return tmp_path / "cache"


def entries(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.weft"))


@pytest.fixture
def here(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Options for a run in this process, each in a run directory of its own."""

    class Fresh(dict[str, Any]):
        number = 0

        def keys(self) -> Any:
            Fresh.number += 1
            self["run_dir"] = tmp_path / f"run-{Fresh.number}"
            return super().keys()

    yield Fresh(backend="sequential", run_dir=None, **QUIET)


def test_a_second_run_computes_nothing(backend: str, kept: dict[str, Any], calls: Calls) -> None:
    @weft.step("y", mapspec="x[i] -> y[i]", cache=True)
    def f(x: float, k: float = 2.0) -> Any:
        calls(x)
        return x * k

    @weft.step("total")
    def total(y: Any) -> Any:
        calls("total")
        return y.sum()

    options = {"backend": backend, "n_jobs": 2, **QUIET}
    pipe = weft.Pipeline([f, total])
    assert pipe.run({"x": range(20)}, **options, **kept)["total"] == 380.0
    assert len(calls.take()) == 21
    again = pipe.run({"x": range(25)}, **options)
    assert again["y"].tolist() == [2.0 * x for x in range(25)] and again["y"].dtype == float
    assert sorted(calls.take()) == sorted(["20", "21", "22", "23", "24", "total"])


def test_backends_share(calls: Calls, here: dict[str, Any]) -> None:
    @weft.step("y", mapspec="x[i] -> y[i]", cache=True)
    def f(x: int) -> int:
        calls(x)
        return -x

    for backend in ("sequential", "thread_pool", "process_pool", "loky"):
        run = f.run({"x": [3, 4, 5]}, **{**here, "backend": backend, "n_jobs": 2})
        assert run["y"].tolist() == [-3, -4, -5]
        assert len(calls.take()) == (3 if backend == "sequential" else 0), backend


def test_backends_share_what_only_the_driver_has_the_source_of(calls: Calls, here: dict[str, Any]) -> None:
    text = "def f(x):\n    # a cell of a notebook\n    calls(x)\n    return -x\n"
    linecache.cache["<cell 7>"] = (len(text), None, text.splitlines(keepends=True), "<cell 7>")
    space: dict[str, Any] = {"__name__": "__main__", "calls": calls}
    exec(compile(text, "<cell 7>", "exec"), space)
    f = weft.step("y", mapspec="x[i] -> y[i]", cache=True)(space["f"])
    for backend in ("loky", "sequential", "process_pool"):
        f.run({"x": [3, 4, 5]}, **{**here, "backend": backend, "n_jobs": 2})
        assert len(calls.take()) == (3 if backend == "loky" else 0), backend


def test_what_is_not_cached_runs_again(calls: Calls, folder: Path) -> None:
    f = weft.step("y", mapspec="x[i] -> y[i]")(lambda x: calls(x) or x)
    f.run({"x": [1]}, **QUIET)
    f.run({"x": [1]}, **QUIET)
    assert len(calls) == 2 and not folder.exists()


VALUES = [
    1, 1.0, True, np.float32(1), np.int64(1), "1", b"1", (1,), [1], {1}, None, 10**40, 1j, {"a": (1, 2.0)},
    np.ones(1), np.ones(1, np.float32), np.ones((1, 1)), np.array(1), float("nan"), -0.0, 0.0,
]  # fmt: skip


def test_arguments_of_other_types_are_others_and_results_keep_theirs(calls: Calls) -> None:
    @weft.step("y", cache=True)
    def same(x):
        calls("ran")
        return x

    for _ in range(2):
        for value in VALUES:
            found = same.run({"x": value}, **QUIET)["y"]
            assert type(found) is type(value) and repr(found) == repr(value)
            if isinstance(value, np.ndarray):
                assert (found.dtype, found.shape) == (value.dtype, value.shape)
    assert len(calls) == len(VALUES)


def test_code_constants_and_bound_values_count(calls: Calls) -> None:
    def made(text: str, **options: Any) -> Any:
        space: dict[str, Any] = {"calls": calls}
        exec(f"def f(x, k=1):\n    calls('ran')\n    return {text}", space)
        return weft.step("y", cache=True, **options)(space["f"])

    runs = [
        (made("x + k"), 3), (made("x + k"), 3), (made("x + 2 * k"), 4), (made("x + k", bound={"k": 5}), 7),
        (made("x + k", defaults={"k": 7}), 9), (made("x + k", bound={"k": 5}), 7),
    ]  # fmt: skip
    for step, expected in runs:
        assert step.run({"x": 2}, **QUIET)["y"] == expected
    assert len(calls) == 4


def test_a_function_as_argument_is_known_by_its_code(calls: Calls) -> None:
    @weft.step("y", mapspec="g[i] -> y[i]", cache=True)
    def apply(g: Callable[[int], int]) -> int:
        calls("ran")
        return g(3)

    for step in (1, 2, 1):
        g = [lambda x: x + 1] if step == 1 else [lambda x: x + 2]
        assert apply.run({"g": g}, **QUIET)["y"].tolist() == [3 + step]
    assert len(calls) == 2


def test_caching_may_be_configured(calls: Calls) -> None:
    f = weft.step("y", name="f")(lambda x: calls(x) or x)
    pipe = weft.Pipeline([f]).configure({"f": {"cache": True}})
    assert [pipe(x=1)["y"], pipe(x=1)["y"]] == [1, 1] and len(calls) == 1


def test_ignored_arguments_do_not_count(calls: Calls) -> None:
    @weft.step("y", cache=True, ignore=("verbose",))
    def f(x: int, verbose: bool, res: weft.Resources) -> int:
        calls("ran")
        return x

    f.run({"x": 1, "verbose": True}, **QUIET)
    f.replace(resources={"cpus": 1}).run({"x": 1, "verbose": False}, **QUIET)
    assert len(calls) == 1


def test_a_version_stands_for_the_code_of_its_own_function(calls: Calls, tmp_path: Path) -> None:
    texts = {"a": "calls(1); return x", "b": "calls(1); return -x", "a ": "calls(1); return x + 100"}
    results = []
    for name, text in texts.items():
        path = tmp_path / f"{name.strip()}.py"
        path.write_text(f"def f(x):\n    {text}\n")
        space: dict[str, Any] = {"__name__": "project", "calls": calls}
        exec(compile(path.read_text(), str(path), "exec"), space)
        step = weft.step("y", version="1", cache=True)(space["f"])
        results.append(step.run({"x": 1}, **QUIET)["y"])
    assert results == [1, -1, 1]


def test_study_axes_find_what_was_computed_without_them(calls: Calls, here: dict[str, Any]) -> None:
    @weft.step("y", mapspec="x[i] -> y[i]", cache=True)
    def f(x, k):
        calls(x, k)
        return x * k

    f.run({"x": [1, 2], "k": 10}, **here)
    run = f.run({"x": [1, 2]}, sweep=weft.grid(k=[10, 20]), **here)
    assert run["y"].tolist() == [[10, 20], [20, 40]]
    assert calls.made() == ["1 10", "2 10", "1 20", "2 20"]


def test_random_streams_are_shared_by_equal_seed_and_element(calls: Calls, here: dict[str, Any]) -> None:
    @weft.step("y", mapspec="x[i] -> y[i]", cache=True)
    def noisy(x: int, rng: np.random.Generator) -> float:
        calls(x)
        return x + rng.normal()

    first = noisy.run({"x": [0, 0, 1]}, seed=1, **here)["y"]
    assert first[0] != first[1] and len(calls.take()) == 3
    assert (noisy.run({"x": [1, 0, 0]}, seed=1, **here)["y"] == first[[2, 0, 1]]).all()
    assert not calls.take()
    assert (noisy.run({"x": [0, 0, 1]}, seed=2, **here)["y"] != first).all()
    assert (noisy.replace(cache=False).run({"x": [0, 0, 1]}, seed=1, **here)["y"] == first).all()


@dataclass
class Model:
    weights: np.ndarray[Any, Any]
    name: str


class Opaque:
    """Only a pickle can hold it."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __reduce__(self) -> Any:
        return Opaque, (self.value,)


def test_several_outputs_pickers_and_opened_axes(calls: Calls, here: dict[str, Any]) -> None:
    @weft.step(("model", "loss"), mapspec="x[i] -> model[i], loss[i]", cache=True)
    def fit(x):
        calls("fit")
        return {"loss": x / 2, "model": Model(np.arange(3) * x, f"m{x}")}

    @weft.step("part", mapspec="... -> part[k]", cache=True)
    def split(n):
        calls("split")
        return (n + j for j in range(3))

    picked = weft.Step(
        lambda x: calls("pick") or {"a": x, "b": Opaque(x)}, ("a", "b"), name="pick",
        output_picker=lambda found, name: found[name], cache=True,
    )  # fmt: skip
    pipe = weft.Pipeline([fit, split, picked.replace(renames={"x": "z"})])
    for _ in range(2):
        run = pipe.run({"x": [1, 2], "n": 5, "z": 9}, **here)
        assert [type(m) for m in run["model"]] == [Model, Model] and run["loss"].tolist() == [0.5, 1.0]
        assert run["model"][1].weights.tolist() == [0, 2, 4] and run["model"][1].name == "m2"
        assert run["part"].tolist() == [5, 6, 7]
        assert run["a"] == 9 and type(run["b"]) is Opaque and run["b"].value == 9
    assert sorted(calls.made()) == ["fit", "fit", "pick", "split"]


def test_opened_axes_from_the_cache_must_fit(here: dict[str, Any]) -> None:
    @weft.step("y", mapspec="n[i] -> y[i, j]", cache=True)
    def ragged(n):
        return list(range(n))

    ragged.run({"n": [2]}, **here)
    for _ in range(2):
        with pytest.raises(weft.StepError, match="'j' has length 2"):
            ragged.run({"n": [2, 3]}, **here)
    with pytest.raises(weft.StepError, match="'j' has length 4"):
        ragged.replace(sizes={"j": 4}).run({"n": [2]}, **here)


def test_a_fused_chain_gets_values_that_it_may_change(calls: Calls, kept: dict[str, Any]) -> None:
    @weft.step("a", mapspec="x[i] -> a[i]", cache=True)
    def make(x):
        calls("make")
        return np.full(3, x)

    @weft.step("b", mapspec="a[i] -> b[i]", cache=True)
    def change(a):
        calls("change")
        a += 1
        return a

    for number in range(2):
        where = {name: Path(place) / f"{number}" for name, place in kept.items()}
        run = weft.Pipeline([make, change]).run({"x": [1, 2]}, backend="sequential", **QUIET, **where)
        assert run["b"].tolist() == [[2] * 3, [3] * 3] and run["a"].tolist() == [[1] * 3, [2] * 3]
    assert len(calls) == 4


def test_failures_are_not_kept(calls: Calls, here: dict[str, Any]) -> None:
    @weft.step("y", mapspec="x[i] -> y[i]", cache=True, retries=1)
    def fragile(x):
        calls(x)
        if x == 2 and len(calls) < 5:
            raise ValueError("two")
        return x

    assert fragile.run({"x": [1, 2, 3]}, on_error="continue", **here).errors[0].step == "fragile"
    assert calls.take() == ["1", "2", "2", "3"]
    assert fragile.run({"x": [1, 2, 3]}, **here)["y"].tolist() == [1, 2, 3]
    assert calls.take() == ["2"]


def test_force_and_reset_compute_anew(calls: Calls, tmp_path: Path) -> None:
    @weft.step("y", mapspec="x[i] -> y[i]", cache=True)
    def f(x):
        calls(x)
        return x

    f.run({"x": [1, 2]}, **QUIET)
    f.run({"x": [1, 2]}, force="f", **QUIET)
    assert len(calls.take()) == 4
    options = {"run_dir": tmp_path / "run", "backend": "sequential", **QUIET}
    f.run({"x": [1, 2]}, **options)
    assert not calls.take()
    weft.open_run(tmp_path / "run").reset("y", i=1)
    f.run({"x": [1, 2]}, **options)
    assert calls.take() == ["2"]
    f.run({"x": [1, 2]}, force="y", **options)
    assert len(calls.take()) == 2


def test_arguments_without_content_are_simply_computed(calls: Calls, folder: Path) -> None:
    import threading

    @weft.step("y", cache=True)
    def f(x, gate):
        calls("ran")
        return threading.Lock() if x else 1

    for x in (0, 1):
        make = weft.step("gate")(lambda: threading.Lock())
        assert weft.Pipeline([make, f])(x=x)["y"] is not None
    f.run({"x": 1, "gate": 0}, backend="sequential", **QUIET)
    assert len(calls) == 3 and not entries(folder)


def damaged(path: Path) -> list[bytes]:
    data = path.read_bytes()
    flipped = bytearray(data)
    flipped[-3] ^= 1
    return [b"", data[:10], data[: len(data) // 2], data[:-1], data + b"x", bytes(flipped), b"x" * len(data)]


def test_damage_is_a_miss(calls: Calls, folder: Path, here: dict[str, Any]) -> None:
    f = weft.step("y", cache=True)(lambda x: calls("ran") or np.arange(x))
    f.run({"x": 1000}, **here)
    (path,) = entries(folder)
    whole = path.read_bytes()
    for bad in damaged(path):
        path.write_bytes(bad)
        calls.take()
        assert f.run({"x": 1000}, **here)["y"].tolist() == list(range(1000))
        assert len(calls.take()) == 1 and len(path.read_bytes()) == len(whole)
    f.run({"x": 1000}, **here)
    assert not calls.take()


def test_an_entry_under_another_name_is_a_miss(calls: Calls, folder: Path) -> None:
    f = weft.step("y", cache=True)(lambda x: calls(x) or x)
    f.run({"x": 1}, **QUIET)
    (one,) = entries(folder)
    f.run({"x": 2}, **QUIET)
    (two,) = set(entries(folder)) - {one}
    two.write_bytes(one.read_bytes())
    assert f.run({"x": 2}, **QUIET)["y"] == 2


def test_the_entries_used_longest_ago_go_first(
    folder: Path, monkeypatch: pytest.MonkeyPatch, calls: Calls, here: dict[str, Any]
) -> None:
    monkeypatch.setenv("WEFT_CACHE_SIZE", "200K")
    f = weft.step("y", mapspec="x[i] -> y[i]", cache=True)(lambda x: calls(x) or np.full(1000, x))
    (folder / "results-1").mkdir(parents=True)
    strange = folder / "results-1" / "notes.txt"
    strange.write_text("mine" * 100_000)
    f.run({"x": range(6)}, **here)
    for age, path in enumerate(entries(folder)):
        os.utime(path, (1e9 + age, 1e9 + age))
    f.run({"x": [0]}, **here)  # a use makes it young
    (young,) = [path for path in entries(folder) if path.stat().st_mtime > 1.5e9]
    old = set(entries(folder)) - {young}
    f.run({"x": range(100, 111)}, **here)  # 12 KiB each, on disk
    left = set(entries(folder))
    assert young in left and len(left & old) == 1 and len(left) == 13 and strange.exists()
    f.run({"x": range(1000, 1200)}, **here)
    assert 0 < sum(path.stat().st_size for path in entries(folder)) < 200 * 1024
    calls.take()
    assert f.run({"x": [1]}, **here)["y"][0].tolist() == [1] * 1000
    assert calls.take() == ["1"]


def test_what_killed_processes_left_is_removed_in_time(
    folder: Path, monkeypatch: pytest.MonkeyPatch, here: dict[str, Any]
) -> None:
    monkeypatch.setenv("WEFT_CACHE_SIZE", "100K")
    f = weft.step("y", cache=True)(lambda x: x)
    f.run({"x": 0}, **here)
    (entry,) = entries(folder)
    old, young = entry.with_name(".tmp-1-ab"), entry.with_name(".tmp-2-cd")
    for path in (old, young):
        path.write_bytes(b"x" * 10)
    os.utime(old, (1e9, 1e9))
    f.run({"x": 1}, **here)
    assert not old.exists() and young.exists() and entry.exists()


def test_blocks_are_chosen_by_what_elements_take_that_are_not_in_the_cache(here: dict[str, Any]) -> None:
    @weft.step("y", mapspec="x[i] -> y[i]", cache=True)
    def slow(x):
        until = time.perf_counter() + 0.05
        while time.perf_counter() < until:
            pass
        return x

    slow.run({"x": [0]}, **here)
    run = slow.run({"x": [0]}, **here)
    assert run.attempts("slow")[0]["seconds"] >= 0.05
    ended: list[float] = []

    def watch(event: Any) -> None:
        if event.kind == "job-ended":
            ended.append(event.data["seconds"])

    slow.run({"x": [0]}, observers=[watch], **here)
    assert sum(ended) >= 0.05


def test_a_result_larger_than_the_cache_is_not_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEFT_CACHE_SIZE", "16K")
    f = weft.step("y", cache=True)(lambda x: np.zeros(x))
    assert f.run({"x": 10_000}, **QUIET)["y"].shape == (10_000,) and not entries(folder)
    f.run({"x": 10}, **QUIET)
    assert len(entries(folder)) == 1
    monkeypatch.setenv("WEFT_CACHE_SIZE", "0")
    f.run({"x": 11}, **QUIET)
    assert len(entries(folder)) == 1


def test_what_cannot_be_is_said_before_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: Calls
) -> None:
    with pytest.raises(weft.WiringError, match=r"'f': cache=True keeps .* batch=True"):
        weft.Step(lambda x: x, "y", "x[i] -> y[i]", name="f", cache=True, batch=True)

    def wants_context(x, ctx: weft.Context):
        return x

    def wants_passes(y: Iterator[float]):
        return 0

    with pytest.raises(weft.WiringError, match="'ctx' is a context"):
        weft.Step(wants_context, "y", cache=True)
    with pytest.raises(weft.WiringError, match="'y' is read as it goes"):
        weft.Step(wants_passes, "z", cache=True)

    f = weft.step("y", cache=True)(lambda x: calls("ran") or x)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("WEFT_CACHE", str(tmp_path / "file"))
    with pytest.raises(weft.StoreError, match="WEFT_CACHE to a directory that can be written"):
        f.run({"x": 1}, **QUIET)
    monkeypatch.setenv("WEFT_CACHE_SIZE", "plenty")
    with pytest.raises(weft.InvalidInput, match="WEFT_CACHE_SIZE='plenty'"):
        f.run({"x": 1}, **QUIET)
    assert not calls.made()


def test_the_place_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    f = weft.step("y", cache=True)(lambda x: x)
    monkeypatch.delenv("WEFT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    f.run({"x": 1}, **QUIET)
    assert len(entries(tmp_path / "xdg" / "weft")) == 1
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    f.run({"x": 1}, **QUIET)
    assert len(entries(tmp_path / "home" / ".cache" / "weft")) == 1
    assert ((tmp_path / "home" / ".cache" / "weft").stat().st_mode & 0o077) == 0


def test_a_group_may_share_a_folder_of_its_own(folder: Path) -> None:
    folder.mkdir(mode=0o770)
    folder.chmod(0o770)
    before = os.umask(0o007)
    try:
        weft.step("y", cache=True)(lambda x: x).run({"x": 1}, **QUIET)
    finally:
        os.umask(before)
    (path,) = entries(folder)
    assert all(p.stat().st_mode & 0o070 == 0o070 for p in list(path.parents)[:4])
    assert path.stat().st_mode & 0o060 == 0o060


def test_nested_steps_that_are_all_cached_are_cached_as_one(calls: Calls) -> None:
    a = weft.step("a", mapspec="x[i] -> a[i]", cache=True)(lambda x: calls("a") or x + 1)
    b = weft.step("b", mapspec="a[i] -> b[i]", cache=True)(lambda a: calls("b") or a * 2)
    pipe = weft.Pipeline([a, b]).nest("b", "both")
    for _ in range(2):
        assert pipe(x=[1, 2])["b"].tolist() == [4, 6]
    assert len(calls) == 4


WRITER = """
import sys
import numpy as np
import weft
from weft.testing import Calls

calls = Calls(sys.argv[1])

@weft.step("y", mapspec="x[i] -> y[i]", cache=True)
def f(x):
    calls(x)
    return np.full(100_000, x)

if __name__ == "__main__":
    run = f.run({"x": range(int(sys.argv[2]))}, backend="sequential", progress=False)
    assert all((run.isel("y", i=i) == i).all() for i in range(int(sys.argv[2])))
"""


def start(script: Path, calls: Calls, n: int) -> subprocess.Popen[bytes]:
    script.write_text(WRITER)
    return subprocess.Popen([sys.executable, str(script), calls.path, str(n)], stderr=subprocess.PIPE)


def wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.parametrize("after", [1, 7, 20])
def test_a_killed_writer_leaves_whole_entries(after: int, folder: Path, tmp_path: Path, calls: Calls) -> None:
    child = start(tmp_path / "writer.py", calls, 100_000)
    wait_for(lambda: len(entries(folder)) >= after or child.poll() is not None)
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    there = len(entries(folder))
    assert there >= after and len(calls.take()) in (there, there + 1)
    unfinished = folder / "results-1" / "f" / "00" / ".tmp-1-ab"
    unfinished.parent.mkdir(exist_ok=True)
    unfinished.write_bytes(b"what a killed process left")
    second = start(tmp_path / "writer.py", calls, there + 3)
    assert second.communicate()[1] == b"" and second.returncode == 0
    assert len(calls.take()) == 3 and len(entries(folder)) == there + 3


def test_two_processes_write_the_same_entries(folder: Path, tmp_path: Path, calls: Calls) -> None:
    children = [start(tmp_path / f"writer{i}.py", calls, 40) for i in range(2)]
    assert [child.communicate()[1] for child in children] == [b"", b""]
    assert len(entries(folder)) == 40 and 40 <= len(calls.take()) <= 80
    third = start(tmp_path / "third.py", calls, 40)
    assert third.communicate()[1] == b"" and not calls.take()
    assert not [name for _, _, names in os.walk(folder) for name in names if name.startswith(".tmp")]


def test_clearing_meanwhile_disturbs_no_writer(
    folder: Path, tmp_path: Path, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEFT_CACHE_SIZE", "4M")
    children = [start(tmp_path / f"writer{i}.py", calls, 60) for i in range(2)]
    clear = [sys.executable, "-c", "from weft.cli import main; main()", "cache", "clear"]
    while any(child.poll() is None for child in children):
        subprocess.run(clear, check=True, capture_output=True)
    assert [child.communicate()[1] for child in children] == [b"", b""]
    assert [child.returncode for child in children] == [0, 0]
