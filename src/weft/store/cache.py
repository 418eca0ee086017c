"""The cache that runs share: results of expensive elements by content, in files that anyone may lose.

    FOLDER/results-1/STEP/KE/KEY.weft        one entry each, in the container of `weft.store.frames`

An entry is written under a temporary name and renamed, never changed, and not synced: what a loss of power
tears fails its checksum, which is a miss. So any number of processes may read, write and remove at once.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
import secrets
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from weft.errors import CorruptResult, StoreError
from weft.model.resources import memory_of
from weft.store import frames
from weft.store.fs import TEMPORARY, FileSystem
from weft.store.layout import safe_name
from weft.values.columns import Column

PLACE, SIZE = "WEFT_CACHE", "WEFT_CACHE_SIZE"
DEFAULT_SIZE = "10G"
FORMAT = "results-1"
PAGE = 4096  # what the smallest file takes of a disk
SWEPT = 50  # the cache is looked through about once for every fiftieth of its limit that is written
KEPT = 0.8  # of the limit, when the oldest had to go
TOUCHED = 3600.0  # seconds: a use is noted at most so often
FORGOTTEN = 24 * 3600.0  # seconds after which an unfinished file is one that a killed process left
_ENTRY = re.compile(r"[0-9a-f]{32}\.weft")


@dataclass(frozen=True)
class Entry:
    """What one call returned, for each output a column and the lengths that it opened."""

    columns: Sequence[Column]
    shapes: Sequence[tuple[int, ...]]
    seconds: float


@dataclass(frozen=True)
class File:
    """A file of the cache: its step, bytes on disk, and when it was last used."""

    path: str
    step: str
    size: int
    used: float
    whole: bool


@dataclass(frozen=True)
class Cache:
    """A folder of entries.

    Attributes
    ----------
    folder
        Where it is.
    limit
        Bytes that it may take; what was not used for longest goes first.
    """

    folder: str
    limit: int

    @classmethod
    def of_environment(cls) -> Cache:
        """The cache that ``WEFT_CACHE`` and ``WEFT_CACHE_SIZE`` name, by default ``~/.cache/weft`` and 10G.

        Raises
        ------
        InvalidInput
            If the size is no amount of memory.
        """
        home = os.environ.get("XDG_CACHE_HOME", "")
        home = home if os.path.isabs(home) else "~/.cache"
        folder = os.path.expanduser(os.environ.get(PLACE) or f"{home}/weft")
        size = os.environ.get(SIZE) or DEFAULT_SIZE
        return cls(os.path.abspath(folder), 0 if size == "0" else memory_of(SIZE, size))

    def ready(self) -> Cache:
        """Make the folder.

        Raises
        ------
        StoreError
            If it cannot be made or written.
        """
        try:
            self._make(f"{self.folder}/{FORMAT}")
            if not os.access(f"{self.folder}/{FORMAT}", os.W_OK):
                raise PermissionError(f"{self.folder} cannot be written")
        except OSError as error:
            raise StoreError(
                f"A step has cache=True, and its results cannot be kept in {self.folder} ({error}). Set "
                f"{PLACE} to a directory that can be written, or {SIZE}=0 to run without a cache."
            ) from error
        return self

    def path(self, step: str, key: str) -> str:
        """The file of an entry."""
        return f"{self.folder}/{FORMAT}/{safe_name(step)}/{key[:2]}/{key}.weft"

    def get(self, step: str, key: str) -> Entry | None:
        """What is kept under a key; a damaged entry is removed, and is none."""
        path = self.path(step, key)
        try:
            status = os.stat(path)
            found = _entry(path, key, status.st_size)
        except OSError:
            return None
        except CorruptResult:
            with contextlib.suppress(OSError):
                FileSystem().remove(path)
            return None
        if time.time() - status.st_mtime > TOUCHED:
            with contextlib.suppress(OSError):
                os.utime(path)
        return found

    def put(self, step: str, key: str, entry: Entry) -> None:
        """Keep an entry, in place of what was under its key; a disk that refuses is a warning."""
        buffers: list[bytes | memoryview] = []
        columns = [
            [*frames.put_column(buffers, column), list(shape)]
            for column, shape in zip(entry.columns, entry.shapes, strict=True)
        ]
        header = {"step": step, "key": key, "seconds": entry.seconds, "columns": columns}
        data = b"".join(frames.write(header, buffers))
        if len(data) > self.limit:
            return
        try:
            self._write(self.path(step, key), data)
            # By chance, so that it needs no count shared by processes, however short they live.
            if secrets.randbelow(max(1, self.limit // SWEPT)) < _on_disk(len(data)):
                self.sweep()
        except OSError as error:
            warnings.warn(f"the cache in {self.folder} cannot be written ({error.strerror})", stacklevel=2)

    def _make(self, path: str) -> None:
        """Make a folder within the outermost, which decides who may look: it is for the user alone."""
        FileSystem().make_dirs(self.folder)
        FileSystem(shared=True).make_dirs(path)

    def _write(self, path: str, data: bytes) -> None:
        try:
            FileSystem().replace(path, data)
        except FileNotFoundError:
            self._make(os.path.dirname(path))
            FileSystem().replace(path, data)

    def files(self) -> Iterator[File]:
        """The files that weft wrote here, unfinished ones too; nothing else."""
        root = f"{self.folder}/{FORMAT}"
        for place in glob.iglob("*/??/*", root_dir=root, include_hidden=True):
            step, part, name = place.split("/")
            whole = name.startswith(part) and _ENTRY.fullmatch(name) is not None
            if whole or name.startswith(TEMPORARY):
                with contextlib.suppress(OSError):
                    status = os.stat(f"{root}/{place}", follow_symlinks=False)
                    yield File(f"{root}/{place}", step, _on_disk(status.st_size), status.st_mtime, whole)

    def sweep(self) -> None:
        """Remove what killed processes left, and the entries used longest ago if there are too many."""
        now, total = time.time(), 0
        entries: list[File] = []
        for file in self.files():
            if not file.whole and now - file.used > FORGOTTEN:
                _remove(file)
                continue
            total += file.size
            entries += [file] if file.whole else []
        if total <= self.limit:
            return
        for file in sorted(entries, key=lambda file: file.used):
            if total <= KEPT * self.limit:
                break
            _remove(file)
            total -= file.size

    def clear(self, step: str | None = None, older_than: float = 0.0) -> list[File]:
        """Remove entries and return them: those of a step, those not used for some seconds."""
        wanted = None if step is None else safe_name(step)
        found = []
        for file in self.files():
            # An unfinished file may be one that is being written.
            limit = older_than if file.whole else max(older_than, FORGOTTEN)
            if wanted in (None, file.step) and max(time.time() - file.used, 0) >= limit:
                _remove(file)
                found.append(file)
        return [file for file in found if file.whole]


def _entry(path: str, key: str, size: int) -> Entry:
    """An entry, read at once: another process may remove or replace it meanwhile."""
    files = FileSystem()
    frame = frames.open_frame(files, path, first=size + 1)
    if frame.header.get("key") != key:
        raise CorruptResult(f"{path} holds another entry than its name says.")
    entries = frame.header["columns"]
    columns = [frames.column(files, frame, entry[:3]) for entry in entries]
    return Entry(columns, [tuple(shape) for *_, shape in entries], frame.header["seconds"])


def _on_disk(size: int) -> int:
    return -(-max(size, 1) // PAGE) * PAGE


def _remove(file: File) -> None:
    with contextlib.suppress(OSError):
        FileSystem().remove(file.path)
