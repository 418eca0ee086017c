"""How a run shows itself on a terminal and in a notebook."""

from __future__ import annotations

import html as markup
from collections.abc import Iterator
from typing import Any

from weft.run.state import Errors, Status
from weft.run.tables import Tables

BAR = 20


def text(run: Tables) -> str:
    """A run for a terminal: state, a line for each step, the outputs, and what to do next."""
    status = run.status
    width = max((len(name) for name in status), default=0)
    return "\n".join([
        f"<Run {run.name!r} {f'in {run.path}' if run.path else 'in memory'}: {status.state}>",
        *(f"  {name:{width}}  {_bar(row)} {_counts(row)}" for name, row in status.items()),
        *(f"  {line}" for line in _notes(run, status)),
    ])  # fmt: skip


def html(run: Tables) -> str:
    """The same for a notebook."""
    status = run.status
    rows = []
    for name, row in status.items():
        full = f'<div style="width:{100 * _share(row):.0f}%;background:#4a8;height:.8em"></div>'
        bar = f'<div style="width:10em;background:#ddd">{full}</div>'
        rows.append(
            f"<tr><td>{markup.escape(name)}</td><td>{bar}</td><td>{markup.escape(_counts(row))}</td></tr>"
        )
    more = "".join(f"<p>{markup.escape(line)}</p>" for line in _notes(run, status))
    return (
        f"<div><p><b>Run {markup.escape(run.name)}</b> {markup.escape(run.path or 'in memory')}: "
        f"<b>{status.state}</b></p><table>{''.join(rows)}</table>{more}</div>"
    )


def _share(row: dict[str, Any]) -> float:
    """How much of a step is done."""
    total = row["total"]
    return 1.0 if total == 0 else row["done"] / total if total else 0.0


def _bar(row: dict[str, Any]) -> str:
    full = int(BAR * _share(row))
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


def _notes(run: Tables, status: Status) -> Iterator[str]:
    """The outputs with their dimensions, the first failure, and what can be done."""
    study, outputs = run._study, []
    for name in study.graph.outputs:
        lengths = {axis: study.axes[axis].length for axis in study.graph.axes.get(name, ())}
        dims = ", ".join(f"{axis}: {'?' if n is None else n}" for axis, n in lengths.items())
        outputs.append(f"{name} ({dims})" if dims else name)
    if outputs:
        yield f"Results: {' · '.join(outputs)}"
    failed = sum(row["failed"] for row in status.values())
    if status.state == "running":
        yield "Next: run.wait(), run.cancel(), or look again."
    elif failed:
        yield f"First of {failed} failure(s): {Errors(run, run._survey()).first}"
        yield (
            "Next: run.errors[0].traceback, run.errors[0].reproduce(), run.retry(); after a fix "
            "run.resume(pipeline=…, on_change='keep')."
        )
    elif status.state == "open":
        yield "Next: run.resume()."
