"""A plan of what a run would do: the same checks as a run's, and a look at what its directory already has."""

from __future__ import annotations

import math
import os
from typing import Any

from weft.engine.session import Backends, Options, wanted_steps
from weft.engine.sizing import JOB_SECONDS, MOST_BLOCKS, SHARES
from weft.model.graph import Graph
from weft.plan.axes import chosen
from weft.plan.dataflow import fuse
from weft.plan.plan import QUICK_ELEMENT, Plan, plan_of
from weft.store.files import FilesStore
from weft.store.fs import current
from weft.store.memory import MemoryStore
from weft.store.record import RunDirectory, StepRecord
from weft.study import compare
from weft.study.opening import absolute, completed, refuse_other
from weft.study.resolve import axes_of, inputs_of
from weft.study.study import Study


def planned(
    graph: Graph, given: Any, name: str, run_dir: str | os.PathLike[str] | None, seed: int | None,
    on_change: str, force: Any, options: Options,
) -> Plan:  # fmt: skip
    """The plan of a run with these options; reads the run directory, writes nothing.

    Raises
    ------
    InvalidInput, ShapeError, RunMismatch
        As the run itself would.
    """
    directory = None if run_dir is None else RunDirectory(absolute(run_dir), current())
    old = directory.change() if directory is not None and directory.exists() else None
    if directory is not None and old is not None:
        refuse_other(directory, graph, name)
        graph, given = completed(directory, graph, given, old)
    inputs = inputs_of(graph, given)
    axes = axes_of(graph, inputs)
    forced = compare.forced_steps(graph, force)
    compare.check_choice(on_change)
    records = {step: StepRecord("plan", "") for step in graph.steps}
    study = Study(graph, inputs, axes, records, MemoryStore(), name)
    done: dict[str, int] = {}
    if directory is not None and old is not None:
        store = FilesStore(directory.path, directory.fs, directory.trust)
        described = compare.described(graph, inputs, old.seed if seed is None else seed)
        cost = compare.cost_in(store)
        records, _, _ = compare.settle(graph, described, old, on_change, forced, cost)
        done = {step: cost(record, step)[0] for step, record in records.items()}
        study = Study(graph, inputs, axes, records, store, name, resets=old.resets).refresh()
    groups = fuse(graph, Backends(study, options).kind, study.blocks)
    workers = options.slots

    def jobs_of(n: int, n_blocks: int) -> int:
        """As the driver cuts work into jobs, for quick elements."""
        if not n or not n_blocks:
            return 0
        most = min(JOB_SECONDS / QUICK_ELEMENT, n / (SHARES * workers) if workers > 1 else math.inf)
        return math.ceil(n_blocks / max(1, min(MOST_BLOCKS, most // math.ceil(n / n_blocks))))

    size = None if options.block_size == "auto" else int(options.block_size)
    return plan_of(
        graph, name, axes, groups, chosen=chosen(axes, options.indices), wanted=wanted_steps(graph, options),
        block_size=size, workers=workers, jobs_of=jobs_of, blocks=study.blocks, done=done,
    )  # fmt: skip
