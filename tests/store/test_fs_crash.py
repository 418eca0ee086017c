"""Wherever a protocol of the file system fails or stops, and whatever the crash leaves: absent or whole."""

from __future__ import annotations

import errno
from collections.abc import Callable
from random import Random

import pytest

from weft.store.fs import TEMPORARY, FileSystem
from weft.testing.disk import Operation, PowerLoss, SimulatedDisk

CHUNKS = [b"header:", b"first payload,", memoryview(b"second payload")]
WHOLE = b"".join(CHUNKS)
RECORD = b'{"growth": 1}'
SEEDS = 25


def simulated() -> tuple[SimulatedDisk, FileSystem]:
    disk = SimulatedDisk()
    files = FileSystem(disk)
    files.make_dirs("/run")
    disk.operations.clear()
    return disk, files


def temporaries(files: FileSystem, folder: str) -> list[str]:
    return [name for name in files.disk.listdir(folder) if name.startswith(TEMPORARY)]


Protocol = Callable[[FileSystem], object]
PROTOCOLS: dict[str, tuple[Protocol, bytes]] = {
    "write_new": (lambda files: files.write_new("/run/a", CHUNKS), WHOLE),
    "create_exclusive": (lambda files: files.create_exclusive("/run/a", RECORD), RECORD),
}


@pytest.fixture(params=sorted(PROTOCOLS))
def protocol(request: pytest.FixtureRequest) -> tuple[Protocol, bytes]:
    return PROTOCOLS[request.param]


def steps(protocol: Protocol) -> list[Operation]:
    disk, files = simulated()
    protocol(files)
    return disk.operations


class TestCrash:
    def test_a_small_file_costs_few_operations(self) -> None:
        done = steps(lambda files: files.write_new("/run/a", [b"x"]))
        assert [name for name, *_ in done] == ["create", "write", "sync", "close", "rename", "sync_dir"]

    def test_wherever_it_stops_the_file_is_absent_or_whole(self, protocol: tuple[Protocol, bytes]) -> None:
        run, whole = protocol
        for stop in range(1, len(steps(run)) + 1):
            disk, files = simulated()
            disk.stop_at(stop, torn=stop % 2 == 0)
            with pytest.raises(PowerLoss):
                run(files)
            disk.restart()
            stopped = disk.snapshot()
            for kind, seeds in (("clean", 1), ("strict", 1), ("random", SEEDS)):
                for seed in range(seeds):
                    disk.restore(stopped)
                    disk.crash(Random(seed), kind=kind)
                    if files.exists("/run/a"):
                        assert files.read("/run/a") == whole
                    else:
                        assert run(files) is not False
                        assert files.read("/run/a") == whole

    def test_what_returned_survives_every_crash(self, protocol: tuple[Protocol, bytes]) -> None:
        run, whole = protocol
        disk, files = simulated()
        run(files)
        done = disk.snapshot()
        for kind in ("clean", "strict", "random"):
            for seed in range(SEEDS):
                disk.restore(done)
                disk.crash(Random(seed), kind=kind)
                assert files.read("/run/a") == whole
                assert files.create_exclusive("/run/a", b"late") is False

    def test_without_hard_links_too_what_returned_survives(self) -> None:
        disk, files = simulated()
        disk.fail_on(lambda operation: operation[0] == "link", errno.EPERM)
        assert files.create_exclusive("/run/a", RECORD) is True
        disk.crash(Random(0), kind="strict")
        assert files.read("/run/a") == RECORD

    def test_directories_survive_when_made_by_one_who_was_killed(self) -> None:
        def make(files: FileSystem) -> None:
            files.make_dirs("/run/results/step")

        for stop in range(1, len(steps(make)) + 1):
            disk, files = simulated()
            disk.stop_at(stop)
            with pytest.raises(PowerLoss):
                make(files)
            disk.crash(Random(0), kind="clean")
            make(files)
            files.write_new("/run/results/step/a", CHUNKS)
            disk.crash(Random(0), kind="strict")
            assert files.read("/run/results/step/a") == WHOLE

    def test_a_moved_file_is_never_lost(self) -> None:
        def move(files: FileSystem) -> None:
            files.move("/run/a", "/run/old/a")

        def prepared() -> tuple[SimulatedDisk, FileSystem]:
            disk, files = simulated()
            files.write_new("/run/a", CHUNKS)
            files.make_dirs("/run/old")
            disk.operations.clear()
            return disk, files

        disk, files = prepared()
        move(files)
        disk.crash(Random(0), kind="strict")
        assert (files.exists("/run/a"), files.read("/run/old/a")) == (False, WHOLE)
        disk, files = prepared()
        disk.stop_at(3)
        with pytest.raises(PowerLoss):
            move(files)
        disk.crash(Random(0), kind="strict")
        assert files.read("/run/old/a") == WHOLE

    def test_wherever_another_writer_comes_between_one_creates(self) -> None:
        class Interrupted(SimulatedDisk):
            at = 0
            intruder: Callable[[], None] | None = None

            def _begin(self, *operation: str, **options: object) -> None:  # type: ignore[override]
                if self.intruder and len(self.operations) == self.at:
                    intruder, self.intruder = self.intruder, None
                    intruder()
                super()._begin(*operation, **options)  # type: ignore[arg-type]

        count = len(steps(lambda files: files.create_exclusive("/run/a", RECORD)))
        for at in range(count):
            disk, others = Interrupted(), []
            files = FileSystem(disk)
            files.make_dirs("/run")
            disk.at = len(disk.operations) + at
            disk.intruder = lambda files=files, others=others: others.append(
                files.create_exclusive("/run/a", b"intruder")
            )
            ours = files.create_exclusive("/run/a", RECORD)
            assert [ours, *others].count(True) == 1
            before = disk.snapshot()
            for seed in range(SEEDS):
                disk.restore(before)
                disk.crash(Random(seed))
                assert files.read("/run/a") == (RECORD if ours else b"intruder")


