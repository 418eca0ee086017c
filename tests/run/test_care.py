"""Copies, archives, deletion, verification, cleaning and snapshots of run directories."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import weft
from weft.engine.lease import Lease
from weft.store.fs import current

HERE = {"backend": "sequential", "progress": False}
BAD: set[int] = set()


@weft.step("y", mapspec="x[i] -> y[i]")
def shifted(x: int, k: int = 1) -> int:
    if x in BAD:
        raise ValueError("bad")
    return x + k


@weft.step("s")
def total(y: Any) -> int:
    return int(y.sum())


PIPELINE = weft.Pipeline([shifted, total], name="careful")


@pytest.fixture
def run(tmp_path: Path) -> Any:
    BAD.clear()
    return PIPELINE.run({"x": list(range(20))}, run_dir=tmp_path / "run", block_size=5, **HERE)


def commits(run: Any, step: str = "shifted") -> list[Path]:
    return sorted(Path(run.path).glob(f"results/{step}/*/*.weft"))


def damage(path: Path, where: int = -1) -> None:
    data = bytearray(path.read_bytes())
    data[where] ^= 0xFF
    path.write_bytes(bytes(data))


def test_a_copy_is_a_run_of_its_own(run: Any, tmp_path: Path) -> None:
    twin = run.copy(tmp_path / "deep" / "twin")
    run.delete(ask=False)
    assert not (tmp_path / "run").exists()
    assert twin.ok and twin["s"] == 210
    assert weft.open_run(tmp_path / "deep" / "twin").verify() == []
    twin.reset("y", i=0)
    assert twin.resume(**HERE).ok


def test_a_copy_refuses_what_is_there(run: Any, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(weft.InvalidInput, match="exists"):
        run.copy(tmp_path / "mine")
    assert list((tmp_path / "mine").iterdir()) == []
    with pytest.raises(weft.InvalidInput, match="memory"):
        PIPELINE.run({"x": [1]}, **HERE).copy(tmp_path / "new")


def test_a_damaged_file_is_not_copied(run: Any, tmp_path: Path) -> None:
    damage(commits(run)[1])
    for call, target in ((run.copy, tmp_path / "twin"), (run.archive, tmp_path / "run.zip")):
        with pytest.raises(weft.CorruptResult):
            call(target)
        assert not target.exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run"]


def test_a_copy_into_the_run_itself_is_refused(run: Any, tmp_path: Path) -> None:
    (tmp_path / "other name").symlink_to(run.path)
    before = sorted(Path(run.path).rglob("*"))
    for place in (f"{run.path}/sub", f"{run.path}/results/../new/sub", tmp_path / "other name" / "sub"):
        for make in (run.copy, run.archive):
            with pytest.raises(weft.InvalidInput, match="is in the run directory itself"):
                make(place)
    assert sorted(Path(run.path).rglob("*")) == before


def test_an_archive_opens_and_is_only_for_reading(run: Any, tmp_path: Path) -> None:
    path = run.archive(tmp_path / "run.zip")
    assert zipfile.is_zipfile(path)
    opened = weft.open_run(path)
    assert opened["s"] == 210 and opened.ok
    for change in (opened.resume, opened.reset, opened.gc, lambda: opened.verify(repair=True), opened.retry):
        with pytest.raises(weft.InvalidInput, match="archive"):
            change()
    with pytest.raises(weft.InvalidInput, match="exists"):
        run.archive(path)
    with pytest.raises(weft.InvalidInput):
        PIPELINE.run({"x": [1]}, run_dir=path, **HERE)


def test_the_folder_of_an_archive_goes_with_the_process(run: Any, tmp_path: Path) -> None:
    run.archive(tmp_path / "run.zip")
    code = "import weft, sys; print(weft.open_run(sys.argv[1]).path)"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "run.zip")],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert not os.path.exists(done.stdout.strip())


def test_other_files_are_no_archive(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("hello")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as other:
        other.writestr("note.txt", "hello")
    for name in ("note.txt", "other.zip"):
        with pytest.raises(weft.InvalidInput, match="archive"):
            weft.open_run(tmp_path / name)


def test_delete_leaves_what_is_not_ours(run: Any, tmp_path: Path) -> None:
    root = tmp_path / "run"
    strangers = [
        root / "notes.txt",
        root / "results" / "plot.png",
        root / "inputs" / "data.csv",
        root / "mine" / "a",
    ]
    for path in strangers:
        path.parent.mkdir(exist_ok=True)
        path.write_text("precious")
    with pytest.warns(UserWarning, match="notes.txt"):
        left = run.delete(ask=False)
    assert sorted(left) == ["inputs/data.csv", "mine/a", "notes.txt", "results/plot.png"]
    assert sorted(p for p in root.rglob("*") if p.is_file()) == sorted(strangers)


def test_delete_asks(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    with pytest.raises(weft.InvalidInput, match="ask=False"):
        run.delete()
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: "n")
    run.delete()
    assert run.ok
    monkeypatch.setattr("builtins.input", lambda question: "y")
    run.delete()
    assert not (tmp_path / "run").exists()


def test_a_driver_at_work_forbids_changes(run: Any, tmp_path: Path) -> None:
    lease = Lease(run.path, current()).take()
    try:
        with pytest.raises(weft.RunLocked):
            run.delete(ask=False)
    finally:
        lease.release()
    assert run.ok


def test_verify_finds_a_changed_byte(run: Any) -> None:
    assert run.verify() == []
    bad = commits(run)[2]
    damage(bad)
    (row,) = run.verify()
    assert Path(run.path, row["path"]) == bad
    assert "checksum" in row["problem"]
    assert bad.exists()
    with pytest.raises(weft.CorruptResult, match="repair"):
        weft.open_run(run.path)["y"]


def test_repair_opens_the_elements(run: Any) -> None:
    damage(commits(run)[2])
    run.verify(repair=True)
    assert run.verify() == []
    assert run.status["shifted"]["open"] == 5
    with pytest.raises(weft.MissingResult):
        run["y"]
    assert run.resume(**HERE)["s"] == 210
    assert len(list(Path(run.path).glob("results/shifted/*/*.damaged"))) == 1


@pytest.mark.parametrize("name", ["y", "s"])
def test_a_damaged_header_is_no_missing_result(run: Any, name: str) -> None:
    bad = commits(run)[0]
    damage(bad, 20)
    opened = weft.open_run(run.path)
    with pytest.raises(weft.CorruptResult, match=bad.name) as raised:
        opened[name]
    assert "verify(repair=True)" in str(raised.value)
    opened.verify(repair=True)
    with pytest.raises(weft.MissingResult):
        opened["y"]
    assert opened.resume(**HERE)["s"] == 210


def test_damaged_inputs_are_named(run: Any) -> None:
    damage(next(Path(run.path, "inputs").iterdir()))
    (row,) = run.verify(repair=True)
    assert row["path"].startswith("inputs/")
    assert "again" in row["cure"]


def test_gc_removes_results_of_other_code(run: Any) -> None:
    changed = PIPELINE.run({"x": list(range(20)), "k": 2}, run_dir=run.path, on_change="rerun", **HERE)
    would = changed.gc(dry=True)
    assert {row["why"] for row in would} == {"results of other code or inputs"}
    assert all(row["bytes"] > 0 for row in would)
    assert len(list(Path(run.path).glob("results/shifted/*"))) == 2
    assert changed.gc() == would
    assert len(list(Path(run.path).glob("results/shifted/*"))) == 1
    assert changed.gc() == []
    assert changed.ok and weft.open_run(run.path)["s"] == 230


def test_gc_keeps_what_was_kept(tmp_path: Path) -> None:
    BAD.add(3)
    PIPELINE.run({"x": [1, 2, 3]}, run_dir=tmp_path / "r", on_error="continue", **HERE)
    fixed = PIPELINE.replace(
        "shifted", weft.step("y", mapspec="x[i] -> y[i]", name="shifted")(lambda x, k=1: 10 * x)
    )
    run = fixed.run({"x": [1, 2, 3]}, run_dir=tmp_path / "r", on_change="keep", **HERE)
    run.gc()
    assert weft.open_run(tmp_path / "r")["y"].tolist() == [2, 3, 30]


def test_gc_removes_superseded_commits_only_under_whole_ones(tmp_path: Path) -> None:
    BAD.add(3)
    run = PIPELINE.run({"x": [1, 2, 3]}, run_dir=tmp_path / "r", on_error="continue", **HERE)
    BAD.clear()
    assert run.gc() == []
    run.resume(**HERE)
    failed = [path for path in commits(run) if ".1f." in path.name]
    newest = max(commits(run), key=lambda path: path.stat().st_mtime_ns)
    kept = newest.read_bytes()
    damage(newest)
    assert run.gc(dry=True) == []
    newest.write_bytes(kept)
    (row,) = run.gc()
    assert Path(run.path, row["path"]) == failed[0]
    assert run.ok and run["s"] == 9


def test_gc_removes_old_temporaries(run: Any) -> None:
    folder = commits(run)[0].parent
    old, young = folder / ".tmp-1-aa", folder / ".tmp-2-bb"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    (row,) = run.gc()
    assert row["path"].endswith(".tmp-1-aa")
    assert not old.exists() and young.exists()


def test_gc_removes_scratch_of_finished_elements(tmp_path: Path) -> None:
    @weft.step("y", mapspec="x[i] -> y[i]")
    def kept(x: int, ctx: weft.Context) -> int:
        Path(ctx.dir, "checkpoint").write_text("half")
        return 6 // x

    run = kept.run({"x": [0, 1, 2]}, run_dir=tmp_path / "r", on_error="continue", **HERE)
    assert {row["why"] for row in run.gc()} == {"its element is done"}
    assert len(list((tmp_path / "r" / "scratch").iterdir())) == 1


def test_a_snapshot_stays(run: Any) -> None:
    before = run.snapshot()
    run.reset("y", i=0)
    assert not run.ok
    assert before.changed_on_disk()
    assert before.ok and before["s"] == 210
    with pytest.raises(weft.InvalidInput, match="snapshot"):
        before.resume()


def test_changed_on_disk(run: Any) -> None:
    reader = weft.open_run(run.path)
    assert not reader.changed_on_disk()
    PIPELINE.run({"x": list(range(25))}, run_dir=run.path, **HERE)
    assert reader.changed_on_disk()
    assert len(reader["y"]) == 25
    assert not reader.changed_on_disk()
    damage(commits(run)[0])
    assert not PIPELINE.run({"x": [1]}, **HERE).changed_on_disk()


def test_reading_a_million_elements_stays_quick_enough_to_show(tmp_path: Path) -> None:
    step = weft.step("y", mapspec="x[i] -> y[i]")(lambda x: x)
    run = step.run({"x": np.arange(200_000)}, run_dir=tmp_path / "r", **HERE)
    run.reset("y", i=slice(1000, 3000))
    assert "198000/200000 done" in repr(weft.open_run(tmp_path / "r"))
