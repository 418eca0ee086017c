"""A file is absent or whole, a name is taken once: whatever fails, stops, or is sent twice."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from weft.store import fs
from weft.store.fs import TEMPORARY, Disk, FileSystem
from weft.testing.disk import PowerLoss, SimulatedDisk

CHUNKS = [b"header:", b"first payload,", memoryview(b"second payload")]
WHOLE = b"".join(CHUNKS)
RECORD = b'{"growth": 1}'

Place = tuple[FileSystem, str]


@pytest.fixture(params=["real", "simulated"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A file system and an empty directory in it."""
    if request.param == "real":
        return FileSystem(), str(tmp_path)
    files = FileSystem(SimulatedDisk())
    files.make_dirs("/run")
    return files, "/run"


def temporaries(files: FileSystem, folder: str) -> list[str]:
    return [name for name in files.disk.listdir(folder) if name.startswith(TEMPORARY)]


class TestFiles:
    def test_write_new(self, place: Place) -> None:
        files, folder = place
        files.write_new(f"{folder}/a", CHUNKS)
        assert files.read(f"{folder}/a") == WHOLE
        assert files.size(f"{folder}/a") == len(WHOLE)
        assert temporaries(files, folder) == []

    def test_write_new_takes_arrays_and_nothing(self, place: Place) -> None:
        files, folder = place
        numbers = np.arange(6.0).reshape(2, 3)
        files.write_new(f"{folder}/a", [memoryview(numbers), memoryview(np.empty((0, 3))), bytearray(b"x")])
        assert files.read(f"{folder}/a") == numbers.tobytes() + b"x"
        files.write_new(f"{folder}/empty", [])
        assert files.read(f"{folder}/empty") == b""

    def test_write_new_removes_its_temporary_when_the_data_fails(self, place: Place) -> None:
        files, folder = place

        def chunks() -> Iterator[bytes]:
            yield b"some"
            raise ValueError("no more")

        with pytest.raises(ValueError, match="no more"):
            files.write_new(f"{folder}/a", chunks())
        assert files.disk.listdir(folder) == []

    def test_write_new_in_a_missing_directory(self, place: Place) -> None:
        files, folder = place
        with pytest.raises(FileNotFoundError):
            files.write_new(f"{folder}/missing/a", CHUNKS)

    def test_create_exclusive(self, place: Place) -> None:
        files, folder = place
        assert files.create_exclusive(f"{folder}/a", RECORD) is True
        assert files.create_exclusive(f"{folder}/a", b"other") is False
        assert files.create_exclusive(f"{folder}/a", RECORD) is False
        assert files.read(f"{folder}/a") == RECORD
        assert temporaries(files, folder) == []

    def test_replace(self, place: Place) -> None:
        files, folder = place
        files.replace(f"{folder}/a", b"1")
        files.replace(f"{folder}/a", b"22")
        assert files.read(f"{folder}/a") == b"22"
        assert temporaries(files, folder) == []

    def test_append_and_read_parts(self, place: Place) -> None:
        files, folder = place
        files.append(f"{folder}/a", b"0123")
        files.append(f"{folder}/a", b"456")
        assert files.read(f"{folder}/a", offset=2) == b"23456"
        assert files.read(f"{folder}/a", offset=2, size=3) == b"234"
        assert files.read(f"{folder}/a", offset=5, size=9) == b"56"

    def test_listdir_is_sorted_and_without_temporaries(self, place: Place) -> None:
        files, folder = place
        for name in ("b", "a", f"{TEMPORARY}1-x"):
            files.append(f"{folder}/{name}", b"")
        assert files.listdir(folder) == ["a", "b"]
        assert files.listdir(f"{folder}/missing") == []
        with pytest.raises(NotADirectoryError):
            files.listdir(f"{folder}/a")

    def test_exists_and_is_dir(self, place: Place) -> None:
        files, folder = place
        files.append(f"{folder}/a", b"")
        assert files.exists(f"{folder}/a") and not files.is_dir(f"{folder}/a")
        assert files.exists(folder) and files.is_dir(folder)
        assert not files.exists(f"{folder}/b") and not files.is_dir(f"{folder}/a/b")

    def test_make_dirs(self, place: Place) -> None:
        files, folder = place
        for _ in range(2):
            files.make_dirs(f"{folder}/a/b/c")
            assert files.is_dir(f"{folder}/a/b/c")
        files.append(f"{folder}/file", b"")
        for taken in ("file", "file/d"):
            with pytest.raises(OSError):
                files.make_dirs(f"{folder}/{taken}")

    def test_remove(self, place: Place) -> None:
        files, folder = place
        files.append(f"{folder}/a", b"")
        files.remove(f"{folder}/a")
        files.remove(f"{folder}/a", missing_ok=True)
        with pytest.raises(FileNotFoundError):
            files.remove(f"{folder}/a")

    def test_move(self, place: Place) -> None:
        files, folder = place
        files.make_dirs(f"{folder}/old")
        files.append(f"{folder}/a", b"x")
        files.move(f"{folder}/a", f"{folder}/old/a")
        assert (files.listdir(folder), files.read(f"{folder}/old/a")) == (["old"], b"x")
        with pytest.raises(FileNotFoundError):
            files.move(f"{folder}/a", f"{folder}/old/b")

    def test_remove_tree(self, place: Place) -> None:
        files, folder = place
        files.make_dirs(f"{folder}/a/b")
        for name in ("a/1", "a/b/2", f"a/b/{TEMPORARY}3", "stays"):
            files.append(f"{folder}/{name}", b"")
        files.remove_tree(f"{folder}/a")
        files.remove_tree(f"{folder}/a")
        assert files.disk.listdir(folder) == ["stays"]


