"""Copies of files in a run directory, under the checksum of their content."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager

from weft.store.fs import FileSystem
from weft.store.layout import ARTIFACTS
from weft.values.columns import Column, ObjectColumn
from weft.values.content_rules import CannotStore
from weft.values.files import PIECE, keeping


def keeping_files(root: str | None, fs: FileSystem) -> AbstractContextManager[None]:
    """Within, a `weft.File` with ``keep="copy"`` that is stored is copied into the run directory `root`."""

    def keep(path: str, checksum: str) -> str:
        place = f"{ARTIFACTS}/{checksum}/{os.path.basename(path).lstrip('.') or 'file'}"
        target = f"{root}/{place}"
        if not fs.exists(target):
            fs.make_dirs(os.path.dirname(target))
            fs.write_new(target, _pieces(fs, path, checksum))
        return place

    return keeping(keep) if root is not None else contextlib.nullcontext()


def with_copies(column: Column) -> Column:
    """A column whose files are copied as they ask for; it was encoded before there was a place for copies."""
    if isinstance(column, ObjectColumn) and b"copy" in bytes(column.blob):
        return ObjectColumn.encode(column.tolist())
    return column


def _pieces(fs: FileSystem, path: str, checksum: str) -> Iterator[bytes]:
    state, offset = hashlib.blake2b(digest_size=16), 0
    while piece := fs.read(path, offset, PIECE):
        state.update(piece)
        offset += len(piece)
        yield piece
    if state.hexdigest() != checksum:
        raise CannotStore(f"the file {path} was changed while it was copied")
