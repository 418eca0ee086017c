"""The cases of ``cases/mapspec.json`` on every local backend and store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import weft

CASES = json.loads(Path(__file__).with_name("cases").joinpath("mapspec.json").read_text())


def built(case: dict[str, Any]) -> weft.Pipeline:
    steps = []
    for given in case["steps"]:
        output = tuple(given["output"]) if isinstance(given["output"], list) else given["output"]
        # The functions are data of the case; each gets its own source for its identity.
        steps.append(
            weft.step(output, mapspec=given["mapspec"], version=given["function"])(eval(given["function"]))
        )
    return weft.Pipeline(steps)


def holes(expected: Any) -> dict[tuple[int, ...], str]:
    """Where an expected result is a word instead of a value."""
    if isinstance(expected, str):
        return {(): expected}
    return (
        {(i,): word for i, word in enumerate(expected) if isinstance(word, str)}
        if isinstance(expected, list)
        else {}
    )


@pytest.mark.parametrize("case", [c for c in CASES if "expected" in c], ids=lambda case: case["name"])
def test_case(case: dict[str, Any], backend: str, kept: dict[str, Any]) -> None:
    run = built(case).run(
        case["inputs"], backend=backend, n_jobs=2, progress=False, **case["options"], **kept
    )
    producer = {name: s["output"] for s in case["steps"] for name in np.atleast_1d(s["output"]).tolist()}
    for name, expected in case["expected"].items():
        missing = holes(expected)
        if not missing:
            found = run[name]
            assert np.asarray(found).tolist() == expected, name
            continue
        with pytest.raises(weft.MissingResult):
            run[name]
        counts = run.status[str(producer[name])]
        words = list(missing.values())
        assert (counts["failed"], counts["blocked"]) == (words.count("failed"), words.count("blocked"))
        if expected in ("failed", "blocked"):
            assert run.get(name, missing="mask") is np.ma.masked
            continue
        found = run.get(name, missing="mask")
        assert [tuple(at) for at in np.argwhere(np.ma.getmaskarray(found)).tolist()] == list(missing)
        assert found.compressed().tolist() == [v for v in expected if not isinstance(v, str)]
    assert run.ok == (not any(holes(e) for e in case["expected"].values()))


@pytest.mark.parametrize("case", [c for c in CASES if c.get("raises")], ids=lambda case: case["name"])
def test_case_raises(case: dict[str, Any], backend: str, kept: dict[str, Any]) -> None:
    with pytest.raises((weft.ShapeError, weft.WiringError)):
        built(case).run(case["inputs"], backend=backend, n_jobs=2, progress=False, **case["options"], **kept)


def test_every_case_is_tried() -> None:
    assert len(CASES) == 12 and all("expected" in case or case.get("raises") for case in CASES)
