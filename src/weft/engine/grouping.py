"""Jobs that hold whole groups of elements, where a step's elements are not to be run at the same time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from weft.engine.pools import Pool
from weft.engine.sizing import SHARES
from weft.plan.blocks import Positions, block_elements, positions
from weft.study.arguments import Item
from weft.study.tracks import Track

Items = tuple[Item, ...]
LEAST_UNKNOWN = 1024  # elements of a block where the first rows, perhaps empty, tell nothing of those to come


def groups_of(track: Track) -> Positions | None:
    """For each storage position of the step's axis the number of its group; None if there are no groups."""
    memory, key = track.study.memory, f"groups of {track.first.name}"
    if key not in memory:
        memory[key] = _groups(track)
    found: Positions | None = memory[key]
    return found


def _groups(track: Track) -> Positions | None:
    ask = getattr(track.first.function, "groups", None)
    given = track.study.inputs.get(track.first.inputs[0].name) if ask is not None else None
    if ask is None or given is None or given.column is None or not track.first.axes:
        return None
    labels = ask(given.column.tolist())
    if labels is None:
        return None
    numbers: dict[Any, int] = {}
    axis = track.study.axes[track.first.axes[0]]
    found = np.full(axis.size or 0, -1, np.int64)
    found[axis.positions] = [numbers.setdefault(label, len(numbers)) for label in labels]
    return found


def unmeasured(track: Track, pool: Pool) -> int | None:
    """Elements of a block that nothing is measured for; None where pilots tell.

    Pilots, run by several workers, would tear groups apart; and along rows with lengths of their own there is
    no telling how many elements there will be.
    """
    if groups_of(track) is None and not track.ragged:
        return None
    found = block_elements(track.total(), pool.n_jobs, 0.01, 8.0)
    # A job that carries its elements through the iterations of a loop is never cut: a block is a job.
    return max(found, LEAST_UNKNOWN) if track.ragged and not track.group.chain else found


def growing(track: Track) -> int | None:
    """The place of an axis along which rows still to be made may be longer; None if there is none."""
    ragged = track.study.graph.ragged
    return next((place for place, axis in enumerate(track.first.axes) if axis in ragged), None)


def at_once(track: Track, pool: Pool) -> int:
    """How many elements that may kill their workers are run at once, each alone."""
    return pool.n_jobs if groups_of(track) is None else 1


def send_groups(
    track: Track, pool: Pool, weight: int, submit: Callable[[Track, Pool, Items, tuple[int, ...], None], None]
) -> list[int]:
    """Send all that is open in blocks that are ready, in jobs that hold whole groups.

    Every job counts at every block, so that what comes to be open meanwhile waits for all of them: nothing
    of a group is sent while something of it may be running. One worker begins with one group alone, which
    tells whether there is enough to do for more of them.

    Returns
    -------
    list of int
        Blocks in which nothing is open.
    """
    numbers: list[int] = []
    settled: list[int] = []
    items: list[Item] = []
    while track.ready:
        number = track.ready.pop()
        found = [] if track.out[number] else track.items(number)
        (numbers if found else settled).append(number)
        items += found
    first = pool.n_jobs == 1 and not track.measured[0]
    n_jobs = pool.n_jobs // weight if pool.n_jobs == 1 or weight > 1 else SHARES * pool.n_jobs
    jobs = _cut(track, items, None if first else n_jobs)
    for job in jobs[:1] if first else jobs:
        submit(track, pool, job, tuple(numbers), None)
    return settled


def _cut(track: Track, items: list[Item], n_jobs: int | None) -> list[Items]:
    """About `n_jobs` jobs of whole groups; one for each group without."""
    groups, grid = groups_of(track), track.grid
    assert groups is not None and grid is not None
    if not items:
        return []
    local = [positions(item.local) for item in items]
    labels = [groups[grid.storage(i.block, at)[0]] for i, at in zip(items, local, strict=True)]
    present, sizes = np.unique(np.concatenate(labels), return_counts=True)
    job_of = np.arange(len(present))
    if n_jobs is not None:
        job_of = (np.cumsum(sizes) - sizes) * n_jobs // sizes.sum()
    jobs: dict[int, list[Item]] = {}
    for item, at, label in zip(items, local, labels, strict=True):
        mine = job_of[np.searchsorted(present, label)]
        for number in np.unique(mine).tolist():
            jobs.setdefault(number, []).append(Item.of(item.steps, item.block, at[mine == number]))
    return [tuple(jobs[number]) for number in sorted(jobs)]
