"""The program: its commands, and what becomes of errors."""

from __future__ import annotations

import traceback as tracebacks
from typing import Any

import click

from weft.cli import caching, keeping, looking, working
from weft.errors import StepError, WeftError


class Program(click.Group):
    """Errors of weft become one message and an exit status."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)  # as they are needed, not by the alphabet

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # --traceback may stand anywhere: who wants it has just typed the rest.
        if "--traceback" in args:
            args = ["--traceback", *(a for a in args if a != "--traceback")]
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        from weft.errors import nearest

        if args and args[0] not in self.commands:
            ctx.fail(f"There is no command {args[0]!r}.{nearest(args[0], self.commands)} See weft --help.")
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


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
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


for _command in (
    working.run, working.plan, working.resume, working.retry, working.cancel,
    looking.status, looking.watch, looking.errors, looking.logs, looking.history, looking.graph,
    keeping.export, keeping.verify, keeping.gc, caching.cache, keeping.demo,
):  # fmt: skip
    cli.add_command(_command)
