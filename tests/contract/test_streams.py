"""Streams: growth by key, resumes, merging, groups, and files as values."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import weft
from weft.testing import Calls

QUIET = {"backend": "sequential", "progress": False}


class Named(weft.Source[str]):
    """Items under keys; `bad` ones cannot be read."""

    def __init__(self, names: list[str], calls: Calls | None = None, bad: str = "") -> None:
        self.names, self.calls, self.bad = names, calls, bad

    def __len__(self) -> int:
        return len(self.names)

    def key(self, index: int) -> str:
        return self.names[index]

    def __getitem__(self, index: int) -> Iterator[str]:
        if self.calls is not None:
            self.calls(self.names[index])
        for item in self.names[index]:
            if item in self.bad:
                raise ValueError(f"bad {item}")
            yield item


class Letters(weft.Filter[str]):
    """Counts letters."""

    name = "letters"

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def __call__(self, items: Iterator[str]) -> Iterator[str]:
        for item in items:
            self.counts[item] = self.counts.get(item, 0) + 1
            yield item

    def flush(self) -> dict[str, int]:
        return self.counts

    def merge(self, states: list[dict[str, int]]) -> dict[str, int]:
        for state in states:
            for item, n in state.items():
                self.counts[item] = self.counts.get(item, 0) + n
        return self.counts


class Write(weft.Sink[str]):
    """A file for each index, by what is in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, items: Iterator[str], index: int) -> list[Any]:
        text = "".join(items)
        (self.folder / f"{text}.txt").write_text(text)
        return [self.folder / f"{text}.txt"]


def nowhere(items: Iterator[Any], index: int) -> list[str]:
    for _ in items:
        pass
    return []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


# What a stream is made of


def test_each_method_returns_a_new_pipeline(folder: Path) -> None:
    source = weft.stream(Named(["ab"]))
    through = source.filter(Letters())
    whole = through.write(Write(folder))
    assert all(isinstance(made, weft.Pipeline) for made in (source, through, whole))
    assert [list(made.steps) for made in (source, through, whole)] == [
        ["stream"],
        ["stream", "letters"],
        ["stream", "letters"],
    ]
    assert source.sink is None and through.sink is None


def test_stages_that_are_none_are_refused() -> None:
    for source in ([1, 2], "text", {"a": 1}, 3, Named):
        with pytest.raises(weft.WiringError, match="source"):
            weft.stream(source)
    with pytest.raises(weft.WiringError, match=r"Letters is a class: give an instance, Letters\(...\)"):
        weft.stream(Named([])).filter(Letters)
    with pytest.raises(weft.WiringError, match="sink is callable"):
        weft.stream(Named([])).write("out")
    with pytest.raises(TypeError, match="abstract"):
        weft.Source()


def test_stateful_filters_need_names_of_their_own_and_merge() -> None:
    with pytest.raises(weft.WiringError, match=r"'letters', which is taken.*attribute name"):
        weft.stream(Named([])).filter(Letters()).filter(Letters())
    second = Letters()
    second.name = "others"
    assert {"letters", "others"} <= set(weft.stream(Named([])).filter(Letters()).filter(second).steps)

    class Half(weft.Filter[Any]):
        def __call__(self, items: Iterator[Any]) -> Iterator[Any]:
            return items

        def flush(self) -> int:
            return 0

    with pytest.raises(weft.WiringError, match="'Half' has flush and no merge"):
        weft.stream(Named([])).filter(Half())


def test_functions_are_filters_and_sinks(folder: Path) -> None:
    def upper(items: Iterator[str]) -> Iterator[str]:
        return (item.upper() for item in items)

    pipe = weft.stream(Named(["ab"])).filter(upper).write(Write(folder))
    assert pipe[0] == [str(folder / "AB.txt")]


@pytest.mark.parametrize("written", [None, "out.txt", 3])
def test_a_sink_returns_a_list(written: Any) -> None:
    pipe = weft.stream(Named(["a"])).write(lambda items, index: written)
    with pytest.raises(weft.StepError, match="must return a list of the paths"):
        pipe.run(**QUIET)


def test_a_stream_goes_on_into_ordinary_steps(folder: Path) -> None:
    most = weft.step("most")(lambda letters: max(letters, key=letters.get))
    length = weft.step("n", mapspec="paths[index] -> n[index]", name="length")(
        lambda paths: sum(os.path.getsize(path) for path in paths)
    )
    pipe = weft.stream(Named(["ab", "bbb"])).filter(Letters()).write(Write(folder)) | most | length
    run = pipe()
    assert run["most"] == "b" and run["n"].tolist() == [2, 3]


