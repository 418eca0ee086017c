"""Events to observers: the engine knows none of them, and one that fails is dropped with a warning."""

from __future__ import annotations

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
    """Keeps the events of a session in the run directory, a line of JSON each; not synced."""

    def __init__(self, root: str, fs: FileSystem, session: str) -> None:
        self.fs = fs
        self.path = f"{root}/{EVENTS}/{session}.jsonl"
        fs.make_dirs(f"{root}/{EVENTS}")

    def __call__(self, event: Event) -> None:
        """Append an event."""
        if event.kind in QUIET:
            return
        record = {"kind": event.kind, "time": event.time, "step": event.step, **event.data}
        try:
            self.fs.append(self.path, (json.dumps(record, default=str) + "\n").encode())
        except OSError:
            pass  # a full disk ends the run through its commits, which matter; the log does not


def read_events(root: str, fs: FileSystem) -> list[dict[str, Any]]:
    """All events of a run in the order of time; a line that was cut is left out."""
    found = []
    for name in fs.listdir(f"{root}/{EVENTS}"):
        for line in fs.read(f"{root}/{EVENTS}/{name}").splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
    return sorted(found, key=lambda record: float(record["time"]))
