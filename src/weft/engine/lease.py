"""One driver by courtesy: a lease that its holder renews, judged by whether its content changes."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import secrets
import threading
import time
from collections.abc import Callable
from typing import Any

from weft.backends.following import alive
from weft.errors import RunLocked
from weft.store.fs import FileSystem
from weft.store.layout import JOBS, LEASE

BEAT = 2.0
LOOKS = 4  # looks for a wish to stop between two beats
PATIENCE = 10.0  # seconds of our own clock without a change, after which a lease is dead


class Lease:
    """Keeps a second driver out. Correctness does not rest on it: commits are safe with two drivers too.

    Parameters
    ----------
    cancelled
        Called once when somebody asks the holder to stop, see `ask_to_stop`.
    """

    def __init__(self, root: str, fs: FileSystem, cancelled: Callable[[], None] | None = None) -> None:
        self.path = f"{root}/{LEASE}"
        self.root, self.fs = root, fs
        self.token = secrets.token_hex(8)
        self.cancelled = cancelled
        self.beats = 0
        self.status: dict[str, Any] = {}
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def _content(self) -> bytes:
        record = {
            "token": self.token, "beat": self.beats, "host": platform.node(), "pid": os.getpid(),
            "born": _born(os.getpid()), "boot": _boot(), "status": self.status,
        }  # fmt: skip
        return json.dumps(record, default=str).encode()

    def take(self) -> Lease:
        """Take the lease.

        Raises
        ------
        RunLocked
            If another driver holds it and is alive.
        """
        while not self.fs.create_exclusive(self.path, self._content()):
            seen = self._read()
            if seen is None:
                continue
            if not _dead(seen) and self._changes(seen):
                raise RunLocked(
                    f"{self.root} is being run by process {seen.get('pid')} on {seen.get('host')}. Wait for "
                    "it, stop it (weft cancel), or look on: weft.open_run(...)."
                )
            self._take_over(seen)
        self._thread = threading.Thread(target=self._beat, name="weft-lease", daemon=True)
        self._thread.start()
        return self

    def _read(self) -> dict[str, Any] | None:
        try:
            return _parsed(self.fs.read(self.path))
        except FileNotFoundError:
            return None

    def _changes(self, seen: dict[str, Any]) -> bool:
        """Watch a lease for a while: whether its holder still renews it."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            now = self._read()
            if now is None:
                return False
            if (now["token"], now["beat"]) != (seen["token"], seen["beat"]):
                return True
            self._over.wait(0.1)
        return False

    def _take_over(self, seen: dict[str, Any]) -> None:
        """Rename a dead lease away, and look at what was taken: if it is not the dead one, give it back."""
        away = f"{self.path}.{secrets.token_hex(8)}"
        try:
            self.fs.move(self.path, away)
        except FileNotFoundError:
            return
        taken = _parsed(self.fs.read(away))
        if taken["token"] != seen["token"] and not _dead(taken):
            self.fs.create_exclusive(self.path, self.fs.read(away))
        self.fs.remove(away, missing_ok=True)

    def _beat(self) -> None:
        looks = 0
        while not self._over.wait(BEAT / LOOKS):
            looks += 1
            try:
                self._look_for_wish()
                if looks % LOOKS:
                    continue
                held = self._read()
                if held is not None and held["token"] != self.token:
                    return  # taken over: the other drives now, and what we commit does no harm
                self.beats += 1
                self.fs.replace(self.path, self._content())
            except OSError:
                continue

    def _look_for_wish(self) -> None:
        if self.cancelled is not None and self.fs.exists(_wish(self.root, self.token)):
            cancelled, self.cancelled = self.cancelled, None
            cancelled()

    def release(self) -> None:
        """Give the lease up."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        with contextlib.suppress(OSError):  # what a broken disk keeps is a lease that nobody renews
            self.fs.remove(_wish(self.root, self.token), missing_ok=True)
            held = self._read()
            if held is not None and held["token"] == self.token:
                self.fs.remove(self.path, missing_ok=True)


def ask_to_stop(root: str, fs: FileSystem) -> bool:
    """Leave the wish that whoever drives the run stops; False if nobody does."""
    seen = holder(root, fs)
    if seen is None:
        return False
    fs.make_dirs(f"{root}/{JOBS}")
    fs.create_exclusive(_wish(root, seen["token"]), b"")
    return True


def _wish(root: str, token: str) -> str:
    return f"{root}/{JOBS}/cancel-{token}"


def _parsed(content: bytes) -> dict[str, Any]:
    """What a lease says; one that a loss of power damaged stands for itself, dead if it never changes."""
    try:
        found: dict[str, Any] = json.loads(content)
        return found
    except ValueError:
        return {"token": content.hex(), "beat": 0}


def holder(root: str, fs: FileSystem) -> dict[str, Any] | None:
    """What the lease says of a driver that seems to be alive; None if there is none."""
    try:
        seen: dict[str, Any] = json.loads(fs.read(f"{root}/{LEASE}"))
    except (FileNotFoundError, ValueError):
        return None
    return None if _dead(seen) else seen


def _dead(seen: dict[str, Any]) -> bool:
    """Whether the holder was a process of this machine that is gone; not to be told of another's."""
    if seen.get("host") != platform.node() or seen.get("boot") != _boot():
        return False
    return _born(int(seen["pid"])) != seen.get("born")


def _born(pid: int) -> str:
    """When a process started, so that another with its number is not taken for it."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
            return "" if fields[0] == b"Z" else fields[19].decode()
    except OSError:
        return "?" if alive(pid) else ""


def _boot() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return ""
