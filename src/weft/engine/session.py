"""A session: one driver at work on one study, from the options of ``run`` to its end."""

from __future__ import annotations

import contextlib
import os
import threading
import time
import warnings
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any

from weft.backends import get_backend
from weft.engine import caching
from weft.engine.driver import Driver, counts
from weft.engine.events import Emitter, EventLog
from weft.engine.jobs import FLUSH_SECONDS, Settings
from weft.engine.lease import Lease
from weft.engine.pools import Pool
from weft.errors import InvalidInput, nearest
from weft.model.graph import Graph
from weft.model.step import Step
from weft.plan.axes import chosen
from weft.plan.dataflow import fuse
from weft.store.fs import current
from weft.store.record import RunDirectory, refusals
from weft.study.study import Study
from weft.study.tracks import Track

QUICK_SECONDS = 1.5  # less work than this is done before another process has started


@dataclass(frozen=True)
class Options:
    """How to run, checked before work starts; see `Pipeline.run`."""

    backend: Any = "auto"
    n_jobs: int | None = None
    outputs: Any = None
    indices: Mapping[str, Any] = field(default_factory=dict)
    on_error: str = "stop"
    block_size: int | str = "auto"
    flush_seconds: float = FLUSH_SECONDS
    observers: Any = ()
    backend_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.on_error not in ("stop", "cancel", "continue"):
            raise InvalidInput(f"on_error is 'stop', 'cancel' or 'continue', got {self.on_error!r}.")
        if self.n_jobs is not None and (
            isinstance(self.n_jobs, bool) or not isinstance(self.n_jobs, Integral)
        ):
            raise InvalidInput(f"n_jobs is a whole number, got {self.n_jobs!r}.")
        if self.n_jobs is not None and self.n_jobs != -1 and self.n_jobs < 1:
            raise InvalidInput(f"n_jobs is at least 1, or -1 for all cores; got {self.n_jobs}.")
        size = self.block_size
        if size != "auto" and (isinstance(size, bool) or not isinstance(size, Integral) or size < 1):
            raise InvalidInput(f"block_size is 'auto' or a number of elements ≥ 1, got {size!r}.")
        seconds = self.flush_seconds
        if isinstance(seconds, bool) or not isinstance(seconds, Real) or not seconds >= 0:
            raise InvalidInput(f"flush_seconds is a number of seconds ≥ 0, got {seconds!r}.")
        given = (self.observers,) if callable(self.observers) else self.observers
        if not isinstance(given, Iterable) or not all(map(callable, given := tuple(given))):
            raise InvalidInput(f"observers are callables that take an event, got {self.observers!r}.")
        object.__setattr__(self, "observers", given)

    @property
    def workers(self) -> int:
        """Workers of a local backend."""
        return len(os.sched_getaffinity(0)) if self.n_jobs in (None, -1) else int(self.n_jobs or 1)

    @property
    def slots(self) -> int:
        """Workers of the backend that the options are for: no more than there are devices, if any."""
        return min(self.workers, len(self.backend_options.get("devices") or ()) or self.workers)


def checked_seed(seed: Any) -> int | None:
    """A seed as Python's int; None stays None."""
    whole = isinstance(seed, Integral) and not isinstance(seed, bool)
    if seed is not None and (not whole or seed < 0):
        raise InvalidInput(f"seed is a whole number ≥ 0, got {seed!r}.")
    return None if seed is None else int(seed)


def check_store(store: Any, run_dir: Any, graph: Graph) -> None:
    """Refuse a store that is unknown, or that does not go with the run directory or its absence.

    `store` is for all steps, or a mapping by step or output, ``""`` being the others; a step's own wins.
    """
    known = ("auto", "memory", "files")
    given = dict(store) if isinstance(store, Mapping) else {"": store}
    there = [*graph.steps, *graph.producer]
    for name in given:
        if name and name not in there:
            raise InvalidInput(f"store names {name!r}, no step or output.{nearest(name, there)}")
    for one in (*given.values(), *(step.store for step in graph.order if step.store is not None)):
        if one not in known:
            raise InvalidInput(
                f"store is one of {', '.join(map(repr, known))}, got {one!r}.{nearest(str(one), known)}"
            )
        if one == "files" and run_dir is None:
            raise InvalidInput("store='files' needs a run_dir to keep them in.")
        if one == "memory" and run_dir is not None:
            raise InvalidInput("store='memory' keeps nothing in a run_dir: give one or the other.")


