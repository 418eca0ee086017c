"""The worker's end in another process: what is sent to it, and the studies that it keeps between jobs."""

from __future__ import annotations

import os
import pickle
import platform
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from weft.backends.following import alive, running
from weft.backends.limits import limited
from weft.engine.caching import SHARED, Shared
from weft.engine.jobs import Job, Report
from weft.errors import RunMismatch, StoreError
from weft.model.identity import explain_code
from weft.plan.axes import Axis
from weft.study.study import Study
from weft.values.codecs import adopt, registered

KEPT_STUDIES = 4


@dataclass(frozen=True)
class Place:
    """How a worker in another process comes by the study.

    Attributes
    ----------
    path, number, code
        A run directory, the change that is meant and the name of its functions; or
    bundle
        a pickled study without inputs and results, under its digest `key`: arguments travel with the jobs.
    blocks, sizes
        Block shapes and axis lengths that the driver learnt meanwhile.
    cache
        That of the driver, whatever the worker's environment was when it started.
    """

    path: str | None = None
    number: int = 0
    key: str = ""
    code: str = ""
    bundle: bytes = b""
    blocks: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    cache: Shared | None = None


_studies: dict[tuple[Any, ...], Study] = {}


def bundle(study: Study) -> bytes:
    """A study in memory, pickled for workers: its steps and axes, neither inputs nor results."""
    import cloudpickle

    inputs = {n: replace(v, column=None, value=None) for n, v in study.inputs.items()}
    data: bytes = cloudpickle.dumps(
        (
            (list(study.graph.order), inputs, study.axes, study.records, study.name, study.seed, study.epoch),
            registered(),
        )
    )
    return data


def _study(place: Place, here: bool) -> Study:
    """The study, which `here`, in the driver's own process, brings nothing that this does not know."""
    from weft.model.graph import Graph
    from weft.store.fs import current
    from weft.store.memory import Courier
    from weft.study.opening import load_study

    key = (place.path, place.number, place.key, place.code)
    study = _studies.get(key)
    if study is None:
        if place.path is not None:
            study = load_study(place.path, current(), place.number, code=place.code, worker=not here)
            check_code(study)
        else:
            sent, codecs = pickle.loads(place.bundle)
            adopt(codecs, worker=not here)
            steps, inputs, axes, records, name, seed, epoch = sent
            study = Study(Graph(steps), inputs, axes, records, Courier(), name, seed, epoch)
        while len(_studies) >= KEPT_STUDIES:
            _studies.pop(next(iter(_studies)))
        _studies[key] = study
    if place.path is None:
        study.store = Courier()
        for results in study.results.values():
            results.store = study.store
    study.memory[SHARED] = place.cache
    study.blocks.update(place.blocks)
    for axis, size in place.sizes.items():
        if study.axes[axis].size is None or axis in study.graph.ragged:
            study.axes[axis] = Axis(axis, size, None, study.axes[axis].opener)
    return study


def check_code(study: Study) -> None:
    """Compare the code that this process has with what was recorded when the run was sent.

    Raises
    ------
    RunMismatch
        If a module was edited since.
    """
    from weft.study.compare import code_of

    for step in study.graph.order:
        record = study.records[step.name]
        module = getattr(step.function, "__module__", "__main__")
        if not record.followed:
            continue
        # A module that is not here was not imported: its functions travelled by value, as they were sent.
        # What they call in modules did not.
        if module == "__main__" or module not in sys.modules:
            edited = _other_modules(explain_code(step.function), record.followed)
        else:
            edited = [] if code_of(step) == record.code else [module]
        if edited:
            raise RunMismatch(
                f"The code of step {step.name!r} ({edited[0]}) is not what was submitted: it was edited, or "
                "changed in the program that runs the study. Run again; on_change= says what becomes of "
                "finished results."
            )


def _other_modules(here: Mapping[str, str], sent: Mapping[str, str]) -> list[str]:
    """The modules of which a part is not what it was where the run was sent."""
    edited = []
    for label in (label for label, own in here.items() if sent.get(label, own) != own):
        names = label.split(".")
        prefixes = (".".join(names[:n]) for n in range(len(names) - 1, 0, -1))
        module = next((prefix for prefix in prefixes if prefix in sys.modules), "__main__")
        edited += [module] if module not in ("__main__", "__mp_main__") else []
    return edited


def run_remote(place: Place, job: Job) -> Report:
    """Run a job in this process, which is not the driver's."""
    here = job.driver is not None and job.driver == (platform.node(), os.getpid())
    if not here:
        # A commit gives the GIL up some eight times, and a busy main thread hands it back after 5 ms each:
        # with 0.5 ms, elements of half a millisecond on two workers, persisted, take 4 % less.
        sys.setswitchinterval(min(sys.getswitchinterval(), 0.0005))
    from weft.engine.worker import run_job
    from weft.store.memory import Courier

    running.add(job.token)
    try:
        study = _study(place, here)
        if place.path is not None:
            for name in {
                n
                for item in job.items
                for s in item.steps
                for n in study.graph.read_from(study.graph.steps[s])
            }:
                study.results[name].refresh()
        with limited(job.threads):
            report = run_job(study, job, _stopping(job))
        if isinstance(study.store, Courier):
            report.payloads = [payload for _, payload in study.store.sent]
    except Exception as error:
        report = Report(problem=error)
    finally:
        running.discard(job.token)
    report.exceptions = {}
    if report.problem is not None:
        report.problem = portable(report.problem)
    return report


def portable(error: BaseException) -> BaseException:
    """An exception that can travel: itself, or its text."""
    try:
        pickle.loads(pickle.dumps(error))
        return error
    except Exception:
        return StoreError(f"{type(error).__name__}: {error}")


def _stopping(job: Job) -> Callable[[], bool]:
    parent = os.getppid()
    host, driver = job.driver or ("", 0)
    here = host == platform.node()

    def stopping() -> bool:
        if job.stop is not None and os.path.exists(job.stop):
            return True
        # A worker whose driver is gone commits what it has and ends.
        return os.getppid() != parent or (here and not alive(driver))

    return stopping
