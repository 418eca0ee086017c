"""The stages of a stream: sources, filters and sinks, as a user writes them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from weft.errors import WiringError

AXIS = "index"
STREAM, PATHS, STAMPS, STAGES = "stream", "paths", "stamps", "stages"

Item = TypeVar("Item")


class Source(ABC, Generic[Item]):
    """Where items come from, index by index.

    Subclass it, or bring any object with ``__len__`` and ``__getitem__(index)``, which returns the items of
    that index as an iterator. It may also have:

    ``key(index)``
        What the index stands for, such as the name of its file: unique, hashable, and cheap to ask. When the
        source grows or is reordered, results follow their keys. Without it an index is its position.
    ``group(index)``
        Indices of one group are never run at the same time, and stay in one worker; None stands alone.
    ``__weft_id__()``
        What all indices depend on besides the code of the class. Nothing else that the object holds counts,
        so that it may grow.
    """

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> Iterator[Item]: ...


class Filter(ABC, Generic[Item]):
    """From an iterator of items to another: dropping, changing, adding, or only looking.

    Subclass it, or bring any callable. A *stateful* filter gathers something while items pass: it has
    ``flush()``, which returns what was gathered, and ``merge(states)``, which makes one of many. Each index
    has a fresh copy of it, and what ``merge`` returns for all indices is ``run["name of the filter"]``.
    ``merge`` takes a list, or what its parameter is annotated as: an ``Iterator`` is read from disk state by
    state. With ``allow_missing = True`` it also merges where some indices failed.

    A filter is named by its attribute ``name``, else by its class.
    """

    @abstractmethod
    def __call__(self, items: Iterator[Item]) -> Iterator[Any]: ...


class Sink(ABC, Generic[Item]):
    """Writes the items of one index, and returns the paths of what it wrote: ``[]`` if nothing.

    Subclass it, or bring any callable ``(items, index)``. It may have ``group(index)`` as a source may.
    """

    @abstractmethod
    def __call__(self, items: Iterator[Item], index: int) -> list[Any]: ...


def stage_name(stage: Any) -> str:
    """The name of a source, filter or sink: its attribute ``name``, else that of its class or function."""
    name = getattr(stage, "name", None)
    return name if isinstance(name, str) and name else getattr(stage, "__name__", type(stage).__name__)


def stateful(stage: Any) -> bool:
    """Whether a filter gathers something."""
    return callable(getattr(stage, "flush", None))


def stage_names(stages: Sequence[Any]) -> list[str]:
    """A name for each stage; of those that share one, later ones are numbered."""
    found: list[str] = []
    for stage in stages:
        name, number = stage_name(stage), 1
        while (name if number == 1 else f"{name} {number}") in found:
            number += 1
        found.append(name if number == 1 else f"{name} {number}")
    return found


def check_stages(source: Any, filters: Sequence[Any], sink: Any) -> None:
    """Refuse what cannot be a stage, and stateful filters that cannot be told apart.

    Raises
    ------
    WiringError
        With what is missing, or what to rename.
    """
    sized = hasattr(source, "__len__") and hasattr(source, "__getitem__")
    if not sized or isinstance(source, type | str | bytes | list | tuple | range | Mapping | np.ndarray):
        raise WiringError(
            "A source is an object of a class with __len__ and __getitem__(index), which returns an iterator "
            f"of items; got {source!r:.80}. Subclass weft.Source."
        )
    for kind, stage in [*(("filter", one) for one in filters), ("sink", sink)]:
        if stage is None and kind == "sink":
            continue
        if isinstance(stage, type):
            raise WiringError(
                f"The {kind} {stage.__name__} is a class: give an instance, {stage.__name__}(...)."
            )
        if not callable(stage):
            raise WiringError(f"A {kind} is callable; got {stage!r}.")
    taken = {AXIS, STREAM, PATHS, STAMPS, STAGES}
    for found in filter(stateful, filters):
        name = stage_name(found)
        if name in taken:
            raise WiringError(
                f"The stateful filter {type(found).__name__} cannot be named {name!r}, which is taken. What "
                "it gathers is found by its name, so give each an attribute name of its own."
            )
        taken.add(name)
