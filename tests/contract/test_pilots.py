"""The first elements of a group, whose jobs choose its blocks."""

from __future__ import annotations

import time
from concurrent.futures import Executor, Future
from typing import Any

import weft
from weft.testing import Calls


class InPairs(Executor):
    """Runs the first two jobs when both are there, so that both have ended before anybody looks."""

    def __init__(self) -> None:
        self.held: list[tuple[Future[Any], Any, Any]] = []
        self.met = False

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.held.append((Future(), fn, args))
        future = self.held[-1][0]
        if (
            not args or self.met or len(self.held) == 2
        ):  # what has no arguments asks whether workers are there
            self.met = bool(args)
            for waiting, call, given in self.held:
                waiting.set_result(call(*given))
            self.held = []
        return future


def test_pilots_that_end_at_once_leave_each_element_to_one_job(calls: Calls) -> None:
    executor = InPairs()

    @weft.step("y", mapspec="x[i] -> y[i]")
    def double(x: int) -> int:
        calls(str(x))
        time.sleep(0.002)  # long enough for blocks of few elements, of which several go into a job
        return 2 * x

    run = double.run({"x": range(60)}, backend=executor, n_jobs=2, progress=False)
    assert executor.met
    assert run["y"].tolist() == list(range(0, 120, 2))
    assert sorted(map(int, calls.take())) == list(range(60))
