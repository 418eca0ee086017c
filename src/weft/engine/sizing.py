"""How large the next job is, and how much room it takes."""

from __future__ import annotations

import math
from collections.abc import Iterable

from weft.engine.pools import Pool, Sent, cpus
from weft.study.tracks import Track

JOB_SECONDS = 2.0
LEAST_SECONDS = 0.025  # a job's last commit, which nothing hides, takes 1 to 3 ms
SHARES = 2  # jobs per worker that the remaining work of a group is cut into
MOST_BLOCKS = 64  # of a job


def job_size(track: Track, pool: Pool, sent: Iterable[Sent]) -> float:
    """Elements of the next job: shares shrink as the work does, so that all workers end together."""
    n_measured, seconds = track.measured
    each = seconds / n_measured if n_measured else 0.0
    most = JOB_SECONDS / each if each else math.inf
    if pool.n_jobs == 1:
        return most
    known = [
        c.total - c.done - c.failed - c.blocked - c.skipped
        for c in track.counts.values()
        if c.total is not None
    ]
    out = sum(item.n for s in sent if s.track is track for item in s.job.items)
    share = (max(known, default=0) - out) / (SHARES * pool.n_jobs)
    return max(1.0, min(most, share), LEAST_SECONDS / each if each else 1.0)


def weight(track: Track, pool: Pool) -> int:
    """How many of a pool's places a job takes: the cpus that its step asks for."""
    return min(pool.n_jobs, cpus(track) or 1)
