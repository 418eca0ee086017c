"""Commands that make a run work: run, plan, resume, retry, cancel."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

import click

from weft.cli.shown import done, json_option, opened, reserved, run_dir_argument, show
from weft.errors import StepError

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def _together(*parts: Decorator) -> Decorator:
    """Arguments and options that commands share, in this order."""
    return lambda function: functools.reduce(lambda decorated, part: part(decorated), parts[::-1], function)


_on_change = click.option(
    "--on-change", type=click.Choice(["error", "rerun", "keep", "replace"]), help="By default error."
)
_quiet = click.option("--quiet", "-q", is_flag=True, help="Show no progress.")
_driven = _together(
    click.option("--backend", "-b", help="Where jobs run, by default auto; loky, dask…"),
    click.option("--n-jobs", "-j", type=int, help="Workers; all cores by default."),
    click.option("--on-error", type=click.Choice(["stop", "cancel", "continue"]), help="By default stop."),
)
_planned = _together(
    click.argument("target", type=click.Path(), metavar="FILE.py:PIPE|STUDY.yaml"),
    click.argument("inputs", nargs=-1, metavar="[NAME=VALUE]..."),
    click.option(
        "--sweep",
        multiple=True,
        metavar="NAME=VALUES",
        help="A study axis: values separated by commas, each a Python literal or text (lr=0.1,0.2), or "
        "start:stop[:step] as Python's range, without stop (a=1:10 is 1 to 9). Repeated: every combination, "
        "the first outermost.",
    ),
    click.option(
        "--run-dir",
        "-d",
        type=click.Path(),
        metavar="DIRECTORY",
        help="Where results are kept; a run there is resumed. None: in memory.",
    ),
    click.option("--output", "outputs", multiple=True, help="Make only this; may be repeated."),
    click.option("--force", multiple=True, help="STEP, STEP+ (and all that follows) or all."),
    click.option("--block-size", type=int, help="Elements per block."),
    click.option("--seed", type=int, help="Root of every random stream."),
    _on_change,
    _driven,
)


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


@click.command()
@_planned
@_quiet
@json_option
def run(target: str, inputs: tuple[str, ...], quiet: bool, as_json: bool, **given: Any) -> None:
    """Run a pipeline, or go on with what the run directory holds.

    Of a pipeline in a Python file, NAME is an input; VALUE is a Python literal, range(...), text, or @FILE,
    which reads a .json, .csv or .npy file. Of a YAML file, NAME is a key (run.n_jobs=2,
    steps.fit.retries=3) or an input, and VALUE is YAML, range(...) or @FILE. Options win over what the file
    says.
    """
    from weft.cli.given import study

    options = _options(given) | ({"progress": False} if quiet or as_json else {})
    _ended(lambda: study(target, inputs).run(**options), as_json)


@click.command()
@_planned
@json_option
def plan(target: str, inputs: tuple[str, ...], as_json: bool, **given: Any) -> None:
    """Show what a run would do; computes nothing.

    Arguments are those of weft run. Of a YAML file NAME is a key, such as run.n_jobs=2, or an input.
    """
    from weft.cli.given import study

    with reserved(as_json):
        found = study(target, inputs).plan(**_options(given))
    if not as_json:
        show(found, False)
        return
    totals = {
        name: getattr(found, name) for name in ("n_elements", "blocks", "jobs", "files", "bytes", "done")
    }
    show({"name": found.name, **totals, "steps": found.steps}, True)


@click.command()
@run_dir_argument
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--from",
    "source",
    type=click.Path(),
    metavar="FILE.py:PIPE|STUDY.yaml",
    help="Use its code, and of a YAML file KEY=VALUE; inputs are those of the run.",
)
@_on_change
@_driven
@_quiet
@json_option
def resume(
    run_dir: str, overrides: tuple[str, ...], source: str | None, quiet: bool, as_json: bool, **given: Any
) -> None:
    """Go on with a run: what is open and what failed."""
    from weft.cli.given import study

    if overrides and not (source or "").endswith((".yaml", ".yml")):
        raise click.UsageError(f"{overrides[0]} is for a study: --from STUDY.yaml.")

    def work() -> Any:
        pipe = study(source, overrides).varied() if source else None
        _find_modules_here()
        return opened(run_dir).resume(pipeline=pipe, progress=not (quiet or as_json), **_options(given))

    _ended(work, as_json)


@click.command()
@run_dir_argument
@click.argument("step", required=False)
@click.argument("where", nargs=-1, metavar="[AXIS=POSITION]...")
@_driven
@_quiet
@json_option
def retry(
    run_dir: str, step: str | None, where: tuple[str, ...], quiet: bool, as_json: bool, **given: Any
) -> None:
    """Run failed elements again: all, or those of a step and positions such as i=3."""
    from weft.cli.given import values

    chosen = {**_options(given), **values(where)}
    _find_modules_here()
    _ended(lambda: opened(run_dir).retry(step, progress=not (quiet or as_json), **chosen), as_json)


@click.command()
@run_dir_argument
def cancel(run_dir: str) -> None:
    """Stop a run: what is running ends and is kept."""
    if opened(run_dir).cancel():
        click.echo(f"{run_dir} ends as soon as what is running has ended. Go on with: weft resume {run_dir}")
    else:
        click.echo(f"Nobody is working on {run_dir}.")


def _find_modules_here() -> None:
    """Let recorded functions import the project's modules from the current directory, as ``python`` would."""
    from weft.configuration.importing import importable

    importable(os.getcwd())


def _ended(work: Callable[[], Any], as_json: bool) -> None:
    """Make a run work, show how it ended, and end with its status."""
    try:
        with reserved(as_json):
            found = work()
    except StepError as error:
        if as_json:
            show({"ok": False, "error": str(error), "step": error.step, "index": error.index}, True)
        raise
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
        if status.state == "failed":
            click.echo(f"Why: weft errors {found.path}")
        elif not ok:
            click.echo(f"Go on with: weft resume {found.path}")
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
