"""One index of a stream as a call like any other, and the states of its filters made one."""

from __future__ import annotations

import copy
import inspect
import os
import reprlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from weft.errors import InvalidInput, MissingSink, WiringError
from weft.model.annotations import resolve_annotations
from weft.model.metering import Meter, Metered
from weft.model.stages import AXIS, PATHS, STAGES, STAMPS, STREAM, stage_name, stage_names, stateful
from weft.model.step import REQUIRED
from weft.values.content_rules import importable


class Through:
    """One index through all stages, as a function of its key.

    Public attributes are what identifies the results; the source's content does not, its indices do.

    Attributes
    ----------
    source_class, source_id
        What counts of the source.
    filters, sink
        As they were given: what they note on themselves as they run is no other code. A source that they
        hold, to name files by its keys, counts in them as it does here.
    """

    def __init__(self, source: Any, filters: Sequence[Any], sink: Any) -> None:
        self._source = source
        self.source_class = type(source)
        self.source_id = source.__weft_id__() if hasattr(source, "__weft_id__") else None
        counts = (self.source_class, self.source_id)
        self.filters = [_copied(stage, source, counts) for stage in filters]
        self.sink = _copied(sink, source, counts)
        self._given = [_copied(stage) for stage in (*filters, sink)]
        self._working = [*filters, sink]
        self._places: dict[Any, int] | None = None
        self._gathering = [number for number, found in enumerate(filters) if stateful(found)]
        self._names = stage_names([source, *filters, sink])
        cost = np.dtype([("seconds", np.float64), ("bytes", np.int64)])
        self._stages = np.dtype([(name, cost) for name in self._names])
        self.__name__ = STREAM
        self.__module__ = _module([source, *filters, sink])

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what one index returns."""
        states = (f"{stage_name(self.filters[number])}_state" for number in self._gathering)
        return (PATHS, STAMPS, STAGES, *states)

    def own_inputs(self) -> dict[str, Any]:
        """What the axis is made of: the keys of the source, or just positions.

        Raises
        ------
        MissingSink
            If there is no sink.
        InvalidInput
            For keys that are not unique, and for groups that contradict each other.
        """
        self.check_sink()
        keys: Sequence[Any] = range(len(self._source))
        if self._key is not None:
            keys = [self._key(i) for i in keys]
            places = self._places = self._placed(keys)
            if len(places) < len(keys):
                twice = next(key for i, key in enumerate(keys) if places[key] != i)
                raise InvalidInput(
                    f"{type(self._source).__name__}.key must tell indices apart, but {twice!r} is the key of "
                    f"{keys.index(twice)} and of {places[twice]}."
                )
        self.groups(keys)
        return {AXIS: keys}

    def check_sink(self) -> None:
        """Refuse to run without a sink."""
        if self.sink is None:
            raise MissingSink(
                "This stream has no sink, so nothing would be kept of it: end it with .write(sink)."
            )

    @property
    def _key(self) -> Callable[[int], Any] | None:
        found: Callable[[int], Any] | None = getattr(self._source, "key", None)
        return found

    def _placed(self, keys: Iterable[Any]) -> dict[Any, int]:
        try:
            return {key: i for i, key in enumerate(keys)}
        except TypeError as error:
            raise InvalidInput(
                f"{type(self._source).__name__}.key must return something hashable: {error}."
            ) from error

    def place(self, key: Any) -> int:
        """The position of a key in the source."""
        if self._key is None:
            return int(key)
        if self._places is None:
            self._places = self._placed(map(self._key, range(len(self._source))))
        try:
            return self._places[key]
        except KeyError:
            raise LookupError(f"{type(self._source).__name__} has no index with the key {key!r}.") from None

    def groups(self, keys: Sequence[Any]) -> list[Any] | None:
        """For each key the group that it is in; None if there are no groups.

        Raises
        ------
        InvalidInput
            If neither the groups of the source nor those of the sink hold the others whole.
        """
        askers = [s for s in (self._source, self._given[-1]) if callable(getattr(s, "group", None))]
        if not askers:
            return None
        places = [self.place(key) for key in keys]
        found = [[_label(asker.group(i), i) for i in places] for asker in askers]
        if len(found) == 1:
            return found[0]
        for coarse, fine in (found, found[::-1]):
            if len(set(zip(coarse, fine, strict=True))) == len(set(fine)):
                return coarse
        raise InvalidInput(
            f"The groups of {type(self._source).__name__} and {type(self.sink).__name__} contradict each "
            f"other: {_shown(found[0])} and {_shown(found[1])}. Each group of one must lie within a group of "
            "the other."
        )

    def __call__(self, index: Any) -> tuple[Any, ...]:
        """The paths that the sink wrote, their stamps, the cost of each stage, and what was gathered."""
        return self.at(self.place(index))

    def at(self, place: int) -> tuple[Any, ...]:
        """The same for a position in the source."""
        if not self._working:
            self._working = [_copied(stage) for stage in self._given]
        *filters, sink = self._working
        for number in self._gathering:
            filters[number] = copy.deepcopy(self._given[number])
        meter = Meter(len(self._names))
        items = Metered(meter, 0, self._source.__getitem__, place)
        for number, one in enumerate(filters, 1):
            items = Metered(meter, number, one, items)
        meter.enter(len(filters) + 1)
        written = sink(items, place)
        meter.enter(-1)
        if not isinstance(written, list | tuple):
            raise TypeError(
                f"{type(sink).__name__} must return a list of the paths that it wrote, [] if none; it "
                f"returned {type(written).__name__} {written!r:.80}."
            )
        states = [filters[number].flush() for number in self._gathering]
        stamps = [stamp(path) for path in written] if written else None
        return ([_path(one) for one in written], stamps, meter.told(self._stages), *states)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_places": None, "_working": []}

    def __setstate__(self, state: dict[str, Any]) -> None:
        stages = [*state["filters"], state["sink"]]
        vars(self).update({"_given": stages, **state}, __module__=_module([state["_source"], *stages]))


class Merging:
    """The states of a stateful filter made one, in the form that its ``merge`` asks for."""

    def __init__(self, gathering: Any) -> None:
        self.filter = _copied(gathering)
        self.__name__ = stage_name(gathering)
        self.__module__ = _module([gathering])
        merge = getattr(gathering, "merge", None)
        taken = next(iter(inspect.signature(merge).parameters), None) if callable(merge) else None
        if merge is None or taken is None:
            raise WiringError(
                f"The filter {self.__name__!r} has flush and no merge: say how the states of all indices "
                "become one, def merge(self, states)."
            )
        wanted = resolve_annotations(merge).get(taken, REQUIRED)
        self.__signature__ = inspect.Signature(
            [inspect.Parameter("states", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
        )
        self.__annotations__ = {"states": list[Any] if wanted is REQUIRED else wanted}

    def __call__(self, states: Any) -> Any:
        """Merge, by a fresh copy of the filter: merging again is harmless."""
        return copy.deepcopy(self.filter).merge(states)

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, __module__=_module([state["filter"]]))


def stamp(path: Any) -> list[Any] | None:
    """Size and time of change (ns) of a file, and its place if the path is relative; None if it is not there.

    What a sink returns may as well be the address of something in a bucket or a database.
    """
    name = os.fspath(path)
    try:
        found = os.stat(name)
    except OSError:
        return None
    known = [found.st_size, found.st_mtime_ns]
    return known if os.path.isabs(name) else [*known, os.path.abspath(name)]


def _module(stages: Sequence[Any]) -> str:
    """The module that stages come from; ``__main__`` if one travelled by value, as it was sent."""
    there = (stage for stage in stages if stage is not None)
    kinds = [stage if hasattr(stage, "__qualname__") else type(stage) for stage in there]
    return str(kinds[0].__module__) if all(map(importable, kinds)) else "__main__"


def _copied(stage: Any, held: Any = None, instead: Any = None) -> Any:
    """A copy of a stage; where it holds `held`, the copy holds `instead`."""
    try:
        return copy.deepcopy(stage, None if held is None or stage is held else {id(held): instead})
    except Exception:
        return stage  # it holds what cannot be copied, a lock or a connection


def _path(written: Any) -> Any:
    """A path as text; a `weft.File` stays one."""
    return written if hasattr(written, "checksum") else os.fspath(written)


def _label(group: Any, index: int) -> Any:
    return ("alone", index) if group is None else ("group", group)


def _shown(labels: Sequence[Any]) -> str:
    """Groups as sets of positions, the first few."""
    found: dict[Any, set[int]] = {}
    for position, label in enumerate(labels):
        found.setdefault(label, set()).add(position)
    return reprlib.repr(list(found.values()))[1:-1]
