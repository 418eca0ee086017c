"""``weft demo``: a real study whose driver is killed on the way, and which resumes where it was."""

from __future__ import annotations

import contextlib
import functools
import glob
import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from weft.cli import demo_study as demo
from weft.errors import BackendUnavailable, StoreError, WeftError
from weft.run.run import Run, open_run

KILL_AT = 0.35  # of the fits: enough to lose, and enough left to do
_DRIVER = "import sys; from weft.cli.demo_study import drive; drive(sys.argv[1])"


def main(directory: str = "weft-demo") -> None:
    """Run the demonstration study in a new directory.

    Parameters
    ----------
    directory
        Where everything is put; with a number behind it if that exists.

    Raises
    ------
    BackendUnavailable
        Without scikit-learn, matplotlib and pandas (the extra ``demo``).
    """
    from rich.console import Console

    missing = [name for name in ("sklearn", "matplotlib", "pandas") if importlib.util.find_spec(name) is None]
    if missing:
        raise BackendUnavailable(f"The demo needs {', '.join(missing)}: pip install 'weft[demo]'.")
    console = Console(highlight=False)
    say = functools.partial(console.print, soft_wrap=True)
    directory = _new(directory)
    grid = f"{len(demo.COSTS)} values of C × {len(demo.GAMMAS)} of gamma × {demo.N_FOLDS} folds"
    say("\n[bold]Which classifier reads handwriting best?[/bold]")
    say("1,797 real digits of 8 × 8 pixels; half of them are held out for the last word.")
    say(f"{grid} = [bold]{demo.N_FITS} fits[/bold], on two workers.\n")

    say("[bold]1[/bold]  Start a driver.")
    with _driver(directory) as child:
        _watch(directory, child, until=int(KILL_AT * demo.N_FITS))
    safe = _safe(directory)
    executed = sum(_tally(directory).values())
    say("[bold]2[/bold]  [red]kill -9[/red], the driver and its workers alike, in the middle of it.")
    say(f"   Safe on disk: {len(safe)} of the {executed} fits begun, every file whole and checksummed.")
    say("[bold]3[/bold]  The same call again, in a new process.")
    with _driver(directory) as child:
        _watch(directory, child)
    run = open_run(os.path.join(directory, demo.RUN))
    say("[bold]4[/bold]  Count: each fit left a line when it ran.")
    say(f"   {_count(safe, _tally(directory))}\n")
    _results(run, directory, say)


def _new(directory: str) -> str:
    """The directory, made; an existing one is left alone, and a number tells them apart."""
    for number in range(1, 1000):
        path = directory if number == 1 else f"{directory}-{number}"
        try:
            os.makedirs(path)
        except FileExistsError:
            continue
        return path
    raise StoreError(f"There are very many directories like {directory}. Remove some, or name another.")


@contextlib.contextmanager
def _driver(directory: str) -> Iterator[subprocess.Popen[bytes]]:
    """A driver in a process group of its own, which does not outlive the block."""
    with open(os.path.join(directory, "driver.log"), "ab") as log:
        command = [sys.executable, "-c", _DRIVER, directory]
        child = subprocess.Popen(command, start_new_session=True, stderr=log)
    try:
        yield child
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        for semaphore in glob.glob(f"/dev/shm/sem.loky-{child.pid}-*"):  # who would remove them is dead, too
            os.remove(semaphore)


def _watch(directory: str, child: subprocess.Popen[bytes], until: int | None = None) -> None:
    """Show how many fits are committed, as any reader sees them, until so many are or the driver ends."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("  "), BarColumn(40), MofNCompleteColumn(), TextColumn("fits on disk"))
    with Progress(*columns, TimeElapsedColumn()) as bar:
        task = bar.add_task("", total=demo.N_FITS)
        done, code = 0, None
        while code is None and (until is None or done < until):
            time.sleep(0.2)
            code = child.poll()
            done = len(_safe(directory))
            bar.update(task, completed=done)
    if code:
        with open(os.path.join(directory, "driver.log"), errors="replace") as log:
            raise WeftError(f"The driver of the demo ended with status {code}:\n{log.read()[-2000:]}")


def _safe(directory: str) -> list[str]:
    """The fits that are committed, as any reader sees them."""
    path = os.path.join(directory, demo.RUN)
    if not os.path.exists(os.path.join(path, "changes", "000001.json")):
        return []
    rows = open_run(path).elements("validate")
    return [demo.line(row["C"], row["gamma"], row["fold"]) for row in rows if row["state"] == "done"]


def _tally(directory: str) -> Counter[str]:
    """How often each fit was begun."""
    with open(os.path.join(directory, demo.TALLY)) as file:
        return Counter(file.read().splitlines())


def _count(safe: list[str], tally: Counter[str]) -> str:
    """What ran how often, in a sentence; a fit that was safe and ran again would be a lie of the demo."""
    twice = sum(tally[line] != 1 for line in safe)
    if twice or len(tally) != demo.N_FITS:
        raise WeftError(f"{twice} safe fit(s) ran again, and {len(tally)} of {demo.N_FITS} ran at all.")
    executed = sum(tally.values())
    repeated = executed - demo.N_FITS
    why = f"only the {repeated} in flight when it was killed ran again" if repeated else "none was in flight"
    return f"[bold]{demo.N_FITS} fits needed, {executed} executed[/bold]: {why}."


def _results(run: Run, directory: str, say: Any) -> None:
    files = {
        "accuracy.csv": ("accuracy of each setting", demo.write_table),
        "accuracy.png": ("the same as a picture", demo.draw_accuracy),
        "mistakes.png": ("the digits it gets wrong", demo.draw_mistakes),
    }
    for name, (_, write) in files.items():
        write(run, os.path.join(directory, name))
    best, wrong, n = run["best"], int((run["read"] != run["new_labels"]).sum()), len(run["read"])
    say(
        f"[bold green]Best: C = {best['C']:.3g}, gamma = {best['gamma']:.3g}[/bold green]. It reads "
        f"{best['accuracy']:.1%} right across folds, and {1 - wrong / n:.1%} of the {n} digits held out.\n"
    )
    say("[bold]Where everything lies[/bold]")
    for name, (what, _) in [*files.items(), (demo.RUN, ("the run directory: every result", None))]:
        say(f"  {os.path.join(directory, name):<28} {what}")
    path = os.path.join(directory, demo.RUN)
    say("\n[bold]What to try next[/bold]")
    say(f"  weft status {path}")
    say(f"  weft export {path} scores.csv score")
    say(f"  python -c \"import weft; print(weft.open_run('{path}').to_dataframe('accuracy'))\"")
    say("  README.md, the tour in two minutes; examples/, this study as a script\n")
