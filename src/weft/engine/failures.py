"""What is kept of a failure, how an element that takes too long is stopped, and who is to blame."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import functools
import mmap
import os
import pickle
import signal
import struct
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from weft.errors import StepError
from weft.store.commits import Failure
from weft.values.columns import Unstorable

MOST_TEXT = 20_000  # characters of a traceback or a message that are kept
KILL_AFTER = 3.0  # seconds beyond its timeout after which an element's process is ended


class ElementTimeout(BaseException):
    """Raised in an element that takes longer than its ``timeout``; ``except Exception`` lets it pass."""


class ElementCancelled(BaseException):
    """Raised in an element when the run is cancelled."""


def describe(error: BaseException, position: int, attempt: int) -> Failure:
    """What is kept of an exception."""
    cause = {TimedOut: "timeout", Unstorable: "unpicklable"}.get(type(error), "exception")
    message = _text(error)
    pickled: bytes | None
    try:
        pickled = pickle.dumps(error)
        pickle.loads(pickled)
    except Exception as problem:
        pickled = None
        message += f"\n(the exception itself cannot be pickled: {problem!r})"
    text = _traceback(error)
    return Failure(position, type(error).__qualname__, message, text[-MOST_TEXT:], attempt, cause, pickled)


_stacks: dict[tuple[tuple[str, str, int, int], ...], str] = {}


def _traceback(error: BaseException) -> str:
    """The traceback as Python prints it.

    Elements fail in few places but often: where frames were formatted before, that is used again, at 0.02 ms
    a failure instead of 0.2.
    """
    if error.__cause__ or error.__context__ or isinstance(error, BaseExceptionGroup):
        return "".join(traceback.format_exception(error))
    frames = []
    found = error.__traceback__
    while found is not None:
        code = found.tb_frame.f_code
        frames.append((code.co_filename, code.co_name, found.tb_lineno, found.tb_lasti))
        found = found.tb_next
    place = tuple(frames)
    stack = _stacks.get(place)
    if stack is None:
        if len(_stacks) >= 100:
            _stacks.clear()
        stack = _stacks[place] = "".join(traceback.format_tb(error.__traceback__))
    head = "Traceback (most recent call last):\n" if frames else ""
    return head + stack + "".join(traceback.format_exception_only(error))


def _text(error: BaseException) -> str:
    try:
        return str(error)[:MOST_TEXT]
    except Exception as problem:
        return f"(its message cannot be shown: {problem!r})"


class TimedOut(RuntimeError):
    """What is reported of an element that took longer than its ``timeout``."""


def rebuilt(failure: Failure) -> BaseException:
    """The original exception, or one that says as much where it could not be kept."""
    if failure.error is not None:
        try:
            error = pickle.loads(failure.error)
            if isinstance(error, BaseException):
                error.add_note(f"Traceback of the element:\n{failure.traceback}")
                return error
        except Exception:
            pass
    return RuntimeError(f"{failure.type}: {failure.message}\n{failure.traceback}")


def step_error(
    step: str, failure: Failure, index: dict[str, int], coords: dict[str, Any],
    original: BaseException | None = None,
) -> StepError:  # fmt: skip
    """The error that ends a run, pointing at the element and at what to do."""
    message = f"step {step!r} failed{at_place(index, coords)}: {failure.summary}"
    if failure.cause == "unpicklable":
        message += "\nReturn something that can be pickled, or what is needed of it."
    error = StepError(message, step=step, index=index, coords=coords)
    error.__cause__ = rebuilt(failure) if original is None else original
    return error


def at_place(index: Mapping[str, int], coords: Mapping[str, Any]) -> str:
    """Where an element is, in words that follow others: `` at i=3 (x=0.5)``."""
    where = ", ".join(f"{axis}={position}" for axis, position in index.items())
    values = ", ".join(f"{name}={brief(value)}" for name, value in coords.items())
    return f"{f' at {where}' if where else ''}{f' ({values})' if values else ''}"


def brief(value: Any) -> str:
    """A value in at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def with_timeout(call: Callable[..., Any], seconds: float, kill: bool = False) -> Callable[..., Any]:
    """`call`, interrupted after `seconds`.

    In the main thread of a process a timer signal interrupts Python code and waiting system calls. In other
    threads the exception arrives at the next bytecode, so a long call into C is not interrupted there.

    Parameters
    ----------
    kill
        Whether the process may be ended, by a thread of C that needs no GIL, if nothing else helps.
    """

    def timed(*args: Any) -> Any:
        main = threading.current_thread() is threading.main_thread()
        guard = _alarm(seconds) if main and _ALARM else _timer(seconds)
        if kill:
            faulthandler.dump_traceback_later(seconds + KILL_AFTER, exit=True, file=_nowhere())
        try:
            with guard:
                return call(*args)
        except ElementTimeout:
            raise TimedOut(f"took longer than its timeout of {seconds:g} s") from None
        finally:
            if kill:
                faulthandler.cancel_dump_traceback_later()

    return timed


@functools.cache
def _nowhere() -> Any:
    return open(os.devnull, "w")


_ALARM = hasattr(signal, "setitimer")


@contextlib.contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    def ring(*_: object) -> None:
        raise ElementTimeout

    previous = signal.signal(signal.SIGALRM, ring)
    try:
        # It rings on, in case the first exception is swallowed by a function's bare ``except``.
        signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


@contextlib.contextmanager
def _timer(seconds: float) -> Iterator[None]:
    thread, lock, over = threading.get_ident(), threading.Lock(), threading.Event()

    def ring() -> None:
        with lock:
            if not over.is_set():
                raise_in(thread, ElementTimeout)

    timer = threading.Timer(seconds, ring)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        with lock:
            over.set()
        timer.cancel()


def raise_in(thread: int, error: type[BaseException]) -> None:
    """Make a thread raise `error` at its next bytecode."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error))


class Mark:
    """The element that a careful worker is running, in a small mapped file that outlives the worker.

    Parameters
    ----------
    path
        The file; None makes a new one.
    """

    _LAYOUT = struct.Struct("<qqq")

    def __init__(self, path: str | None = None) -> None:
        if path is None:
            handle, path = tempfile.mkstemp(prefix="weft-mark-")
            os.write(handle, self._LAYOUT.pack(-1, -1, -1))
            os.close(handle)
        self.path = path
        with open(path, "r+b") as file:
            self._map = mmap.mmap(file.fileno(), self._LAYOUT.size)

    def set(self, item: int, lane: int, position: int) -> None:
        """Say which element is about to run."""
        self._LAYOUT.pack_into(self._map, 0, item, lane, position)

    def get(self) -> tuple[int, int, int]:
        """Piece of work, step and element that was running; -1 if none was."""
        item, lane, position = self._LAYOUT.unpack_from(self._map, 0)
        return item, lane, position

    def remove(self) -> None:
        """Forget the file."""
        self._map.close()
        os.unlink(self.path)
