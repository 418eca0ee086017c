"""Runs on a simulated disk: every file of a run goes there, in every thread of this process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from weft.store.fs import FileSystem, using
from weft.testing.disk import SimulatedDisk


@contextlib.contextmanager
def simulated_disk(root: str = "/sim") -> Iterator[SimulatedDisk]:
    """A new disk that runs use for a while, empty but for the directory `root`.

    For the backends ``"sequential"`` and ``"thread_pool"``: other processes do not see it.

    Examples
    --------
    >>> import weft
    >>> double = weft.step("y", mapspec="x[i] -> y[i]")(lambda x: 2 * x)
    >>> with simulated_disk() as disk:
    ...     _ = double.run({"x": [1, 2]}, run_dir="/sim/run", backend="sequential", progress=False)
    ...     weft.open_run("/sim/run")["y"].tolist()
    [2, 4]
    """
    disk = SimulatedDisk()
    files = FileSystem(disk)
    files.make_dirs(root)
    disk.operations.clear()
    with using(files):
        yield disk
