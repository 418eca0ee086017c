"""A pool of processes that leaves Ctrl-C to the driver. Apart, because importing such a pool takes 10 ms."""

from __future__ import annotations

import signal
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import resource_tracker
from typing import Any


class Shielded(ProcessPoolExecutor):
    """A pool whose processes, also while they start, outlive the Ctrl-C that is meant for the driver."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        # Here processes are started, and they inherit the mask; the tracker's own start would reset it.
        resource_tracker.ensure_running()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return super().submit(fn, *args, **kwargs)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
