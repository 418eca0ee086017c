"""Counting what really ran, in whatever process it did."""

from __future__ import annotations

import os
from typing import Any


class Calls:
    """Counts calls across threads and processes: each appends a line to a file, at once and whole.

    Parameters
    ----------
    path
        The file; made by the first call.

    Examples
    --------
    >>> import os, tempfile
    >>> calls = Calls(os.path.join(tempfile.mkdtemp(), "calls"))
    >>> calls("f", 3)
    >>> calls.made(), len(calls), calls.take(), calls.take()
    (['f 3'], 1, ['f 3'], [])
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self._taken = 0

    def __call__(self, *what: Any) -> None:
        """Note a call; `what` says which."""
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(handle, (" ".join(map(str, what)) + "\n").encode())
        finally:
            os.close(handle)

    def made(self) -> list[str]:
        """All calls so far, in the order in which they were made."""
        if not os.path.exists(self.path):
            return []
        with open(self.path) as file:
            return file.read().splitlines()

    def take(self) -> list[str]:
        """The calls since the last `take`."""
        made = self.made()
        new, self._taken = made[self._taken :], len(made)
        return new

    def __len__(self) -> int:
        return len(self.made())