def test_an_empty_source_merges_nothing(kept: dict[str, Any]) -> None:
    pipe = weft.stream(Named([])).filter(Letters()).write(nowhere)
    run = pipe.run(**kept, **QUIET)
    assert run.ok and run["letters"] == {} and run["paths"].shape == (0,)
    assert weft.run_pipeline(pipe, progress=False) == []


def test_merge_gets_what_it_is_annotated_as(kept: dict[str, Any]) -> None:
    class Mean(weft.Filter[Any]):
        def __call__(self, items: Iterator[Any]) -> Iterator[Any]:
            self.state = np.array([len(list(items)), 1.0])
            return iter(())

        def flush(self) -> Any:
            return self.state

    class AsList(Mean):
        def merge(self, states):
            return [type(states).__name__, type(states[0]).__name__, float(sum(s[0] for s in states))]

    class AsIterator(Mean):
        def merge(self, states: Iterator[Any]) -> Any:
            return [hasattr(states, "__next__"), float(sum(s[0] for s in states))]

    class AsArray(Mean):
        def merge(self, states: np.ndarray) -> Any:
            return states.shape

    for filter, expected in (
        (AsList(), ["list", "ndarray", 3.0]),
        (AsIterator(), [True, 3.0]),
        (AsArray(), (2, 2)),
    ):
        options = {**kept, "run_dir": kept["run_dir"] / type(filter).__name__} if kept else {}
        run = weft.stream(Named(["ab", "c"])).filter(filter).write(nowhere).run(**options, **QUIET)
        assert run[type(filter).__name__] == expected


def test_options_stay_with_the_stream(calls: Calls) -> None:
    def fragile(items: Iterator[Any]) -> Iterator[Any]:
        calls("try")
        if len(calls) < 3:
            raise OSError("not yet")
        return items

    pipe = weft.stream(Named(["a"])).configure({"stream": {"retries": 2}}).filter(fragile).write(nowhere)
    assert weft.run_pipeline(pipe, progress=False) == [[]] and len(calls) == 3


def test_what_a_sink_returns_need_not_be_a_file(go: Callable[..., weft.Run]) -> None:
    pipe = weft.stream(Named(["a"])).write(lambda items, index: [f"s3://bucket/{index}"])
    assert pipe[0] == ["s3://bucket/0"]
    run = go(pipe)
    assert run["paths"].tolist() == [["s3://bucket/0"]] and not run.changed_on_disk()


# Growth and resuming


def test_what_is_done_follows_its_key(calls: Calls, folder: Path, go: Callable[..., weft.Run]) -> None:
    def run(*names: str) -> weft.Run:
        return go(weft.stream(Named(list(names), calls)).filter(Letters()).write(Write(folder)))

    found = run("ab", "cc")
    assert found["letters"] == {"a": 1, "b": 1, "c": 2} and calls.take() == ["ab", "cc"]
    found = run("x", "cc", "ab")
    assert calls.take() == ["x"] and found["letters"] == {"x": 1, "c": 2, "a": 1, "b": 1}
    assert [os.path.basename(path) for (path,) in found["paths"]] == ["x.txt", "cc.txt", "ab.txt"]
    assert found.sel("paths", index="cc") == [str(folder / "cc.txt")]
    found = run("cc")
    assert calls.take() == [] and found["letters"] == {"c": 2}
    grown = weft.stream(Named(["cc", "y"], calls)).filter(Letters()).write(Write(folder))
    assert weft.open_run(found.path).resume(pipeline=grown, progress=False)["letters"] == {"c": 2, "y": 1}
    assert calls.take() == ["y"]


class WriteByKey(weft.Sink[str]):
    """Holds the source, for the keys that its files are named by."""

    def __init__(self, source: Named, folder: Path) -> None:
        self.source, self.folder = source, folder

    def __call__(self, items: Iterator[str], index: int) -> list[Any]:
        path = self.folder / f"of-{self.source.key(index)}.txt"
        path.write_text("".join(items))
        return [path]


