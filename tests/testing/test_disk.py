"""The simulated disk behaves as the real one until it is told to fail, and loses only what was not synced."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weft.store.fs import Disk
from weft.testing.disk import PowerLoss, SimulatedDisk


def put(disk: Disk, path: str, data: bytes, sync: bool = False) -> None:
    handle = disk.create(path)
    disk.write(handle, data)
    if sync:
        disk.sync(handle)
    disk.close(handle)


def outcomes(disk: SimulatedDisk, path: str, seeds: int = 200) -> set[bytes | None]:
    """What a file may hold after a random crash from here."""
    before, found = disk.snapshot(), set()
    for seed in range(seeds):
        disk.restore(before)
        disk.crash(Random(seed))
        found.add(disk.read(path) if disk.kind(path) == "file" else None)
    disk.restore(before)
    return found


NAMES = st.sampled_from(["a", "b", "d", "d/a", "d/b", "d/e", "missing/a"])
STEPS = st.one_of(
    st.tuples(st.sampled_from(["put", "append"]), NAMES, st.binary(max_size=5)),
    st.tuples(st.sampled_from(["rename", "link", "same"]), NAMES, NAMES),
    st.tuples(
        st.sampled_from(["unlink", "mkdir", "rmdir", "sync_dir", "read", "size", "kind", "listdir"]), NAMES
    ),
)


def act(disk: Disk, root: str, step: tuple) -> object:
    name, *rest = step
    arguments = [os.path.join(root, part) if isinstance(part, str) else part for part in rest]
    try:
        if name == "put":
            return put(disk, *arguments)
        if name == "mkdir":
            return disk.mkdir(*arguments, 0o700)
        if name == "read":
            return disk.read(*arguments), disk.read(*arguments, 1), disk.read(*arguments, 1, 2)
        if name == "size" and disk.kind(*arguments) == "directory":
            return None
        answer = getattr(disk, name)(*arguments)
        return sorted(answer) if name == "listdir" else answer
    except OSError as error:
        return error.errno


@settings(max_examples=100, deadline=None)
@given(st.lists(STEPS, max_size=15))
def test_it_answers_as_the_real_disk(tmp_path_factory: pytest.TempPathFactory, steps: list[tuple]) -> None:
    real, simulated = Disk(), SimulatedDisk()
    root = str(tmp_path_factory.mktemp("disk"))
    simulated.mkdir("/run", 0o700)
    for step in steps:
        if step[0] == "rename" and step[2].startswith(step[1] + "/"):
            continue
        assert act(real, root, step) == act(simulated, "/run", step), step


def test_paths_are_normalised() -> None:
    disk = SimulatedDisk()
    disk.mkdir("/run/", 0o700)
    put(disk, "/run/../run//a", b"x")
    assert disk.read("/run/./a") == b"x"


def test_unsynced_data_may_be_lost_whole_torn_or_zeros() -> None:
    disk = SimulatedDisk()
    put(disk, "/a", b"xyz")
    disk.sync_dir("/")
    assert outcomes(disk, "/a") == {b"", b"x", b"xy", b"xyz", b"\0\0\0"}


def test_an_unsynced_name_may_be_lost() -> None:
    disk = SimulatedDisk()
    put(disk, "/a", b"xyz", sync=True)
    assert outcomes(disk, "/a") == {None, b"xyz"}
    disk.sync_dir("/")
    assert outcomes(disk, "/a") == {b"xyz"}


def test_a_rename_may_survive_without_the_data() -> None:
    disk = SimulatedDisk()
    put(disk, "/a", b"old", sync=True)
    disk.sync_dir("/")
    put(disk, "/b", b"new")
    disk.rename("/b", "/a")
    assert {b"old", b"new", b"", b"n"} <= outcomes(disk, "/a")
    assert None not in outcomes(disk, "/a")


def test_unsynced_steps_in_one_directory_may_be_reordered() -> None:
    disk = SimulatedDisk()
    put(disk, "/first", b"")
    put(disk, "/second", b"")
    before, found = disk.snapshot(), set()
    for seed in range(100):
        disk.restore(before)
        disk.crash(Random(seed))
        found.add(tuple(sorted(disk.listdir("/"))))
    assert found == {(), ("first",), ("second",), ("first", "second")}


def test_strict_keeps_only_what_was_synced_and_clean_keeps_all() -> None:
    disk = SimulatedDisk()
    put(disk, "/a", b"1", sync=True)
    disk.sync_dir("/")
    disk.append("/a", b"2")
    disk.link("/a", "/b")
    disk.crash(Random(0), kind="clean")
    assert (disk.read("/a"), disk.listdir("/")) == (b"12", ["a", "b"])
    disk.crash(Random(0), kind="strict")
    assert (disk.read("/a"), disk.listdir("/")) == (b"1", ["a"])


def test_an_unsynced_removal_may_be_undone() -> None:
    disk = SimulatedDisk()
    put(disk, "/a", b"1", sync=True)
    disk.sync_dir("/")
    disk.unlink("/a")
    assert outcomes(disk, "/a") == {None, b"1"}


def test_a_crash_loses_handles() -> None:
    disk = SimulatedDisk()
    handle = disk.create("/a")
    disk.crash(Random(0), kind="clean")
    with pytest.raises(OSError) as caught:
        disk.write(handle, b"x")
    assert caught.value.errno == errno.EBADF


def test_what_survived_a_crash_survives_the_next() -> None:
    disk = SimulatedDisk()
    for number in range(8):
        put(disk, f"/{number}", b"abc")
    disk.crash(Random(1))
    left = {name: disk.read(f"/{name}") for name in disk.listdir("/")}
    assert 0 < len(left) < 8
    disk.crash(Random(2), kind="strict")
    assert {name: disk.read(f"/{name}") for name in disk.listdir("/")} == left


def test_stop_at_stops_before_the_operation_and_stays_stopped() -> None:
    disk = SimulatedDisk()
    disk.stop_at(2)
    handle = disk.create("/a")
    with pytest.raises(PowerLoss):
        disk.write(handle, b"x")
    for operation in (lambda: disk.close(handle), lambda: disk.kind("/a"), lambda: disk.listdir("/")):
        with pytest.raises(PowerLoss):
            operation()
    disk.restart()
    assert disk.read("/a") == b""
    assert disk.operations == [("create", "/a")]


@pytest.mark.parametrize("write", ["write", "append"])
def test_a_torn_stop_writes_half(write: str) -> None:
    disk = SimulatedDisk()
    disk.stop_at(1 if write == "append" else 2, torn=True)
    with pytest.raises(PowerLoss):
        put(disk, "/a", b"abcd") if write == "write" else disk.append("/a", b"abcd")
    disk.restart()
    assert disk.read("/a") == b"ab"


def test_fail_at_fails_once_and_every_from_there_on() -> None:
    disk = SimulatedDisk()
    disk.fail_at(2, errno.EIO)
    disk.mkdir("/a", 0o700)
    with pytest.raises(OSError, match="/b") as caught:
        disk.mkdir("/b", 0o700)
    assert caught.value.errno == errno.EIO
    disk.mkdir("/b", 0o700)
    disk.fail_at(1, errno.EIO, every=True)
    for _ in range(3):
        with pytest.raises(OSError):
            disk.mkdir("/c", 0o700)
    disk.restart()
    disk.mkdir("/c", 0o700)
    assert disk.operations == [("mkdir", path) for path in ("/a", "/b", "/b", "/c", "/c", "/c", "/c")]


def test_a_full_disk_takes_half_a_write_and_can_be_emptied() -> None:
    disk = SimulatedDisk()
    disk.fail_on(lambda operation: operation[0] == "write", errno.ENOSPC, torn=True, every=True)
    handle = disk.create("/a")
    with pytest.raises(OSError):
        disk.write(handle, b"abcd")
    assert disk.read("/a") == b"ab"
    disk.close(handle)
    disk.fail_at(1, errno.ENOSPC, every=True)
    disk.unlink("/a")
    with pytest.raises(OSError):
        disk.create("/a")


def test_a_snapshot_can_be_restored_many_times_with_its_handles() -> None:
    disk = SimulatedDisk()
    handle = disk.create("/a")
    disk.write(handle, b"1")
    disk.link("/a", "/b")
    before = disk.snapshot()
    for ending in (b"2", b"3"):
        disk.restore(before)
        disk.write(handle, ending)
        assert disk.read("/b") == b"1" + ending
    disk.restore(before)
    assert disk.read("/a") == b"1"


def test_equal_seeds_crash_equally() -> None:
    def left(seed: int) -> dict[str, bytes]:
        disk = SimulatedDisk()
        for number in range(6):
            put(disk, f"/{number}", b"abcdef")
        disk.crash(Random(seed))
        return {name: disk.read(f"/{name}") for name in disk.listdir("/")}

    assert all(left(seed) == left(seed) for seed in range(5))


def test_threads_can_use_it() -> None:
    disk = SimulatedDisk()

    def work(worker: int) -> None:
        for number in range(50):
            put(disk, f"/{worker}-{number}", b"x")
            disk.append("/log", b".")

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(disk.listdir("/")) == 201
    assert disk.size("/log") == 200


def test_real_disk_kind_without_following(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    assert Disk().kind(str(tmp_path / "link")) == "directory"
    assert Disk().kind(str(tmp_path / "link"), follow=False) == "file"
