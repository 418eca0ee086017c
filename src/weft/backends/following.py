"""Workers that end with their driver, and not before: a pool's own would wait for ever once it was killed."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from weft.backends.devices import Slots

SECONDS = 0.5  # between two looks whether the driver lives

running: set[str] = set()
"""Tokens of the jobs under way in this worker: it does not end before they do."""


def follow(
    driver: int, initializer: Callable[..., Any] | None = None, initargs: tuple[Any, ...] = (),
    slots: Slots | None = None,
) -> None:  # fmt: skip
    """Prepare a worker process: it has a device, and ends once `driver` is gone and its job is over.

    Ctrl-C at a terminal or in a notebook reaches workers too, idle ones as well: the driver handles it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_follow, args=(driver, os.getppid()), name="weft-follow", daemon=True).start()
    if slots is not None:
        slots.take()
    if initializer is not None:
        initializer(*initargs)


def _follow(driver: int, parent: int) -> None:
    while running or (os.getppid() == parent and alive(driver)):
        time.sleep(SECONDS)
    os._exit(1)


def alive(pid: int) -> bool:
    """Whether there is a process of this number on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
