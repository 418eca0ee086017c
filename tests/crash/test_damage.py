"""Bytes that change on disk: an error or a hole for a reader, made again by the engine, never wrong."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from tests.crash.machine import QUIET, RUN, Machine, assert_complete, assert_right_or_missing, machine

import weft
from weft.errors import CorruptResult, MissingResult
from weft.store import frames
from weft.store.fs import current

pytestmark = pytest.mark.crash

EXECUTED: list[int] = []


def scaled(x: int) -> int:
    EXECUTED.append(x)
    return 10 * x


PIPE = weft.Pipeline(
    [
        weft.Step(scaled, "y", mapspec="x[i] -> y[i]", version="1"),
        weft.Step(lambda y: int(y.sum()), "s", name="total", version="1"),
    ],
    name="damage",
)
FIRST = [1, 2, 3, 4, 5]
RIGHT = {"y": [10, 20, 30, 40, 50], "s": [150]}


def run(**options: Any) -> weft.Run:
    return PIPE.run({"x": FIRST}, **{"backend": "sequential", **QUIET, **options})


@pytest.fixture
def computer() -> Iterator[Machine]:
    with machine() as made:
        run()
        yield made


def commits(step: str) -> list[str]:
    """The commit files of a step, as they were named when they were made."""
    files = current()
    found = []
    for identity in files.listdir(f"{RUN}/results/{step}"):
        folder = f"{RUN}/results/{step}/{identity}"
        found += [f"{folder}/{name}" for name in files.listdir(folder) if name.endswith(".weft")]
    return found


def overwrite(path: str, content: bytes) -> None:
    """Change a file behind weft's back."""
    files = current()
    files.remove(path)
    files.write_new(path, [content])


def regions(path: str) -> Iterator[tuple[str, bytes]]:
    """The file with one byte changed in each region, or cut, and what was done to it."""
    data = current().read(path)
    frame = frames.open_frame(current(), path)
    places = {
        "magic": 0,
        "length": 8,
        "checksum": 12,
        "header": frames.PREFIX.size,
        "end of header": frame.start - 1,
    }
    places |= {f"byte {place} of the header": place for place in range(frames.PREFIX.size, frame.start, 37)}
    places |= {f"buffer {n}": frame.offset(n) for n, (length, _) in enumerate(frame.buffers) if length}
    places |= {"the last byte": len(data) - 1}
    for name, place in places.items():
        for bit in (0, 7):
            yield f"bit {bit} of {name}", data[:place] + bytes([data[place] ^ (1 << bit)]) + data[place + 1 :]
    for cut in (0, 4, frames.PREFIX.size, frame.start - 1, frame.start, len(data) - 1):
        yield f"cut to {cut} bytes", data[:cut]
    yield "longer", data + b"\0"


@pytest.mark.parametrize("step", ["scaled", "total"])
def test_damage_is_never_a_wrong_number(computer: Machine, step: str) -> None:
    whole = computer.disk.snapshot()
    path = commits(step)[0]
    for what, content in regions(path):
        computer.disk.restore(whole)
        overwrite(path, content)
        found = weft.open_run(RUN)
        try:
            assert_right_or_missing(found, RIGHT)
        except CorruptResult as error:
            assert path in str(error), what
        with contextlib.suppress(CorruptResult, MissingResult):
            assert found["s"] == 150
        problems = found.verify()
        assert [row["path"] for row in problems] == [path.removeprefix(f"{RUN}/")], what


@pytest.mark.parametrize("step", ["scaled", "total"])
def test_verify_repairs_by_opening_the_elements(computer: Machine, step: str) -> None:
    whole = computer.disk.snapshot()
    path = commits(step)[0]
    for _, content in list(regions(path))[::5]:
        computer.disk.restore(whole)
        overwrite(path, content)
        found = weft.open_run(RUN)
        assert len(found.verify(repair=True)) == 1
        assert_right_or_missing(weft.open_run(RUN), RIGHT)
        assert len(weft.open_run(RUN).verify()) == 0
        EXECUTED.clear()
        assert_complete(run(), RIGHT)
        assert ([1, 2] if step == "scaled" else []) == EXECUTED


