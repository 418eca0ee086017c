r"""The container of every data file: a small header, then buffers, each byte under a CRC-32.

    magic "weft\x01\r\n\x00" · length and CRC of the header (two u32) · header (JSON) · buffers

The header lists length and CRC of each buffer, so that one can be read, and checked, without the others.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from weft.errors import CorruptResult
from weft.store.fs import FileSystem
from weft.values.columns import Column, from_parts

MAGIC = b"weft\x01\r\n\x00"
PREFIX = struct.Struct("<8sII")
FIRST_READ = 4096  # holds prefix and header of an ordinary commit: one read instead of two


@dataclass(frozen=True)
class Frame:
    """A file's header, where its buffers lie, and the first bytes of the file, read with the header."""

    path: str
    header: dict[str, Any]
    start: int
    buffers: tuple[tuple[int, int], ...]
    head: bytes = b""

    @property
    def size(self) -> int:
        """Bytes that the whole file must have."""
        return self.start + sum(length for length, _ in self.buffers)

    def offset(self, number: int) -> int:
        """Where buffer `number` starts in the file."""
        return self.start + sum(length for length, _ in self.buffers[:number])


def write(header: dict[str, Any], buffers: Sequence[bytes | memoryview]) -> list[bytes | memoryview]:
    """Chunks of a file with that header (JSON-able) and those buffers."""
    views = [memoryview(b).cast("B") for b in buffers]
    table = [[view.nbytes, zlib.crc32(view)] for view in views]
    text = json.dumps({**header, "buffers": table}, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-len(text) % PREFIX.size)  # so that the first buffer is aligned in memory too
    return [PREFIX.pack(MAGIC, len(text), zlib.crc32(text)) + text, *views]


def put_column(buffers: list[bytes | memoryview], column: Column) -> list[Any]:
    """Add a column's buffers to others; what the header has to say for `column` to find them."""
    meta, parts = column.parts()
    buffers += parts
    return [meta, len(buffers) - len(parts), len(parts)]


def open_frame(fs: FileSystem, path: str, first: int = FIRST_READ) -> Frame:
    """Read and check the header of a file; its size too.

    Parameters
    ----------
    first
        Bytes to read at once: buffers that lie within are not read again.

    Raises
    ------
    CorruptResult
        If it is no such file, is cut, or its header does not match its checksum.
    """
    head = fs.read(path, 0, first)
    if len(head) < PREFIX.size or not head.startswith(MAGIC):
        raise CorruptResult(
            f"{path} is not a file that weft wrote, or its start is damaged. Run 'weft verify'."
        )
    _, length, checksum = PREFIX.unpack_from(head)
    end = PREFIX.size + length
    text = head[PREFIX.size : end] if len(head) >= end else fs.read(path, PREFIX.size, length)
    if len(text) != length or zlib.crc32(text) != checksum:
        raise CorruptResult(f"The header of {path} does not match its checksum. Run 'weft verify'.")
    header = json.loads(text)
    frame = Frame(path, header, end, tuple((n, crc) for n, crc in header.pop("buffers")), head)
    if not (len(head) == frame.size < first) and fs.size(path) != frame.size:
        raise CorruptResult(f"{path} should have {frame.size} bytes. It is damaged; run 'weft verify'.")
    return frame


def read(fs: FileSystem, frame: Frame, numbers: Iterable[int]) -> list[memoryview]:
    """Buffers of a file, each checked.

    Raises
    ------
    CorruptResult
        If bytes do not match their checksum.
    """
    found = []
    for number in numbers:
        length, checksum = frame.buffers[number]
        offset = frame.offset(number)
        data: bytes | memoryview = memoryview(frame.head)[offset : offset + length]
        if len(data) != length:
            data = fs.read(frame.path, offset, length)
        if len(data) != length or zlib.crc32(data) != checksum:
            raise CorruptResult(
                f"Buffer {number} of {frame.path} does not match its checksum: the disk changed it. "
                "'weft verify --repair' sets it aside, so that its elements are made again."
            )
        found.append(memoryview(data))
    return found


def column(fs: FileSystem, frame: Frame, entry: Sequence[Any], trust: bool = True) -> Column:
    """The column of which `put_column` said `entry`, checked; see `read`."""
    meta, first, count = entry
    return from_parts(meta, read(fs, frame, range(first, first + count)), trust=trust)
