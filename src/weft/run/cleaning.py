"""What in a run directory nothing needs any more."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

import numpy as np

from weft.errors import CorruptResult
from weft.plan.blocks import positions
from weft.run.contents import FOLDERS, IDENTITY, checked, element_state, owner
from weft.store.commits import DONE, Commit
from weft.store.layout import RESULTS, SCRATCH, results_folder
from weft.store.record import Change, RunDirectory
from weft.study.study import Study
from weft.study.survey import Survey
from weft.values.table import Table

STALE_SECONDS = 3600.0


def removable(directory: RunDirectory, study: Study) -> Table:
    """Files and folders that can go, with their bytes and why."""
    found = [
        *_outdated(directory, study),
        *_superseded(directory, study),
        *_unfinished(directory),
        *_scratch(directory, study),
    ]
    return Table({"path": path, "bytes": _bytes(directory, path), "why": why} for path, why in found)


def _outdated(directory: RunDirectory, study: Study) -> Iterator[tuple[str, str]]:
    """Results under identities that no step has, nor stands on."""
    kept = {results_folder(n, i) for n, r in study.records.items() for i in (r.identity, *r.bases)}
    root, fs = directory.path, directory.fs
    for step in fs.listdir(f"{root}/{RESULTS}"):
        for identity in fs.listdir(f"{root}/{RESULTS}/{step}"):
            path = f"{RESULTS}/{step}/{identity}"
            if path not in kept and IDENTITY.fullmatch(path) and fs.is_dir(f"{root}/{path}"):
                yield path, "results of other code or inputs"


def clear_replaced(directory: RunDirectory, study: Study) -> None:
    """Remove what ``on_change="replace"`` replaced, once the new run stands complete."""
    changes = [change for number in directory.numbers() if (change := directory.change(number)) is not None]
    last = max((i for i, change in enumerate(changes) if change.reason == "replace"), default=None)
    if last is None or not all(Survey(study).complete(step.name) for step in study.graph.order):
        return
    for path in sorted(_standing(changes[:last]) - _standing(changes[last:])):
        directory.fs.remove_tree(f"{directory.path}/{path}")


def _standing(changes: Iterable[Change]) -> set[str]:
    """The folders of results on which studies stood."""
    return {
        results_folder(name, identity)
        for change in changes
        for name, record in change.steps.items()
        for identity in (record.identity, *record.bases)
    }


def _superseded(directory: RunDirectory, study: Study) -> Iterator[tuple[str, str]]:
    """Commits of which no element counts, because other commits, which are whole, hold them all."""
    for step in study.graph.order:
        grid, results = study.grid(step), study.results[step.name]
        for block in results.blocks(grid) if grid is not None else ():
            if grid is None or len(results.commits[block]) < 2:
                continue
            state = results.state(grid, block)
            counting = state.counting()
            for number, commit in enumerate(state.commits):
                instead = np.unique(counting[positions(commit.done or commit.failed)])
                if (
                    number not in counting
                    and -1 not in instead
                    and all(_whole(directory, state.commits[i]) for i in instead)
                ):
                    yield _file(commit), "superseded by later commits"


def _file(commit: Commit) -> str:
    return f"{results_folder(commit.step, commit.identity)}/{commit.name}.weft"


def _whole(directory: RunDirectory, commit: Commit) -> bool:
    try:
        for _ in checked(directory, _file(commit)):
            pass
    except (CorruptResult, FileNotFoundError):
        return False
    return True


def _unfinished(directory: RunDirectory, below: str = "") -> Iterator[tuple[str, str]]:
    """Files that a killed writer left."""
    for name in directory.fs.unfinished(f"{directory.path}/{below}", time.time() - STALE_SECONDS):
        yield (f"{below}/{name}" if below else name), "left unfinished"
    for name in directory.fs.listdir(f"{directory.path}/{below}"):
        path = f"{below}/{name}" if below else name
        ours = path.partition("/")[0] in FOLDERS and path != SCRATCH
        if ours and directory.fs.is_dir(f"{directory.path}/{path}"):
            yield from _unfinished(directory, path)


def _scratch(directory: RunDirectory, study: Study) -> Iterator[tuple[str, str]]:
    """Folders that finished elements kept for themselves."""
    for name in directory.fs.listdir(f"{directory.path}/{SCRATCH}"):
        step, where = owner(study, f"{SCRATCH}/{name}")
        found = element_state(study, step, where) if step is not None else None
        if found is not None and found[0].states()[found[1]] == DONE:
            yield f"{SCRATCH}/{name}", "its element is done"


def _bytes(directory: RunDirectory, path: str) -> int:
    whole = f"{directory.path}/{path}"
    if directory.fs.disk.kind(whole, follow=False) != "directory":
        return directory.fs.size(whole)
    return sum(_bytes(directory, f"{path}/{name}") for name in directory.fs.disk.listdir(whole))