class TestRealDisk:
    def test_paths_may_be_path_objects_or_relative(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        files = FileSystem()
        files.write_new(Path("a"), CHUNKS)
        assert files.create_exclusive("b", RECORD)
        files.make_dirs("c/d")
        files.move("b", "c/d/b")
        assert (tmp_path / "a").read_bytes() == WHOLE
        assert (tmp_path / "c/d/b").read_bytes() == RECORD

    @pytest.mark.parametrize(("shared", "mode"), [(False, 0o700), (True, 0o750)])
    def test_permissions(self, tmp_path: Path, shared: bool, mode: int) -> None:
        before = os.umask(0o027)
        try:
            files = FileSystem(shared=shared)
            files.make_dirs(tmp_path / "a/b")
            files.write_new(tmp_path / "a/b/c", CHUNKS)
        finally:
            os.umask(before)
        modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a", "a/b", "a/b/c")]
        assert modes == [mode, mode, 0o640]

    def test_remove_tree_does_not_follow_links(self, tmp_path: Path) -> None:
        (tmp_path / "precious").mkdir()
        (tmp_path / "precious/data").write_bytes(b"x")
        (tmp_path / "run").mkdir()
        (tmp_path / "run/link").symlink_to(tmp_path / "precious")
        (tmp_path / "run/dangling").symlink_to(tmp_path / "nowhere")
        (tmp_path / "top").symlink_to(tmp_path / "precious")
        FileSystem().remove_tree(tmp_path / "run")
        FileSystem().remove_tree(tmp_path / "top")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["precious"]
        assert (tmp_path / "precious/data").read_bytes() == b"x"

    @pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.EIO])
    def test_a_refused_directory_sync_is_tolerated_but_a_failed_one_is_not(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
    ) -> None:
        sync = os.fsync

        def fsync(handle: int) -> None:
            if stat.S_ISDIR(os.fstat(handle).st_mode):
                raise OSError(code, os.strerror(code))
            sync(handle)

        monkeypatch.setattr(os, "fsync", fsync)
        if code == errno.EIO:
            with pytest.raises(OSError, match="Input/output error"):
                FileSystem().write_new(tmp_path / "a", CHUNKS)
        else:
            FileSystem().write_new(tmp_path / "a", CHUNKS)
        assert (tmp_path / "a").read_bytes() == WHOLE

    def test_short_writes_are_continued(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write = os.write
        monkeypatch.setattr(os, "write", lambda handle, data: write(handle, data[:3]))
        FileSystem().write_new(tmp_path / "a", CHUNKS)
        assert (tmp_path / "a").read_bytes() == WHOLE

    def test_no_handle_is_left_open(self, tmp_path: Path) -> None:
        before = os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else []
        files = FileSystem()
        files.make_dirs(tmp_path / "d")
        files.write_new(tmp_path / "a", CHUNKS)
        files.create_exclusive(tmp_path / "a", RECORD)
        files.append(tmp_path / "log", b"x")
        files.read(tmp_path / "a")
        after = os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else []
        assert len(after) == len(before)

    @pytest.mark.parametrize("linking", [True, False])
    def test_of_many_threads_one_creates(self, tmp_path: Path, linking: bool) -> None:
        files = FileSystem(Disk() if linking else NoLinks())
        for trial in range(10):
            path = tmp_path / str(trial)
            start, wins = threading.Barrier(4), []

            def take(
                writer: int, path: Path = path, start: threading.Barrier = start, wins: list = wins
            ) -> None:
                start.wait()
                if files.create_exclusive(path, b"writer %d" % writer):
                    wins.append(writer)

            threads = [threading.Thread(target=take, args=(writer,)) for writer in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert len(wins) == 1
            assert path.read_bytes() == b"writer %d" % wins[0]
        assert temporaries(files, str(tmp_path)) == []


class NoLinks(Disk):
    def link(self, old: str, new: str) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), new)


