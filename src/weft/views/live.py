"""The live display: a line for each step, a line for each worker, with rich."""

from __future__ import annotations

import sys
import time
from typing import Any

from rich.console import Console, Group
from rich.live import Live as RichLive
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from weft.views.tally import StepState, Tally, clock, per_second

MOST_WORKERS = 12
MOST_FAILURES = 10


class Live:
    """Redraws a table in place on standard error, or in a notebook's cell."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        # What the user prints stays above the table, unless it goes elsewhere than to this terminal.
        self._live = RichLive(
            console=self.console, auto_refresh=False, redirect_stdout=sys.stdout.isatty(), redirect_stderr=True,
            vertical_overflow="crop",
        )  # fmt: skip
        self._failures = self._notes = 0

    def begin(self, tally: Tally) -> None:
        """Start drawing."""
        self._live.start()
        self.refresh(tally, time.time())

    def refresh(self, tally: Tally, now: float) -> None:
        """Draw, and put news above the table."""
        self._news(tally)
        self._live.update(picture(tally, now), refresh=True)

    def end(self, tally: Tally) -> None:
        """Draw the end; it stays on the screen."""
        self._news(tally)
        self._live.update(picture(tally, tally.ended or time.time(), ended=True), refresh=True)
        self._live.stop()

    def _news(self, tally: Tally) -> None:
        out = self.console.print
        for message, traceback in tally.failures[self._failures : MOST_FAILURES]:
            if not self._failures and traceback:
                out(Text(traceback.rstrip(), style="dim"), soft_wrap=True)
            out(Text(f"✗ {message.splitlines()[0]}", style="red"), soft_wrap=True)
            self._failures += 1
        if len(tally.failures) > MOST_FAILURES == self._failures:
            self._failures += 1
            out(Text("✗ more elements fail; run.errors lists all of them", style="red"))
        for note in tally.notes[self._notes :]:
            out(Text(f"! {note}", style="yellow"), soft_wrap=True)
            self._notes += 1


def picture(tally: Tally, now: float, ended: bool = False) -> Any:
    """What a terminal shows of a tally."""
    head = Text(tally.name, style="bold")
    head.append(f"  {clock(now - tally.started)}", style="not bold")
    if tally.path:
        head.append(f"  {tally.path}", style="not bold dim")
    steps = Table.grid(padding=(0, 1))
    for justify in ("left", "left", "right", "right", "right", "left"):
        steps.add_column(justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for name, state in list(tally.steps.items()):
        steps.add_row(*_step(name, state, ended))
    return Group(head, steps) if ended or not tally.workers else Group(head, steps, _workers(tally))


def _step(name: str, state: StepState, ended: bool) -> list[Any]:
    total = "?" if state.total is None else f"{state.total:,}"
    mark, style = "·", "dim"
    if state.complete:
        mark, style = ("✓", "green") if state.done == state.total else ("✗", "red")
    elif state.samples and not ended:
        mark, style = "▸", "cyan"
    lost = ", ".join(f"{n:,} {word}" for n, word in ((state.failed, "failed"), (state.blocked, "blocked")) if n)
    settled = state.settled if state.total else 0
    bar = ProgressBar(state.total or 1, settled, width=24, complete_style="cyan", finished_style=style)
    return [
        Text(f"{mark} {name}", style=style), bar, f"{state.done:,}/{total}", Text(lost, style="red"),
        per_second(state.rate()), "" if ended or state.complete or state.left() is None else f"{clock(state.left())} left",
    ]  # fmt: skip


def _workers(tally: Tally) -> Table:
    table = Table.grid(padding=(0, 2))
    workers = sorted(tally.workers.items())
    for name, worker in workers[:MOST_WORKERS]:
        rate = per_second(worker.n / worker.seconds) if worker.seconds else ""
        table.add_row(Text(f"  {name}", style="dim"), worker.step, f"{worker.n:,} elements", rate)
    if len(workers) > MOST_WORKERS:
        table.add_row(Text(f"  … {len(workers) - MOST_WORKERS} more workers", style="dim"))
    return table
