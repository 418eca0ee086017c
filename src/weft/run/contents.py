"""What lies in a run directory: which files are weft's, which have checksums, and whose they are."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
from collections.abc import Iterator, Mapping

import numpy as np

from weft.errors import CorruptResult, InvalidInput
from weft.model.step import Step
from weft.plan.blocks import Positions
from weft.store import frames
from weft.store.commits import BlockState
from weft.store.fs import TEMPORARY, current
from weft.store.layout import (
    ARTIFACTS,
    CHANGES,
    CODE,
    EVENTS,
    INPUTS,
    JOBS,
    LEASE,
    LOGS,
    RESULTS,
    RUN,
    SCRATCH,
    results_folder,
)  # fmt: skip
from weft.store.record import RunDirectory, in_the_way
from weft.study.opening import absolute
from weft.study.study import Study

PIECE = 16 << 20  # bytes of a file that are read at once
_HEX = r"[0-9a-f]{16,}"
FOLDERS = (CHANGES, CODE, INPUTS, RESULTS, EVENTS, JOBS, SCRATCH, ARTIFACTS, "errors", LOGS)
OURS = re.compile(
    rf"{RUN}|{LEASE}(\.{_HEX})?|{CHANGES}/\d{{6}}\.json|({INPUTS}|{CODE})/{_HEX}|{EVENTS}/[\w-]+\.jsonl|"
    rf"{RESULTS}/[^/]+/{_HEX}/(grid\.json|[\w.-]+\.weft(\.damaged)?)|"
    rf"({JOBS}|{SCRATCH}|{ARTIFACTS}|errors|{LOGS})/.+|(.*/)?{re.escape(TEMPORARY)}[^/]+"
)
"""What weft calls its files."""
IDENTITY = re.compile(rf"{RESULTS}/[^/]+/{_HEX}")
"""The results of a step under one identity."""
FRAMED = re.compile(rf"({INPUTS}|{CODE})/{_HEX}|{RESULTS}/[^/]+/{_HEX}/[\w.-]+\.weft")
"""A file whose parts have checksums."""
COPY = re.compile(rf"{ARTIFACTS}/([0-9a-f]{{32}})/(?!.*\.damaged$)[^/]+")
"""A copy of a file, under its checksum."""


def walk(directory: RunDirectory, below: str = "") -> Iterator[str]:
    """The files of a run directory, relative to it."""
    for name in directory.fs.listdir(f"{directory.path}/{below}"):
        path = f"{below}/{name}" if below else name
        if directory.fs.is_dir(f"{directory.path}/{path}"):
            yield from walk(directory, path)
        else:
            yield path


def checked(directory: RunDirectory, name: str) -> Iterator[bytes | memoryview]:
    """The content of a file, piece by piece, checked where it has checksums.

    Raises
    ------
    CorruptResult
        If it does not match them.
    """
    fs, path = directory.fs, f"{directory.path}/{name}"
    if FRAMED.fullmatch(name):
        frame = frames.open_frame(fs, path)
        yield fs.read(path, 0, frame.start)
        for number in range(len(frame.buffers)):
            yield frames.read(fs, frame, [number])[0]
        return
    size, offset, state = fs.size(path), 0, hashlib.blake2b(digest_size=16)
    while offset < size and (piece := fs.read(path, offset, PIECE)):
        yield piece
        state.update(piece)
        offset += len(piece)
    copy = COPY.fullmatch(name)
    if copy and copy[1] != state.hexdigest():
        raise CorruptResult(f"{path} does not match the checksum of the file that it is a copy of.")


def owner(study: Study, path: str) -> tuple[Step | None, dict[str, Positions]]:
    """The step that a file belongs to, if any, and of an element's own file where the element is."""
    for step in study.graph.order:
        identity = study.records[step.name].identity
        if path.startswith(f"{results_folder(step.name, identity)}/"):
            return step, {}
        prefix = f"{SCRATCH}/{step.name}-{identity[:12]}-"
        if path.startswith(prefix):
            places = path.removeprefix(prefix).partition("/")[0].split("-")
            return step, {axis: np.array([int(p)]) for axis, p in zip(step.axes, places, strict=False)}
    return None, {}


def element_state(study: Study, step: Step, where: Mapping[str, Positions]) -> tuple[BlockState, int] | None:
    """The state of the block that an element is in, and its place there; None while there are no blocks."""
    grid = study.grid(step)
    if grid is None:
        return None
    number, local = grid.locate([where[axis] for axis in step.axes])
    state = study.results[step.name].state(grid, grid.at(int(number.max())))
    return state, int(local.max())


@contextlib.contextmanager
def new_place(path: str | os.PathLike[str]) -> Iterator[str]:
    """A place to write to, which gets the name `path` when all is written, and is removed otherwise.

    Raises
    ------
    InvalidInput
        If there is something of that name.
    """
    fs, target = current(), absolute(path)
    if fs.exists(target):
        raise InvalidInput(
            f"{target} exists, and weft does not overwrite it. Remove it yourself, or choose another name."
        )
    if reason := in_the_way(fs, target):
        raise InvalidInput(f"Nothing can be written to {target}: {reason}. Choose another name.")
    fs.make_dirs(os.path.dirname(target))
    partial = f"{os.path.dirname(target)}/{TEMPORARY}{secrets.token_hex(8)}"
    try:
        yield partial
        fs.move(partial, target)
    except BaseException:
        fs.remove_tree(partial)
        raise
