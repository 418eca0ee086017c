"""What in a run directory nothing needs any more."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

from weft.errors import CorruptResult
from weft.plan.blocks import Positions, positions
from weft.store import frames
from weft.store.commits import DONE, BlockState, Commit
from weft.store.layout import CHANGES, CODE, EVENTS, INPUTS, JOBS, RESULTS, SCRATCH, results_folder
from weft.store.record import RunDirectory
from weft.study.study import Study
from weft.study.survey import Survey
from weft.values.table import Table

FOLDERS = (CHANGES, CODE, INPUTS, RESULTS, EVENTS, JOBS, SCRATCH, "artifacts", "errors", "logs")
STALE_SECONDS = 3600.0


def removable(directory: RunDirectory, study: Study) -> Table:
    """Files and folders that can go, with their bytes and why."""
    rows = Table()
    for path, why in [
        *_outdated(directory, study),
        *_superseded(directory, study),
        *_unfinished(directory),
        *_scratch(directory, study),
    ]:
        rows.append({"path": path, "bytes": _bytes(directory, path), "why": why})
    return rows


def _outdated(directory: RunDirectory, study: Study) -> Iterator[tuple[str, str]]:
    """Results under identities that no step has, nor stands on."""
    kept = {results_folder(n, i) for n, r in study.records.items() for i in (r.identity, *r.bases)}
    root, fs = directory.path, directory.fs
    for step in fs.listdir(f"{root}/{RESULTS}"):
        for identity in fs.listdir(f"{root}/{RESULTS}/{step}"):
            path = f"{RESULTS}/{step}/{identity}"
            if (
                path not in kept
                and fs.is_dir(f"{root}/{path}")
                and fs.exists(f"{root}/{path}/grid.json") | _has_commits(directory, path)
            ):
                yield path, "results of other code or inputs"


def clear_replaced(directory: RunDirectory, study: Study) -> None:
    """Remove what ``on_change="replace"`` replaced, once the new run stands complete."""
    changes = [change for number in directory.numbers() if (change := directory.change(number)) is not None]
    last = max((i for i, change in enumerate(changes) if change.reason == "replace"), default=None)
    if last is None or not all(Survey(study).complete(step.name) for step in study.graph.order):
        return
    kept = {
        results_folder(name, identity)
        for change in changes[last:]
        for name, record in change.steps.items()
        for identity in (record.identity, *record.bases)
    }
    before = {
        results_folder(name, identity)
        for change in changes[:last]
        for name, record in change.steps.items()
        for identity in (record.identity, *record.bases)
    }
    for path in sorted(before - kept):
        if directory.fs.is_dir(f"{directory.path}/{path}"):
            directory.fs.remove_tree(f"{directory.path}/{path}")


def _has_commits(directory: RunDirectory, path: str) -> bool:
    return any(name.endswith(".weft") for name in directory.fs.listdir(f"{directory.path}/{path}"))


def _superseded(directory: RunDirectory, study: Study) -> Iterator[tuple[str, str]]:
    """Commits of which no element counts, because other commits, which are whole, hold them all."""
    for step in study.graph.order:
        grid, results = study.grid(step), study.results[step.name]
        if grid is None:
            continue
        for block in results.blocks(grid):
            commits = results.commits[block]
            if len(commits) < 2:
                continue
            state = results.state(grid, block)
            counting = _counting(state)
            for commit in commits.values():
                local = positions(commit.done or commit.failed)
                if commit.name in {c.name for c in counting.values()} or not all(
                    int(p) in counting for p in local
                ):
                    continue
                if all(_whole(directory, counting[int(p)]) for p in _one_for_each(local, counting)):
                    yield (
                        f"{results_folder(step.name, commit.identity)}/{commit.name}.weft",
                        "superseded by later commits",
                    )


def _counting(state: BlockState) -> dict[int, Commit]:
    """The commit that makes the state of each done or failed position."""
    found = dict(state.failed_by())
    done = np.flatnonzero(state.states() == DONE)
    for commit, _, which in state.sources(done):
        found |= dict.fromkeys(done[which].tolist(), commit)
    return found


def _one_for_each(local: Positions, counting: dict[int, Commit]) -> list[int]:
    """For each commit that holds some of the positions, one of them."""
    return list({counting[int(p)].name: int(p) for p in local}.values())


def _whole(directory: RunDirectory, commit: Commit) -> bool:
    path = f"{directory.path}/{results_folder(commit.step, commit.identity)}/{commit.name}.weft"
    try:
        frame = frames.open_frame(directory.fs, path)
        for number in range(len(frame.buffers)):
            frames.read(directory.fs, frame, [number])
    except (CorruptResult, FileNotFoundError):
        return False
    return True


def _unfinished(directory: RunDirectory, below: str = "") -> Iterator[tuple[str, str]]:
    """Files that a killed writer left."""
    for name in directory.fs.unfinished(f"{directory.path}/{below}", time.time() - STALE_SECONDS):
        yield (f"{below}/{name}" if below else name), "left unfinished"
    for name in directory.fs.listdir(f"{directory.path}/{below}"):
        path = f"{below}/{name}" if below else name
        if (
            path.partition("/")[0] in FOLDERS
            and path != SCRATCH
            and directory.fs.is_dir(f"{directory.path}/{path}")
        ):
            yield from _unfinished(directory, path)


def _scratch(directory: RunDirectory, study: Study) -> Iterator[tuple[str, str]]:
    """Folders that finished elements kept for themselves."""
    for name in directory.fs.listdir(f"{directory.path}/{SCRATCH}"):
        for step in study.graph.order:
            prefix = f"{step.name}-{study.records[step.name].identity[:12]}-"
            grid = study.grid(step)
            if name.startswith(prefix) and grid is not None:
                places = name.removeprefix(prefix)
                where = [np.array([int(p)]) for p in places.split("-")] if step.axes else []
                number, local = (
                    grid.locate(where) if where else (np.zeros(1, np.int64), np.zeros(1, np.int64))
                )
                state = study.results[step.name].state(grid, grid.at(int(number[0])))
                if state.states()[int(local[0])] == DONE:
                    yield f"{SCRATCH}/{name}", "its element is done"


def _bytes(directory: RunDirectory, path: str) -> int:
    whole = f"{directory.path}/{path}"
    if directory.fs.disk.kind(whole, follow=False) != "directory":
        return directory.fs.size(whole)
    return sum(_bytes(directory, f"{path}/{name}") for name in directory.fs.disk.listdir(whole))
