"""Backends on this machine: in turn, threads, processes, loky, and any executor of the user's."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import pickle
import sys
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from typing import Any, ClassVar

from weft.backends.devices import Slots, checked, hold_next, holding
from weft.backends.following import follow
from weft.backends.limits import environment, prepare
from weft.model.project import is_project_module

IDLE_SECONDS = 60  # after which a warm worker gives its memory back


class Local:
    """What backends on this machine have in common: options, and devices that belong to workers."""

    requires: ClassVar[str] = ""
    options: ClassVar[tuple[str, ...]] = ("devices", "initializer", "initargs")
    separate: ClassVar[bool] = True

    def __init__(self, **options: Any) -> None:
        self.devices = checked(options.pop("devices", None), sent=self.separate)
        self.given = options

    @functools.cached_property
    def slots(self) -> Slots | None:
        """What worker processes take their devices from."""
        return Slots(self.devices) if self.devices else None

    def _start_with(self) -> tuple[Any, ...]:
        """What every worker process is prepared with; see `follow`."""
        return os.getpid(), self.given.get("initializer"), self.given.get("initargs", ()), self.slots


class InlineExecutor(Executor):
    """Runs what is submitted at once, in the thread that submits, with the first of the devices."""

    def __init__(self, devices: tuple[Any, ...] = ()) -> None:
        self.devices = devices

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run it; the future is finished when it is returned."""
        future: Future[Any] = Future()
        try:
            with holding(self.devices):
                future.set_result(fn(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future


class Sequential(Local):
    """One element after the other, in the driver's own thread."""

    name: ClassVar[str] = "sequential"
    description: ClassVar[str] = "one element after the other, in this process"
    options: ClassVar[tuple[str, ...]] = ("devices",)
    separate: ClassVar[bool] = False

    def start(self, n_jobs: int) -> Executor:
        """An executor that runs what is submitted at once."""
        return InlineExecutor(self.devices)

    def stop(self, executor: Executor, kill: bool = False) -> None:
        """Nothing to let go of."""


class Threads(Local):
    """Threads of this process: for functions that wait, or release the GIL."""

    name: ClassVar[str] = "thread_pool"
    description: ClassVar[str] = "threads of this process; for functions that wait or release the GIL"
    separate: ClassVar[bool] = False

    def start(self, n_jobs: int) -> Executor:
        """A new pool of threads."""
        given = self.given
        if self.devices:
            args = (list(self.devices), given.get("initializer"), given.get("initargs", ()))
            given = {"initializer": hold_next, "initargs": args}
        return ThreadPoolExecutor(n_jobs, thread_name_prefix="weft", **given)

    def stop(self, executor: Executor, kill: bool = False) -> None:
        """End the threads; a thread cannot be killed, so `kill` does not wait for it."""
        executor.shutdown(wait=not kill, cancel_futures=True)


class Processes(Local):
    """Processes of the standard library's pool, started afresh for each run.

    `mp_context` is ``"forkserver"`` where there is one, else ``"spawn"``: forking a process that has threads
    is not safe.
    """

    name: ClassVar[str] = "process_pool"
    description: ClassVar[str] = "processes of the standard library"
    options: ClassVar[tuple[str, ...]] = (*Local.options, "mp_context", "max_tasks_per_child")

    def __init__(self, **options: Any) -> None:
        import multiprocessing

        context = options.pop("mp_context", None)
        if context is None:
            known = multiprocessing.get_all_start_methods()
            context = "forkserver" if "forkserver" in known else "spawn"
        self.context = multiprocessing.get_context(context) if isinstance(context, str) else context
        super().__init__(**options)

    def start(self, n_jobs: int) -> Executor:
        """A new pool of processes."""
        from weft.backends.shielded import Shielded  # 10 ms, a tenth of importing weft

        return Shielded(
            n_jobs,
            mp_context=self.context,
            initializer=_start_worker,
            initargs=(n_jobs, *self._start_with()),
            max_tasks_per_child=self.given.get("max_tasks_per_child"),
        )

    def stop(self, executor: Executor, kill: bool = False) -> None:
        """End the processes; with `kill` at once."""
        processes = list((getattr(executor, "_processes", None) or {}).values())
        if kill:
            for process in processes:
                process.kill()
        executor.shutdown(wait=True, cancel_futures=True)


def _start_worker(n_jobs: int, *start_with: Any) -> None:
    """Prepare a worker: numerical libraries share the cores."""
    prepare(n_jobs)
    follow(*start_with)


class Loky(Local):
    """Processes of loky: kept warm between runs, and functions from notebooks work without further ado."""

    name: ClassVar[str] = "loky"
    description: ClassVar[str] = "robust processes, kept warm between runs (the default for long work)"
    requires: ClassVar[str] = "loky"
    options: ClassVar[tuple[str, ...]] = (*Local.options, "timeout", "env")

    def start(self, n_jobs: int) -> Executor:
        """The pool that the last run left warm, or a new one.

        loky's own reusable pool is one for each thread, and shared with whoever asks loky for it: taking it
        with another initializer would end a user's.
        """
        from loky.process_executor import ProcessPoolExecutor

        devices = pickle.dumps(self.devices)
        self.key = (os.getpid(), n_jobs, repr(sorted(self.given.items())), devices, _project())
        with _warm_lock:
            warm = _warm.pop() if _warm else None
        if warm is not None:
            key, executor, slots = warm
            if key == self.key and _lives(executor):
                self.slots = slots
                return executor
            # The new one may be waiting for its devices.
            executor.shutdown(wait=slots is not None, kill_workers=slots is not None)  # type: ignore[call-arg]
        pool: Executor = ProcessPoolExecutor(
            n_jobs,
            timeout=self.given.get("timeout", IDLE_SECONDS),
            initializer=follow,
            initargs=self._start_with(),
            env={**environment(n_jobs), **self.given.get("env", {})},
        )
        return pool

    def stop(self, executor: Executor, kill: bool = False) -> None:
        """Leave the pool warm; with `kill` end its processes at once."""
        if kill:
            executor.shutdown(wait=True, kill_workers=True)  # type: ignore[call-arg]
            return
        with _warm_lock:
            left, _warm[:] = list(_warm), [(self.key, executor, self.slots)]
        for _, other, _ in left:
            other.shutdown(wait=False)


def _project() -> tuple[tuple[str, int, int], ...]:
    """The user's modules as they are on disk: a warm worker has them as they were when it first ran."""
    found = []
    for name, module in list(sys.modules.items()):
        # By `getattr`, a module that is imported when it is first used would be.
        file = getattr(module, "__dict__", {}).get("__file__")
        if isinstance(file, str) and _own(name, file):
            with contextlib.suppress(OSError):
                now = os.stat(file)
                found.append((name, now.st_mtime_ns, now.st_size))
    return tuple(sorted(found))


@functools.cache
def _own(name: str, file: str) -> bool:
    # Of 1,700 modules: 0.5 ms a run, and 4 without the cache.
    return is_project_module(name)


def _lives(executor: Executor) -> bool:
    """Whether a warm pool still works: what kills an idle worker breaks the pool for ever."""
    try:
        executor.submit(os.getpid).result()
    except BrokenExecutor:
        return False
    return True


@atexit.register
def _let_warm_pools_go() -> None:
    """End idle workers while the interpreter is still whole: loky's own end comes too late for that."""
    while _warm:
        _warm.pop()[1].shutdown(wait=True, kill_workers=True)  # type: ignore[call-arg]


_warm: list[tuple[Any, Executor, Slots | None]] = []  # at most one
_warm_lock = threading.Lock()


class Given:
    """An executor of the user's own; it is used as it is, and never shut down."""

    name: ClassVar[str] = "executor"
    description: ClassVar[str] = "any concurrent.futures.Executor"
    requires: ClassVar[str] = ""
    options: ClassVar[tuple[str, ...]] = ()

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self.separate = not isinstance(executor, (ThreadPoolExecutor, InlineExecutor))

    def start(self, n_jobs: int) -> Executor:
        """The executor itself."""
        return self.executor

    def stop(self, executor: Executor, kill: bool = False) -> None:
        """It is not ours to stop."""
