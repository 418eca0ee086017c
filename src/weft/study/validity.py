"""Which results still hold: what they took whole must be, by its digest, what is there now."""

from __future__ import annotations

from typing import Any

import numpy as np

from weft.model.step import Step
from weft.plan.blocks import Block, Grid, Positions
from weft.study.arguments import Fetcher
from weft.study.study import Study


def valid(
    study: Study, fetcher: Fetcher, step: Step, grid: Grid, block: Block, local: Positions, done: Any
) -> Any:
    """Which of a block's done elements still hold."""
    box = dict(zip(step.axes, grid.box(block), strict=True))
    seen = fetcher.fingerprint(step, box)
    results = study.results[step.name]
    state = results.state(grid, block)
    if not seen or all(c.reads == seen for c in state.commits if c.n_done):
        return done
    found = done.copy()
    where = dict(zip(step.axes, grid.storage(block, local), strict=True))
    for name in study.graph.traced(step):
        found &= fetcher.values.present(name, where, len(local))
    at = np.flatnonzero(found)
    digests = fetcher.read_digests(step, {axis: p[at] for axis, p in where.items()}, len(at))
    for commit, places, which in state.sources(local[at]):
        if commit.reads == seen:
            continue
        kept = results.digests(commit)
        if kept is None:
            found[at[which]] = False
        else:
            found[at[which]] = (kept[places] == digests[which]).all(axis=1)
    return found
