"""Whether a worker should go on."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from weft.engine.jobs import Job


class Control:
    """Whether the worker should go on: asked between chunks, and by functions through their context."""

    def __init__(self, job: Job, stopping: Callable[[], bool]) -> None:
        self.job = job
        self._stopping = stopping
        self._asked = 0.0
        self.stopped = False
        # What class steps reuse lives as long as the job.
        self.instances: dict[str, Any] = {}
        # Seconds that results from the cache once took to compute.
        self.saved = 0.0

    def stop(self) -> bool:
        """Whether to stop; looks at most four times a second."""
        if not self.stopped:
            now = time.monotonic()
            if now - self._asked > 0.25:
                self._asked = now
                self.stopped = self._stopping()
        return self.stopped
