"""What users of physicsnemo-curator's runner have, line by line of its list of features."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import weft
from weft.testing import Calls

QUIET = {"backend": "sequential", "progress": False}


class Numbers(weft.Source[int]):
    """Index i yields 0 to i."""

    def __init__(self, n: int, bad: int | None = None, calls: Calls | None = None) -> None:
        self.n, self.bad, self.calls = n, bad, calls

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> Iterator[int]:
        if self.calls is not None:
            self.calls(index)
        if index == self.bad:
            raise ValueError(f"bad {index}")
        yield from range(index + 1)


class Twice(weft.Filter[int]):
    """Drops odd numbers, and yields the others twice."""

    def __call__(self, items: Iterator[int]) -> Iterator[int]:
        for item in items:
            if item % 2 == 0:
                yield item
                yield item


class Mean(weft.Filter[int]):
    """The mean of all items."""

    def __init__(self) -> None:
        self.total = self.count = 0

    def __call__(self, items: Iterator[int]) -> Iterator[int]:
        for item in items:
            self.total, self.count = self.total + item, self.count + 1
            yield item

    def flush(self) -> tuple[int, int]:
        return self.total, self.count

    def merge(self, states: Iterator[tuple[int, int]]) -> float:
        for total, count in states:
            self.total, self.count = self.total + total, self.count + count
        return self.total / self.count


class Text(weft.Sink[int]):
    """A file for each index that has items."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, items: Iterator[int], index: int) -> list[str]:
        found = list(items)
        if not found:
            return []
        path = self.folder / f"{index}.txt"
        path.write_text(" ".join(map(str, found)))
        return [str(path)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def written(folder: Path, *indices: int) -> list[list[str]]:
    return [[str(folder / f"{index}.txt")] for index in indices]


def test_physicsnemo_01_sources_filters_and_sinks(folder: Path, calls: Calls) -> None:
    source = weft.stream(Numbers(4, calls=calls))
    pipe = source.filter(Twice()).write(Text(folder))
    assert pipe is not source and calls.take() == []
    assert pipe[2] == written(folder, 2)[0] and (folder / "2.txt").read_text() == "0 0 2 2"
    assert pipe[-1] == written(folder, 3)[0] and calls.take() == ["2", "3"]
    assert len(pipe) == 4
    for index in (4, -5):
        with pytest.raises(IndexError, match=f"4 indices, there is no {index}"):
            pipe[index]


def test_physicsnemo_02_outputs_in_the_order_of_indices(backend: str, folder: Path) -> None:
    pipe = weft.stream(Numbers(4)).write(Text(folder))

    def run(**options: Any) -> Any:
        return weft.run_pipeline(pipe, backend=backend, n_jobs=2, progress=False, **options)

    assert run() == written(folder, 0, 1, 2, 3)
    assert run(indices=[3, 1]) == written(folder, 3, 1)
    assert run(indices=[1, 1, -1]) == written(folder, 1, 1, 3)
    assert run(indices=iter(range(2))) == written(folder, 0, 1)
    assert run(indices=[]) == []
    with pytest.raises(ValueError, match="no 9"):
        run(indices=[9])


@pytest.mark.parametrize("n_jobs", [0, -2])
def test_physicsnemo_03_numbers_of_jobs(n_jobs: int, folder: Path, calls: Calls) -> None:
    pipe = weft.stream(Numbers(3, calls=calls)).write(Text(folder))
    with pytest.raises(ValueError, match="n_jobs"):
        weft.run_pipeline(pipe, n_jobs=n_jobs)
    assert calls.take() == []
    for allowed in (1, -1):
        assert weft.run_pipeline(pipe, n_jobs=allowed, progress=False) == written(folder, 0, 1, 2)


def test_physicsnemo_04_backends_of_ones_own(folder: Path) -> None:
    known = weft.list_backends()
    # Runs on Dask and Prefect themselves are in tests/backends.
    assert {"sequential", "thread_pool", "process_pool", "loky", "dask", "prefect", "auto"} <= set(known)
    assert all({"description", "available", "requires"} <= set(about) for about in known.values())

    class Mine:
        name, description, requires, options, separate = "mine", "two threads", "", (), False

        def start(self, n_jobs: int) -> ThreadPoolExecutor:
            return ThreadPoolExecutor(2)

        def stop(self, executor: ThreadPoolExecutor, kill: bool = False) -> None:
            executor.shutdown()

    weft.register_backend(Mine)
    pipe = weft.stream(Numbers(3)).write(Text(folder))
    assert weft.run_pipeline(pipe, backend="mine", n_jobs=2, progress=False) == written(folder, 0, 1, 2)
    with pytest.raises(ValueError, match="'mine' already"):
        weft.register_backend(Mine)


def test_physicsnemo_05_what_cannot_run_is_refused_at_once(folder: Path, calls: Calls) -> None:
    pipe = weft.stream(Numbers(3, calls=calls)).write(Text(folder))
    with pytest.raises(ValueError, match=r"no backend 'lokyy'\. Known: .*sequential"):
        weft.run_pipeline(pipe, backend="lokyy")
    with pytest.raises(ValueError, match="no option 'colour'"):
        weft.run_pipeline(pipe, backend="process_pool", colour="red")
    unfinished = weft.stream(Numbers(3, calls=calls)).filter(Twice())
    for attempt in (
        lambda: weft.run_pipeline(unfinished),
        lambda: unfinished.run(),
        lambda: unfinished.plan(),
        lambda: unfinished[0],
    ):
        with pytest.raises(RuntimeError, match="no sink") as refused:
            attempt()
        assert isinstance(refused.value, weft.WiringError)
    assert calls.take() == []


def test_physicsnemo_06_stateful_filters_are_merged(backend: str, tmp_path: Path, folder: Path) -> None:
    def pipe(n: int) -> Any:
        return weft.stream(Numbers(n)).filter(Mean()).write(Text(folder))

    options: dict[str, Any] = {"run_dir": tmp_path / "run", "backend": backend, "progress": False}
    assert pipe(4).run(**options, n_jobs=2)["Mean"] == 1.0
    assert pipe(4).run(**options, n_jobs=2)["Mean"] == 1.0
    assert pipe(7).run(**options, n_jobs=2)["Mean"] == 2.0
    assert weft.open_run(tmp_path / "run")["Mean"] == 2.0


def test_physicsnemo_07_one_error_policy_everywhere(backend: str, folder: Path) -> None:
    pipe = weft.stream(Numbers(4, bad=1)).write(Text(folder))
    options: dict[str, Any] = {"backend": backend, "n_jobs": 2, "progress": False, "on_error": "continue"}
    run = pipe.run(**options)
    assert {error.index["index"]: error.message for error in run.errors} == {1: "bad 1"}
    assert [row["state"] for row in run.elements("stream")] == ["done", "failed", "done", "done"]
    found = weft.run_pipeline(pipe, **options)
    assert found == [*written(folder, 0), None, *written(folder, 2, 3)]


def test_physicsnemo_07_an_empty_list_means_wrote_nothing(folder: Path) -> None:
    def none(items: Iterator[int]) -> Iterator[int]:
        return (item for item in items if item < 0)

    pipe = weft.stream(Numbers(3)).filter(none).write(Text(folder))
    assert weft.run_pipeline(pipe, progress=False) == [[], [], []]


def test_physicsnemo_08_resume_and_reset(tmp_path: Path, folder: Path, calls: Calls) -> None:
    options: dict[str, Any] = {**QUIET, "run_dir": tmp_path / "run"}
    bad = weft.stream(Numbers(4, bad=1, calls=calls)).write(Text(folder))
    bad.run(**options, on_error="continue")
    pipe = weft.stream(Numbers(4, calls=calls)).write(Text(folder))
    calls.take()
    pipe.run(**options)
    assert calls.take() == ["1"]
    os.unlink(folder / "2.txt")
    run = pipe.run(**options)
    assert calls.take() == ["2"] and run.ok
    run = run.reset("stream", index=3).resume(progress=False)
    assert calls.take() == ["3"]
    run.reset().resume(progress=False)
    assert len(calls.take()) == 4


def test_physicsnemo_09_contradictory_groups_are_refused(backend: str, folder: Path, calls: Calls) -> None:
    class Source(Numbers):
        def group(self, index: int) -> int:
            return [0, 0, 1][index]

    class Sink(Text):
        def group(self, index: int) -> int:
            return [0, 1, 1][index]

    pipe = weft.stream(Source(3, calls=calls)).write(Sink(folder))
    with pytest.raises(ValueError, match="groups of Source and Sink contradict"):
        weft.run_pipeline(pipe, backend=backend, progress=False)
    assert calls.take() == []
    pipe = weft.stream(Source(3)).write(Text(folder))
    assert weft.run_pipeline(pipe, backend=backend, n_jobs=2, progress=False) == written(folder, 0, 1, 2)


def test_physicsnemo_10_time_and_memory_by_stage_and_who_made_what(tmp_path: Path, folder: Path) -> None:
    class Large(weft.Filter[int]):
        def __call__(self, items: Iterator[int]) -> Iterator[int]:
            self.held = bytearray(os.urandom(1)) * (256 << 20)
            yield from items

    pipe = weft.stream(Numbers(2)).filter(Twice()).filter(Twice()).write(Text(folder))
    run = pipe.run(**QUIET, run_dir=tmp_path / "run")
    stages = weft.open_run(tmp_path / "run")["stages"]
    assert stages.dtype.names == ("Numbers", "Twice", "Twice 2", "Text") and len(stages) == 2
    assert all((stages[name]["seconds"] > 0).all() for name in stages.dtype.names)
    assert [row["index"] for row in run.files(folder / "1.txt")] == [1]
    assert [row["path"] for row in run.files() if row.get("index") == 0] == [str(folder / "0.txt")]
    run = weft.stream(Numbers(1)).filter(Large()).write(Text(folder)).run(**QUIET)
    raised = {name: int(run["stages"][name]["bytes"][0]) for name in run["stages"].dtype.names}
    assert raised["Large"] > 100 << 20 and raised["Numbers"] < 10 << 20


def test_physicsnemo_11_plain_lines_where_there_is_no_terminal(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pipe = weft.stream(Numbers(3)).write(Text(folder))
    with caplog.at_level("INFO", logger="weft"):
        weft.run_pipeline(pipe, progress=True, backend="thread_pool", n_jobs=2)
    assert "stream" in caplog.text
