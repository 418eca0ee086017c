"""A file as a value: known by its path and content, kept where it is or copied into the run."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from weft.errors import InvalidInput
from weft.values.content_rules import FILE, CannotStore, rule

PIECE = 1 << 22
FRESH_NS = 2_000_000_000
Keeper = Callable[[str, str], str]

_keeper: ContextVar[Keeper | None] = ContextVar("keeper", default=None)
_roots: dict[str, None] = {}


@dataclass(frozen=True)
class File(os.PathLike[str]):
    """A file as a value: an input, or what a step returns or a sink writes.

    Its path and the checksum of its content are what identifies it, so an input that is edited is another
    one. Open it as any path: ``open(file)``, ``np.load(file)``.

    Parameters
    ----------
    path
        Where it is, as it is to be recorded.
    keep
        ``"reference"``: it stays where it is. ``"copy"``: a run in a directory copies it into its
        ``artifacts/``, and reads that copy, also when the file is gone.

    Examples
    --------
    >>> import weft
    >>> weft.File("shapes/wing.stl")
    File(path='shapes/wing.stl', keep='reference')
    """

    path: str
    keep: str = "reference"
    seen: tuple[int, int, str] | None = field(default=None, repr=False, compare=False)
    kept: str = field(default="", repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", os.fspath(self.path))
        if self.keep not in ("reference", "copy"):
            raise InvalidInput(f"keep of a File is 'reference' or 'copy', got {self.keep!r}.")

    def __fspath__(self) -> str:
        # By its content, so it does not matter which run it was copied to, nor where that has moved.
        copies = (f"{root}/{self.kept}" for root in reversed(_roots) if self.kept)
        return next(filter(os.path.exists, copies), self.path)

    @property
    def checksum(self) -> str:
        """32 hexadecimal digits of its content, when it was recorded or else now."""
        return (self.seen or look(self.path))[2]

    @property
    def changed(self) -> str:
        """``"gone"`` or ``"changed"`` if it is not what was recorded, by size and time alone; else empty."""
        if self.seen is None or os.fspath(self) != self.path:
            return ""
        return compared(self.path, *self.seen[:2])


def compared(path: str, size: int, modified: int) -> str:
    """``"gone"`` or ``"changed"`` if a file is not as it was; else empty."""
    try:
        found = os.stat(path)
    except OSError:
        return "gone"
    return "" if (found.st_size, found.st_mtime_ns) == (size, modified) else "changed"


def look(path: str) -> tuple[int, int, str]:
    """Size, time of change in nanoseconds, and checksum of a file.

    Raises
    ------
    CannotStore
        If it cannot be read.
    """
    try:
        found = os.stat(path)
        # What was written a moment ago may be written again without another time: read it.
        fresh = time.time_ns() - found.st_ctime_ns < FRESH_NS
        read = _checksum.__wrapped__ if fresh else _checksum
        checksum = read(os.path.abspath(path), found.st_size, found.st_ctime_ns)
        return found.st_size, found.st_mtime_ns, checksum
    except OSError as error:
        raise CannotStore(f"the file {path} cannot be read ({error.strerror or error})") from error


@functools.lru_cache(maxsize=1 << 16)
def _checksum(path: str, size: int, changed: int) -> str:
    state = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        while piece := file.read(PIECE):
            state.update(piece)
    return state.hexdigest()


@contextlib.contextmanager
def keeping(keeper: Keeper) -> Iterator[None]:
    """Within, files with ``keep="copy"`` that are encoded are copied by `keeper`, which tells where to."""
    token = _keeper.set(keeper)
    try:
        yield
    finally:
        _keeper.reset(token)


def copies_in(root: str) -> None:
    """Say that a run directory may hold copies of files."""
    _roots.pop(root, None)
    _roots[root] = None


def files_in(value: Any) -> Iterator[File]:
    """The files in a value: itself, or in lists, tuples and dicts."""
    if isinstance(value, File):
        yield value
    elif isinstance(value, list | tuple | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from files_in(part)


def _reduce(file: File) -> list[Any]:
    size, modified, checksum = file.seen or look(file.path)
    keeper, kept = _keeper.get(), file.kept
    if file.keep == "copy" and not kept and keeper is not None:
        kept = keeper(file.path, checksum)
    # Path and checksum first: they alone are the file's identity.
    return [file.path, checksum, file.keep, size, modified, kept]


def _restore(parts: list[Any]) -> File:
    path, checksum, keep, size, modified, kept = parts
    return File(path, keep, (size, modified, checksum), kept)


rule(FILE, "weft.values.files.File", _reduce, _restore)