def test_a_sink_that_asks_the_source_for_keys_lets_it_grow(tmp_path: Path, folder: Path) -> None:
    for names, done in ((["ab", "c"], []), (["d", "ab", "c"], ["ab", "c"])):
        source = Named(names)
        pipe = weft.stream(source).filter(Letters()).write(WriteByKey(source, folder))
        run = pipe.run(run_dir=tmp_path / "run", **QUIET, on_change="error")
        assert [Path(path).name for (path,) in run["paths"]] == [f"of-{name}.txt" for name in names]
        assert run.status["stream"]["done"] == len(names)
        assert len(run.history()) == 1 + bool(done)


def test_without_keys_an_index_is_its_position(go: Callable[..., weft.Run], calls: Calls) -> None:
    class Numbers(weft.Source[int]):
        def __init__(self, n: int) -> None:
            self.n = n

        def __len__(self) -> int:
            return self.n

        def __getitem__(self, index: int) -> Iterator[int]:
            calls(index)
            yield index

    go(weft.stream(Numbers(2)).write(nowhere))
    assert go(weft.stream(Numbers(4)).write(nowhere)).ok
    assert calls.take() == ["0", "1", "2", "3"]


def test_keys_tell_indices_apart() -> None:
    with pytest.raises(weft.InvalidInput, match=r"'a' is the key of 0 and of 2"):
        weft.stream(Named(["a", "b", "a"])).write(nowhere).run(**QUIET)


class Scale(weft.Filter[Any]):
    def __init__(self, factor: int) -> None:
        self.factor, self.seen = factor, 0

    def __call__(self, items: Iterator[Any]) -> Iterator[Any]:
        for item in items:
            self.seen += 1
            yield item * self.factor


def test_other_filters_sinks_and_ids_are_noticed(folder: Path, go: Callable[..., weft.Run]) -> None:
    class Versioned(Named):
        def __init__(self, names: list[str], version: int) -> None:
            super().__init__(names)
            self.version = version

        def __weft_id__(self) -> int:
            return self.version

    def pipe(version: int = 1, factor: int = 2, sink: Any = nowhere) -> weft.Pipeline:
        return weft.stream(Versioned(["a"], version)).filter(Scale(factor)).write(sink)

    go(pipe())
    go(pipe())
    for changed in (pipe(version=2), pipe(factor=3), pipe(sink=Write(folder))):
        with pytest.raises(weft.RunMismatch, match="step 'stream'"):
            go(changed)


def test_what_stages_note_on_themselves_is_no_other_code(go: Callable[..., weft.Run]) -> None:
    scale = Scale(2)
    pipe = weft.stream(Named(["ab"])).filter(scale).write(nowhere)
    go(pipe)
    assert scale.seen == 2
    assert go(pipe).ok


def test_a_damaged_index_is_repaired_and_merged_once(
    calls: Calls, folder: Path, go: Callable[..., weft.Run]
) -> None:
    names = ["ab", "cx", "d"]
    broken = weft.stream(Named(names, calls, bad="x")).filter(Letters()).write(Write(folder))
    run = go(broken, on_error="continue")
    assert not run.ok and {e.index["index"]: e.message for e in run.errors} == {1: "bad x"}
    with pytest.raises(weft.MissingResult):
        run["letters"]
    calls.take()
    whole = weft.stream(Named(names, calls)).filter(Letters()).write(Write(folder))
    for _ in range(2):
        run = go(whole)
        assert run.ok and run["letters"] == {"a": 1, "b": 1, "c": 1, "x": 1, "d": 1}
    assert calls.take() == ["cx"]


def test_a_filter_may_merge_what_is_there(folder: Path) -> None:
    class Lenient(Letters):
        allow_missing = True

    pipe = weft.stream(Named(["ab", "cx", "d"], bad="x")).filter(Lenient()).write(nowhere)
    run = pipe.run(on_error="continue", **QUIET)
    assert not run.ok and run["letters"] == {"a": 1, "b": 1, "d": 1}


