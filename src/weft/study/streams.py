"""The random stream of each element: of the run's seed and what the element is, and of nothing else."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np


def stream_words(step: str, coordinates: np.ndarray[Any, np.dtype[np.uint8]]) -> Any:
    """Spawn keys of elements' random streams: four 32-bit words each.

    Parameters
    ----------
    coordinates
        One row of bytes for each element: content and occurrence number on each of its axes.

    Notes
    -----
    The words are the blake2b digest of step name, a zero and coordinates; together with the run's seed
    they make the `numpy.random.SeedSequence` (O'Neill's seeding, as NumPy documents it for parallel use).
    """
    prefix = hashlib.blake2b(f"{step}\x000\x00".encode(), digest_size=16)
    words = np.empty((len(coordinates), 4), np.uint32)
    for number, row in enumerate(coordinates):
        state = prefix.copy()
        state.update(row.tobytes())
        words[number] = np.frombuffer(state.digest(), np.uint32)
    return words


def generator(seed: int, words: Any) -> np.random.Generator:
    """The random stream of one element."""
    sequence = np.random.SeedSequence(seed, spawn_key=tuple(int(word) for word in words))
    return np.random.Generator(np.random.PCG64(sequence))
