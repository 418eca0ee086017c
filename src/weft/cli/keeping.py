"""Commands for what is kept: export, verify, gc; and demo."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext

import click

from weft.cli.shown import done, json_option, opened, run_dir_argument, show

_FORMATS = {".csv": "csv", ".parquet": "parquet", ".zarr": "zarr"}


def _place(target: str) -> AbstractContextManager[str]:
    """Where a table is written: never over a file, but /dev/stdout and pipes will do."""
    from weft.run.contents import new_place

    if os.path.exists(target) and not (os.path.isfile(target) or os.path.isdir(target)):
        return nullcontext(target)
    return new_place(target)


@click.command()
@run_dir_argument
@click.argument("target", type=click.Path())
@click.argument("names", nargs=-1, metavar="[OUTPUT]...")
@click.option(
    "--format", "kind", type=click.Choice(list(_FORMATS.values())), help="By default TARGET's ending."
)
def export(run_dir: str, target: str, names: tuple[str, ...], kind: str | None) -> None:
    """Write results as a table (csv, parquet) or labelled arrays (zarr).

    Without names: everything that shares axes.
    """
    kind = kind or _FORMATS.get(os.path.splitext(target)[1])
    if kind is None:
        raise click.UsageError(f"{target} ends in none of {', '.join(_FORMATS)}; say which with --format.")
    run = opened(run_dir)
    if kind == "csv":
        frame = run.to_dataframe(*names)
        with _place(target) as place:
            frame.to_csv(place, index=False)
    elif kind == "parquet":
        run.to_parquet(target, *names)
    else:
        run.to_zarr(target, *names)
    click.echo(f"written: {target}")


@click.command()
@run_dir_argument
@click.option("--repair", is_flag=True, help="Set damaged files aside, so that their elements run again.")
@json_option
def verify(run_dir: str, repair: bool, as_json: bool) -> None:
    """Check every file of a run against its checksum; status 1 if any is damaged."""
    problems = opened(run_dir).verify(repair=repair)
    told = {"ok": not problems, "problems": problems}
    show(told if as_json else problems or "Every file is whole.", as_json)
    done(not problems)


@click.command()
@run_dir_argument
@click.option("--dry", is_flag=True, help="Show what would be removed.")
@json_option
def gc(run_dir: str, dry: bool, as_json: bool) -> None:
    """Remove results that nothing refers to any more."""
    found = opened(run_dir).gc(dry=dry)
    show(found if as_json or found else "There is nothing to remove.", as_json)


@click.command()
@click.argument("directory", default="weft-demo")
def demo(directory: str) -> None:
    """Run a real study, kill it on the way, and see it resume."""
    from weft.cli.demo import main

    main(directory)