@pytest.mark.crash
def test_killed_and_resumed_from_a_script(tmp_path: Path) -> None:
    script = tmp_path / "study.py"
    script.write_text(
        textwrap.dedent("""
        import os, pathlib, sys
        import weft

        class Numbers(weft.Source):
            def __len__(self):
                return 40
            def __getitem__(self, index):
                with open("ran", "a") as file:
                    file.write(f"{index}\\n")
                if index == 25 and not os.path.exists("killed"):
                    pathlib.Path("killed").touch()
                    os.kill(os.getpid(), 9)
                yield index

        class Total(weft.Filter):
            total = 0
            def __call__(self, items):
                for item in items:
                    self.total += item
                    yield item
            def flush(self):
                return self.total
            def merge(self, states):
                return sum(states)

        def sink(items, index):
            path = f"{index}.out"
            pathlib.Path(path).write_text(str(list(items)))
            return [path]

        pipe = weft.stream(Numbers()).filter(Total()).write(sink)
        if __name__ == "__main__":
            pipe.run(run_dir="run", backend="sequential", block_size=10, progress=False, flush_seconds=0.01)
        """)
    )
    command = [sys.executable, "study.py"]
    assert subprocess.run(command, cwd=tmp_path, timeout=60).returncode == -9
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
    run = weft.open_run(tmp_path / "run")
    assert run.ok and run["Total"] == sum(range(40))
    assert run["paths"].tolist() == [[f"{i}.out"] for i in range(40)]
    assert set((tmp_path / "ran").read_text().split()) == set(map(str, range(40)))
    # Elsewhere, where relative paths do not lead to them, they are found by where they were made.
    assert not run.changed_on_disk()
    done = subprocess.run(
        [sys.executable, "-c", "from weft.cli import main; main()", "run", "study.py:pipe", "-d", "other"],
        cwd=tmp_path, timeout=60, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Total = 780" in done.stdout


# Groups


class Grouped(weft.Source[int]):
    def __init__(self, n: int, n_groups: int) -> None:
        self.n, self.n_groups = n, n_groups

    def __len__(self) -> int:
        return self.n

    def group(self, index: int) -> int:
        return index % self.n_groups

    def __getitem__(self, index: int) -> Iterator[int]:
        yield index


class Watch(weft.Sink[int]):
    """Notes when an index begins and ends, and who has it."""

    def __init__(self, calls: Calls, n_groups: int, kill: Path | None = None) -> None:
        self.calls, self.n_groups, self.kill = calls, n_groups, kill

    def __call__(self, items: Iterator[int], index: int) -> list[str]:
        list(items)
        who = f"{os.getpid()}-{threading.get_ident()}"
        self.calls("begin", index % self.n_groups, who)
        if self.kill is not None and index == 8 and not self.kill.exists():
            self.kill.touch()
            os.kill(os.getpid(), 9)
        threading.Event().wait(0.002)
        self.calls("end", index % self.n_groups, who)
        return []


@pytest.mark.parametrize("block_size", ["auto", 4])
def test_a_group_stays_in_one_worker(backend: str, block_size: Any, tmp_path: Path, calls: Calls) -> None:
    pipe = weft.stream(Grouped(30, 4)).write(Watch(calls, 4))
    run = pipe.run(backend=backend, n_jobs=2, progress=False, block_size=block_size, run_dir=tmp_path / "run")
    assert run.ok
    running: dict[str, str] = {}
    workers: dict[str, set[str]] = {}
    for line in calls.made():
        what, group, who = line.split()
        if what == "begin":
            assert group not in running
            running[group] = who
            workers.setdefault(group, set()).add(who)
        else:
            assert running.pop(group) == who
    assert len(workers) == 4 and all(len(who) == 1 for who in workers.values())


@pytest.mark.crash
def test_a_group_is_never_run_twice_at_once_when_a_worker_dies(
    processes: str, tmp_path: Path, calls: Calls
) -> None:
    sink = Watch(calls, 3, tmp_path / "killed")
    pipe = weft.stream(Grouped(15, 3)).write(sink).configure({"stream": {"retries": 1}})
    run = pipe.run(backend=processes, n_jobs=2, progress=False, block_size=2, run_dir=tmp_path / "run")
    assert run.ok
    running: dict[str, str] = {}
    for line in calls.made():
        what, group, who = line.split()
        if what == "begin":
            # Whoever began and never ended is the one that died, or was killed with it.
            running[group] = who
        else:
            assert running.pop(group) == who


def test_one_kind_of_groups_may_lie_within_the_other(tmp_path: Path) -> None:
    class Sink(weft.Sink[int]):
        def __init__(self, groups: list[Any]) -> None:
            self.groups = groups

        def group(self, index: int) -> Any:
            return self.groups[index]

        def __call__(self, items: Iterator[int], index: int) -> list[str]:
            list(items)
            return []

    class Source(Sink, Grouped):  # type: ignore[misc]
        __call__ = None  # type: ignore[assignment]

        def __len__(self) -> int:
            return len(self.groups)

    def run(of_source: list[Any], of_sink: list[Any]) -> weft.Run:
        return weft.stream(Source(of_source)).write(Sink(of_sink)).run(**QUIET)

    assert run([0, 0, 1], [0, 0, 0]).ok
    assert run([0, 0, 0], [0, 1, 1]).ok
    assert run([0, 0, None], ["a", "a", None]).ok
    with pytest.raises(ValueError, match=r"contradict each other: \{0, 1\}, \{2\} and \{0\}, \{1, 2\}"):
        run([0, 0, 1], [0, 1, 1])


def test_on_error_stop_stops_among_groups(backend: str, tmp_path: Path) -> None:
    class Failing(Grouped):
        def __getitem__(self, index: int) -> Iterator[int]:
            if index == 0:
                raise ValueError("bad 0")
            yield index

    pipe = weft.stream(Failing(12, 3)).write(nowhere)
    with pytest.raises(weft.StepError, match="bad 0"):
        pipe.run(backend=backend, n_jobs=2, progress=False, run_dir=tmp_path / "run")


# Files


def test_files_that_are_gone_are_made_again(calls: Calls, folder: Path, go: Callable[..., weft.Run]) -> None:
    pipe = weft.stream(Named(["a", "b", "c"], calls)).write(Write(folder))
    run = go(pipe)
    assert not run.changed_on_disk()
    (folder / "b.txt").unlink()
    (folder / "c.txt").write_text("edited")
    found = [(os.path.basename(row["path"]), row["what"], row["index"]) for row in run.changed_on_disk()]
    assert found == [("b.txt", "gone", 1), ("c.txt", "changed", 2)]
    calls.take()
    run = go(pipe)
    assert calls.take() == ["b"] and (folder / "b.txt").exists()
    assert (folder / "c.txt").read_text() == "edited"
    (folder / "a.txt").unlink()
    run.resume(progress=False)
    assert calls.take() == ["a"]
    run = weft.open_run(run.path).reset("stream", index=2).resume(progress=False)
    assert run.ok and calls.take() == ["c"] and not run.changed_on_disk()


def test_what_made_a_file_and_what_an_index_made(folder: Path, go: Callable[..., weft.Run]) -> None:
    run = go(weft.stream(Named(["a", "bb"])).write(Write(folder)))
    (row,) = run.files(folder / "bb.txt")
    assert (row["step"], row["index"], row["bytes"]) == ("stream", 1, 2)
    assert {row["index"] for row in run.files(folder)} == {0, 1}
    assert {row["path"] for row in run.files() if row.get("index") == 0} == {str(folder / "a.txt")}
    assert any(row["path"] == "run.json" for row in run.files())


def test_in_memory_files_are_looked_after_too(calls: Calls, folder: Path) -> None:
    run = weft.stream(Named(["a", "b"], calls)).write(Write(folder)).run(**QUIET)
    (folder / "a.txt").unlink()
    calls.take()
    assert [row["what"] for row in run.changed_on_disk()] == ["gone"]
    assert run.resume(progress=False).ok and calls.take() == ["a"]


def test_a_copied_file_survives_its_original(calls: Calls, folder: Path, go: Callable[..., weft.Run]) -> None:
    class Keep(Write):
        def __call__(self, items: Iterator[str], index: int) -> list[Any]:
            return [weft.File(path, keep="copy") for path in super().__call__(items, index)]

    pipe = weft.stream(Named(["a"], calls)).write(Keep(folder))
    run = go(pipe)
    (folder / "a.txt").unlink()
    assert not run.changed_on_disk() and go(pipe).ok and calls.take() == ["a"]
    (kept,) = weft.open_run(run.path)["paths"][0]
    assert kept.path == str(folder / "a.txt") and Path(kept).read_text() == "a"
    os.rename(run.path, f"{run.path}-moved")
    (kept,) = weft.open_run(f"{run.path}-moved")["paths"][0]
    assert Path(kept).read_text() == "a" and "-moved/artifacts/" in os.fspath(kept)


def length(file: weft.File) -> int:
    return len(Path(file).read_text())


def test_a_file_as_an_input_is_its_content(backend: str, tmp_path: Path, calls: Calls) -> None:
    step = weft.step("n", mapspec="file[i] -> n[i]")(length)
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)

    def run() -> weft.Run:
        files = [weft.File(tmp_path / name) for name in ("a", "b")]
        return step.run({"file": files}, run_dir=tmp_path / "run", backend=backend, n_jobs=2, progress=False)

    assert run()["n"].tolist() == [1, 1]
    os.utime(tmp_path / "a", (1, 1))
    run()
    (tmp_path / "b").write_text("longer")
    found = run()
    assert found["n"].tolist() == [1, 6]
    assert sum(row["elements"] for row in found.attempts("length")) == 3