class Retransmitting(Disk):
    """A network file system that does what it is asked and then reports what the second request met."""

    def rename(self, old: str, new: str) -> None:
        super().rename(old, new)
        super().rename(old, new)

    def link(self, old: str, new: str) -> None:
        super().link(old, new)
        super().link(old, new)


class TestNetwork:
    def test_a_rename_sent_twice_has_succeeded(self, tmp_path: Path) -> None:
        files = FileSystem(Retransmitting())
        files.write_new(tmp_path / "a", CHUNKS)
        assert (tmp_path / "a").read_bytes() == WHOLE
        files.replace(tmp_path / "a", b"beat")
        files.move(tmp_path / "a", tmp_path / "b")
        assert (tmp_path / "b").read_bytes() == b"beat"
        with pytest.raises(FileNotFoundError):
            files.move(tmp_path / "a", tmp_path / "c")

    def test_a_link_sent_twice_has_succeeded_and_a_taken_name_has_not(self, tmp_path: Path) -> None:
        files = FileSystem(Retransmitting())
        assert files.create_exclusive(tmp_path / "a", RECORD) is True
        assert files.create_exclusive(tmp_path / "a", RECORD) is False
        assert os.listdir(tmp_path) == ["a"]

    def test_a_link_that_times_out_after_success_has_succeeded(self, tmp_path: Path) -> None:
        class TimesOut(Disk):
            def link(self, old: str, new: str) -> None:
                super().link(old, new)
                raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))

        assert FileSystem(TimesOut()).create_exclusive(tmp_path / "a", RECORD) is True

    def test_a_rename_that_failed_is_no_success_beside_an_older_file(self, tmp_path: Path) -> None:
        class Fails(Disk):
            def rename(self, old: str, new: str) -> None:
                raise OSError(errno.EIO, os.strerror(errno.EIO))

        (tmp_path / "a").write_bytes(WHOLE)
        with pytest.raises(OSError, match="Input/output error"):
            FileSystem(Fails()).write_new(tmp_path / "a", CHUNKS)
        assert os.listdir(tmp_path) == ["a"]

    def test_without_hard_links_names_are_still_taken_once(self, tmp_path: Path) -> None:
        files = FileSystem(NoLinks())
        assert files.create_exclusive(tmp_path / "a", RECORD) is True
        assert files.create_exclusive(tmp_path / "a", b"other") is False
        assert (tmp_path / "a").read_bytes() == RECORD
        assert os.listdir(tmp_path) == ["a"]


class TestCurrent:
    def test_using_reaches_every_thread_and_ends(self) -> None:
        before, mine, seen = fs.current(), FileSystem(SimulatedDisk()), []
        with fs.using(mine) as files:
            thread = threading.Thread(target=lambda: seen.append(fs.current()))
            thread.start()
            thread.join()
            assert files is mine
        assert seen == [mine]
        assert fs.current() is before

    def test_using_ends_with_an_error(self) -> None:
        before = fs.current()
        with pytest.raises(PowerLoss), fs.using(FileSystem(SimulatedDisk())):
            raise PowerLoss
        assert fs.current() is before