def test_what_a_resume_sees_as_damaged_it_makes_again(computer: Machine) -> None:
    """A resume looks at headers and sizes."""
    whole = computer.disk.snapshot()
    path = commits("scaled")[0]
    for what, content in regions(path):
        if "buffer" in what or "the last byte" in what:
            continue
        computer.disk.restore(whole)
        overwrite(path, content)
        EXECUTED.clear()
        assert_complete(run(), RIGHT)
        assert EXECUTED == [1, 2], what


def test_damage_that_the_engine_meets_when_it_reads_is_made_again(computer: Machine) -> None:
    path = commits("scaled")[0]
    data = current().read(path)
    frame = frames.open_frame(current(), path)
    place = frame.offset(0)
    overwrite(path, data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    for commit in commits("total"):
        current().remove(commit)
    EXECUTED.clear()
    assert_complete(run(), RIGHT)
    assert EXECUTED == [1, 2]
    assert len(weft.open_run(RUN).verify()) == 0


@pytest.mark.parametrize("where", ["inputs", "code"])
def test_damage_of_the_record_is_found(computer: Machine, where: str) -> None:
    files = current()
    path = f"{RUN}/{where}/{files.listdir(f'{RUN}/{where}')[0]}"
    data = files.read(path)
    overwrite(path, data[:-1] + bytes([data[-1] ^ 1]))
    try:
        found = weft.open_run(RUN)
    except CorruptResult as error:
        assert path in str(error)
    else:
        assert [row["path"] for row in found.verify()] == [f"{where}/{path.rpartition('/')[2]}"]


def test_damage_of_what_was_read_makes_the_reader_run_again(computer: Machine) -> None:
    """When an axis changed, what a result read tells whether it still holds; damaged, it does not."""
    path = commits("total")[0]
    data = current().read(path)
    frame = frames.open_frame(current(), path)
    place = frame.offset(frame.header["digests"])
    overwrite(path, data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    later = [*FIRST[::-1], 6]
    computer.boots += 1
    found = PIPE.run({"x": later}, backend="sequential", **QUIET)
    assert_complete(found, {"y": [10 * x for x in later], "s": [210]})
    assert len(weft.open_run(RUN).verify()) == 0


@pytest.mark.parametrize("backend", ["sequential", "thread_pool"])
def test_damage_that_the_driver_meets_is_made_again(computer: Machine, backend: str) -> None:
    """To tell whether a result that took an axis whole still holds, the driver itself reads the axis."""
    damage_payload(commits("scaled")[1])
    later = [*FIRST, 6]
    EXECUTED.clear()
    found = PIPE.run({"x": later}, backend=backend, n_jobs=2, **QUIET)
    assert_complete(found, {"y": [10 * x for x in later], "s": [210]})
    assert len(weft.open_run(RUN).verify()) == 0


@pytest.mark.parametrize("backend", ["sequential", "thread_pool"])
def test_many_readers_of_a_damaged_block_wait_until_it_is_made_again(backend: str) -> None:
    pipe = weft.Pipeline(
        [
            weft.Step(scaled, "y", mapspec="x[i] -> y[i]", version="1"),
            weft.Step(lambda y, w: y + w, "z", mapspec="y[i], w[j] -> z[i, j]", name="wide", version="1"),
        ],
        name="wide",
    )
    inputs = {"x": [1, 2, 3, 4], "w": list(range(12))}
    options = {"backend": backend, "n_jobs": 2, "run_dir": RUN, "progress": False, "block_size": 2}
    with machine():
        pipe.run(inputs, outputs="y", indices={"i": [0]}, **options)
        first = commits("scaled")
        pipe.run(inputs, outputs="y", **options)
        second = [path for path in commits("scaled") if path not in first]
        for path in (first[0], second[0]):
            damage_payload(path)
        found = pipe.run(inputs, **options)
        assert found["z"].tolist() == [[10 * x + w for w in range(12)] for x in inputs["x"]]
        assert len(weft.open_run(RUN).verify()) == 0


def damage_payload(path: str) -> None:
    data = current().read(path)
    place = frames.open_frame(current(), path).offset(0)
    overwrite(path, data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
