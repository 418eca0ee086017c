"""A simulated disk that fails and loses power where a test wants it to.

It keeps apart what a running system sees and what a loss of power leaves: the bytes of a file are durable
once `sync` returned for them, the names in a directory once `sync_dir` did. Everything else may survive,
vanish, be cut, or come back in another order. That is more than real file systems do: what holds here holds
there.
"""

from __future__ import annotations

import copy
import errno
import itertools
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Literal

from weft.store.fs import Bytes, Disk, Kind

Operation = tuple[str, ...]
Matches = Callable[[Operation], bool]
Write = Callable[[bytes], None]
Crash = Literal["clean", "strict", "random"]

FREES_SPACE = frozenset({"close", "unlink", "rmdir"})


class PowerLoss(BaseException):
    """The simulated machine stopped; no `Exception`, so that the code under test cannot carry on."""


@dataclass(eq=False)
class _File:
    data: bytearray = field(default_factory=bytearray)
    durable: bytes = b""
    unsynced: list[tuple[int, bytes]] = field(default_factory=list)

    def write(self, offset: int, data: bytes) -> None:
        self.data.extend(bytes(max(0, offset - len(self.data))))
        self.data[offset : offset + len(data)] = data
        self.unsynced.append((offset, data))

    def sync(self) -> None:
        self.durable = bytes(self.data)
        self.unsynced = []

    def lose(self, random: Random | None) -> None:
        unsynced, self.unsynced = self.unsynced, []
        self.data = bytearray(self.durable)
        for offset, data in unsynced:
            fate = random.choice(("lost", "whole", "torn", "zeros")) if random else "lost"
            if random and fate == "torn":
                data = data[: random.randint(0, len(data))]
            if fate != "lost":
                self.write(offset, bytes(len(data)) if fate == "zeros" else data)
        self.sync()


@dataclass(eq=False)
class _Directory:
    """One step (create, link, rename, …) is a dict of the names it sets, or removes with None."""

    names: dict[str, _Node] = field(default_factory=dict)
    durable: dict[str, _Node] = field(default_factory=dict)
    unsynced: list[dict[str, _Node | None]] = field(default_factory=list)

    def step(self, changes: dict[str, _Node | None]) -> None:
        for name, node in changes.items():
            if node is None:
                self.names.pop(name, None)
            else:
                self.names[name] = node
        self.unsynced.append(changes)

    def sync(self) -> None:
        self.durable = dict(self.names)
        self.unsynced = []

    def lose(self, random: Random | None) -> None:
        kept = [changes for changes in self.unsynced if random and random.random() < 0.5]
        if random and random.random() < 0.5:
            random.shuffle(kept)
        self.names = dict(self.durable)
        for changes in kept:
            self.step(changes)
        self.sync()
        for node in self.names.values():
            node.lose(random)


_Node = _File | _Directory


@dataclass
class _Handle:
    path: str
    file: _File
    position: int = 0

    def write(self, data: bytes) -> None:
        self.file.write(self.position, data)
        self.position += len(data)


@dataclass
class _Fault:
    matches: Matches
    countdown: int
    code: int | None  # None is a loss of power
    torn: bool
    every: bool

    def strikes(self, operation: Operation) -> bool:
        # A full disk can still be emptied.
        if self.code in (errno.ENOSPC, errno.EDQUOT) and operation[0] in FREES_SPACE:
            return False
        if not self.matches(operation):
            return False
        self.countdown -= 1
        return self.countdown == 0 or (self.every and self.countdown < 0)


