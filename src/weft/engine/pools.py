"""Executors at work: sending jobs, noticing dead workers, and running suspects alone."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import threading
from concurrent.futures import BrokenExecutor, Executor, Future
from dataclasses import dataclass, replace
from typing import Any

from weft.backends.following import follow
from weft.backends.limits import environment, said
from weft.engine.caching import SHARED
from weft.engine.failures import ElementCancelled, Mark, raise_in
from weft.engine.jobs import Job, Report
from weft.engine.remote import Place, bundle, run_remote
from weft.engine.worker import run_job
from weft.errors import InvalidInput, WeftError
from weft.model.resources import Resources
from weft.store.fs import current
from weft.store.record import RunDirectory
from weft.study.opening import keep_code
from weft.study.study import Study


@dataclass(eq=False)
class Sent:
    """A job on its way; with a mark if it is alone, in an executor of its own."""

    job: Job
    future: Future[Report]
    pool: Pool
    track: Any
    numbers: tuple[int, ...]
    weight: int
    executor: Executor
    mark: Mark | None = None


KILLED = "Something killed them, such as their initializer or a lack of memory. Run again to go on."
UNGUARDED = """A script that starts processes must keep its main part under
    if __name__ == '__main__':
because each process imports the script; or use backend='loky', which does not."""
NO_SCRIPT = """Each of them imports the script, and there is no file {!r} that it could be imported from.
Use backend='loky', which does not import it, or keep the script in a file."""


def _why_ended(backend: str) -> str:
    """Why worker processes may have ended before their first job, and what to do."""
    if backend == "loky":
        return KILLED
    main = sys.modules.get("__main__")
    script = None if getattr(main, "__spec__", None) is not None else getattr(main, "__file__", None)
    return UNGUARDED if script is None or os.path.exists(script) else NO_SCRIPT.format(script)


class Pool:
    """One backend at work for one driver.

    Parameters
    ----------
    backend
        Makes the executor.
    n_jobs
        Workers.
    """

    def __init__(self, study: Study, backend: Any, n_jobs: int) -> None:
        self.study, self.backend = study, backend
        self.devices: tuple[Any, ...] = getattr(backend, "devices", ())
        self.n_jobs = min(n_jobs, len(self.devices) or n_jobs)
        self.separate: bool = backend.separate
        self.executor: Executor | None = None
        self.started = False
        self.stop_event = threading.Event()
        self.threads: set[int] = set()
        self.stop_path: str | None = None
        self._place: Place | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    @property
    def window(self) -> int:
        """How much work may be under way: enough that no worker waits for the driver."""
        return 2 * self.n_jobs if self.separate else self.n_jobs

    def start(self) -> Executor:
        """The executor, started when it is first needed.

        Raises
        ------
        WeftError
            If its processes end before their first job.
        """
        if self.executor is None:
            try:
                self.executor = self.backend.start(self.n_jobs)
            except OSError as error:  # no disk's refusal
                raise self._unstarted(error) from error
            if self.separate and not self.started:
                try:
                    self.executor.submit(os.getpid).result()
                except OSError as error:
                    raise self._unstarted(error) from error
                except BrokenExecutor as error:
                    self.broken(self.executor)  # else it would be kept warm for the next run
                    raise WeftError(
                        f"The worker processes of {self.backend.name!r} ended before their first job. "
                        + _why_ended(self.backend.name)
                    ) from error
            self.started = True
        return self.executor

    def _unstarted(self, error: OSError) -> WeftError:
        return WeftError(f"The workers of {self.backend.name!r} cannot be started: {error}.")

    def place(self) -> Place:
        """How the workers come by the study."""
        study = self.study
        sizes = {a: axis.size for a, axis in study.axes.items() if axis.opener and axis.size is not None}
        if self._place is None:
            if study.store.durable:
                directory = RunDirectory(str(study.path), current())
                self._place = Place(study.path, study.epoch, study.stamp, keep_code(directory, study.graph))
            else:
                try:
                    data = bundle(study)
                except Exception as error:
                    raise InvalidInput(
                        "The steps or their bound values cannot be pickled, so they cannot go to "
                        f"{self.backend.name!r}: {error}. "
                        "Open files, locks and connections inside the function."
                    ) from error
                self._place = Place(None, 0, os.urandom(8).hex(), "", data)
            self._folder = tempfile.TemporaryDirectory(prefix="weft-")
            self.stop_path = f"{self._folder.name}/stop"
        return replace(self._place, blocks=dict(study.blocks), sizes=sizes, cache=study.memory.get(SHARED))

    def submit(self, job: Job, track: Any, numbers: tuple[int, ...], weight: int) -> Sent:
        """Send a job."""
        executor = self.start()
        if not self.separate:
            return Sent(job, executor.submit(self._run_here, job), self, track, numbers, weight, executor)
        return self._sent(executor, job, track, numbers, weight)

    def submit_alone(self, job: Job, track: Any, numbers: tuple[int, ...]) -> Sent:
        """Send a job to a process of its own, which marks the element that it runs."""
        from loky.process_executor import ProcessPoolExecutor

        if self.devices and self.executor is not None:
            self.executor.shutdown(wait=False)  # it ends with its jobs, and gives its devices back
            self.executor = None
        given = getattr(self.backend, "given", {})
        prepared = (os.getpid(), given.get("initializer"), given.get("initargs", ()))
        slots = getattr(self.backend, "slots", None)
        executor = ProcessPoolExecutor(
            max_workers=1, initializer=follow, initargs=(*prepared, slots), env=environment(self.n_jobs)
        )
        mark = Mark()
        job = replace(job, mark=mark.path, flush_seconds=0.2)
        return self._sent(executor, job, track, numbers, 1, mark)

    def _sent(
        self, executor: Executor, job: Job, track: Any, numbers: tuple[int, ...], weight: int,
        mark: Mark | None = None,
    ) -> Sent:  # fmt: skip
        place = self.place()
        threads = None if said() or self.backend.name == "executor" else cpus(track)
        job = replace(job, stop=self.stop_path, driver=(platform.node(), os.getpid()), threads=threads)
        try:
            future = executor.submit(run_remote, place, job)
        except BrokenExecutor as error:
            future = Future()
            future.set_exception(error)
        return Sent(job, future, self, track, numbers, weight, executor, mark)

    def _run_here(self, job: Job) -> Report:
        thread = threading.get_ident()
        self.threads.add(thread)
        try:
            return run_job(self.study, job, self.stop_event.is_set)
        finally:
            self.threads.discard(thread)

    def stop(self) -> None:
        """Ask the workers to stop."""
        self.stop_event.set()
        if self.stop_path is not None and not os.path.exists(self.stop_path):
            with open(self.stop_path, "x"):
                pass

    def cancel(self) -> None:
        """Stop what is running, as far as the backend can."""
        self.stop()
        if self.separate and self.executor is not None:
            self.backend.stop(self.executor, kill=True)
            self.executor = None
        for thread in list(self.threads):
            if thread != threading.get_ident():
                raise_in(thread, ElementCancelled)

    def broken(self, executor: Executor) -> None:
        """An executor lost a worker, and all of its jobs with it: the next job starts another."""
        if executor is not self.executor or getattr(self.backend, "survives", False):
            return
        self.executor = None
        if self.backend.name != "executor":
            self.backend.stop(executor, kill=True)
        else:
            from weft.backends.executors import Loky

            self.backend = Loky()

    def close(self) -> None:
        """Let go of everything."""
        if self.executor is not None:
            self.backend.stop(self.executor)
            self.executor = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None


def cpus(track: Any) -> int | None:
    """The cpus that each element of a group asks for, if that is the same for all."""
    asked = track.first.resources
    return None if asked is None or callable(asked) else Resources.from_any(asked).cpus
