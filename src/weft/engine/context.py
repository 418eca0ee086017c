"""What a step may ask for by annotation: its context, its random stream, its resources."""

from __future__ import annotations

import atexit
import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

from weft.model.resources import Resources
from weft.store.fs import current
from weft.store.record import RunDirectory


@dataclass(frozen=True)
class Context:
    """What an element can know of itself; injected where an argument is annotated ``weft.Context``.

    Attributes
    ----------
    step, run_name, id
        Name of the step and of the run; a string that names the element within the run.
    index, coords
        Position and value on each axis, by the axis's name. With ``batch=True`` the values are lists.
    iteration
        Number of the current iteration of each loop, by the loop's name.
    attempt
        1 at the first attempt.
    forced
        Whether the step was forced.
    resources
        What was asked for.
    device
        The device of this worker's slot, if devices were given.
    """

    step: str
    run_name: str
    id: str
    index: Mapping[str, Any]
    coords: Mapping[str, Any]
    attempt: int = 1
    forced: bool = False
    resources: Resources = field(default_factory=Resources)
    iteration: Mapping[str, int] = field(default_factory=dict)
    device: Any = None
    folder: str | None = None
    stopping: Callable[[], bool] = lambda: False
    report: Callable[[float, float], None] = lambda done, total: None

    @property
    def dir(self) -> str:
        """A directory of this element's own, made when first asked for; it survives attempts."""
        if self.folder is None:
            return self.scratch
        if not os.path.isdir(self.folder):
            shared = RunDirectory(os.path.dirname(os.path.dirname(self.folder)), current()).fs.shared
            os.makedirs(self.folder, mode=0o777 if shared else 0o700, exist_ok=True)
        return self.folder

    @cached_property
    def scratch(self) -> str:
        """A directory on the node's own disk, removed when the worker's process ends."""
        name = hashlib.blake2b(self.id.encode(), digest_size=8).hexdigest()
        path = os.path.join(_scratch_root(os.getpid()), name)
        os.makedirs(path, exist_ok=True)
        return path

    @property
    def log(self) -> logging.Logger:
        """The logger of the step, ``weft.step.NAME``."""
        return logging.getLogger(f"weft.step.{self.step}")

    def progress(self, done: float, total: float) -> None:
        """Report how far this element is, for the live display."""
        self.report(done, total)

    @property
    def stop_requested(self) -> bool:
        """Whether the run is ending: save what is worth saving, and return or raise."""
        return self.stopping()


@cache
def _scratch_root(process: int) -> str:
    root = tempfile.mkdtemp(prefix="weft-scratch-")
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    return root
