"""The record of a run directory: what the run is (run.json) and every change to it, never rewritten."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from weft.errors import InvalidInput, StoreError
from weft.model.coarse import Coarse
from weft.model.iterations import Alias, Iterations
from weft.store import frames
from weft.store.fs import FileSystem
from weft.store.inputs import CHUNK, StoredColumn
from weft.store.layout import CHANGES, CODE, FORMAT, INPUTS, RUN
from weft.values import content
from weft.values.columns import Column


@dataclass(frozen=True)
class StepRecord:
    """What identifies the results of a step.

    Attributes
    ----------
    identity
        Name of its folder of results.
    bases
        Identities whose done elements count too (``on_change="keep"``).
    code
        Digest of the code.
    parts
        Digest of each whole input, and of options that results depend on.
    needs
        Identities of the steps that it depends on.
    forced
        How often the step was forced.
    mapspec, outputs, inputs, after, keep, allow_missing
        The wiring, so that a reader needs no code.
    aliases, loops, coarse
        What the step reads across the iterations of loops, which loops it is in, and the axis that it
        reads in runs.
    followed
        Digest of each function and class that the code refers to, to tell what changed.
    """

    identity: str
    code: str
    parts: Mapping[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    bases: tuple[str, ...] = ()
    forced: int = 0
    mapspec: str | None = None
    outputs: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    keep: bool = True
    allow_missing: bool = False
    aliases: tuple[Alias, ...] = ()
    loops: tuple[Iterations, ...] = ()
    study: tuple[str, ...] = ()
    coarse: Coarse | None = None
    followed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class InputRecord:
    """A root input: digest of its content, and the axes that it lies along (none: taken whole)."""

    digest: str
    axes: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class AxisRecord:
    """An axis: positions born so far, which of them are selected, and what was born there.

    `born` has, for each input with this axis alone, the digest of its values in storage order; `selection`
    the digest of the storage positions in logical order, None for all in order.
    """

    size: int | None
    opener: str | None = None
    selection: str | None = None
    born: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Reset:
    """Elements reopened: commits from before `epoch` no longer count for them.

    `positions` has storage positions for each axis of the step, None for all.
    """

    step: str
    epoch: int
    positions: tuple[tuple[int, ...] | None, ...] = ()


@dataclass(frozen=True)
class Change:
    """The whole picture of a study as of one moment. The last one is in force."""

    reason: str
    made: float
    seed: int
    code: str
    steps: Mapping[str, StepRecord]
    inputs: Mapping[str, InputRecord]
    axes: Mapping[str, AxisRecord]
    resets: tuple[Reset, ...] = ()
    generation: int = 0
    packages: Mapping[str, str] = field(default_factory=dict)
    number: int = 0

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Change:
        """Rebuild from what `asdict` and JSON made of it."""
        data = _frozen(data)
        steps = {}
        for name, step in data["steps"].items():
            parts = {
                "aliases": tuple(Alias(**alias) for alias in step.get("aliases", ())),
                "loops": tuple(Iterations(**loop) for loop in step.get("loops", ())),
                "coarse": Coarse(**step["coarse"]) if step.get("coarse") else None,
            }
            steps[name] = StepRecord(**{**step, **parts})
        inputs = {name: InputRecord(**each) for name, each in data["inputs"].items()}
        axes = {name: AxisRecord(**each) for name, each in data["axes"].items()}
        resets = tuple(Reset(**each) for each in data["resets"])
        return cls(**{**data, "steps": steps, "inputs": inputs, "axes": axes, "resets": resets})


def _frozen(data: Any) -> Any:
    """What JSON read, with tuples in place of lists."""
    if isinstance(data, dict):
        return {key: _frozen(value) for key, value in data.items()}
    return tuple(map(_frozen, data)) if isinstance(data, list) else data


@contextlib.contextmanager
def refusals(place: str | None) -> Iterator[None]:
    """Say clearly what it means when the disk refuses.

    Raises
    ------
    StoreError
        In place of an `OSError`.
    """
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{place or 'The store'} cannot be written: {error.strerror or error}. What was committed before "
            "is safe; make room or repair the disk, and run again to go on."
        ) from error


def in_the_way(fs: FileSystem, path: str) -> str:
    """What on the way to `path` keeps it from being a directory; an empty string if nothing does."""
    while fs.disk.kind(path) is None:
        if fs.disk.kind(path, follow=False) is not None:
            return f"{path} is a symbolic link to nothing"
        path = os.path.dirname(path)
    return "" if fs.is_dir(path) else f"{path} is a file"


def _as_begun(path: str, fs: FileSystem) -> FileSystem:
    """A file system that makes directories for a group, if those of this run were made so."""
    with contextlib.suppress(OSError):
        if not fs.shared and fs.disk.mode(f"{path}/{CHANGES}") & 0o070:
            return FileSystem(fs.disk, shared=True)
    return fs


class RunDirectory:
    """Reads and writes the record of a run. Opening never writes.

    Raises
    ------
    InvalidInput
        If the directory holds something that weft did not write.
    StoreError
        If it is a run of a newer format, or cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str], fs: FileSystem, trust: bool = True) -> None:
        self.path = os.path.abspath(os.fspath(path))
        self.fs = _as_begun(self.path, fs)
        self.trust = trust

    def exists(self) -> bool:
        """Whether it holds a run; a directory with anything else is refused."""
        if self.fs.exists(f"{self.path}/{RUN}"):
            return True
        if reason := in_the_way(self.fs, self.path):
            raise InvalidInput(
                f"{self.path} cannot be a directory for a run: {reason}. Choose another run_dir."
            )
        strangers = [n for n in self.fs.listdir(self.path) if n not in (CHANGES, CODE, INPUTS)]
        if strangers:
            raise InvalidInput(
                f"{self.path} holds something that weft did not write ({strangers[0]}). Nothing was changed; "
                "choose another run_dir, or empty it yourself."
            )
        return False

    def info(self) -> dict[str, Any]:
        """What run.json says."""
        try:
            info: dict[str, Any] = json.loads(self.fs.read(f"{self.path}/{RUN}"))
        except (FileNotFoundError, NotADirectoryError):
            raise InvalidInput(f"{self.path} holds no run (there is no {RUN}).") from None
        except ValueError as error:
            raise StoreError(f"{self.path}/{RUN} cannot be read: {error}.") from error
        if info.get("format", 0) > FORMAT:
            raise StoreError(
                f"{self.path} was written by weft {info.get('weft', '?')} in format {info['format']}; this "
                f"weft reads formats up to {FORMAT}. Update weft: pip install -U weft."
            )
        return info

    def settle(self) -> None:
        """Make durable what is recorded before anything is built upon it: its writer may have been killed."""
        self.fs.settle(self.path)
        if self.fs.exists(f"{self.path}/{CHANGES}"):
            self.fs.settle(f"{self.path}/{CHANGES}")

    def create(self, info: Mapping[str, Any]) -> None:
        """Write run.json, unless another driver just did."""
        self.fs.make_dirs(self.path)
        text = json.dumps({"format": FORMAT, **info}, indent=1).encode()
        self.fs.create_exclusive(f"{self.path}/{RUN}", text)

    def numbers(self) -> list[int]:
        """Numbers of the changes, ascending."""
        return sorted(
            int(name[:6]) for name in self.fs.listdir(f"{self.path}/{CHANGES}") if name.endswith(".json")
        )

    def change(self, number: int | None = None) -> Change | None:
        """A change, by default the last one; None if there is none yet."""
        if number is None:
            numbers = self.numbers()
            if not numbers:
                return None
            number = numbers[-1]
        data = json.loads(self.fs.read(f"{self.path}/{CHANGES}/{number:06d}.json"))
        return Change.from_json({**data, "number": number})

    def add_change(self, change: Change) -> int | None:
        """Record a change under its number; None if that number was just taken by somebody else."""
        self.fs.make_dirs(f"{self.path}/{CHANGES}")
        text = json.dumps(asdict(change), separators=(",", ":")).encode()
        made = self.fs.create_exclusive(f"{self.path}/{CHANGES}/{change.number:06d}.json", text)
        return change.number if made else None

    def _put(self, folder: str, digest: str, chunks: Sequence[bytes | memoryview]) -> None:
        path = f"{self.path}/{folder}/{digest}"
        self.fs.make_dirs(f"{self.path}/{folder}")
        if self.fs.exists(path):
            self.fs.settle(f"{self.path}/{folder}")
        else:
            self.fs.write_new(path, chunks)

    def put_value(self, digest: str, value: Any) -> None:
        """Keep a whole input under its digest."""
        self._put(INPUTS, digest, frames.write({"kind": "value"}, [content.encode(value)]))

    def put_column(self, digest: str, column: Column) -> None:
        """Keep a mapped input, in chunks that can be read alone."""
        buffers: list[bytes | memoryview] = []
        step = CHUNK if column.nbytes > 1 << 20 else max(len(column), 1)
        lows = range(0, max(len(column), 1), step)
        chunks = [frames.put_column(buffers, column[low : low + step]) for low in lows]
        header = {"kind": "column", "n": len(column), "step": step, "chunks": chunks}
        self._put(INPUTS, digest, frames.write(header, buffers))

    def value(self, digest: str) -> Any:
        """A whole input."""
        frame = frames.open_frame(self.fs, f"{self.path}/{INPUTS}/{digest}")
        return content.decode(frames.read(self.fs, frame, [0])[0], trust=self.trust)

    def column(self, digest: str) -> Column:
        """A mapped input; large ones are read chunk by chunk as they are needed."""
        frame = frames.open_frame(self.fs, f"{self.path}/{INPUTS}/{digest}")
        chunks = frame.header["chunks"]
        if len(chunks) == 1:
            return frames.column(self.fs, frame, chunks[0], self.trust)
        return StoredColumn(self.fs, frame, self.trust)

    def put_code(self, digest: str, data: bytes) -> None:
        """Keep the functions for workers under their digest."""
        self._put(CODE, digest, frames.write({"kind": "code"}, [data]))

    def code(self, digest: str) -> bytes:
        """The functions as they were put."""
        frame = frames.open_frame(self.fs, f"{self.path}/{CODE}/{digest}")
        return bytes(frames.read(self.fs, frame, [0])[0])
