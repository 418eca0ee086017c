"""Dask: the workers of a scheduler that is there already, or of a small cluster on this machine."""

from __future__ import annotations

import importlib
import importlib.util
import logging
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future
from typing import Any, ClassVar

from weft.errors import BackendUnavailable, InvalidInput, WeftError


class DaskExecutor(Executor):
    """Sends what is submitted to the workers of a Dask client.

    Parameters
    ----------
    client
        A `distributed.Client`.
    own
        What was started for it, to be closed with it: its cluster, its client.
    """

    def __init__(self, client: Any, own: list[Any]) -> None:
        self.client, self.own = client, own
        self._held: dict[Future[Any], Any] = {}  # Dask forgets what nobody holds

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Send a call; a worker that dies with it breaks this call alone."""
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        try:
            sent = self._held[future] = self.client.submit(fn, *args, pure=False, **kwargs)
        except Exception as error:
            future.set_exception(BrokenExecutor(f"Dask takes no more calls: {error}"))
            return future
        sent.add_done_callback(lambda done: self._ended(future, done))
        return future

    def _ended(self, future: Future[Any], done: Any) -> None:
        from distributed import KilledWorker

        self._held.pop(future, None)
        error = done.exception() if done.status == "error" else None
        if done.status == "finished":
            future.set_result(done.result())
        elif error is None or isinstance(error, KilledWorker):
            future.set_exception(BrokenExecutor(str(error or f"Dask has {done.status} the call.")))
        else:
            future.set_exception(error)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take back what has not begun, and close what was started for this."""
        if cancel_futures:
            self.client.cancel(list(self._held.values()), force=True)
        for part in self.own:
            part.close()


class Dask:
    """The workers of a Dask cluster.

    With neither `address` nor `client`, as many processes on this machine as there are jobs at once, which
    listen on the loopback interface only. Workers elsewhere must see the run directory under the same path.
    """

    name: ClassVar[str] = "dask"
    description: ClassVar[str] = "workers of a Dask scheduler, or of a cluster made on this machine"
    requires: ClassVar[str] = "dask"
    options: ClassVar[tuple[str, ...]] = ("address", "client")
    separate: ClassVar[bool] = True
    survives: ClassVar[bool] = True  # a worker's death: the others go on with their jobs

    def __init__(self, address: Any = None, client: Any = None) -> None:
        if importlib.util.find_spec("distributed") is None:
            raise BackendUnavailable("The backend 'dask' needs dask.distributed: pip install 'weft[dask]'.")
        if client is not None and (address is not None or not hasattr(client, "submit")):
            raise InvalidInput(
                f"The backend 'dask' takes an address, or a distributed.Client as client=; got {client!r}"
                f"{' and an address' if address is not None else ''}."
            )
        self.address, self.client = address, client

    def start(self, n_jobs: int) -> Executor:
        """An executor over the given workers, or over new ones.

        Raises
        ------
        BackendUnavailable
            If there is no scheduler at the address.
        """
        import dask

        distributed: Any = importlib.import_module("distributed")
        if self.client is not None:
            return DaskExecutor(self.client, [])
        if self.address is not None:
            try:
                client = distributed.Client(self.address, timeout=10, set_as_default=False)
            except (OSError, ValueError) as error:
                raise BackendUnavailable(
                    f"There is no Dask scheduler at {self.address!r}: {error}. Start one, or leave the "
                    "address out for workers on this machine."
                ) from error
            return DaskExecutor(client, [client])
        # Who died is found by running what it had alone, so Dask itself need not try again.
        with dask.config.set({"distributed.scheduler.allowed-failures": 0}):
            try:
                cluster = distributed.LocalCluster(
                    n_workers=n_jobs, threads_per_worker=1, processes=True, host="127.0.0.1",
                    dashboard_address="127.0.0.1:0", silence_logs=logging.CRITICAL,
                )  # fmt: skip
            except RuntimeError as error:
                raise WeftError(
                    f"The workers of 'dask' cannot be started: {error} A script that starts processes must "
                    "keep its main part under\n    if __name__ == '__main__':\n"
                    "because each process imports the script; or use backend='loky', which does not."
                ) from error
        client = distributed.Client(cluster, set_as_default=False)
        return DaskExecutor(client, [client, cluster])

    def stop(self, executor: Executor, kill: bool = False) -> None:
        """Let go of the workers; those that were started for this run end."""
        executor.shutdown(cancel_futures=kill)
