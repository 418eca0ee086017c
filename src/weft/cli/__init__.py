"""The command line: thin commands over the library."""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """The program ``weft``."""
    from weft.cli.commands import cli

    cli(prog_name="weft")
