"""Prefect: jobs as the tasks of a flow, so that Prefect shows what runs, what ended and what failed."""

from __future__ import annotations

import contextvars
import importlib
import logging
import signal
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, ClassVar

from weft.errors import BackendUnavailable, InvalidInput


class Call:
    """A call on its way through Prefect, which sees neither its arguments nor its result.

    Prefect would look through arguments for results of other tasks, and keep what a task returns.
    """

    def __init__(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.fn, self.args, self.kwargs = fn, args, kwargs
        self.results: list[Any] = []

    def run(self) -> None:
        """Run it; what it raises is Prefect's to see, which may try again."""
        self.results.append(self.fn(*self.args, **self.kwargs))


class PrefectExecutor(ThreadPoolExecutor):
    """Threads that run what is submitted as tasks of a Prefect flow, which has a thread of its own.

    Parameters
    ----------
    n_jobs
        Tasks at once.
    name
        Of the flow run.
    task
        Options of the task.

    Raises
    ------
    BackendUnavailable
        If Prefect cannot begin the flow, such as when its server does not answer.
    """

    def __init__(self, n_jobs: int, name: str, task: dict[str, Any]) -> None:
        super().__init__(n_jobs, thread_name_prefix="weft-prefect")
        self._over = threading.Event()
        self._problem: BaseException | None = None
        self._begun: Future[contextvars.Context] = Future()
        # In the caller's context: a flow of the user's becomes the parent, settings of the user's hold.
        run = contextvars.copy_context().run
        self._flow = threading.Thread(target=run, args=(self._run, name, task), daemon=True)
        self._flow.start()
        try:
            self._within = self._begun.result()
        except Exception as error:
            raise BackendUnavailable(
                f"Prefect could not begin a flow run: {error}. See that its server answers (`prefect config "
                "view` says where it is looked for), or choose another backend."
            ) from error

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run it as a task of the flow."""
        return super().submit(self._within.copy().run, self._as_task, Call(fn, args, kwargs))

    def _as_task(self, call: Call) -> Any:
        self._task(call)
        if not call.results:
            raise RuntimeError("Prefect did not run a job to its end.")
        return call.results[-1]

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the flow when what has begun has ended."""
        super().shutdown(wait, cancel_futures=cancel_futures)
        self._over.set()
        if wait:
            self._flow.join()
            problem, self._problem = self._problem, None
            if problem is not None:
                warnings.warn(f"Prefect could not record how the flow ended: {problem}", stacklevel=2)

    def _run(self, name: str, options: dict[str, Any]) -> None:
        try:
            prefect: Any = importlib.import_module("prefect")
            settings: Any = importlib.import_module("prefect.settings")
            policies: Any = importlib.import_module("prefect.cache_policies")
            self._task = prefect.task(
                Call.run, name="weft job", cache_policy=policies.NO_CACHE, persist_result=False, **options
            )
            flow = prefect.flow(
                name="weft", flow_run_name=name, validate_parameters=False, persist_result=False
            )(self._stay)
            _quieten(settings)  # not before `prefect.flow` has loaded what sets the logging up
            # For a temporary server, which Prefect starts where the user has none.
            defaults = {
                settings.PREFECT_SERVER_ANALYTICS_ENABLED: False,
                settings.PREFECT_SERVER_LOGGING_LEVEL: "CRITICAL",
            }
            with settings.temporary_settings(set_defaults=defaults):
                # A server that is started inherits the mask: after Ctrl-C there is still much to tell it.
                before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
                try:
                    prefect.get_client(sync_client=True)
                finally:
                    signal.pthread_sigmask(signal.SIG_SETMASK, before)
                flow()
        except BaseException as error:
            self._problem = error
            if not self._begun.done():
                self._begun.set_exception(error)

    def _stay(self) -> None:
        """The flow: what runs in its context, in whatever thread, belongs to it."""
        self._begun.set_result(contextvars.copy_context())
        self._over.wait()
        super().shutdown()


def _quieten(settings: Any) -> None:
    """Keep the mere news of weft's flows from the terminal, where weft has its own; not if a level is set."""
    logs = settings.get_current_settings().logging
    if not {"level", "config_path"} & logs.model_fields_set:
        for handler in logging.getLogger().handlers:
            if type(handler).__name__ == "PrefectConsoleHandler":
                handler.addFilter(_worth_saying)


def _worth_saying(record: logging.LogRecord) -> bool:
    ours = getattr(record, "flow_name", "") == "weft"
    news = ours or (record.name == "prefect" and "temporary server" in record.getMessage())
    return record.levelno >= logging.WARNING or not news


class Prefect:
    """Tasks of a Prefect flow, in threads of this process: for those who watch their work in Prefect.

    There is a flow run for each run of weft, and a task run for each job, of many elements. They go to the
    server that Prefect is configured for; without one Prefect starts its own, on the loopback interface,
    which ends with the program. If a server goes away the work goes on; the run then ends only when Prefect
    gives up telling it, after minutes.

    `retries` and `retry_delay_seconds` are those of the task, and repeat a whole job, only when the machinery
    fails: a function that fails is weft's to try again (``Step(retries=...)``), element by element.
    `flow_run_name` is how Prefect shows the run, ``"weft"`` by default.
    """

    name: ClassVar[str] = "prefect"
    description: ClassVar[str] = "tasks of a Prefect flow, in threads of this process, seen in Prefect's UI"
    requires: ClassVar[str] = "prefect"
    options: ClassVar[tuple[str, ...]] = ("retries", "retry_delay_seconds", "flow_run_name")
    separate: ClassVar[bool] = False

    def __init__(self, flow_run_name: str = "weft", **options: Any) -> None:
        self.flow_run_name, self.given = flow_run_name, options
        if not isinstance(flow_run_name, str) or not flow_run_name:
            raise InvalidInput(f"flow_run_name is a name, such as 'weft'; got {flow_run_name!r}.")
        retries = options.get("retries", 0)
        if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
            raise InvalidInput(f"retries is how often to try again, such as 2; got {retries!r}.")
        delay = options.get("retry_delay_seconds", 0)
        for one in delay if isinstance(delay, (list, tuple)) else [delay]:
            if isinstance(one, bool) or not isinstance(one, (int, float)) or not 0 <= one < float("inf"):
                raise InvalidInput(f"retry_delay_seconds is a number of seconds, or a list; got {delay!r}.")

    def start(self, n_jobs: int) -> Executor:
        """A new flow run."""
        return PrefectExecutor(n_jobs, self.flow_run_name, self.given)

    def stop(self, executor: Executor, kill: bool = False) -> None:
        """End the flow; a thread cannot be killed, so `kill` does not wait for it."""
        executor.shutdown(wait=not kill, cancel_futures=True)
