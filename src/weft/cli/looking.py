"""Commands that look at a run and change nothing: status, watch, errors, logs, history, graph."""

from __future__ import annotations

import os
import sys

import click

from weft.cli.shown import done, json_option, opened, run_dir_argument, show


@click.command()
@run_dir_argument
@json_option
def status(run_dir: str, as_json: bool) -> None:
    """Show how far a run is."""
    run = opened(run_dir)
    now = run.status
    told = {"name": run.name, "path": run.path, "state": now.state, "steps": now}
    show(told if as_json else now, as_json)


@click.command()
@run_dir_argument
def watch(run_dir: str) -> None:
    """Follow a run until it ends; Ctrl-C leaves the run alone."""
    from weft.views.progress import follow

    run = opened(run_dir)
    try:
        follow(run)
    except KeyboardInterrupt:
        click.echo("The run is left alone.", err=True)
        sys.exit(130)
    now = run.status
    click.echo(now)
    done(now.state == "complete")


@click.command()
@run_dir_argument
@click.option("--full", is_flag=True, help="With the traceback of each.")
@json_option
def errors(run_dir: str, full: bool, as_json: bool) -> None:
    """Show the elements that failed, and why."""
    found = opened(run_dir).errors
    if as_json:
        show([{**error.row(), **({"traceback": error.traceback} if full else {})} for error in found], True)
        return
    for error in found:
        click.echo(f"{error}\n{error.traceback}" if full else str(error))
    if not len(found):
        click.echo("No element failed.")


@click.command()
@run_dir_argument
@click.argument("step")
@click.argument("where", nargs=-1, metavar="[AXIS=POSITION]...")
def logs(run_dir: str, step: str, where: tuple[str, ...]) -> None:
    """Show what a step printed and logged: all of it, or of positions such as i=3."""
    from weft.cli.given import values

    click.echo(opened(run_dir).logs(step, **values(where)))


@click.command()
@run_dir_argument
@json_option
def history(run_dir: str, as_json: bool) -> None:
    """Show what was changed in a run, and when."""
    show(opened(run_dir).history(), as_json)


@click.command()
@click.argument("target", type=click.Path(), metavar="FILE.py:PIPE|STUDY.yaml|RUN_DIR")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--kind", type=click.Choice(["text", "mermaid", "html"]), default="text", show_default=True)
def graph(target: str, overrides: tuple[str, ...], kind: str) -> None:
    """Draw the wiring of a pipeline (FILE.py:PIPE), a study (YAML) or a run (its directory)."""
    if os.path.isdir(target):
        from weft.plan.drawing import draw
        from weft.store.fs import current
        from weft.study.opening import absolute, load_study

        click.echo(draw(load_study(absolute(target), current()).graph, kind))
        return
    from weft.cli.given import study

    click.echo(study(target, overrides).pipeline.draw(kind))
