"""The program and its list of commands; each lives in a module that is imported when it is called."""

from __future__ import annotations

import importlib
import sys
import traceback as tracebacks
from typing import Any

import click

from weft.errors import StepError, WeftError

# Where each command is, and what the list of commands says of it, so that the list imports none of them.
_COMMANDS = {
    "run": ("working", "Run a pipeline, or go on with what the run directory holds."),
    "plan": ("working", "Show what a run would do; computes nothing."),
    "resume": ("working", "Go on with a run: what is open and what failed."),
    "retry": ("working", "Run failed elements again."),
    "cancel": ("working", "Stop a run: what is running ends and is kept."),
    "status": ("looking", "Show how far a run is."),
    "watch": ("looking", "Follow a run until it ends; Ctrl-C leaves the run alone."),
    "errors": ("looking", "Show the elements that failed, and why."),
    "logs": ("looking", "Show what a step printed and logged."),
    "history": ("looking", "Show what was changed in a run, and when."),
    "graph": ("looking", "Draw the wiring of a pipeline or a run."),
    "export": ("keeping", "Write results as a table (csv, parquet) or labelled arrays (zarr)."),
    "verify": ("keeping", "Check every file of a run against its checksum."),
    "gc": ("keeping", "Remove results that nothing refers to any more."),
    "cache": ("caching", "Show the cache of steps with cache=True, or clear it."),
    "backends": ("looking", "List where jobs can run."),
    "demo": ("keeping", "Run a real study, kill it on the way, and see it resume."),
    "completion": ("keeping", "Print the script that completes weft's commands in a shell."),
}  # fmt: skip


class Commands(click.Group):
    """Commands imported when called; errors of weft become one message and an exit status."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        found: click.Command = getattr(importlib.import_module(f"weft.cli.{_COMMANDS[name][0]}"), name)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, told) for name, (_, told) in _COMMANDS.items()])

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # --traceback may stand anywhere: who wants it has just typed the rest.
        if "--traceback" in args:
            args = ["--traceback", *(a for a in args if a != "--traceback")]
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        from weft.model.step import nearest

        if args and args[0] not in _COMMANDS:
            ctx.fail(f"There is no command {args[0]!r}.{nearest(args[0], _COMMANDS)} See weft --help.")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            _told(ctx, "Interrupted. What is finished is kept; in a run directory, weft resume goes on.")
            ctx.exit(130)
        except WeftError as error:
            _told(ctx, str(error))
            ctx.exit(1 if isinstance(error, StepError) else 2)


def _told(ctx: click.Context, message: str) -> None:
    if ctx.params.get("traceback"):
        tracebacks.print_exc()
    click.echo(f"weft: {message}", err=True)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="weft")
@click.option("--traceback", is_flag=True, help="Show where an error came from; may stand anywhere.")
def cli(traceback: bool) -> None:
    """Computational studies along named axes, every finished result safe on disk.

    \b
    weft run study.py:pipe x=range(100) k=0.5 --run-dir runs/study
    weft status runs/study
    weft resume runs/study

    Exit status: 0 what was asked is done, 1 some elements failed, 2 usage, 130 interrupted.
    """  # noqa: D301 (click reads the backspace as "leave this paragraph as it is")


def done(ok: bool) -> None:
    """End with status 1 unless all is well."""
    if not ok:
        sys.exit(1)
