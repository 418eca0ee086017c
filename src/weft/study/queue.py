"""What waits for its turn: groups for the driver's attention, blocks for a worker."""

from __future__ import annotations

import heapq


class Queue:
    """Numbers, each once, the least first."""

    def __init__(self) -> None:
        self._heap: list[int] = []
        self._there: set[int] = set()

    def __bool__(self) -> bool:
        return bool(self._heap)

    @property
    def first(self) -> int:
        """The least."""
        return self._heap[0]

    def add(self, number: int) -> None:
        """Put a number in, unless it is there: nothing is sent twice because two things made it ready."""
        if number not in self._there:
            self._there.add(number)
            heapq.heappush(self._heap, number)

    def pop(self) -> int:
        """Take the least out."""
        number = heapq.heappop(self._heap)
        self._there.remove(number)
        return number