def wanted_steps(graph: Graph, options: Options) -> frozenset[str] | None:
    """The steps that a run must take, given its outputs and indices; None for all.

    Raises
    ------
    InvalidInput
        For an unknown output, or one that needs elements which ``indices`` leaves open.
    """
    steps = list(graph.order)
    named: set[str] = set()
    if options.outputs is not None:
        outputs = [options.outputs] if isinstance(options.outputs, str) else list(options.outputs)
        for name in outputs:
            if name not in graph.producer and name not in graph.steps:
                raise InvalidInput(
                    f"outputs names {name!r}, which no step makes.{nearest(name, graph.producer)}"
                )
        named = {graph.find(name).name for name in outputs}
        steps = list(graph.ancestors(graph.steps[name] for name in named))
    for name in options.indices:
        if name in graph.loops:
            raise InvalidInput(
                f"indices names {name!r}, the iterations of a loop, of which each needs those before it: "
                "lower n_iterations instead."
            )
    if options.indices:
        out: dict[str, str] = {}
        before = -1
        while len(out) > before:  # again for what loops carry back
            before = len(out)
            for step in steps:
                axis = _cut(graph, step, options.indices, out)
                if axis:
                    out.setdefault(step.name, axis)
        bad = sorted(named & set(out))
        if bad:
            raise InvalidInput(
                f"{bad[0]!r} takes axis {out[bad[0]]!r} whole, but indices restricts it: leave it out of "
                "outputs, or the axis out of indices."
            )
        steps = [step for step in steps if step.name not in out]
    return None if len(steps) == len(graph.order) else frozenset(step.name for step in steps)


def _cut(graph: Graph, step: Step, indices: Mapping[str, Any], out: Mapping[str, str]) -> str:
    """An axis that `indices` restricts and a step, or what makes what it reads, takes whole; else nothing."""
    for source in graph.reads(step):
        axes = graph.axes.get(source.array, ())
        for axis, index in zip(axes, source.indices, strict=True):
            if index is None and axis in indices:
                return axis
        made = graph.producer.get(source.array)
        if made is not None and made.name in out:
            return out[made.name]
    return ""


class Backends:
    """Which pool runs which group: by the step's own backend, a dict by step or output, or one for all."""

    def __init__(self, study: Study, options: Options) -> None:
        self.study, self.options = study, options
        given = options.backend if isinstance(options.backend, Mapping) else {"": options.backend}
        for name in given:
            if name and name not in study.graph.steps and name not in study.graph.producer:
                known = [*study.graph.steps, *study.graph.producer]
                raise InvalidInput(
                    f"backend names {name!r}, which is no step or output.{nearest(name, known)}"
                )
        self.given = {"": "auto", **given}
        self.pools: dict[Any, Pool] = {}
        self.heavy: set[str] = set()
        self.devices = options.backend_options.get("devices")
        self.main = "loky" if self.given[""] == "auto" else self.given[""]
        extra = dict(options.backend_options)
        for wanted in {
            id(v): v for v in [*self.given.values(), *(s.backend for s in study.graph.order if s.backend)]
        }.values():
            if wanted == "auto":
                if extra:
                    get_backend("loky", **extra)
                continue
            get_backend(wanted, **(extra if wanted is self.given[""] or len(self.given) == 1 else {}))

    def of(self, step: Step) -> Any:
        """The backend that a step is to run on, as it was given."""
        if step.backend is not None:
            return step.backend
        for name in (step.name, *step.outputs):
            if name in self.given:
                return self.given[name]
        return self.given[""]

    def kind(self, step: Step) -> Hashable:
        """What steps must share to be fused."""
        backend = self.of(step)
        resources = (
            step.resources
            if step.resources is None or isinstance(step.resources, Hashable)
            else repr(step.resources)
        )
        key = backend if isinstance(backend, str) else id(backend)
        return key, resources, self.study.blocks.get(step.name)

    def pool(self, track: Track) -> Pool:
        """The pool for a group; ``auto`` turns to processes once there is enough to do."""
        wanted = self.of(track.first)
        single = self.options.workers == 1 and not hasattr(wanted, "submit")
        if wanted == "auto":
            wanted = "loky" if self.devices or (not single and self._heavy(track)) else "sequential"
        options = self.options.backend_options if wanted == self.main else {}
        key = wanted if isinstance(wanted, str) else id(wanted)
        if key not in self.pools:
            if single:
                options = {"devices": getattr(wanted, "devices", None) or options.get("devices")}
                wanted = "sequential"
            backend = get_backend(wanted, **options)
            workers = 1 if backend.name == "sequential" else self.options.workers
            self.pools[key] = Pool(self.study, backend, workers)
        return self.pools[key]

    def _heavy(self, track: Track) -> bool:
        if track.group.name not in self.heavy:
            n, seconds = track.measured
            count = track.counts[track.first.name]
            left = (count.total or 0) - count.done - count.failed
            if not n or left < 2 or seconds / n * left < QUICK_SECONDS:
                return False
            self.heavy.add(track.group.name)
        return True

    def close(self) -> None:
        """Let go of all pools."""
        for pool in self.pools.values():
            pool.close()


