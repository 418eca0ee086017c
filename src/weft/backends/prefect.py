"""Prefect: jobs as the tasks of a flow, so that Prefect shows what runs, what ended and what failed."""

from __future__ import annotations

import contextvars
import importlib
import logging
import queue
import signal
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import Executor, Future, wait
from typing import Any, ClassVar

from weft.errors import BackendUnavailable, InvalidInput


class Call:
    """A call on its way through Prefect, which sees neither its arguments nor its result.

    Prefect would look through arguments for results of other tasks, and keep what a task returns.
    """

    def __init__(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.fn, self.args, self.kwargs = fn, args, kwargs
        self.future: Future[Any] = Future()
        self.begun = False
        self.error: BaseException | None = None

    def run(self) -> None:
        """Run it; what it raises is Prefect's to see, which may try again."""
        if not self._begin():
            return
        try:
            result = self.fn(*self.args, **self.kwargs)
        except BaseException as error:
            self.error = error
            raise
        self.future.set_result(result)

    def ended(self, error: BaseException | None = None) -> None:
        """Prefect is through with it: where it brought no result, say why."""
        if not self.future.done() and self._begin():
            lost = RuntimeError(f"Prefect did not run a job to its end{f': {error}' if error else ''}.")
            self.future.set_exception(self.error or lost)

    def _begin(self) -> bool:
        if not self.begun:
            self.begun = self.future.set_running_or_notify_cancel()
        return self.begun


class PrefectExecutor(Executor):
    """A Prefect flow in a thread of its own, which runs what is submitted as its tasks.

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
        self._calls: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._live: set[Call] = set()
        self._closed = False
        self._problem: BaseException | None = None
        self._begun: Future[None] = Future()
        # In the caller's context: a flow of the user's becomes the parent, settings of the user's hold.
        run = contextvars.copy_context().run
        self._thread = threading.Thread(
            target=run, args=(self._run, n_jobs, name, task), name="weft-prefect", daemon=True
        )
        self._thread.start()
        try:
            self._begun.result()
        except Exception as error:
            raise BackendUnavailable(
                f"Prefect could not begin a flow run: {error}. See that its server answers (`prefect config "
                "view` says where it is looked for), or choose another backend."
            ) from error

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Have the flow run it as a task."""
        call = Call(fn, args, kwargs)
        with self._lock:
            if self._closed:
                raise RuntimeError(f"The Prefect flow has ended{f': {self._problem}' * bool(self._problem)}.")
            self._live.add(call)
            self._calls.put(call)
        return call.future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the flow when what has begun has ended."""
        with self._lock:
            self._closed = True
            for call in self._live if cancel_futures else ():
                call.future.cancel()
            self._calls.put(None)
        if wait:
            self._thread.join()
            problem, self._problem = self._problem, None
            if problem is not None:
                warnings.warn(f"Prefect could not record how the flow ended: {problem}", stacklevel=2)

    def _run(self, n_jobs: int, name: str, options: dict[str, Any]) -> None:
        try:
            prefect: Any = importlib.import_module("prefect")
            runners: Any = importlib.import_module("prefect.task_runners")
            settings: Any = importlib.import_module("prefect.settings")
            policies: Any = importlib.import_module("prefect.cache_policies")
            task = prefect.task(
                _job, name="weft job", cache_policy=policies.NO_CACHE, persist_result=False, **options
            )
            flow = prefect.flow(
                name="weft", flow_run_name=name, validate_parameters=False, persist_result=False,
                task_runner=runners.ThreadPoolTaskRunner(max_workers=n_jobs),
            )(lambda: self._serve(task))  # fmt: skip
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
        finally:
            self._end()

    def _serve(self, task: Any) -> None:
        """Submit tasks as calls come, until there are to be no more."""
        self._begun.set_result(None)
        sent: set[Future[Any]] = set()
        while (call := self._calls.get()) is not None:
            future = task.submit(call).wrapped_future
            future.add_done_callback(lambda ended, call=call: self._ended(call, ended))
            sent = {other for other in sent if not other.done()} | {future}
        wait(sent)  # a flow cancels the tasks that have not begun when it ends

    def _ended(self, call: Call, future: Future[Any]) -> None:
        with self._lock:
            self._live.discard(call)
        call.ended(None if future.cancelled() else future.exception())

    def _end(self) -> None:
        with self._lock:
            self._closed = True
            left, self._live = self._live, set()
        if not self._begun.done():
            self._begun.set_exception(self._problem or RuntimeError("the flow did not run"))
        for call in left:
            call.ended(self._problem)


def _job(call: Call) -> None:
    call.run()


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
