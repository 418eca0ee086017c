"""A small table: rows by column name, which prints aligned and becomes a DataFrame on request."""

from __future__ import annotations

import datetime
import html
from typing import Any

SHOWN = 40
WIDEST = 60
MOMENTS = frozenset({"time", "started", "created", "last_used"})  # columns of seconds since the epoch


class Table(list[dict[str, Any]]):
    """A list of rows, each a dict.

    Examples
    --------
    >>> Table([{"step": "fit", "n": 3}, {"step": "best", "n": 1}])
    step  n
    fit   3
    best  1
    """

    @property
    def columns(self) -> list[str]:
        """Names of the columns, in the order in which rows bring them."""
        return list(dict.fromkeys(name for row in self for name in row))

    def __repr__(self) -> str:
        columns = self.columns
        if not columns:
            return "(no rows)"
        lines = [columns, *([_cell(row.get(c), c) for c in columns] for row in self[:SHOWN])]
        widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
        text = [
            "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines
        ]
        more = [f"… {len(self) - SHOWN} more"] if len(self) > SHOWN else []
        return "\n".join(text + more)

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{html.escape(c)}</th>" for c in self.columns)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(_cell(row.get(c), c))}</td>" for c in self.columns) + "</tr>"
            for row in self[:SHOWN]
        )
        more = f"<p>… {len(self) - SHOWN} more</p>" if len(self) > SHOWN else ""
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"

    def to_dataframe(self) -> Any:
        """The table as a `pandas.DataFrame`."""
        import pandas as pd

        return pd.DataFrame(list(self), columns=self.columns)


def _cell(value: Any, column: str) -> str:
    if column in MOMENTS and isinstance(value, (int, float)):
        value = datetime.datetime.fromtimestamp(value).isoformat(" ", "seconds")
    text = "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
    text = " ".join(text.split())
    return text if len(text) <= WIDEST else text[: WIDEST - 1] + "…"
