"""The one seam to the file system: nothing else in weft opens, renames, links or syncs a file of a run.

`Disk` holds the primitive steps, each a single thing that the system does, so that a simulated disk can
stop between any two. `FileSystem` composes them into the few protocols that a run directory needs.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable, Iterator
from typing import Literal

StrPath = str | os.PathLike[str]
Bytes = bytes | bytearray | memoryview
Kind = Literal["file", "directory"]

TEMPORARY = ".tmp-"
"""How the name of every unfinished file begins."""

SYNC_REFUSED = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP})
LINK_REFUSED = frozenset({errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})
NOT_OURS = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


class Disk:
    """The primitive operations; subclass it to watch them, to make them fail, or to simulate them."""

    def create(self, path: str) -> int:
        """Make a file that must not exist and open it for writing; permissions follow the umask."""
        return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)

    def write(self, handle: int, data: Bytes) -> None:
        """Write all of `data`, which must be contiguous."""
        _write(handle, data)

    def sync(self, handle: int) -> None:
        """Return when what was written through `handle` would survive a loss of power."""
        os.fsync(handle)

    def close(self, handle: int) -> None:
        """Close a handle of `create`."""
        os.close(handle)

    def rename(self, old: str, new: str) -> None:
        """Give `old` the name `new`, atomically, in place of what had it."""
        os.replace(old, new)

    def link(self, old: str, new: str) -> None:
        """Give the file `old` the second name `new`, which must be free."""
        os.link(old, new)

    def unlink(self, path: str) -> None:
        """Remove a name of a file, or a symbolic link."""
        os.unlink(path)

    def mkdir(self, path: str, mode: int) -> None:
        """Make one directory."""
        os.mkdir(path, mode)

    def rmdir(self, path: str) -> None:
        """Remove an empty directory."""
        os.rmdir(path)

    def sync_dir(self, path: str) -> None:
        """Return when the names in a directory would survive a loss of power."""
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        except OSError as error:
            if error.errno not in SYNC_REFUSED:  # some network file systems: there the server answers for it
                raise
        finally:
            os.close(handle)

    def append(self, path: str, data: Bytes) -> None:
        """Add to the end of a file, making it if needed; not synced."""
        handle = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o666)
        try:
            _write(handle, data)
        finally:
            os.close(handle)

    def read(self, path: str, offset: int = 0, size: int = -1) -> bytes:
        """Bytes of a file from `offset`: at most `size` of them, or all."""
        with open(path, "rb", buffering=0) as file:
            if offset:
                file.seek(offset)
            if size < 0:
                return file.readall()
            data: bytes = file.read(size) or b""
            while len(data) < size and (more := file.read(size - len(data))):
                data += more
            return data

    def size(self, path: str) -> int:
        """Length of a file in bytes."""
        return os.stat(path).st_size

    def modified(self, path: str) -> float:
        """When a file was last written, in seconds since the epoch by the clock of its disk."""
        return os.stat(path).st_mtime

    def kind(self, path: str, follow: bool = True) -> Kind | None:
        """What has this name, or None; without `follow` a symbolic link counts as a file."""
        try:
            mode = os.stat(path, follow_symlinks=follow).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return None
        return "directory" if stat.S_ISDIR(mode) else "file"

    def mode(self, path: str) -> int:
        """Who may do what with a file or directory, as ``os.chmod`` takes it."""
        return stat.S_IMODE(os.stat(path).st_mode)

    def same(self, first: str, second: str) -> bool:
        """Whether two names belong to one file."""
        return os.path.samefile(first, second)

    def listdir(self, path: str) -> list[str]:
        """The names in a directory, in any order."""
        return os.listdir(path)


class FileSystem:
    """What a run directory needs of a disk: files that are whole or absent, and names taken only once.

    Parameters
    ----------
    disk
        The primitive operations; the real ones unless given.
    shared
        Directories get what the umask (and setgid) gives them, instead of 0700.

    Examples
    --------
    >>> import tempfile
    >>> files = FileSystem()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     files.write_new(f"{folder}/block-7", [b"head", b"payload"])
    ...     files.read(f"{folder}/block-7", offset=4)
    b'payload'
    """

    def __init__(self, disk: Disk | None = None, shared: bool = False) -> None:
        self.disk = Disk() if disk is None else disk
        self.shared = shared

    def write_new(self, path: StrPath, chunks: Iterable[Bytes]) -> None:
        """Make a file that is there whole, and durable, when this returns; until then it is absent or whole.

        The name must be the caller's alone. When it fails, the temporary file is removed if the disk
        lets it be, and the error is raised again.
        """
        target = os.fspath(path)
        self._place(target, chunks, durable=True)
        self.disk.sync_dir(_folder(target))

    def create_exclusive(self, path: StrPath, data: Bytes) -> bool:
        """Take a name that only one of many writers can have; False when another has it.

        Readers see the file whole or not at all, except on file systems that refuse hard links: there
        a writer killed half-way leaves the name taken by a file that is cut short. After an `OSError`
        the name may be taken.
        """
        target = os.fspath(path)
        temporary = _temporary(target)
        self._fill(temporary, (data,))
        try:
            created = self._link(temporary, target)
        except OSError as error:
            if error.errno not in LINK_REFUSED:
                raise
            created = self._fill_exclusive(target, data)
        finally:
            self._discard(temporary)
        if created:
            self.disk.sync_dir(_folder(target))
        return created

    def replace(self, path: StrPath, data: Bytes) -> None:
        """Put new content in place of old, whole but not durable: for heartbeats, never for results."""
        self._place(os.fspath(path), (data,), durable=False)

    def append(self, path: StrPath, data: Bytes) -> None:
        """Add to the end of a file, making it if needed; not durable, and a reader may see a part."""
        self.disk.append(os.fspath(path), data)

    def read(self, path: StrPath, offset: int = 0, size: int = -1) -> bytes:
        """Bytes of a file from `offset`: at most `size` of them, or all."""
        return self.disk.read(os.fspath(path), offset, size)

    def size(self, path: StrPath) -> int:
        """Length of a file in bytes."""
        return self.disk.size(os.fspath(path))

    def exists(self, path: StrPath) -> bool:
        """Whether anything has this name."""
        return self.disk.kind(os.fspath(path)) is not None

    def is_dir(self, path: StrPath) -> bool:
        """Whether a directory has this name."""
        return self.disk.kind(os.fspath(path)) == "directory"

    def listdir(self, path: StrPath) -> list[str]:
        """The names in a directory, sorted, without unfinished files; none when it is missing."""
        try:
            names = self.disk.listdir(os.fspath(path))
        except FileNotFoundError:
            return []
        return sorted(name for name in names if not name.startswith(TEMPORARY))

    def unfinished(self, path: StrPath, before: float) -> list[str]:
        """The names of unfinished files in a directory that were last written before a time."""
        folder = os.fspath(path)
        found = []
        with contextlib.suppress(FileNotFoundError):
            for name in self.disk.listdir(folder):
                with contextlib.suppress(FileNotFoundError):
                    if name.startswith(TEMPORARY) and self.disk.modified(os.path.join(folder, name)) < before:
                        found.append(name)
        return sorted(found)

    def make_dirs(self, *paths: StrPath) -> None:
        """Make directories and those above them, durably; those that are there are left as they are.

        Many at once share the syncs of the directories that they lie in.
        """
        missing: dict[str, None] = {}
        there: dict[str, None] = {}
        for path in paths:
            place = os.path.abspath(os.fspath(path))
            while place not in missing and self.disk.kind(place) is None:
                missing[place] = None
                place = os.path.dirname(place)
            if place not in missing:
                there[place] = None
        # A directory gets children only after its own name is durable. Whoever made the lowest one that
        # is there may have been killed before that, so it is synced again.
        for folder in dict.fromkeys(map(os.path.dirname, there)):
            try:
                self.disk.sync_dir(folder)
            except OSError as error:
                if error.errno not in NOT_OURS:
                    raise
        for depth in sorted({place.count(os.sep) for place in missing}):
            made = [place for place in missing if place.count(os.sep) == depth]
            for place in made:
                try:
                    self.disk.mkdir(place, 0o777 if self.shared else 0o700)
                except OSError:
                    if self.disk.kind(place) != "directory":
                        raise
            for folder in dict.fromkeys(map(os.path.dirname, made)):
                self.disk.sync_dir(folder)
        for place in map(os.path.abspath, paths):
            if self.disk.kind(place) != "directory":
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), place)

    def settle(self, path: StrPath) -> None:
        """Make the names in a directory durable: who made them may have been killed before that."""
        self.disk.sync_dir(os.fspath(path))

    def remove(self, path: StrPath, missing_ok: bool = False) -> None:
        """Remove a file; after a loss of power it may be back."""
        try:
            self.disk.unlink(os.fspath(path))
        except FileNotFoundError:
            if not missing_ok:
                raise

    def move(self, old: StrPath, new: StrPath) -> None:
        """Give a file or directory another name, durably; of several that try, one succeeds.

        `new` must be a name that only this caller uses: that is how a rename which was repeated on its
        way to a server, and reported as failed, is told from one that another has won.
        """
        source, target = os.fspath(old), os.fspath(new)
        try:
            self.disk.rename(source, target)
        except OSError:
            if self.disk.kind(source) is not None or self.disk.kind(target) is None:
                raise
        self.disk.sync_dir(_folder(target))
        if _folder(source) != _folder(target):
            self.disk.sync_dir(_folder(source))

    def remove_tree(self, path: StrPath) -> None:
        """Remove a directory and what it lists; symbolic links go, what they point to stays.

        What others remove meanwhile is no error; what they add is (the directory is not empty).
        """
        place = os.fspath(path)
        kind = self.disk.kind(place, follow=False)
        with contextlib.suppress(FileNotFoundError):
            if kind == "file":
                self.disk.unlink(place)
            elif kind == "directory":
                for name in self.disk.listdir(place):
                    self.remove_tree(os.path.join(place, name))
                self.disk.rmdir(place)

    def _fill(self, path: str, chunks: Iterable[Bytes], durable: bool = True) -> int:
        """Make a file and return its size; on failure it is removed again."""
        handle = self.disk.create(path)
        size = 0
        try:
            try:
                for chunk in chunks:
                    self.disk.write(handle, chunk)
                    size += memoryview(chunk).nbytes
                if durable:
                    self.disk.sync(handle)
            finally:
                self.disk.close(handle)
        except BaseException:
            self._discard(path)
            raise
        return size

    def _fill_exclusive(self, target: str, data: Bytes) -> bool:
        try:
            self._fill(target, (data,))
        except FileExistsError:
            return False
        return True

    def _place(self, target: str, chunks: Iterable[Bytes], durable: bool) -> None:
        temporary = _temporary(target)
        size = self._fill(temporary, chunks, durable)
        try:
            self.disk.rename(temporary, target)
        except OSError:
            # Over a network a rename that was done and sent again reports that its source is missing.
            if not self._renamed(temporary, target, size):
                self._discard(temporary)
                raise

    def _renamed(self, temporary: str, target: str, size: int) -> bool:
        try:
            return self.disk.kind(temporary) is None and self.disk.size(target) == size
        except OSError:
            return False

    def _link(self, temporary: str, target: str) -> bool:
        try:
            self.disk.link(temporary, target)
        except OSError as error:
            # Over a network a link that was done and sent again reports that the name is taken: by us.
            with contextlib.suppress(OSError):
                if self.disk.same(temporary, target):
                    return True
            if isinstance(error, FileExistsError):
                return False
            raise
        return True

    def _discard(self, path: str) -> None:
        with contextlib.suppress(OSError):
            self.disk.unlink(path)


def _write(handle: int, data: Bytes) -> None:
    rest = memoryview(data)
    if not rest.nbytes:
        return
    rest = rest.cast("B")
    while rest:
        rest = rest[os.write(handle, rest) :]


def _folder(path: str) -> str:
    return os.path.dirname(path) or "."


def _temporary(target: str) -> str:
    return os.path.join(os.path.dirname(target), f"{TEMPORARY}{os.getpid()}-{os.urandom(8).hex()}")


_current = FileSystem()


def current() -> FileSystem:
    """The file system that this process uses for runs."""
    return _current


@contextlib.contextmanager
def using(files: FileSystem) -> Iterator[FileSystem]:
    """Use another file system for a while, in every thread of this process."""
    global _current
    before, _current = _current, files
    try:
        yield files
    finally:
        _current = before
