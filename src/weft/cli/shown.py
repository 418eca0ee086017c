"""What commands share: opening a run, and what they print: text for people, JSON for programs."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, is_dataclass
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from weft.run.run import Run

# What is large is imported when a command is called: the list of commands needs none of it.

run_dir_argument = click.argument("run_dir", type=click.Path())  # completed by the shell
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for a program.")


def opened(run_dir: str) -> Run:
    """The run in a directory."""
    from weft.run.run import open_run

    return open_run(run_dir)


def done(ok: bool) -> None:
    """End with status 1 unless all is well."""
    if not ok:
        sys.exit(1)


def show(value: Any, as_json: bool) -> None:
    """Print a value, as JSON or as it shows itself."""
    click.echo(json.dumps(plain(value), indent=1) if as_json else str(value))


@contextlib.contextmanager
def reserved(as_json: bool) -> Iterator[None]:
    """Keep standard output for JSON: what a study prints meanwhile, workers too, goes to standard error."""
    if not as_json:
        yield
        return
    sys.stdout.flush()
    before = os.dup(1)
    os.dup2(2, 1)  # workers inherit it
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(before, 1)
        os.close(before)


def plain(value: Any) -> Any:
    """A value in the types of JSON; what has no such form as its text."""
    import numpy as np

    if isinstance(value, (str, int, bool)) or value is None:
        return value
    if isinstance(value, float):
        return value if np.isfinite(value) else str(value)
    if isinstance(value, (np.generic, np.ndarray)):
        return plain(value.tolist())
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(part) for part in value]
    return str(value)
