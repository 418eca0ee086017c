"""Devices: each worker of a pool has one of its own, for as long as the worker lives."""

from __future__ import annotations

import contextlib
import os
import pickle
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from weft.errors import InvalidInput

SECONDS = 0.02  # between two looks whether a device is free

_worker = threading.local()


def device() -> Any:
    """The device of the worker that asks; None if it has none."""
    return getattr(_worker, "device", None)


@contextlib.contextmanager
def holding(devices: Sequence[Any]) -> Iterator[None]:
    """Let this thread have the first of some devices for a while, if there are any."""
    before = device()
    _worker.device = devices[0] if devices else before
    try:
        yield
    finally:
        _worker.device = before


def hold_next(
    free: list[Any], initializer: Callable[..., Any] | None = None, initargs: tuple[Any, ...] = ()
) -> None:
    """Prepare a worker thread: it takes one of the devices that are free."""
    _worker.device = free.pop(0)
    if initializer is not None:
        initializer(*initargs)


def checked(given: Any, *, sent: bool = False) -> tuple[Any, ...]:
    """The devices that were given, none for None.

    Parameters
    ----------
    sent
        Whether they must be sent to other processes.

    Raises
    ------
    InvalidInput
        For anything but a list with at least one device, and for one that cannot be sent.
    """
    if given is None:
        return ()
    if not isinstance(given, Sequence) or isinstance(given, (str, bytes)) or not len(given):
        raise InvalidInput(
            "devices is a list with one for each worker, such as devices=['cuda:0', 'cuda:1']; got "
            f"{given!r}."
        )
    for one in given if sent else ():
        try:
            pickle.dumps(one)
        except Exception as error:
            raise InvalidInput(
                f"devices has {one!r}, which cannot be pickled to be sent to a worker process: {error}. Give "
                "its name or number."
            ) from error
    return tuple(given)


class Slots:
    """A slot for each device, which a worker process takes and keeps until it ends.

    A slot is a lock on one byte of a file. The kernel takes it back when the process ends, however it ends:
    no two live processes have the same one, and a dead one leaves nothing to tidy up.
    """

    def __init__(self, devices: tuple[Any, ...]) -> None:
        self.devices = devices
        handle, self.path = tempfile.mkstemp(prefix="weft-devices-")
        os.close(handle)
        weakref.finalize(self, _remove, self.path, os.getpid())

    def take(self) -> None:
        """Take a free slot for this process, and wait for one if need be."""
        import fcntl

        handle = os.open(self.path, os.O_RDWR)  # never closed: that would give the slot back
        while True:
            for place, one in enumerate(self.devices):
                try:
                    fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
                except (BlockingIOError, PermissionError):
                    continue
                _worker.device = one
                return
            time.sleep(SECONDS)


def _remove(path: str, owner: int) -> None:
    if os.getpid() == owner:
        os.unlink(path)
