"""Commands that look at a run and change nothing: status, watch, errors, logs, history, graph, backends."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import click

from weft.cli.commands import done
from weft.cli.shown import json_option, show

if TYPE_CHECKING:
    from weft.views.progress import Display

_POLL = 1.0


@click.command(help="Show how far a run is.")
@click.argument("run_dir")
@json_option
def status(run_dir: str, as_json: bool) -> None:
    """Show how far a run is."""
    from weft.run.run import open_run

    found = open_run(run_dir)
    now = found.status
    told = {"name": found.name, "path": found.path, "state": now.state, "steps": now}
    show(told if as_json else now, as_json)


@click.command(help="Follow a run until it ends; Ctrl-C leaves the run alone.")
@click.argument("run_dir")
def watch(run_dir: str) -> None:
    """Follow a run."""
    from weft.run.run import open_run
    from weft.views.progress import display_here

    found = open_run(run_dir)
    if found.status.state == "running":
        follow(found, display_here())
    now = found.status
    click.echo(now)
    done(now.state == "complete")


def follow(found: Any, display: Display, poll: float = _POLL) -> None:
    """Show a run that another process drives, until it ends."""
    from weft.views.tally import Tally

    tally = Tally()
    tally.name, tally.path, tally.started = found.name, found.path, time.time()
    now = found.status
    tally.count(now)
    for state in tally.steps.values():
        if not state.complete:
            state.samples.append((tally.started, state.done + state.failed))
    display.begin(tally)
    try:
        while now.state == "running":
            time.sleep(poll)
            now = found.status
            tally.count(now)
            tally.sample(time.time())
            display.refresh(tally, time.time())
    finally:
        tally.ended = time.time()
        display.end(tally)


@click.command(help="Show the elements that failed, and why.")
@click.argument("run_dir")
@click.option("--full", is_flag=True, help="With the traceback of each.")
@json_option
def errors(run_dir: str, full: bool, as_json: bool) -> None:
    """Show the elements that failed."""
    from weft.run.run import open_run

    found = open_run(run_dir).errors
    if as_json:
        show([{**error.row(), **({"traceback": error.traceback} if full else {})} for error in found], True)
        return
    for error in found:
        click.echo(f"{error}\n{error.traceback}" if full else str(error))
    if not len(found):
        click.echo("No element failed.")


@click.command(help="Show what a step printed and logged: all of it, or of positions such as i=3.")
@click.argument("run_dir")
@click.argument("step")
@click.argument("where", nargs=-1, metavar="[AXIS=POSITION]...")
def logs(run_dir: str, step: str, where: tuple[str, ...]) -> None:
    """Show what a step printed."""
    from weft.cli.given import values
    from weft.run.run import open_run

    click.echo(open_run(run_dir).logs(step, **values(where)))


@click.command(help="Show what was changed in a run, and when.")
@click.argument("run_dir")
@json_option
def history(run_dir: str, as_json: bool) -> None:
    """Show what was changed."""
    from weft.run.run import open_run

    show(open_run(run_dir).history(), as_json)


@click.command(help="Draw the wiring of a pipeline (FILE.py:PIPE), a study (YAML) or a run (its directory).")
@click.argument("target", metavar="FILE.py:PIPE|STUDY.yaml|RUN_DIR")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--kind", type=click.Choice(["text", "mermaid", "html"]), default="text", show_default=True)
def graph(target: str, overrides: tuple[str, ...], kind: str) -> None:
    """Draw the wiring."""
    from weft.plan.drawing import draw

    if os.path.isdir(target):
        from weft.store.fs import current
        from weft.study.opening import absolute, load_study

        click.echo(draw(load_study(absolute(target), current()).graph, kind))
        return
    from weft.cli.given import study

    click.echo(study(target, overrides).pipeline.draw(kind))


@click.command(help="List where jobs can run.")
@json_option
def backends(as_json: bool) -> None:
    """List where jobs can run."""
    from weft.backends import list_backends
    from weft.values.table import Table

    found = list_backends()
    rows = Table(
        {
            "backend": n,
            "available": "yes" if b["available"] else f"needs {b['requires']}",
            "what": b["description"],
        }
        for n, b in found.items()
    )
    show(found if as_json else rows, as_json)
