"""From a pipeline and the options of ``run`` to a run. Imported when the first one is run, not before."""

from __future__ import annotations

import os
from typing import Any

from weft.engine.session import Options, check_store, checked_seed
from weft.model.graph import Graph
from weft.run.driving import drive
from weft.run.made_files import gone, makes_files
from weft.run.run import Run, open_run
from weft.store.fs import FileSystem, current
from weft.store.record import RunDirectory
from weft.study import compare
from weft.study.opening import absolute, memory_study, open_study
from weft.study.study import Study


def start(
    pipeline: Any, inputs: Any, options: Options, *, run_dir: str | os.PathLike[str] | None, store: str,
    seed: int | None, on_change: str, force: Any, shared: bool, progress: bool | str, wait: bool,
) -> Run:  # fmt: skip
    """Run a pipeline; see `Pipeline.run`."""
    check_store(store, run_dir)
    study = _study(
        pipeline.graph, pipeline.name, inputs, run_dir, checked_seed(seed), on_change, force, shared
    )
    return Run(study, drive(study, options, progress, wait), pipeline=pipeline)


def _study(
    graph: Graph,
    name: str,
    inputs: Any,
    run_dir: Any,
    seed: int | None,
    on_change: str,
    force: Any,
    shared: bool,
) -> Study:  # fmt: skip
    if run_dir is None:
        compare.check_choice(on_change)
        return memory_study(graph, inputs, name, seed or 0, compare.forced_steps(graph, force))
    fs = FileSystem(current().disk, shared=True) if shared else current()
    directory = RunDirectory(absolute(run_dir), fs)
    if makes_files(graph) and directory.exists() and directory.change() is not None:
        run = open_run(directory.path)
        for step, lacking in gone(run._study, graph).items():
            for where in lacking:
                run.reset(step, **where)
    return open_study(directory, graph, inputs, name, seed, on_change, force)