class TestFailure:
    @pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
    @pytest.mark.parametrize("every", [False, True])
    def test_whichever_operation_fails_the_file_is_absent_or_whole(
        self, protocol: tuple[Protocol, bytes], code: int, every: bool
    ) -> None:
        run, whole = protocol
        for at in range(1, len(steps(run)) + 1):
            disk, files = simulated()
            disk.fail_at(at, code, torn=True, every=every)
            failed = False
            try:
                run(files)
            except OSError as error:
                failed = True
                assert error.errno == code
            disk.restart()
            if files.exists("/run/a"):
                assert files.read("/run/a") == whole
            else:
                assert failed
            if code != errno.EIO or (not every and disk.operations[at - 1][0] != "unlink"):
                assert temporaries(files, "/run") == []

    def test_a_failure_before_the_name_is_taken_leaves_nothing(
        self, protocol: tuple[Protocol, bytes]
    ) -> None:
        run, _ = protocol
        names = [name for name, *_ in steps(run)]
        for at in range(1, max(names.index(name) for name in ("rename", "link") if name in names) + 2):
            disk, files = simulated()
            disk.fail_at(at, errno.EIO, torn=True)
            with pytest.raises(OSError):
                run(files)
            assert disk.listdir("/run") == []
            run(files)

    def test_a_failed_link_fallback_frees_the_name(self) -> None:
        disk, files = simulated()
        disk.fail_on(lambda operation: operation[0] == "link", errno.EPERM, every=True)
        disk.fail_on(lambda operation: operation == ("write", "/run/a"), errno.ENOSPC, torn=True)
        with pytest.raises(OSError):
            files.create_exclusive("/run/a", RECORD)
        assert disk.listdir("/run") == []
        assert files.create_exclusive("/run/a", RECORD) is True
