"""The table that is printed and kept."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Sequence
from typing import Any

import numpy as np

HEAD = ("work", "n", "bare µs", "weft µs", "ratio", "CPU ratio", "target", "reached", "met?", "peers µs")


def machine() -> dict[str, str]:
    """Where and with what it was measured."""
    return {
        "when": datetime.datetime.now().isoformat(timespec="minutes"),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "load": f"{os.getloadavg()[0]:.1f}",
    }


def number(value: float | None) -> str:
    """Three digits, as a person writes them."""
    if value is None:
        return "–"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _each(seconds: float | None, n: int) -> str:
    return "–" if seconds is None else number(seconds / n * 1e6)


def _peer(name: str, found: dict[str, Any], files: bool) -> str:
    if "problem" in found:
        return f"{name}: {found['problem']}"
    if files:
        return f"{name} {found['files'] / found['n']:.2g} an element"
    return f"{name} {number(found['seconds'] / found['n'] * 1e6)}"


def verdict(row: dict[str, Any]) -> str:
    """Whether a target is met."""
    if row.get("problem"):
        return "not measured"
    if row["target"] is None:
        return "–"
    return "yes" if row["value"] <= row["target"] else "MISSED"


def cells(row: dict[str, Any]) -> list[str]:
    """A line as text."""
    target = "–" if row["target"] is None else f"≤ {number(row['target'])} {row['unit']}"
    if row.get("problem"):
        return [row["work"], f"{row['n']:,}", *["–"] * 4, target, "–", verdict(row), row["problem"]]
    bare, ours = row["bare"], row["weft"]
    ratio = number(ours / bare) + "×" if bare and ours else "–"
    cpu = number(row["cpu"]) + "×" if row["cpu"] else "–"
    peers = ", ".join(_peer(name, found, row["name"] == "files") for name, found in row["peers"].items())
    reached = f"{number(row['value'])} {row['unit']}"
    each = [_each(bare, row["n"]), _each(ours, row["n"])]
    return [row["work"], f"{row['n']:,}", *each, ratio, cpu, target, reached, verdict(row), peers]


def markdown(rows: Sequence[dict[str, Any]], where: dict[str, str]) -> str:
    """The whole table with what is to be said about it."""
    lines = ["# What weft costs", "", ", ".join(f"{key} {value}" for key, value in where.items()) + ".", ""]
    lines += ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    lines += ["| " + " | ".join(cells(row)) + " |" for row in rows]
    notes = [f"- {row['work']}: {row['note']}." for row in rows if row.get("note")]
    lines += ["", "µs are of wall time for an element.", "", *notes]
    missed = [row["work"] for row in rows if verdict(row) == "MISSED"]
    lines += ["", f"Missed: {', '.join(missed)}." if missed else "No target was missed."]
    unmeasured = [row["work"] for row in rows if verdict(row) == "not measured"]
    lines += ["", f"Not measured: {', '.join(unmeasured)}."] if unmeasured else []
    return "\n".join(lines) + "\n"
