"""Progress of a run: which display suits the place, and the thread that keeps it fresh."""

from __future__ import annotations

import logging
import sys
import threading
import time
from typing import Any, Protocol

from weft.contracts import Event
from weft.errors import InvalidInput
from weft.views.tally import StepState, Tally, clock, per_second

PATIENCE = 0.5  # seconds that a run may take before "auto" shows anything
REFRESH = 0.25
LINE_EVERY = 10.0
POLL = 1.0


class Display(Protocol):
    """Shows a tally; called from one thread at a time."""

    def show(self, tally: Tally, now: float, ended: bool = False) -> None:
        """Show how it is; with `ended` for the last time."""


def observer_for(progress: bool | str) -> Progress | None:
    """The observer that shows progress.

    Parameters
    ----------
    progress
        ``True``; ``False``; or ``"auto"``, which shows nothing of runs that end within half a second.

    Raises
    ------
    InvalidInput
        For anything else.
    """
    if progress not in (True, False, "auto"):
        raise InvalidInput(f"progress is True, False or 'auto', got {progress!r}.")
    if not progress:
        return None
    return Progress(PATIENCE if progress == "auto" else 0.0)


def display_here() -> Display:
    """A live display on a terminal or in a notebook, log lines elsewhere."""
    if _in_notebook():
        from weft.views.live import Notebook

        return Notebook()
    if sys.stderr.isatty():
        from weft.views.live import Live

        return Live()
    return Lines()


def _in_notebook() -> bool:
    shell = sys.modules.get("IPython")
    return "ipykernel" in sys.modules and shell is not None and shell.get_ipython() is not None


class Progress:
    """Observes a run and shows it.

    Events are only counted, which costs a microsecond; a thread draws four times a second, also while one
    long element lets no event happen.
    """

    def __init__(self, patience: float, display: Display | None = None) -> None:
        self.tally = Tally()
        self._patience, self._display = patience, display
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def __call__(self, event: Event) -> None:
        """Take an event."""
        self.tally(event)
        if event.kind == "run-started" and self._thread is None:
            self._thread = threading.Thread(target=self._draw, name="weft-progress", daemon=True)
            self._thread.start()
        elif event.kind == "run-ended":
            self.close()

    def _draw(self) -> None:
        if self._patience and self._over.wait(self._patience):
            return
        display = self._display or display_here()
        display.show(self.tally, time.time())
        while not self._over.wait(REFRESH):
            now = time.time()
            self.tally.sample(now)
            display.show(self.tally, now)
        self.tally.sample(time.time())
        display.show(self.tally, self.tally.ended or time.time(), ended=True)

    def close(self) -> None:
        """Show the end, if anything was shown; may be called again."""
        self._over.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()


def follow(run: Any) -> None:
    """Show a run that another process drives, until it ends."""
    progress, now = Progress(0.0), run.status
    about = {"name": run.name, "path": run.path, "steps": now, "counts": now}
    progress(Event("run-started", time.time(), data=about))
    for state in progress.tally.steps.values():
        if state.open != 0:
            state.samples.append((progress.tally.started, state.done + state.failed))
    try:
        while now.state == "running":
            time.sleep(POLL)
            now = run.status
            progress(Event("tick", time.time(), data={"counts": now}))
    finally:
        progress(Event("run-ended", time.time()))


class Lines:
    """Log lines: the start, now and then how far it is, failures, the end.

    They go to the logger ``weft``, or to standard error where no logging is set up.
    """

    def __init__(self) -> None:
        self._last: float | None = None

    def show(self, tally: Tally, now: float, ended: bool = False) -> None:
        """Say what was started, what failed, every ten seconds how far it is, and the totals."""
        if self._last is None:
            self._last = tally.started
            where = f" in {tally.path}" if tally.path else " in memory"
            self._say(
                logging.INFO, f"{tally.name}: {len(tally.steps)} steps{where}: {', '.join(tally.steps)}"
            )
        for kind, text in tally.news():
            self._say(logging.WARNING if kind == "note" else logging.ERROR, text)
        if ended:
            told = "; ".join(_result(name, state) for name, state in tally.steps.items())
            idle = ", nothing had to run" if tally.idle else ""
            self._say(logging.INFO, f"{tally.name}: ended after {now - tally.started:.1f} s{idle}: {told}")
        elif now - self._last >= LINE_EVERY:
            self._last = now
            moving = {n: s for n, s in tally.steps.items() if s.samples and s.open != 0}
            told = "; ".join(_progress(n, s) for n, s in moving.items())
            self._say(logging.INFO, f"{tally.name}: {told or f'{len(tally.under_way)} jobs under way'}")

    @staticmethod
    def _say(level: int, text: str) -> None:
        logger = logging.getLogger("weft")
        if logger.hasHandlers():
            logger.log(level, "%s", text)
        else:
            print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def _progress(name: str, state: StepState) -> str:
    rate, left = state.rate(), state.left()
    parts = [f"{name} {state.done:,}/{'?' if state.total is None else format(state.total, ',')}"]
    parts += [f"({state.failed:,} failed)"] if state.failed else []
    parts += [per_second(rate)] if rate else []
    parts += [f"{clock(left)} left"] if left is not None else []
    return " ".join(parts)


def _result(name: str, state: StepState) -> str:
    return ", ".join([f"{name} {state.done:,} done", *state.told("failed", "blocked", "skipped", "open")])
