"""Damage that comes to light while a run is driven: what was damaged is open again, and its readers wait."""

from __future__ import annotations

from collections.abc import Callable

from weft.engine.attention import Attention
from weft.errors import CorruptResult
from weft.study.study import Study

READERS = 100  # jobs that may already be on their way to what one damaged commit held


class Mending:
    """Sets damaged commits aside on behalf of a driver."""

    def __init__(self, study: Study, attention: Attention, emit: Callable[..., None]) -> None:
        self.study, self.attention, self.emit = study, attention, emit
        self.pardons = 0

    def mend(self, error: BaseException | None) -> bool:
        """Have made again what an error found damaged; False if it is no damage, or not of a result.

        Jobs under way may find that what they read was just set aside: they, too, are sent again.
        """
        if not isinstance(error, CorruptResult):
            return False
        damaged = getattr(error, "commit", None)
        tracks = self.attention.tracks
        track = next((t for t in tracks if damaged is not None and damaged.step in t.counts), None)
        if damaged is None:
            self.pardons -= 1
            if self.pardons < 0:
                return False
        elif track is None or track.grid is None:
            return False
        else:
            self.emit("note", damaged.step, message=f"{error} Its elements are made again.")
            self.study.store.set_aside(damaged)
            self.study.results[damaged.step].remove(damaged)
            track.reopen(track.grid.number(damaged.block), damaged)
            self.pardons += READERS
        for other in tracks:
            other.look_again()
            self.attention.wake(other)
        return True
