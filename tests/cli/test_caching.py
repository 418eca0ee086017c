"""``weft cache``: what is in the cache that runs share, and clearing it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

import weft as library


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with entries of two steps, one of them not used for three days."""
    monkeypatch.setenv("WEFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("WEFT_CACHE_SIZE", "1M")
    for name in ("one", "two"):
        step = library.step("y", mapspec="x[i] -> y[i]", name=name, cache=True)(lambda x: x)
        step.run({"x": [1, 2, 3]}, progress=False)
    old = next((tmp_path / "cache").rglob("one/*/*.weft"))
    past = time.time() - 3 * 86400
    os.utime(old, (past, past))
    return tmp_path / "cache"


def test_what_is_in_the_cache(weft: Callable[..., Result], folder: Path) -> None:
    text = weft("cache").output
    assert f"{folder}: 6 entries, 24 KiB of at most 1 MiB" in text
    assert [line.split()[:2] for line in text.splitlines()[2:]] == [["one", "3"], ["two", "3"]]
    told = json.loads(weft("cache", "--json").output)
    assert (told["folder"], told["entries"], told["limit"]) == (str(folder), 6, 2**20)
    assert [(row["step"], row["entries"], row["bytes"]) for row in told["steps"]] == [
        ("one", 3, 12288),
        ("two", 3, 12288),
    ]


def test_clearing(weft: Callable[..., Result], folder: Path) -> None:
    mine = folder / "results-1" / "one" / "notes.weft"
    mine.write_text("not weft's")
    assert "removed: 1 entry, 4 KiB" in weft("cache", "clear", "--older-than", "2d").output
    assert json.loads(weft("cache", "clear", "--step", "two", "--json").output) == {
        "removed": 3,
        "bytes": 12288,
    }
    assert weft("cache", "clear", "--step", "three").output == "removed: 0 entries, 0 B\n"
    assert weft("cache", "clear").output == "removed: 2 entries, 8 KiB\n"
    assert [p.name for p in folder.rglob("*") if p.is_file()] == ["notes.weft"]


def test_wrong_use(weft: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    assert "--older-than='soon'" in weft("cache", "clear", "--older-than", "soon", status=2).output
    monkeypatch.setenv("WEFT_CACHE_SIZE", "much")
    assert "WEFT_CACHE_SIZE='much'" in weft("cache", status=2).output


def test_a_place_that_is_not_there_is_empty(
    weft: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WEFT_CACHE", str(tmp_path / "none"))
    assert "0 entries" in weft("cache").output and not (tmp_path / "none").exists()
