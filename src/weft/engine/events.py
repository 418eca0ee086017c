"""Events to observers: the engine knows none of them, and one that fails is dropped with a warning."""

from __future__ import annotations

import contextlib
import json
import time
import warnings
from collections.abc import Iterable
from typing import Any

from weft.contracts import Event, Observer
from weft.store.fs import FileSystem
from weft.store.layout import EVENTS

QUIET = frozenset({"tick", "job-sent"})  # too many, and of no interest afterwards


class Emitter:
    """Sends events to observers."""

    def __init__(self, observers: Iterable[Observer]) -> None:
        self.observers = list(observers)

    def __call__(self, kind: str, step: str = "", **data: Any) -> None:
        """Send an event."""
        if not self.observers:
            return
        event = Event(kind, time.time(), step, data)
        for observer in list(self.observers):
            try:
                observer(event)
            except Exception as error:
                self.observers.remove(observer)
                warnings.warn(f"the observer {observer!r} failed and is dropped: {error!r}", stacklevel=2)


class EventLog:
    """Keeps the events of a session in the run directory."""

    def __init__(self, root: str, fs: FileSystem, session: str) -> None:
        self.fs = fs
        self.path = f"{root}/{EVENTS}/{session}.jsonl"

    def __call__(self, event: Event) -> None:
        """Append an event."""
        if event.kind in QUIET:
            return
        record = {"kind": event.kind, "time": event.time, "step": event.step, **event.data}
        note(self.fs, self.path, record)


def note(fs: FileSystem, path: str, record: dict[str, Any]) -> None:
    """Append a record, a line of JSON, to a log; not synced."""
    line = (json.dumps(record, default=str) + "\n").encode()
    with contextlib.suppress(OSError):  # a full disk ends the run through its commits, which matter
        try:
            fs.append(path, line)
        except FileNotFoundError:
            fs.make_dirs(path.rpartition("/")[0])
            fs.append(path, line)


def noted(fs: FileSystem, folder: str) -> list[dict[str, Any]]:
    """The records of all logs in a folder, in the order of time; a line that was cut is left out."""
    found = []
    for name in fs.listdir(folder):
        for line in fs.read(f"{folder}/{name}").splitlines():
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
    return sorted(found, key=lambda record: float(record["time"]))
