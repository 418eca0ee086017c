"""The store of a run directory: one file for each commit, header and values together."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import fields, replace
from typing import Any, ClassVar

import msgpack
import numpy as np

from weft.plan.blocks import Block
from weft.store import frames
from weft.store.commits import Commit, Failure, Payload
from weft.store.fs import FileSystem
from weft.store.layout import results_folder
from weft.values.columns import Column
from weft.values.files import copies_in

SUFFIX = ".weft"
SMALL = 1 << 18  # read whole: 131 KB at once take 0.03 ms, opening a file twice 0.08
_HEADER = tuple(f.name for f in fields(Commit) if f.name not in ("name", "nbytes"))


class FilesStore:
    """Commits as files under ``results/STEP/IDENTITY`` of a run directory.

    Parameters
    ----------
    root
        The run directory.
    trust
        Whether values that only code can restore (pickle) may be loaded.
    """

    durable: ClassVar[bool] = True

    def __init__(self, root: str, fs: FileSystem, trust: bool = True) -> None:
        self.root = root
        self.fs = fs
        self.trust = trust
        copies_in(root)
        self._durable: set[str] = set()  # folders whose names were made so by this process

    def _folder(self, step: str, identity: str) -> str:
        return f"{self.root}/{results_folder(step, identity)}"

    def path(self, commit: Commit) -> str:
        """The file of a commit."""
        return f"{self._folder(commit.step, commit.identity)}/{commit.name}{SUFFIX}"

    def commit(self, commit: Commit, payload: Payload) -> Commit:
        """Write a commit: afterwards it is on disk, whole and synced.

        Raises
        ------
        OSError
            If the disk refuses; then nothing of it exists.
        """
        commit = commit.named()
        header: dict[str, Any] = {name: getattr(commit, name) for name in _HEADER}
        buffers: list[bytes | memoryview] = []
        header["columns"] = {
            output: frames.put_column(buffers, column) for output, column in payload.columns.items()
        }
        if payload.digests is not None:
            header["digests"] = len(buffers)
            buffers.append(np.ascontiguousarray(payload.digests).tobytes())
        if payload.failures:
            header["failures"] = len(buffers)
            buffers.append(msgpack.packb([vars(failure) for failure in payload.failures]))
        chunks = frames.write(header, buffers)
        self.prepare([(commit.step, commit.identity)])
        self.fs.write_new(self.path(commit), chunks)
        return replace(commit, nbytes=sum(len(c) if isinstance(c, bytes) else c.nbytes for c in chunks))

    def prepare(self, identities: Iterable[tuple[str, str]]) -> None:
        """Make the folders of steps and identities: all at once takes half the syncs of one by one."""
        folders = {self._folder(step, identity) for step, identity in identities} - self._durable
        if folders:
            self.fs.make_dirs(*sorted(folders))
            self._durable |= folders

    def names(self, step: str, identity: str) -> list[str]:
        """Names of the commits of a step's identity."""
        folder = self._folder(step, identity)
        return [name[: -len(SUFFIX)] for name in self.fs.listdir(folder) if name.endswith(SUFFIX)]

    def settle(self, step: str, identity: str) -> None:
        """Make durable what is listed: who wrote it may have been killed before that."""
        folder = self._folder(step, identity)
        if self.fs.exists(folder):
            self.prepare([(step, identity)])
            self.fs.settle(folder)

    def header(self, step: str, identity: str, name: str) -> Commit:
        """A commit without its values.

        Raises
        ------
        CorruptResult
            If the file is cut, or its header does not match its checksum.
        FileNotFoundError
            If it was superseded and removed since it was listed.
        """
        frame = frames.open_frame(self.fs, f"{self._folder(step, identity)}/{name}{SUFFIX}")
        header = {key: frame.header[key] for key in _HEADER if key in frame.header}
        for key in ("done", "failed"):
            header[key] = tuple(tuple(pair) for pair in header[key])
        header["block"] = tuple(header["block"])
        header["inner"] = {output: tuple(lengths) for output, lengths in header["inner"].items()}
        return Commit(**header, name=name, nbytes=frame.size)

    def columns(self, commit: Commit, outputs: Iterable[str]) -> list[Column]:
        """Values of a commit's done elements, one checked column for each output.

        Raises
        ------
        CorruptResult
            If the bytes on disk do not match their checksum.
        UnsafePayload
            If only code can restore a value and the run was opened untrusted.
        """
        first = commit.nbytes + 1 if 0 < commit.nbytes <= SMALL else frames.FIRST_READ
        frame = frames.open_frame(self.fs, self.path(commit), first=first)
        entries = frame.header["columns"]
        return [frames.column(self.fs, frame, entries[output], self.trust) for output in outputs]

    def digests(self, commit: Commit) -> np.ndarray[Any, np.dtype[np.uint8]] | None:
        """What each done element read whole, as digests; None if nothing was."""
        data = self._buffer(commit, "digests")
        return None if data is None else np.frombuffer(data, np.uint8).reshape(-1, 16)

    def failures(self, commit: Commit) -> list[Failure]:
        """Why the failed elements of a commit failed."""
        data = self._buffer(commit, "failures")
        return [] if data is None else [Failure(**record) for record in msgpack.unpackb(data)]

    def _buffer(self, commit: Commit, name: str) -> memoryview | None:
        frame = frames.open_frame(self.fs, self.path(commit))
        number = frame.header.get(name)
        return None if number is None else frames.read(self.fs, frame, [number])[0]

    def grid(self, step: str, identity: str) -> tuple[int, ...] | None:
        """The block shape recorded for a step's identity."""
        path = f"{self._folder(step, identity)}/grid.json"
        if not self.fs.exists(path):
            return None
        return tuple(json.loads(self.fs.read(path))["block"])

    def set_grid(self, step: str, identity: str, block: Block) -> tuple[int, ...]:
        """Record the block shape unless one is recorded; returns the one that stands."""
        folder = self._folder(step, identity)
        self.prepare([(step, identity)])
        self.fs.create_exclusive(f"{folder}/grid.json", json.dumps({"block": list(block)}).encode())
        standing = self.grid(step, identity)
        assert standing is not None
        return standing

    def set_aside(self, commit: Commit) -> None:
        """Rename a damaged commit, so that its elements are open; its bytes stay for whoever wants them."""
        path = self.path(commit)
        if self.fs.exists(path):
            self.fs.move(path, f"{path}.damaged")
