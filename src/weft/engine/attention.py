"""Which groups want the driver's attention, so that a turn costs what has changed and not what there is."""

from __future__ import annotations

from collections.abc import Sequence

from weft.engine.pools import Pool
from weft.plan.dataflow import Need
from weft.study.queue import Queue
from weft.study.tracks import Track


class Attention:
    """The tracks that something happened to, and those that wait for room in their pool.

    Parameters
    ----------
    tracks
        In running order: looked at from the first on, sent from the last on.
    """

    def __init__(self, tracks: Sequence[Track]) -> None:
        self.tracks = tracks
        self.place = {track: place for place, track in enumerate(tracks)}
        self.readers: dict[Track, list[tuple[Need, Track]]] = {track: [] for track in tracks}
        for track in tracks:
            for need, made in track.needs:
                self.readers[made].append((need, track))
        self._changed = Queue()
        self.waiting: dict[Pool, Queue] = {}
        for track in tracks:
            self.wake(track)

    def __bool__(self) -> bool:
        return bool(self._changed)

    def wake(self, track: Track) -> None:
        """Something happened to a track."""
        self._changed.add(self.place[track])

    def changed(self) -> Track | None:
        """The first track that something happened to since it was looked at."""
        return self.tracks[self._changed.pop()] if self._changed else None

    def wait(self, track: Track, pool: Pool) -> None:
        """A track has blocks to send."""
        self.waiting.setdefault(pool, Queue()).add(-self.place[track])

    def tell(self, track: Track, numbers: Sequence[int]) -> None:
        """Have those who wait for a track's blocks look at theirs; all of its blocks without `numbers`.

        Those outside a loop also wait for iterations that will never be.
        """
        ended, track.ended = track.ended, []
        for need, other in self.readers[track]:
            within = set(other.first.loops) & set(track.first.loops)
            if other.grid is not None:
                self._reconsider(other, need, track, numbers if within or not numbers else [*numbers, *ended])
            if other.grid is None or other.ready:
                self.wake(other)

    @staticmethod
    def _reconsider(other: Track, need: Need, track: Track, numbers: Sequence[int]) -> None:
        assert other.grid is not None
        if track.grid is None or not track.grid.n_blocks:  # it has nothing to wait for
            for waiting in range(other.grid.n_blocks):
                other.consider(waiting)
            return
        seen: set[tuple[tuple[int, int] | None, ...]] = set()
        for number in numbers or track.settled.nonzero()[0].tolist():
            if not track.settled[number]:
                continue
            spans = dict(zip(track.first.axes, track.grid.box(track.grid.at(number)), strict=True))
            if need.back:
                low, high = spans[need.back]
                spans[need.back] = (low + 1, high + 1)
            shared = list(need.along)
            if need.coarse:
                spans[need.coarse.axis] = need.coarse.runs(*spans[need.coarse.of])
                shared.append(need.coarse.axis)
            box = tuple(spans.get(a) if a in shared else None for a in other.first.axes)
            if box in seen:  # many blocks of one may be behind the same of the other
                continue
            seen.add(box)
            part = other.grid.covering(box)
            for waiting in other.grid.numbers(part):
                other.consider(waiting)
