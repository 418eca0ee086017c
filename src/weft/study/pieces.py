"""Which elements of a block travel together as pieces of work, and which come first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from weft.plan.blocks import Block, Positions
from weft.study.arguments import Item


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