def test_an_input_that_was_copied_outlives_its_original(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("abc")
    step = weft.step("n")(length)
    for file in (weft.File(tmp_path / "a", keep="copy"), weft.File(tmp_path / "a")):
        run = step.run({"file": file}, run_dir=tmp_path / f"run-{file.keep}", **QUIET)
        assert run["n"] == 3
    (tmp_path / "a").unlink()
    run = weft.open_run(tmp_path / "run-copy").reset().resume(progress=False)
    assert run["n"] == 3
    with pytest.raises(weft.StepError, match="No such file"):
        weft.open_run(tmp_path / "run-reference").reset().resume(progress=False)


def test_damaged_copies_are_found_and_set_aside(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("abc")
    run = weft.step("n")(length).run(
        {"file": weft.File(tmp_path / "a", keep="copy")}, run_dir=tmp_path / "run", **QUIET
    )
    assert not run.verify()
    (copy,) = (tmp_path / "run" / "artifacts").glob("*/a")
    copy.write_text("abd")
    assert [row["path"] for row in run.verify()] == [str(copy.relative_to(tmp_path / "run"))]
    with pytest.raises(weft.CorruptResult, match="copy of"):
        run.copy(tmp_path / "other")
    assert len(run.verify(repair=True)) == 1 and not run.verify()
    assert weft.open_run(run.path).reset().resume(progress=False)["n"] == 3


def test_steps_that_return_files_make_them_again_too(tmp_path: Path, calls: Calls) -> None:
    @weft.step("made", mapspec="x[i] -> made[i]")
    def make(x: int) -> weft.File:
        calls(x)
        path = tmp_path / f"{x}.txt"
        path.write_text(str(x))
        return weft.File(path)

    run = make.run({"x": [1, 2]}, run_dir=tmp_path / "run", **QUIET)
    (tmp_path / "2.txt").unlink()
    assert [(row["what"], row["i"]) for row in run.changed_on_disk()] == [("gone", 1)]
    calls.take()
    assert make.run({"x": [1, 2]}, run_dir=tmp_path / "run", **QUIET).ok and calls.take() == ["2"]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    step = weft.step("n")(length)
    with pytest.raises(weft.InvalidInput, match=r"the file .*gone cannot be read"):
        step.run({"file": weft.File(tmp_path / "gone")}, run_dir=tmp_path / "run", **QUIET)
    with pytest.raises(weft.InvalidInput, match="'reference' or 'copy'"):
        weft.File("a", keep="move")


# Whatever happens on the way

ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("grow"), st.permutations(list("abcdef")), st.integers(0, 6)),
        st.tuples(st.just("remove"), st.sampled_from("abcdef"), st.just(0)),
        st.tuples(st.just("reset"), st.sampled_from("abcdef"), st.just(0)),
        st.tuples(st.just("part"), st.sampled_from("abcdef"), st.just(0)),
    ),
    max_size=6,
)


