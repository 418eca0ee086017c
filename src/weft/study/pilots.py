"""The first few elements of a group, which tell how long its elements take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from weft.plan.blocks import Grid, Positions
from weft.plan.dataflow import Need
from weft.study.arguments import Item
from weft.study.tracks import Track

PILOT_CANDIDATES = 4096


def pilots(track: Track, workers: int) -> list[Item]:
    """The first few elements that can run, to learn how long they take: an item for each worker."""
    grid = track.study.provisional(track.first)
    chosen = track.selection
    total = track.total()
    few = min(total, PILOT_CANDIDATES)
    local = _first(grid, chosen, few)
    where = dict(zip(track.first.axes, grid.storage(grid.at(0), local), strict=True))
    able = np.ones(len(local), bool)
    for need, made in track.needs:
        if made.impossible or (made is track and need.back and track.group.chain):
            continue
        if need.back:
            able &= where[need.back] == 0
            continue
        if made.grid is None:
            return []
        if need.coarse:
            able &= _able(need, made, where, len(local))
            continue
        axes = made.first.axes
        settled = made.settled.reshape(made.grid.counts, order="F")
        settled = settled.all(axis=tuple(i for i, a in enumerate(axes) if a not in need.along))
        along = [(where[a], made.grid.block[i]) for i, a in enumerate(axes) if a in need.along]
        able &= settled[tuple(at // size for at, size in along)] if along else bool(settled)
    local = local[able]
    if not len(local):
        return []
    names = [step.name for step in track.steps]
    each = max(1, min(64, len(local) // (4 * workers) or 1))
    for step in track.steps:
        left = dict(zip(track.first.axes, grid.storage(grid.at(0), local), strict=True))
        local = local[~track.losses.outside(step, left, len(local))]
    if not len(local):
        # All of the first are blocked: the blocks must be chosen without measuring.
        return [Item.of(names, grid.at(0), local)]
    if track.group.chain:
        workers = 1  # the first iterations, which have nothing before them
    parts = [local[i * each : (i + 1) * each] for i in range(workers)]
    return [Item.of(names, grid.at(0), part) for part in parts if len(part)]


def _able(need: Need, made: Track, where: Mapping[str, Positions], n: int) -> Any:
    """Which of `n` elements have all of their runs settled."""
    coarse, grid = need.coarse, made.grid
    assert coarse is not None and grid is not None
    axes = made.first.axes
    place, found = axes.index(coarse.of), np.zeros(n, bool)
    flags = made.settled.reshape(grid.counts, order="F")
    inner = tuple(i for i, axis in enumerate(axes) if axis not in need.along)
    for run in np.unique(where[coarse.axis]).tolist():
        spans = [coarse.span(run, run + 1) if i == place else None for i in range(len(axes))]
        settled = flags[grid.covering(spans)].all(axis=inner)
        at = [where[a] // grid.block[i] for i, a in enumerate(axes) if a in need.along]
        found |= (where[coarse.axis] == run) & settled[tuple(at)]
    return found


def _first(grid: Grid, chosen: list[Any], few: int) -> Positions:
    """The first `few` wanted positions of a grid of one block."""
    sizes = [n if p is None else len(p) for n, p in zip(grid.shape, chosen, strict=True)]
    flat = np.unravel_index(np.arange(few), sizes)
    local = np.zeros(few, np.int64)
    for place, index in enumerate(flat):
        local = local * grid.block[place] + (index if chosen[place] is None else chosen[place][index])
    return local
