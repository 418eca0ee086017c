"""Threads of numerical libraries in worker processes: together no more than there are cores."""

from __future__ import annotations

import contextlib
import os

NAMES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def said() -> bool:
    """Whether the user's environment says how many threads there are to be."""
    return any(name in os.environ for name in NAMES)


def share(n_jobs: int) -> int:
    """Threads for each of `n_jobs` workers."""
    return max(1, len(os.sched_getaffinity(0)) // n_jobs)


def environment(n_jobs: int) -> dict[str, str]:
    """What makes the libraries of `n_jobs` workers share the cores; nothing if the user has a say."""
    # All or nothing: OpenBLAS and MKL have names of their own, which would win over a user's OMP_NUM_THREADS.
    return {} if said() else dict.fromkeys(NAMES, str(share(n_jobs)))


def prepare(n_jobs: int) -> None:
    """Have this process share the cores with other workers, libraries that it has loaded already too."""
    wanted = environment(n_jobs)
    limited(share(n_jobs) if wanted else None)
    os.environ.update(wanted)


def limited(threads: int | None) -> contextlib.AbstractContextManager[object]:
    """Limit the libraries that are loaded, until the context ends; not without threadpoolctl."""
    if threads is None:
        return contextlib.nullcontext()
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return contextlib.nullcontext()
    limits: contextlib.AbstractContextManager[object] = threadpool_limits(threads)
    return limits
