"""The live display: a line for each step, a line for each worker, with rich."""

from __future__ import annotations

import io
import sys
from typing import Any

from rich.console import Console, Group
from rich.live import Live as RichLive
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from weft.views.tally import StepState, Tally, clock, per_second

MOST_WORKERS = 12


class Live:
    """Redraws a table in place on standard error."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        # What the user prints stays above the table, unless it goes elsewhere than to this terminal.
        self._live = RichLive(
            console=self.console, auto_refresh=False, redirect_stdout=sys.stdout.isatty(),
            redirect_stderr=True, vertical_overflow="crop",
        )  # fmt: skip

    def show(self, tally: Tally, now: float, ended: bool = False) -> None:
        """Draw, and put news above the table; the end stays on the screen."""
        self._live.start()
        for line in _styled(tally.news()):
            self.console.print(line, soft_wrap=True)
        self._live.update(picture(tally, now, ended), refresh=True)
        if ended:
            self._live.stop()


class Notebook:
    """Redraws a table in a notebook's cell, failures above it."""

    def __init__(self) -> None:
        self._above: list[Any] = []
        self._handle: Any = None

    def show(self, tally: Tally, now: float, ended: bool = False) -> None:
        """Draw; the end stays in the cell."""
        from IPython.display import HTML, display

        self._above += _styled(tally.news())
        console = Console(file=io.StringIO(), record=True, width=110, force_jupyter=False)
        console.print(*self._above, picture(tally, now, ended), sep="\n")
        page = HTML(console.export_html(inline_styles=True, code_format="<pre>{code}</pre>"))
        if self._handle is None:
            self._handle = display(page, display_id=True)
        else:
            self._handle.update(page)


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
    if state.open == 0:
        mark, style = ("✓", "green") if state.done + state.skipped == state.total else ("✗", "red")
    elif state.samples and not ended:
        mark, style = "▸", "cyan"
    left = "" if ended or not state.open or state.left() is None else f"{clock(state.left())} left"
    settled = state.settled if state.total else 0
    bar = ProgressBar(state.total or 1, settled, width=24, complete_style="cyan", finished_style=style)
    return [
        Text(f"{mark} {name}", style=style), bar, f"{state.done:,}/{total}",
        Text(", ".join(state.told("failed", "blocked")), style="red"), per_second(state.rate()), left,
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
