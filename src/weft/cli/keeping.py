"""Commands for what is kept: export, verify, gc; and demo and completion."""

from __future__ import annotations

import os

import click

from weft.cli.commands import done
from weft.cli.shown import json_option, show

_FORMATS = {".csv": "csv", ".parquet": "parquet", ".zarr": "zarr"}


@click.command(help="Write results as a table (csv, parquet) or labelled arrays (zarr).")
@click.argument("run_dir")
@click.argument("target")
@click.argument("names", nargs=-1, metavar="[OUTPUT]...")
@click.option(
    "--format", "kind", type=click.Choice(list(_FORMATS.values())), help="By default TARGET's ending."
)
def export(run_dir: str, target: str, names: tuple[str, ...], kind: str | None) -> None:
    """Without names: everything that shares axes."""
    from weft.run.run import open_run

    kind = kind or _FORMATS.get(os.path.splitext(target)[1])
    if kind is None:
        raise click.UsageError(f"{target} ends in none of {', '.join(_FORMATS)}; say which with --format.")
    found = open_run(run_dir)
    if kind == "csv":
        found.to_dataframe(*names).to_csv(target, index=False)
    elif kind == "parquet":
        found.to_parquet(target, *names)
    else:
        found.to_zarr(target, *names)
    click.echo(f"written: {target}")


@click.command(help="Check every file of a run against its checksum.")
@click.argument("run_dir")
@click.option("--repair", is_flag=True, help="Set damaged files aside, so that their elements run again.")
@json_option
def verify(run_dir: str, repair: bool, as_json: bool) -> None:
    """Check every file; status 1 if any is damaged."""
    from weft.run.run import open_run

    problems = open_run(run_dir).verify(repair=repair)
    if as_json:
        show({"ok": not problems, "problems": problems}, True)
    else:
        click.echo(problems if problems else "Every file is whole.")
    done(not problems)


@click.command(help="Remove results that nothing refers to any more.")
@click.argument("run_dir")
@click.option("--dry", is_flag=True, help="Show what would be removed.")
@json_option
def gc(run_dir: str, dry: bool, as_json: bool) -> None:
    """Remove what nothing refers to."""
    from weft.run.run import open_run

    found = open_run(run_dir).gc(dry=dry)
    show(found if as_json or found else "There is nothing to remove.", as_json)


@click.command(help="Run a real study, kill it on the way, and see it resume.")
@click.argument("directory", default="weft-demo")
def demo(directory: str) -> None:
    """Run the demonstration study."""
    from weft.cli.demo import main

    main(directory)


@click.command(help="Print the script that completes weft's commands in a shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    r"""For instance in ~/.bashrc: eval "$(weft completion bash)"."""
    from click.shell_completion import get_completion_class

    from weft.cli.commands import cli

    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(cli, {}, "weft", "_WEFT_COMPLETE").source())
