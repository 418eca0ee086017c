"""The command for the cache that runs share: what is in it, and clearing it."""

from __future__ import annotations

from typing import Any

import click

from weft.cli.shown import json_option, show


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def cache(ctx: click.Context, as_json: bool) -> None:
    """Show the cache of steps with cache=True, or clear it."""
    if ctx.invoked_subcommand is not None:
        return
    from weft.store.cache import Cache
    from weft.values.table import Table

    found = Cache.of_environment()
    steps: dict[str, dict[str, Any]] = {}
    for file in found.files():
        row = steps.setdefault(file.step, {"step": file.step, "entries": 0, "bytes": 0, "last_used": 0.0})
        row["entries"] += file.whole
        row["bytes"] += file.size
        row["last_used"] = max(row["last_used"], file.used)
    rows = Table(steps[name] for name in sorted(steps))
    entries, size = sum(row["entries"] for row in rows), sum(row["bytes"] for row in rows)
    told = {
        "folder": found.folder, "entries": entries, "bytes": size, "limit": found.limit, "steps": list(rows)
    }  # fmt: skip
    text = f"{found.folder}: {_counted(entries)}, {_amount(size)} of at most {_amount(found.limit)}"
    if rows:
        text += f"\n{Table({**row, 'bytes': _amount(row['bytes'])} for row in rows)}"
    show(told if as_json else text, as_json)


@cache.command()
@click.option("--step", help="Only those of the step of this name.")
@click.option("--older-than", metavar="TIME", help="Only those not used for so long: 30d, 12h.")
@json_option
def clear(step: str | None, older_than: str | None, as_json: bool) -> None:
    """Remove entries: all, or those of a step, or those not used for some time."""
    from weft.model.resources import seconds_of
    from weft.store.cache import Cache

    seconds = seconds_of("--older-than", older_than) if older_than is not None else 0
    removed = Cache.of_environment().clear(step, seconds)
    size = sum(file.size for file in removed)
    text = f"removed: {_counted(len(removed))}, {_amount(size)}"
    show({"removed": len(removed), "bytes": size} if as_json else text, as_json)


def _counted(entries: int) -> str:
    return f"{entries} entr{'y' if entries == 1 else 'ies'}"


def _amount(size: float) -> str:
    units = ["B", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1024 and len(units) > 1:
        size, units = size / 1024, units[1:]
    return f"{size:.4g} {units[0]}"
