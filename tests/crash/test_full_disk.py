"""A disk full or broken at any operation: a clear error, nothing committed lost, and resuming works."""

from __future__ import annotations

import errno
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from tests.crash.machine import QUIET, RUN, Machine, assert_complete, assert_right_or_missing, machine, opened

import weft
from weft.errors import StoreError

pytestmark = pytest.mark.crash

PIPE = weft.Pipeline(
    [
        weft.Step(lambda x: 10 * x, "y", mapspec="x[i] -> y[i]", name="scaled", version="1"),
        weft.Step(lambda y: int(y.sum()), "s", name="total", version="1"),
    ],
    name="full",
)
FIRST = [1, 2, 3, 4, 5]
LATER = [0, *FIRST, 6]


def expected(x: list[int]) -> dict[str, list[int]]:
    return {"y": [10 * value for value in x], "s": [10 * sum(x)]}


def run(x: list[int], **options: Any) -> weft.Run:
    return PIPE.run({"x": x}, **{"backend": "sequential", **QUIET, **options})


@pytest.fixture
def computer() -> Iterator[Machine]:
    with machine() as made:
        yield made


def refused(computer: Machine, x: list[int], at: int, code: int, every: bool, **options: Any) -> bool:
    """Run with a fault at an operation; whether that was an error, which then must be a clear one."""
    computer.disk.fail_at(at, code, every=every)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            run(x, **options)
    except StoreError as error:
        assert RUN in str(error), error
        assert "was committed" in str(error) and "again" in str(error), error
        return True
    finally:
        computer.disk.restart()
        computer.boots += 1
    return False


@pytest.mark.parametrize("every", [False, True], ids=["once", "from-there-on"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO], ids=["ENOSPC", "EIO"])
@pytest.mark.parametrize("backend", ["sequential", "thread_pool"])
def test_first_run(computer: Machine, code: int, every: bool, backend: str) -> None:
    options = {"backend": backend, "n_jobs": 2}
    n = computer.operations(lambda: run(FIRST, **options))
    start = computer.disk.snapshot()
    errors = 0
    for at in range(1, n + 1):
        computer.disk.restore(start)
        errors += refused(computer, FIRST, at, code, every, **options)
        found = opened()
        if found is not None:
            assert_right_or_missing(found, expected(FIRST))
        assert_complete(run(FIRST, **options), expected(FIRST))
    assert errors > n // 2


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO], ids=["ENOSPC", "EIO"])
def test_what_was_committed_before_is_still_there(computer: Machine, code: int) -> None:
    run(FIRST)
    n = computer.operations(lambda: run(LATER))
    start = computer.disk.snapshot()
    for at in range(1, n + 1):
        computer.disk.restore(start)
        refused(computer, LATER, at, code, every=at % 2 == 0)
        found = weft.open_run(RUN)
        if len(found.inputs["x"]) == len(FIRST):
            assert_complete(found, expected(FIRST))
        else:
            assert found.get("y", missing="mask")[1:6].tolist() == expected(FIRST)["y"]
            assert_right_or_missing(found, expected(LATER))
        assert_complete(run(LATER), expected(LATER))


def test_an_error_that_is_no_full_disk_is_not_called_one(computer: Machine) -> None:
    """A function's own OSError is the element's failure, not the store's."""

    def unreadable(x: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", "/somewhere/else")

    with pytest.raises(weft.StepError, match="unreadable"):
        weft.step("y", mapspec="x[i] -> y[i]")(unreadable).run({"x": [1]}, backend="sequential", **QUIET)


@pytest.mark.parametrize("change", ["reset", "gc", "delete"])
def test_care_of_a_run_that_cannot_be_written(computer: Machine, change: str) -> None:
    run(FIRST)
    computer.disk.fail_at(1, errno.EROFS, every=True)
    with pytest.raises(StoreError, match=f"{RUN} cannot be written: Read-only file system"):
        getattr(weft.open_run(RUN), change)(**({"ask": False} if change == "delete" else {}))
    computer.disk.restart()
    assert_complete(weft.open_run(RUN), expected(FIRST))
