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
    parts = [
        _part(study, step, parameter, source)
        for parameter, source in zip(step.parameters, sources, strict=True)
    ]
    # Who forces a step or resets its elements wants them made anew; what is made is kept all the same.
    anew = bool(study.records[step.name].forced) or any(r.step == step.name for r in study.resets)
    return lambda call: _Remembered(call, step, shared.cache, code, parts, anew, control)


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


def _part(study: Study, step: Step, parameter: Parameter, source: Any) -> Callable[[Any], bytes] | None:
    """What tells an argument's part of the key, its name and content, from its value; None if it has none."""
    made = parameter.injected if injected(step, parameter, study) else None
    if step.ignores(parameter) or made == "res":
        return None
    known = ""
    if isinstance(source, Constant):
        given = None if step.is_bound(parameter) else study.inputs.get(parameter.name)
        with contextlib.suppress(Exception):  # then the call has no key
            known = _content(source.value, given.digest if given and not given.axes else "")

    def part(value: Any) -> bytes:
        found = known or _content(value.bit_generator.state if made == "rng" else value)
        return f"{parameter.argument}={found}".encode()

    return part


@dataclass(frozen=True)
class _Remembered:
    """A call that is only made for what is not in the cache. Whatever the cache cannot do, the call does."""

    call: Callable[..., Any]
    step: Step
    cache: Cache
    code: str
    parts: Sequence[Callable[[Any], bytes] | None]
    anew: bool
    control: Control

    def __call__(self, *args: Any) -> Any:
        wide = len(self.step.outputs) > 1
        try:
            parts = [part(value) for part, value in zip(self.parts, args, strict=True) if part is not None]
            key = digest_bytes(self.code.encode(), *sorted(parts))
        except Exception:  # an argument without a digest, such as a lock in a run in memory
            return self.call(*args)
        if not self.anew and (found := self._found(key)) is not None:
            return found if wide else found[0]
        started = time.perf_counter()
        value = self.call(*args)
        seconds = time.perf_counter() - started
        with contextlib.suppress(Exception):  # what cannot be stored is told, if at all, by the run itself
            self._keep(key, value if wide else (value,), seconds)
        return value

    def _found(self, key: str) -> tuple[Any, ...] | None:
        entry = self.cache.get(self.step.name, key)
        if entry is None:
            return None
        try:
            values = tuple(
                Cells(column, shape) if self.step.opened else column.tolist()[0]
                for column, shape in zip(entry.columns, entry.shapes, strict=True)
            )
        except Exception:  # its class or its codec is not here any more
            return None
        # Blocks and backends are chosen by what elements take that are not in the cache.
        self.control.saved += entry.seconds
        return values

    def _keep(self, key: str, values: tuple[Any, ...], seconds: float) -> None:
        codecs = self.step.codecs
        columns = [
            part.column if self.step.opened else pack([part], codec=codecs.get(output))
            for output, part in zip(self.step.outputs, values, strict=True)
        ]
        shapes = [part.shape if self.step.opened else () for part in values]
        self.cache.put(self.step.name, key, Entry(columns, shapes, seconds))
