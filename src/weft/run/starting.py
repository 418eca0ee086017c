"""From a pipeline and the options of ``run`` to a run. Imported when the first one is run, not before."""

from __future__ import annotations

import os
from typing import Any

from weft.engine.session import Options, check_store, checked_seed
from weft.errors import InvalidInput
from weft.run.driving import check_manner, drive
from weft.run.made_files import makes_files
from weft.run.run import Run, open_run
from weft.store.fs import FileSystem, current
from weft.store.record import RunDirectory
from weft.study import compare
from weft.study.opening import absolute, memory_study, open_study


def start(
    pipeline: Any, inputs: Any, options: Options, *, run_dir: str | os.PathLike[str] | None, store: Any,
    seed: int | None, on_change: str, force: Any, shared: bool, progress: bool | str, wait: bool,
) -> Run:  # fmt: skip
    """Run a pipeline; see `Pipeline.run`."""
    check_manner(progress, wait)
    if shared not in (True, False):
        raise InvalidInput(f"shared is True or False, got {shared!r}.")
    check_store(store, run_dir, pipeline.graph)
    graph, name, seed = pipeline.graph, pipeline.name, checked_seed(seed)
    if run_dir is None:
        compare.check_choice(on_change)
        study = memory_study(graph, inputs, name, seed or 0, compare.forced_steps(graph, force))
    else:
        fs = FileSystem(current().disk, shared=True) if shared else current()
        directory = RunDirectory(absolute(run_dir), fs)
        if makes_files(graph) and directory.exists() and directory.change() is not None:
            open_run(directory.path).reopen_gone(graph)
        study = open_study(directory, graph, inputs, name, seed, on_change, force)
    return Run(study, drive(study, options, progress, wait), pipeline=pipeline)
