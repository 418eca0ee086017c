"""Steps with ``cache=True``: a call looks first whether its result is in the cache that runs share."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from weft.engine.calls import Cells
from weft.engine.control import Control
from weft.engine.lanes import Constant
from weft.model.identity import code_digest
from weft.model.project import is_project
from weft.model.step import Parameter, Step
from weft.store.cache import Cache, Entry
from weft.study.reading import injected
from weft.study.study import Study
from weft.values.columns import pack
from weft.values.content import digest, digest_bytes

SHARED = "shared cache"  # under this name a study's memory has what its driver found
_CODES = "cached codes"  # and under this the codes of steps, as far as they were compared in this process
_MISSING = object()


@dataclass(frozen=True)
class Shared:
    """The cache of a run, and the code of each step that uses it, as its driver knows them.

    Who gets a notebook's function by value has not its source.
    """

    cache: Cache
    codes: Mapping[str, str]


def prepare(study: Study) -> None:
    """Find the cache before work starts, if a step asks for it.

    Raises
    ------
    InvalidInput, StoreError
        If its size is no size, or its folder cannot be written.
    """
    cached = [step for step in study.graph.order if step.cache]
    if cached:
        cache = Cache.of_environment()
        codes = {step.name: _code(step) for step in cached}
        study.memory[SHARED] = Shared(cache.ready(), codes) if cache.limit else None
        study.memory[_CODES] = codes


def remembering(
    study: Study, step: Step, sources: Sequence[Any], control: Control
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """What makes a step's call, which takes its arguments by position, look in the cache first."""
    shared: Shared | None = study.memory.get(SHARED) if step.cache else None
    code = _code_here(study, step, shared) if shared is not None else ""
    if shared is None or not code:
        return lambda call: call
    arguments = [
        _Argument(study, step, parameter, source)
        for parameter, source in zip(step.parameters, sources, strict=True)
    ]
    # Who forces a step or resets its elements wants them made anew; what is made is kept all the same.
    anew = bool(study.records[step.name].forced) or any(r.step == step.name for r in study.resets)
    return lambda call: _Remembered(call, step, shared.cache, code, arguments, anew, control)


def _code_here(study: Study, step: Step, shared: Shared) -> str:
    """The step's code, as its driver knows it; empty if its module was edited before this process began."""
    known: dict[str, str] = study.memory.setdefault(_CODES, {})
    if step.name not in known:
        module = getattr(step.function, "__module__", "__main__")
        by_value = module == "__main__" or module not in sys.modules
        code = shared.codes.get(step.name, "")
        known[step.name] = code if by_value or _code(step) == code else ""
    return known[step.name]


def _code(step: Step) -> str:
    """What makes a result besides arguments: the code, and what is taken of what it returns.

    A `version` stands for the code of the one function that it was written for, so it counts with the place
    of that function: another project has a version "1" too.
    """
    function = step.function
    own = ""
    if step.version is not None and isinstance(function, FunctionType) and "<" not in function.__qualname__:
        file = function.__code__.co_filename
        own = f"{file}|{function.__module__}.{function.__qualname__}" if os.path.exists(file) else ""
    own = f"{step.version}|{own or code_digest(function)}"
    picker = code_digest(step.output_picker) if step.output_picker else ""
    taken = f"{step.outputs_as_given}|{len(step.opened)}|{picker}"
    return digest_bytes(own.encode("utf-8", "surrogatepass"), taken.encode())


def _content(value: Any, known: str = "") -> str:
    """The content; with the code of a function or of a class of the project, whose names an edit leaves.

    `known` is the digest, if something else has computed it already.
    """
    kind: Any = type(value)
    if kind is FunctionType:
        return code_digest(value)
    return (known or digest(value)) + (_class_code(kind) if is_project(kind) else "")


@functools.lru_cache(maxsize=256)
def _class_code(kind: type) -> str:
    return code_digest(kind)


class _Argument:
    """One argument's part of the key."""

    def __init__(self, study: Study, step: Step, parameter: Parameter, source: Any) -> None:
        made = injected(step, parameter, study)
        self.name = parameter.argument
        self.counts = not step.ignores(parameter) and not (made and parameter.injected == "res")
        self.stream = made and parameter.injected == "rng"
        self.known = ""
        if self.counts and isinstance(source, Constant):
            given = None if step.is_bound(parameter) else study.inputs.get(parameter.name)
            with contextlib.suppress(Exception):  # then the call has no key
                self.known = _content(source.value, given.digest if given and not given.axes else "")

    def part(self, value: Any) -> bytes:
        """Name and content."""
        found = self.known or _content(value.bit_generator.state if self.stream else value)
        return f"{self.name}={found}".encode()


class _Remembered:
    """A call that is only made for what is not in the cache. Whatever the cache cannot do, the call does."""

    def __init__(
        self, call: Callable[..., Any], step: Step, cache: Cache, code: str, arguments: Sequence[_Argument],
        anew: bool, control: Control,
    ) -> None:  # fmt: skip
        self.call, self.name, self.cache, self.code, self.anew = call, step.name, cache, code, anew
        self.wide, self.opens, self.control = len(step.outputs) > 1, bool(step.opened), control
        self.arguments = arguments

    def __call__(self, *args: Any) -> Any:
        try:
            key = self._key(args)
        except Exception:  # an argument without a digest, such as a lock in a run in memory
            return self.call(*args)
        if not self.anew:
            value = self._found(key)
            if value is not _MISSING:
                return value
        started = time.perf_counter()
        value = self.call(*args)
        seconds = time.perf_counter() - started
        with contextlib.suppress(Exception):  # what cannot be stored is told, if at all, by the run itself
            self._keep(key, value, seconds)
        return value

    def _key(self, args: Sequence[Any]) -> str:
        parts = [a.part(value) for a, value in zip(self.arguments, args, strict=True) if a.counts]
        return digest_bytes(self.code.encode(), *sorted(parts))

    def _found(self, key: str) -> Any:
        entry = self.cache.get(self.name, key)
        if entry is None:
            return _MISSING
        try:
            values = tuple(
                Cells(column, shape) if self.opens else column.tolist()[0]
                for column, shape in zip(entry.columns, entry.shapes, strict=True)
            )
        except Exception:  # its class or its codec is not here any more
            return _MISSING
        # Blocks and backends are chosen by what elements take that are not in the cache.
        self.control.saved += entry.seconds
        return values if self.wide else values[0]

    def _keep(self, key: str, value: Any, seconds: float) -> None:
        values = value if self.wide else (value,)
        columns = [part.column if self.opens else pack([part]) for part in values]
        shapes = [part.shape if self.opens else () for part in values]
        self.cache.put(self.name, key, Entry(columns, shapes, seconds))
