"""Measure, and print the table: ``python -m benchmarks [--only NAME …] [--quick] [--no-peers] [--save]``.

Benchmarks are not tests: the exit status is 0 whatever they show, but missed targets are named.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from typing import Any

from benchmarks.contenders import Peers
from benchmarks.lines import LINES, ROUNDS, Line
from benchmarks.measure import ROOT, WORK
from benchmarks.table import machine, markdown

RESULTS = ROOT / "benchmarks" / "results"


def measured(line: Line, quick: bool, peers: Peers | None) -> dict[str, Any]:
    """One row: a line that cannot be measured says why, and the others go on."""
    n = max(1, line.n // 10) if quick and line.name != "plan" else line.n
    row: dict[str, Any] = {
        "name": line.name,
        "work": line.work,
        "n": n,
        "target": line.target,
        "unit": "",
        "peers": {},
    }
    try:
        row.update(line.measure(n, 1 if quick else ROUNDS).as_dict())
    except Exception as error:
        row["problem"] = f"{type(error).__name__}: {error}".splitlines()[0]
    if peers is not None:
        row["peers"] = {
            peer: peers.imported(peer)
            if line.name == "import"
            else peers.run(peer, line.same_as or line.name, max(1, size // 10) if quick else size)
            for peer, size in line.peers.items()
        }
    return row


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="How long weft takes.")
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", choices=[line.name for line in LINES], help="these lines"
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the elements, one round: rougher")
    parser.add_argument("--no-peers", action="store_true", help="without pipefunc, joblib and fluidml")
    parser.add_argument("--save", action="store_true", help="keep the table in benchmarks/results")
    asked = parser.parse_args()
    peers = None if asked.no_peers else Peers()
    rows = []
    for line in LINES:
        if asked.only and line.name not in asked.only:
            continue
        start = time.perf_counter()
        print(f"{line.name} …", end=" ", flush=True, file=sys.stderr)
        rows.append(measured(line, asked.quick, peers))
        print(f"{time.perf_counter() - start:.0f} s", file=sys.stderr)
    shutil.rmtree(WORK, ignore_errors=True)
    where = machine()
    table = markdown(rows, where)
    print(table)
    if asked.save:
        RESULTS.mkdir(exist_ok=True)
        kept = RESULTS / "latest.json"
        found = {row["name"]: row for row in json.loads(kept.read_text())["rows"]} if kept.exists() else {}
        for row in rows:  # lines and peers that were not asked for stay as they were
            row["peers"] = row["peers"] or found.get(row["name"], {}).get("peers", {})
            found[row["name"]] = row
        rows = [found[line.name] for line in LINES if line.name in found]
        kept.write_text(json.dumps({"machine": where, "rows": rows}, indent=1) + "\n")
        (RESULTS / "latest.md").write_text(markdown(rows, where))


if __name__ == "__main__":
    main()
