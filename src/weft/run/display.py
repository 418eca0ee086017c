"""How a run shows itself on a terminal and in a notebook."""

from __future__ import annotations

import html as markup
from typing import Any

from weft.errors import CorruptResult, UnsafePayload
from weft.run.state import Errors, Status
from weft.run.tables import Tables
from weft.store.commits import Commit

BAR = 20


def text(run: Tables) -> str:
    """A run for a terminal: state, a line for each step and output, and what to do next."""
    status = run.status
    lines = [f"<Run {run.name!r} {'in ' + run.path if run.path else 'in memory'}: {status.state}>"]
    width = max((len(name) for name in status), default=0)
    for name, row in status.items():
        lines.append(f"  {name:{width}}  {_bar(row)} {_counts(row)}")
    lines += [f"  {line}" for line in (_outputs(run), *_next(run, status)) if line]
    return "\n".join(lines)


def html(run: Tables) -> str:
    """The same for a notebook."""
    status = run.status
    where = markup.escape(run.path) if run.path else "in memory"
    rows = []
    for name, row in status.items():
        share = 100 * row["done"] / row["total"] if row["total"] else 0
        full = f'<div style="width:{share:.0f}%;background:#4a8;height:.8em"></div>'
        bar = f'<div style="width:10em;background:#ddd">{full}</div>'
        rows.append(
            f"<tr><td>{markup.escape(name)}</td><td>{bar}</td><td>{markup.escape(_counts(row))}</td></tr>"
        )
    more = "".join(f"<p>{markup.escape(line)}</p>" for line in (_outputs(run), *_next(run, status)) if line)
    return (
        f"<div><p><b>Run {markup.escape(run.name)}</b> {where}: <b>{status.state}</b></p>"
        f"<table>{''.join(rows)}</table>{more}</div>"
    )


def _bar(row: dict[str, Any]) -> str:
    total = row["total"]
    full = BAR if total == 0 else BAR * row["done"] // total if total else 0
    return "█" * full + "·" * (BAR - full)


def _counts(row: dict[str, Any]) -> str:
    parts = [f"{row['done']}/{'?' if row['total'] is None else row['total']} done"]
    parts += [
        f"{row[state]} {state}"
        for state in ("failed", "blocked", "running", "queued", "skipped")
        if row[state]
    ]
    if row["seconds"]:
        parts.append(f"{row['seconds']:.3g} s")
    return ", ".join(parts)


def _outputs(run: Tables) -> str:
    """Names of the outputs with their dimensions and types, as far as anything of them is there."""
    study, said = run._study, []
    for name in study.graph.outputs:
        shape = study.array_shape(name)
        axes = study.graph.axes.get(name, ())
        lengths = shape if shape is not None else ["?"] * len(axes)
        dims = ", ".join(f"{axis}: {length}" for axis, length in zip(axes, lengths, strict=True))
        said.append(f"{name}{f' ({dims})' if dims else ''}{_kind(run, name)}")
    return f"Results: {' · '.join(said)}" if said else ""


def _kind(run: Tables, name: str) -> str:
    """The dtype of an output, told from one small commit; nothing if that would cost much."""
    results = run._study.results[run._study.graph.producer[name].name]
    commits: list[Commit] = [
        c for held in list(results.commits.values()) for c in list(held.values()) if c.n_done
    ]
    smallest = min(commits, key=lambda commit: commit.nbytes, default=None)
    if smallest is None or smallest.nbytes > 1 << 20:
        return ""
    try:
        array = results.cache.get(results.store, smallest, name)[:1].to_array()
    except (CorruptResult, UnsafePayload, OSError, KeyError):
        return ""
    inner = f"{array.shape[1:]} " if array.ndim > 1 else ""
    return f" {inner}{array.dtype}"


def _next(run: Tables, status: Status) -> list[str]:
    """The first failure, and what can be done."""
    if status.state == "running":
        return ["Next: run.wait(), run.cancel(), or look again."]
    failed = sum(row["failed"] for row in status.values())
    if failed:
        first = Errors(run, run._survey()).first
        return [
            f"First of {failed} failure(s): {first}",
            "Next: run.errors[0].traceback, run.errors[0].reproduce(), run.retry(); after a fix "
            "run.resume(pipeline=…, on_change='keep').",
        ]
    return ["Next: run.resume()."] if status.state == "open" else []
