"""Progress of a run: which display suits the place, and the thread that keeps it fresh."""

from __future__ import annotations

import logging
import sys
import threading
import time
from typing import Protocol

from weft.contracts import Event
from weft.errors import InvalidInput
from weft.views.tally import News, StepState, Tally, clock, per_second

PATIENCE = 0.5  # seconds that a run may take before "auto" shows anything
REFRESH = 0.25
LINE_EVERY = 10.0


class Display(Protocol):
    """Shows a tally; called from one thread at a time."""

    def begin(self, tally: Tally) -> None:
        """Start showing."""

    def refresh(self, tally: Tally, now: float) -> None:
        """Show what changed."""

    def end(self, tally: Tally) -> None:
        """Show the end, and stop."""


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
    if progress is False:
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
        self._shown = False

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
        display = self._display = self._display or display_here()
        display.begin(self.tally)
        self._shown = True
        while not self._over.wait(REFRESH):
            now = time.time()
            self.tally.sample(now)
            display.refresh(self.tally, now)

    def close(self) -> None:
        """Show the end, if anything was shown; may be called again."""
        self._over.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()
            if self._shown and self._display is not None:
                self.tally.sample(time.time())
                self._display.end(self.tally)


class Lines:
    """Log lines: the start, now and then how far it is, failures, the end.

    They go to the logger ``weft``, or to standard error where no logging is set up.
    """

    def __init__(self, every: float = LINE_EVERY) -> None:
        self.every = every
        self._last = 0.0
        self._told = News()

    def begin(self, tally: Tally) -> None:
        """Say what was started."""
        self._last = tally.started
        where = f" in {tally.path}" if tally.path else " in memory"
        self._say(logging.INFO, f"{tally.name}: {len(tally.steps)} steps{where}: {', '.join(tally.steps)}")

    def refresh(self, tally: Tally, now: float) -> None:
        """Say what failed, and every ten seconds how far it is."""
        self._news(tally)
        if now - self._last >= self.every:
            self._last = now
            moving = {n: s for n, s in tally.steps.items() if s.samples and not s.complete}
            told = "; ".join(_progress(n, s) for n, s in moving.items())
            self._say(logging.INFO, f"{tally.name}: {told or f'{len(tally.under_way)} jobs under way'}")

    def end(self, tally: Tally) -> None:
        """Say the totals."""
        self._news(tally)
        spent = (tally.ended or time.time()) - tally.started
        told = "; ".join(_result(name, state) for name, state in tally.steps.items())
        idle = ", nothing had to run" if tally.idle else ""
        self._say(logging.INFO, f"{tally.name}: ended after {spent:.1f} s{idle}: {told}")

    def _news(self, tally: Tally) -> None:
        for kind, text in self._told.since(tally):
            self._say(logging.WARNING if kind == "note" else logging.ERROR, text)

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
    still = None if state.total is None else state.total - state.settled
    parts = [
        (state.failed, "failed"),
        (state.blocked, "blocked"),
        (state.skipped, "skipped"),
        (still, "open"),
    ]
    return ", ".join([f"{name} {state.done:,} done", *(f"{n:,} {word}" for n, word in parts if n)])