@settings(max_examples=25)
@given(ACTIONS)
def test_any_history_ends_as_one_run(actions: list[tuple[str, Any, int]]) -> None:
    with tempfile.TemporaryDirectory() as place:
        calls, out = Calls(f"{place}/calls"), Path(place, "out")
        out.mkdir()
        names = ["b", "a"]

        def pipe() -> Any:
            return weft.stream(Named(names, calls)).filter(Letters()).write(Write(out))

        options: dict[str, Any] = {"run_dir": f"{place}/run", **QUIET}
        made: set[str] = set()
        pipe().run(**options, indices={"index": []})
        for what, which, n in actions:
            if what == "grow":
                names = list(which[:n])
            elif what == "part" and which in names:
                pipe().run(**options, indices={"index": [names.index(which)]})
            elif what == "remove" and (out / f"{which}.txt").exists():
                (out / f"{which}.txt").unlink()
                made.discard(which)
            elif what == "reset" and which in names:
                run = pipe().run(**options, indices={"index": []})
                run.reset("stream", index=names.index(which))
                made.discard(which)
            ran = calls.take()
            assert len(ran) == len(set(ran))
            made |= set(ran)
        owed = set(names) - made
        run = pipe().run(**options)
        assert set(calls.take()) == owed
        assert run.ok and run["letters"] == dict.fromkeys(names, 1)
        assert [Path(path).stem for (path,) in run["paths"]] == names
