"""What functions print and log, kept with the element that did it.

The element is looked up when something is written, so that a function which prints nothing pays nothing.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from weft.engine.events import note
from weft.store.fs import FileSystem
from weft.store.layout import LOGS

Where = Callable[[], tuple[str, list[int]] | None]

_local = threading.local()
_lock = threading.Lock()
_active = 0


class Printed:
    """Stands for a standard stream while jobs run: passes text on, and keeps a copy by element."""

    def __init__(self, stream: Any, name: str) -> None:
        self._stream, self._name = stream, name

    def write(self, text: str) -> int:
        """Write to the stream, and to the log of the element that runs in this thread."""
        sink = getattr(_local, "sink", None)
        if sink is not None:
            sink.take(self._name, text)
        return int(self._stream.write(text) or len(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Sink(logging.Handler):
    """Appends lines to a worker's log, each with time, step and position of its element."""

    def __init__(self, root: str, fs: FileSystem, worker: str, where: Where) -> None:
        super().__init__()
        self.path, self.fs, self.where = f"{root}/{LOGS}/{worker}.jsonl", fs, where
        self.begun: dict[str, str] = {}

    def take(self, stream: str, text: str) -> None:
        """Take text as it is written; whole lines are kept."""
        *lines, rest = (self.begun.get(stream, "") + text).split("\n")
        self.begun[stream] = rest
        if lines:
            self.keep(stream, "\n".join(lines))

    def emit(self, record: logging.LogRecord) -> None:
        """Take what a step logged."""
        self.keep(record.levelname.lower(), record.getMessage())

    def keep(self, stream: str, text: str) -> None:
        """Append a record."""
        step, at = self.where() or ("", [])
        record = {"time": time.time(), "step": step, "at": at, "stream": stream, "text": text}
        note(self.fs, self.path, record)

    def flush_lines(self) -> None:
        """Keep lines that were begun and never ended."""
        for stream, rest in self.begun.items():
            if rest:
                self.keep(stream, rest)
        self.begun = {}


@contextlib.contextmanager
def keeping(root: str, fs: FileSystem, worker: str, where: Where) -> Iterator[None]:
    """Keep what this thread prints and logs meanwhile."""
    global _active
    sink = Sink(root, fs, worker, where)
    logger = logging.getLogger("weft.step")
    with _lock:
        _active += 1
        if _active == 1:
            sys.stdout, sys.stderr = Printed(sys.stdout, "stdout"), Printed(sys.stderr, "stderr")
    sink.addFilter(lambda record: getattr(_local, "sink", None) is sink)
    logger.addHandler(sink)
    _local.sink = sink
    try:
        yield
    finally:
        _local.sink = None
        logger.removeHandler(sink)
        sink.flush_lines()
        with _lock:
            _active -= 1
            if _active == 0:
                sys.stdout, sys.stderr = _restored(sys.stdout), _restored(sys.stderr)


def _restored(stream: Any) -> Any:
    return stream._stream if isinstance(stream, Printed) else stream
