"""The live display: a line for each step, a line for each worker, with rich."""

from __future__ import annotations

import io
import sys
import time
from typing import Any

from rich.console import Console, Group
from rich.live import Live as RichLive
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from weft.views.tally import News, StepState, Tally, clock, per_second

MOST_WORKERS = 12


class Live:
    """Redraws a table in place on standard error."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        # What the user prints stays above the table, unless it goes elsewhere than to this terminal.
        self._live = RichLive(
            console=self.console, auto_refresh=False, redirect_stdout=sys.stdout.isatty(),
            redirect_stderr=True, vertical_overflow="crop",
        )  # fmt: skip
        self._told = News()

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
        for line in _styled(self._told.since(tally)):
            self.console.print(line, soft_wrap=True)


class Notebook:
    """Redraws a table in a notebook's cell, failures above it."""

    def __init__(self) -> None:
        self._told = News()
        self._above: list[Any] = []
        self._handle: Any = None

    def begin(self, tally: Tally) -> None:
        """Make the place where it is drawn."""
        from IPython.display import display

        self._handle = display(self._html(tally, time.time(), False), display_id=True)

    def refresh(self, tally: Tally, now: float) -> None:
        """Draw."""
        self._handle.update(self._html(tally, now, False))

    def end(self, tally: Tally) -> None:
        """Draw the end; it stays in the cell."""
        self._handle.update(self._html(tally, tally.ended or time.time(), True))

    def _html(self, tally: Tally, now: float, ended: bool) -> Any:
        from IPython.display import HTML

        self._above += _styled(self._told.since(tally))
        console = Console(file=io.StringIO(), record=True, width=110, force_jupyter=False)
        console.print(*self._above, picture(tally, now, ended), sep="\n")
        return HTML(console.export_html(inline_styles=True, code_format="<pre>{code}</pre>"))


def _styled(news: list[tuple[str, str]]) -> list[Text]:
    looks = {"traceback": ("", "dim"), "failure": ("✗ ", "red"), "note": ("! ", "yellow")}
    return [Text(looks[kind][0] + text, style=looks[kind][1]) for kind, text in news]


def picture(tally: Tally, now: float, ended: bool = False) -> Any:
    """What a terminal shows of a tally."""
    head = Text(tally.name, style="bold")
    head.append(f"  {clock(now - tally.started)}", style="not bold")
    if tally.path:
        head.append(f"  {tally.path}", style="not bold dim")
    if tally.idle:
        head.append("  nothing had to run", style="not bold")
    steps = Table.grid(padding=(0, 1))
    for justify in ("left", "left", "right", "right", "right", "left"):
        steps.add_column(justify=justify, no_wrap=True)
    for name, state in list(tally.steps.items()):
        steps.add_row(*_step(name, state, ended))
    return Group(head, steps) if ended or not tally.workers else Group(head, steps, _workers(tally))


def _step(name: str, state: StepState, ended: bool) -> list[Any]:
    total = "?" if state.total is None else f"{state.total:,}"
    mark, style = "·", "dim"
    if state.complete:
        mark, style = ("✓", "green") if state.done + state.skipped == state.total else ("✗", "red")
    elif state.samples and not ended:
        mark, style = "▸", "cyan"
    lost = [f"{n:,} {word}" for n, word in ((state.failed, "failed"), (state.blocked, "blocked")) if n]
    left = "" if ended or state.complete or state.left() is None else f"{clock(state.left())} left"
    settled = state.settled if state.total else 0
    bar = ProgressBar(state.total or 1, settled, width=24, complete_style="cyan", finished_style=style)
    return [
        Text(f"{mark} {name}", style=style), bar, f"{state.done:,}/{total}",
        Text(", ".join(lost), style="red"), per_second(state.rate()), left,
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
