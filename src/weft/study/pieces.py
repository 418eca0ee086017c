"""Which elements of a block travel together as pieces of work, and which come first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from weft.plan.blocks import Block, Grid, Positions
from weft.study.arguments import Item
from weft.study.coarse import able as able_runs

if TYPE_CHECKING:
    from weft.study.tracks import Track

PILOT_CANDIDATES = 4096


def pilots(track: Track, workers: int) -> list[Item]:
    """The first few elements that can run, to learn how long they take: an item for each worker."""
    grid = track.study.provisional(track.first)
    chosen = track.selection
    total = track.total()
    few = min(total, PILOT_CANDIDATES)
    local = first_wanted(grid, chosen, few)
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
            able &= able_runs(need, made, where, len(local))
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


def by_signature(names: list[str], block: Block, local: Positions, opened: Any) -> Iterable[Item]:
    """One item for each set of steps that is open at the same elements."""
    if opened.all():
        yield Item.of(names, block, local)
        return
    if len(names) < 63:
        signatures = (opened * (1 << np.arange(len(names)))[:, None]).sum(axis=0)
    else:  # more than an integer has bits
        signatures = np.unique(opened, axis=1, return_inverse=True)[1].reshape(-1)
    for signature in np.unique(signatures).tolist():
        where = signatures == signature
        steps = [name for name, is_open in zip(names, opened[:, where.argmax()], strict=True) if is_open]
        if steps:
            yield Item.of(steps, block, local[where])


def in_turn(opened: Any, before: Positions) -> Any:
    """Of what is open along a chain of iterations, flags of what can run now.

    That is, for each element that goes round, its first open iteration and those right behind it at which the
    same steps are open; what comes later waits for these to be committed.

    Parameters
    ----------
    opened
        Flags by step and element.
    before
        For each element the position of its predecessor, which stands before it; -1 if that is outside.
    """
    now = np.zeros(opened.shape[1], bool)
    waiting = np.zeros(opened.shape[1], bool)
    any_open, columns = opened.any(axis=0).tolist(), [column.tobytes() for column in opened.T]
    for position, earlier in enumerate(before.tolist()):
        if earlier >= 0 and waiting[earlier]:
            waiting[position] = True
        elif any_open[position]:
            follows = earlier < 0 or not any_open[earlier] or columns[earlier] == columns[position]
            now[position], waiting[position] = follows, not follows
        elif earlier >= 0 and now[earlier]:
            waiting[position] = True
    return now


def first_wanted(grid: Grid, chosen: list[Any], few: int) -> Positions:
    """The first `few` wanted positions of a grid of one block."""
    sizes = [n if p is None else len(p) for n, p in zip(grid.shape, chosen, strict=True)]
    flat = np.unravel_index(np.arange(few), sizes)
    local = np.zeros(few, np.int64)
    for place, index in enumerate(flat):
        local = local * grid.block[place] + (index if chosen[place] is None else chosen[place][index])
    return local