class Session:
    """Runs a study once; may be waited for, or stopped, from other threads.

    Parameters
    ----------
    finish
        Called when the session has ended well, before the lease is given up.
    hold
        Given the tracks before work starts: takes out what is not to be run.
    """

    def __init__(
        self, study: Study, options: Options, observers: Iterable[Any], finish: Callable[[], None],
        hold: Callable[[list[Track]], None] | None = None,
    ) -> None:  # fmt: skip
        self.study, self.options, self.finish, self.hold = study, options, finish, hold
        refuse_in_child()
        caching.prepare(study)
        self.backends = Backends(study, options)
        self.steps = wanted_steps(study.graph, options)
        self.observers = list(observers)
        self.driver: Driver | None = None
        self.error: BaseException | None = None
        self.over = threading.Event()
        self.cancelled = False

    def run(self) -> None:
        """Run to the end, in this thread.

        Raises
        ------
        StepError, StoreError, RunLocked
            See `Pipeline.run`.
        """
        try:
            with contextlib.ExitStack() as stack:
                self._drive(stack)
        except BaseException as error:
            self.error = error
            if isinstance(error, KeyboardInterrupt) and self.study.path is not None:
                error.add_note(
                    f"Interrupted. What was done is safe in {self.study.path}; run again to go on, or: "
                    f"weft resume {self.study.path}"
                )
            raise
        finally:
            self.over.set()

    def _drive(self, stack: contextlib.ExitStack) -> None:
        study, options = self.study, self.options
        with refusals(study.path):
            if study.path is not None:
                fs = RunDirectory(study.path, current()).fs
                lease = Lease(study.path, fs, self.stop).take()
                lease.status["workers"] = options.slots
                stack.callback(lease.release)
                self.observers.append(EventLog(study.path, fs, lease.token))
                self.observers.append(UnderWay(lease))
            else:
                self.observers.append(OnlyInMemory())
            study.refresh()
            for results in study.results.values():
                results.settle()
            groups = fuse(study.graph, self.backends.kind, study.blocks)
            emit = Emitter(self.observers)
            stack.callback(self.backends.close)
            settings = Settings(
                options.on_error, None if options.block_size == "auto" else int(options.block_size),
                options.flush_seconds, chosen(study.axes, options.indices), self.steps,
            )  # fmt: skip
            self.driver = Driver(study, groups, self.backends.pool, settings, emit)
            if self.hold is not None:
                self.hold(self.driver.tracks)
            if self.cancelled:
                self.driver.stop()
            kept = [n for track in self.driver.tracks for n in track.counts if n not in track.unkept]
            study.store.prepare([(name, study.records[name].identity) for name in kept])
            emit("run-started", name=study.name, path=study.path, steps=[s.name for s in study.graph.order])
            try:
                self.driver.run()
            finally:
                emit("run-ended", counts=counts(self.driver.tracks), jobs=next(self.driver.tokens))
            self.finish()

    def start(self) -> Session:
        """Run in a thread of its own."""

        def quietly() -> None:
            with contextlib.suppress(BaseException):
                self.run()

        threading.Thread(target=quietly, name="weft-driver", daemon=True).start()
        return self

    def stop(self) -> None:
        """Ask for the end: what is running ends and is committed."""
        self.cancelled = True
        if self.driver is not None:
            self.driver.stop()
        for pool in list(self.backends.pools.values()):  # what runs in the driver's own thread too
            pool.stop()


class OnlyInMemory:
    """Warns once that a long run keeps nothing on disk."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.warned = False

    def __call__(self, event: Any) -> None:
        """Look at the clock."""
        if not self.warned and time.monotonic() - self.started > 60:
            self.warned = True
            warnings.warn(
                "this run keeps its results in memory only; run_dir= would keep them safe on disk",
                stacklevel=2,
            )


class UnderWay:
    """Tells whoever reads the lease which jobs are under way."""

    def __init__(self, lease: Lease) -> None:
        self.sent = lease.status.setdefault("sent", {})

    def __call__(self, event: Any) -> None:
        """Note what was sent, and what has ended."""
        if event.kind == "job-sent":
            self.sent[event.data["token"]] = [event.step, event.data["n"]]
        elif event.kind in ("job-ended", "worker-died"):
            self.sent.pop(event.data["token"], None)


def refuse_in_child() -> None:
    """Refuse to start processes while this process is still importing its parent's script.

    Raises
    ------
    RuntimeError
        With the guard that the script lacks.
    """
    import multiprocessing  # 8 ms, a twelfth of importing weft

    if getattr(multiprocessing.process.current_process(), "_inheriting", False):
        raise RuntimeError(
            "This script starts a run while a worker process imports it. Keep the main part under\n"
            "    if __name__ == '__main__':\nor use backend='loky', whose workers do not import the script."
        )