class SimulatedDisk(Disk):
    """An in-memory disk with faults and crashes on demand; safe to use from threads.

    Attributes
    ----------
    operations : list[tuple[str, ...]]
        Every operation that changes something, done or failed: its name, then the paths.

    Examples
    --------
    >>> from random import Random
    >>> from weft.store.fs import FileSystem
    >>> disk = SimulatedDisk()
    >>> files = FileSystem(disk)
    >>> files.make_dirs("/run")
    >>> files.write_new("/run/block", [b"payload"])
    >>> files.append("/run/log", b"a line")
    >>> disk.crash(Random(0), kind="strict")
    >>> files.listdir("/run")
    ['block']
    """

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self._lock = threading.RLock()
        self._root = _Directory()
        self._handles: dict[int, _Handle] = {}
        self._numbers = itertools.count(3)
        self._faults: list[_Fault] = []
        self._stopped = False

    # What a test does to the disk.

    def stop_at(self, n: int, torn: bool = False) -> None:
        """Raise `PowerLoss` instead of the `n`-th operation from now (1 is the next), and ever after.

        With `torn`, half of the data is written first, if that operation is a write.
        """
        self._faults.append(_Fault(lambda _: True, n, None, torn, every=True))

    def fail_at(self, n: int, code: int, torn: bool = False, every: bool = False) -> None:
        """Raise `OSError` (`errno` `code`) instead of the `n`-th operation from now; `every`: from there on.

        A full disk (ENOSPC, EDQUOT) still closes and removes; such operations are then not counted.
        """
        self._faults.append(_Fault(lambda _: True, n, code, torn, every))

    def fail_on(self, matches: Matches, code: int, torn: bool = False, every: bool = False) -> None:
        """Raise `OSError` instead of the first operation that `matches`; `every`: of all of them."""
        self._faults.append(_Fault(matches, 1, code, torn, every))

    def restart(self) -> None:
        """Forget faults and open handles, and work again."""
        with self._lock:
            self._stopped = False
            self._faults.clear()
            self._handles.clear()

    def crash(self, random: Random, kind: Crash = "random") -> None:
        """Keep what this crash leaves, then `restart`.

        Parameters
        ----------
        random
            Decides what survives; equal states and seeds give equal outcomes.
        kind
            ``"clean"``: processes die, the machine lives, nothing is lost. ``"strict"``: only what was
            synced is left. ``"random"``: of the rest, any part survives: names in any order and without
            the data, writes lost, cut, or as zeros.
        """
        with self._lock:
            if kind != "clean":
                self._root.lose(random if kind == "random" else None)
            self.restart()

    def snapshot(self) -> object:
        """The state of the disk, open handles included, for `restore`."""
        with self._lock:
            return copy.deepcopy((self._root, self._handles))

    def restore(self, snapshot: object) -> None:
        """Go back to a `snapshot`, which can be used again; faults are forgotten."""
        with self._lock:
            self.restart()
            self._root, self._handles = copy.deepcopy(snapshot)  # type: ignore[misc]

    # What a run does with the disk.

    def create(self, path: str) -> int:
        with self._lock:
            self._begin("create", path)
            folder, name = self._parent(path)
            if name in folder.names:
                raise _error(errno.EEXIST, path)
            file = _File()
            folder.step({name: file})
            number = next(self._numbers)
            self._handles[number] = _Handle(path, file)
            return number

    def write(self, handle: int, data: Bytes) -> None:
        with self._lock:
            opened = self._opened(handle)
            self._begin("write", opened.path, write=opened.write, data=bytes(data))

    def sync(self, handle: int) -> None:
        with self._lock:
            opened = self._opened(handle)
            self._begin("sync", opened.path)
            opened.file.sync()

    def close(self, handle: int) -> None:
        with self._lock:
            # A close that fails has closed.
            path = self._opened(handle).path
            del self._handles[handle]
            self._begin("close", path)

    def rename(self, old: str, new: str) -> None:
        with self._lock:
            self._begin("rename", old, new)
            (source, name), (target, new_name) = self._parent(old), self._parent(new)
            node, before = self._node(old), target.names.get(new_name)
            if before is node:
                return
            if before is not None and type(before) is not type(node):
                raise _error(errno.EISDIR if isinstance(before, _Directory) else errno.ENOTDIR, new)
            if isinstance(before, _Directory) and before.names:
                raise _error(errno.ENOTEMPTY, new)
            if source is target:
                source.step({name: None, new_name: node})
            else:
                target.step({new_name: node})
                source.step({name: None})

    def link(self, old: str, new: str) -> None:
        with self._lock:
            self._begin("link", old, new)
            node = self._node(old)
            folder, name = self._parent(new)
            if name in folder.names:
                raise _error(errno.EEXIST, new)
            if isinstance(node, _Directory):
                raise _error(errno.EPERM, old)
            folder.step({name: node})

    def unlink(self, path: str) -> None:
        with self._lock:
            self._begin("unlink", path)
            if isinstance(self._node(path), _Directory):
                raise _error(errno.EISDIR, path)
            folder, name = self._parent(path)
            folder.step({name: None})

    def mkdir(self, path: str, mode: int) -> None:
        with self._lock:
            self._begin("mkdir", path)
            folder, name = self._parent(path)
            if name in folder.names or not name:
                raise _error(errno.EEXIST, path)
            folder.step({name: _Directory()})

    def rmdir(self, path: str) -> None:
        with self._lock:
            self._begin("rmdir", path)
            if self._directory(path).names:
                raise _error(errno.ENOTEMPTY, path)
            folder, name = self._parent(path)
            folder.step({name: None})

    def sync_dir(self, path: str) -> None:
        with self._lock:
            self._begin("sync_dir", path)
            self._directory(path).sync()

    def append(self, path: str, data: Bytes) -> None:
        with self._lock:
            folder, name = self._parent(path)
            file = self._file(path) if name in folder.names else _File()

            def write(part: bytes) -> None:
                if name not in folder.names:
                    folder.step({name: file})
                file.write(len(file.data), part)

            self._begin("append", path, write=write, data=bytes(data))

    def read(self, path: str, offset: int = 0, size: int = -1) -> bytes:
        with self._lock:
            data = self._file(path).data
            return bytes(data[offset:] if size < 0 else data[offset : offset + size])

    def size(self, path: str) -> int:
        with self._lock:
            return len(self._file(path).data)

    def kind(self, path: str, follow: bool = True) -> Kind | None:
        with self._lock:
            try:
                return "directory" if isinstance(self._node(path), _Directory) else "file"
            except (FileNotFoundError, NotADirectoryError):
                return None

    def mode(self, path: str) -> int:
        with self._lock:
            return 0o700 if isinstance(self._node(path), _Directory) else 0o600

    def same(self, first: str, second: str) -> bool:
        with self._lock:
            return self._node(first) is self._node(second)

    def listdir(self, path: str) -> list[str]:
        with self._lock:
            return list(self._directory(path).names)

    def _begin(self, *operation: str, write: Write | None = None, data: bytes = b"") -> None:
        """Log an operation unless a fault strikes; writing happens here, for it can stop half-way."""
        self._check()
        for fault in list(self._faults):
            if not fault.strikes(operation):
                continue
            if fault.torn and write:
                write(data[: len(data) // 2])
            if fault.code is None:
                self._stopped = True
                raise PowerLoss(" ".join(operation))
            if not fault.every:
                self._faults.remove(fault)
            self.operations.append(operation)
            raise _error(fault.code, operation[-1])
        self.operations.append(operation)
        if write:
            write(data)

    def _check(self) -> None:
        if self._stopped:
            raise PowerLoss("the simulated machine is off until restart() or crash()")

    def _opened(self, handle: int) -> _Handle:
        self._check()
        if handle not in self._handles:
            raise _error(errno.EBADF, str(handle))
        return self._handles[handle]

    def _node(self, path: str) -> _Node:
        self._check()
        node: _Node = self._root
        for name in filter(None, os.path.abspath(path).split("/")):
            if not isinstance(node, _Directory):
                raise _error(errno.ENOTDIR, path)
            if name not in node.names:
                raise _error(errno.ENOENT, path)
            node = node.names[name]
        return node

    def _directory(self, path: str) -> _Directory:
        node = self._node(path)
        if not isinstance(node, _Directory):
            raise _error(errno.ENOTDIR, path)
        return node

    def _file(self, path: str) -> _File:
        node = self._node(path)
        if isinstance(node, _Directory):
            raise _error(errno.EISDIR, path)
        return node

    def _parent(self, path: str) -> tuple[_Directory, str]:
        folder, name = os.path.split(os.path.abspath(path))
        return self._directory(folder), name


def _error(code: int, path: str) -> OSError:
    return OSError(code, os.strerror(code), path)
