"""A disk that says how far each write is, and waits at a chosen point for the SIGKILL of a parent."""

from __future__ import annotations

import mmap
import os
import struct
import time
from pathlib import Path

from weft.store.fs import Bytes, Disk

BEFORE, WRITING, WRITTEN, SYNCED, NAMED, AFTER = range(1, 7)
PHASES = {
    0: "between",
    BEFORE: "before create",
    WRITING: "during write",
    WRITTEN: "after write, before sync",
    SYNCED: "after sync, before rename",
    NAMED: "after rename, before folder sync",
    AFTER: "after folder sync",
}
KINDS = ("none", "run", "inputs", "code", "changes", "grid", "commit", "lease", "other")

SLOTS = 64
ORDER = struct.Struct("<iiii")  # kind, phase, how many such points to pass, process that waits there
STAMP = struct.Struct("<iii")  # process, kind, phase


class Control:
    """What parent and processes share: the point to stop at, and the phase that each process is in."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(ORDER.size + SLOTS * STAMP.size))
        with open(path, "r+b") as file:
            self.memory = mmap.mmap(file.fileno(), 0)

    def order(self, kind: str, phase: int, skip: int = 0) -> None:
        """Ask that the next process at this point stops there."""
        self.memory[:] = bytes(len(self.memory))
        ORDER.pack_into(self.memory, 0, KINDS.index(kind), phase, skip, 0)

    @property
    def waiting(self) -> int:
        """The process that has stopped at the point; 0 if none has."""
        return int(ORDER.unpack_from(self.memory)[3])

    def phases(self) -> dict[int, tuple[str, str]]:
        """For each process the kind of file and the phase that it is in."""
        found = {}
        for slot in range(SLOTS):
            pid, kind, phase = STAMP.unpack_from(self.memory, ORDER.size + slot * STAMP.size)
            if pid:
                found[pid] = (KINDS[kind], PHASES[phase])
        return found

    def stamp(self, kind: str, phase: int) -> None:
        """Note where this process is, and stop if that is the point."""
        pid = os.getpid()
        number = KINDS.index(kind)
        STAMP.pack_into(self.memory, ORDER.size + pid % SLOTS * STAMP.size, pid, number, phase)
        wanted, at, skip, waiting = ORDER.unpack_from(self.memory)
        if (wanted, at) != (number, phase) or waiting:
            return
        if skip:
            ORDER.pack_into(self.memory, 0, wanted, at, skip - 1, 0)
            return
        ORDER.pack_into(self.memory, 0, wanted, at, 0, pid)
        # A worker whose driver was killed alone goes on here: it is an orphan in the midst of a write.
        driver = int(os.environ["WEFT_TEST_DRIVER"])
        while alive(driver):
            time.sleep(0.002)


class PhasedDisk(Disk):
    """The real disk under watch."""

    def __init__(self, control: Control) -> None:
        self.control = control
        self.files: dict[int, str] = {}
        self.named: str | None = None

    def create(self, path: str) -> int:
        self.control.stamp(_kind(path), BEFORE)
        handle = super().create(path)
        self.files[handle] = path
        return handle

    def write(self, handle: int, data: Bytes) -> None:
        view = memoryview(data).cast("B")
        super().write(handle, view[: len(view) // 2])
        self.control.stamp(_kind(self.files[handle]), WRITING)
        super().write(handle, view[len(view) // 2 :])

    def sync(self, handle: int) -> None:
        self.control.stamp(_kind(self.files[handle]), WRITTEN)
        super().sync(handle)

    def rename(self, old: str, new: str) -> None:
        self.control.stamp(_kind(new), SYNCED)
        super().rename(old, new)
        self._named(new)

    def link(self, old: str, new: str) -> None:
        self.control.stamp(_kind(new), SYNCED)
        super().link(old, new)
        self._named(new)

    def sync_dir(self, path: str) -> None:
        super().sync_dir(path)
        if self.named is not None and os.path.dirname(self.named) == path:
            self.control.stamp(_kind(self.named), AFTER)
            self.named = None
            self.control.stamp("none", 0)

    def _named(self, new: str) -> None:
        self.named = new
        self.control.stamp(_kind(new), NAMED)


def _kind(path: str) -> str:
    folder, name = os.path.split(path)
    place = os.path.basename(folder)
    if f"{os.sep}results{os.sep}" in path:
        if name == "grid.json":
            return "grid"
        # The first file in a folder of results is its grid, if the step has axes.
        first = (
            name.startswith(".tmp-") and not os.path.exists(f"{folder}/grid.json") and "/total/" not in path
        )
        return "grid" if first else "commit"
    if place in ("inputs", "code", "changes"):
        return place
    if name == "run.json" or (name.startswith(".tmp-") and not os.path.exists(f"{folder}/run.json")):
        return "run"
    return "lease" if name.startswith((".tmp-", "lease.json")) else "other"


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] != b"Z"
    except OSError:
        return False
