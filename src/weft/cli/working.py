"""Commands that make a run work: run, plan, resume, retry, cancel."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from weft.cli.commands import done
from weft.cli.shown import json_option, show
from weft.errors import StepError

_ERROR = click.Choice(["stop", "cancel", "continue"])
_CHANGE = click.Choice(["error", "rerun", "keep", "replace"])
_OPTIONS = [
    click.option(
        "--sweep",
        multiple=True,
        metavar="NAME=VALUES",
        help="A study axis: values separated by commas, each a Python literal or text (lr=0.1,0.2), or "
        "start:stop[:step] as Python's range, without stop (a=1:10 is 1 to 9). Repeated: every combination, "
        "the first outermost.",
    ),
    click.option("--run-dir", "-d", help="Where results are kept; a run there is resumed. None: in memory."),
    click.option("--backend", "-b", help="Where jobs run, by default auto; see weft backends."),
    click.option("--n-jobs", "-j", type=int, help="Workers; all cores by default."),
    click.option("--output", "outputs", multiple=True, help="Make only this; may be repeated."),
    click.option("--force", multiple=True, help="STEP, STEP+ (and all that follows) or all."),
    click.option("--on-error", type=_ERROR, help="By default stop."),
    click.option("--on-change", type=_CHANGE, help="By default error."),
    click.option("--block-size", type=int, help="Elements per block."),
    click.option("--seed", type=int, help="Root of every random stream."),
]


_AGAIN = [
    click.option("--backend", "-b", help="Where jobs run; see weft backends."),
    click.option("--n-jobs", "-j", type=int, help="Workers; all cores by default."),
    click.option("--on-error", type=_ERROR),
    click.option("--quiet", "-q", is_flag=True, help="Show no progress."),
    json_option,
]


def _run_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """What run and plan share."""
    return functools.reduce(lambda f, option: option(f), reversed(_OPTIONS), function)


def _again_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """What resume and retry share."""
    return functools.reduce(lambda f, option: option(f), reversed(_AGAIN), function)


def _options(given: dict[str, Any]) -> dict[str, Any]:
    """Options as `Pipeline.run` takes them."""
    options = {name: value for name, value in given.items() if value not in (None, ())}
    for name in ("outputs", "force"):
        if name in options:
            options[name] = list(options[name])
    if "sweep" in options:
        from weft.cli.given import sweep

        options["sweep"] = sweep(options["sweep"])
    return options


_TARGET = click.argument("target", metavar="FILE.py:PIPE|STUDY.yaml")
_INPUTS = click.argument("inputs", nargs=-1, metavar="[NAME=VALUE]...")
_VALUES = (
    "Of a pipeline in a Python file, NAME is an input; VALUE is a Python literal, range(...), text, or "
    "@FILE, which reads a .json, .csv or .npy file. Of a YAML file, NAME is a key (run.n_jobs=2, "
    "steps.fit.retries=3) or an input, and VALUE is YAML, range(...) or @FILE. Options win over what the "
    "file says."
)


@click.command(help="Run a pipeline, or go on with what the run directory holds.\n\n" + _VALUES)
@_TARGET
@_INPUTS
@_run_options
@click.option("--quiet", "-q", is_flag=True, help="Show no progress.")
@json_option
def run(target: str, inputs: tuple[str, ...], quiet: bool, as_json: bool, **given: Any) -> None:
    """Run, or go on."""
    from weft.cli.given import study

    found = study(target, inputs)
    options = _options(given) | ({"progress": False} if quiet or as_json else {})
    try:
        made = found.run(**options)
    except StepError as error:
        if as_json:
            show({"ok": False, "error": str(error), "step": error.step, "index": error.index}, True)
        raise
    _ended(made, as_json)


@click.command(help="Show what a run would do; computes nothing.\n\n" + _VALUES)
@_TARGET
@_INPUTS
@_run_options
@json_option
def plan(target: str, inputs: tuple[str, ...], as_json: bool, **given: Any) -> None:
    """The same arguments as ``weft run``."""
    from weft.cli.given import study

    found = study(target, inputs).plan(**_options(given))
    if not as_json:
        show(found, False)
        return
    totals = {
        name: getattr(found, name) for name in ("n_elements", "blocks", "jobs", "files", "bytes", "done")
    }
    show({"name": found.name, **totals, "steps": found.steps}, True)


@click.command(help="Go on with a run: what is open and what failed.")
@click.argument("run_dir")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--from",
    "source",
    metavar="FILE.py:PIPE|STUDY.yaml",
    help="Use its code, and of a YAML file KEY=VALUE; inputs are those of the run.",
)
@click.option("--on-change", type=_CHANGE)
@_again_options
def resume(
    run_dir: str, overrides: tuple[str, ...], source: str | None, quiet: bool, as_json: bool, **given: Any
) -> None:
    """Go on."""
    from weft.cli.given import study
    from weft.run.run import open_run

    if overrides and not (source or "").endswith((".yaml", ".yml")):
        raise click.UsageError(f"{overrides[0]} is for a study: --from STUDY.yaml.")
    pipe = study(source, overrides).varied() if source else None
    found = open_run(run_dir).resume(pipeline=pipe, progress=not (quiet or as_json), **_options(given))
    _ended(found, as_json)


@click.command(help="Run failed elements again: all, or those of a step and positions such as i=3.")
@click.argument("run_dir")
@click.argument("step", required=False)
@click.argument("where", nargs=-1, metavar="[AXIS=POSITION]...")
@_again_options
def retry(
    run_dir: str, step: str | None, where: tuple[str, ...], quiet: bool, as_json: bool, **given: Any
) -> None:
    """Run failed elements again."""
    from weft.cli.given import values
    from weft.run.run import open_run

    chosen = {**_options(given), **values(where)}
    _ended(open_run(run_dir).retry(step, progress=not (quiet or as_json), **chosen), as_json)


@click.command(help="Stop a run: what is running ends and is kept.")
@click.argument("run_dir")
def cancel(run_dir: str) -> None:
    """Stop a run."""
    from weft.run.run import open_run

    if open_run(run_dir).cancel():
        click.echo(f"{run_dir} ends as soon as what is running has ended. Go on with: weft resume {run_dir}")
    else:
        click.echo(f"Nobody is working on {run_dir}.")


def _ended(found: Any, as_json: bool) -> None:
    """Show how a run ended, and end with its status."""
    status, ok = found.status, found.ok
    if as_json:
        show({"ok": ok, "state": status.state, "path": found.path, "seed": found.seed, "steps": status}, True)
        done(ok)
        return
    click.echo(status.table)
    for name in found._study.graph.leaves:
        text = _value(found, name)
        if text:
            click.echo(f"{name} = {text}")
    if found.path:
        click.echo(f"in {found.path}")
        if not ok:
            click.echo(f"Why: weft errors {found.path}")
    done(ok)


def _value(found: Any, name: str) -> str:
    """A result as text: of a run in memory, or one value; arrays on disk may be large, and stay there."""
    from weft.errors import MissingResult

    if found.path and found._study.graph.axes.get(name):
        return ""
    try:
        text = str(found[name])
    except MissingResult:
        return ""
    return text if len(text) < 2000 else f"{text[:2000]}…"
