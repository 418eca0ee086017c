"""Running again only what failed, and what was blocked by it: everything else is held back."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from weft.model.step import Step
from weft.plan.blocks import Positions
from weft.store.commits import DONE, FAILED
from weft.study.study import Study
from weft.study.tracks import Track


class Retry:
    """Holds back what is not to be retried, by counting it as failed for this session.

    Parameters
    ----------
    step
        The step whose failed elements run again; None for all steps.
    chosen
        Storage positions on some axes: only failed elements there.
    """

    def __init__(self, study: Study, step: str | None, chosen: Mapping[str, Positions]) -> None:
        self.study, self.step, self.chosen = study, step, chosen
        self.following: set[str] = set()

    def __call__(self, tracks: list[Track]) -> None:
        """Take out of the tracks what is not to be run."""
        for track in tracks:
            opened = track.open()
            for step in track.steps:
                if opened:
                    self._hold(track, step)
                elif step.name not in self.following:
                    track.losses.impossible = True

    def _hold(self, track: Track, step: Step) -> None:
        grid, results = track.grid, self.study.results[step.name]
        assert grid is not None
        follows = step.name in self.following or step.name in track.unkept
        for number in range(grid.n_blocks):
            block = grid.at(number)
            local = grid.local(block, track.selection)
            states = results.state(grid, block).states()[local]
            failed = states == FAILED
            again = failed & self._meant(track, step, block, local)
            held = local[failed & ~again] if follows else local[(states != DONE) & ~again]
            if len(held):
                track.failed[step.name, number] = set(held.tolist())
            track.counts[step.name].failed += int((failed & ~again).sum())
            if again.any():
                self.following |= {s.name for s in self.study.graph.descendants(step)} - {step.name}

    def _meant(
        self, track: Track, step: Step, block: tuple[int, ...], local: Positions
    ) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        assert track.grid is not None
        if self.step not in (None, step.name) or not set(self.chosen) <= set(step.axes):
            return np.zeros(len(local), bool)
        meant = np.ones(len(local), bool)
        for axis, at in zip(step.axes, track.grid.storage(block, local), strict=True):
            if axis in self.chosen:
                meant &= np.isin(at, self.chosen[axis])
        return meant
