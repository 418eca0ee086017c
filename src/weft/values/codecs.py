"""Codecs: how users say in which bytes their own types are kept."""

from __future__ import annotations

import builtins
import io
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from weft.errors import InvalidInput, StoreError

NATIVE = (type(None), bool, int, float, str, bytes, list, dict)


def _temporary() -> AbstractContextManager[str]:
    import tempfile  # 4 ms, for the few codecs that go by path

    return tempfile.TemporaryDirectory(prefix="weft-")


@dataclass(frozen=True)
class Codec:
    """One way to turn values into a file and back; see `register_codec`."""

    name: str
    types: tuple[type, ...]
    extension: str
    save: Callable[[Any, Any], Any]
    load: Callable[[Any], Any]
    by_path: bool = False
    open: Callable[..., Any] = builtins.open
    binary: bool = True
    safe: bool = True

    def dump(self, value: object) -> bytes:
        """The bytes that `save` writes for this value."""
        if self.by_path:
            with _temporary() as folder:
                path = os.path.join(folder, "value" + self.extension)
                self.save(value, path)
                with builtins.open(path, "rb") as written:
                    return written.read()
        data = io.BytesIO()
        file = self._file(data)  # held, for the text file closes `data` when it goes
        self.save(value, file)
        return data.getvalue()

    def restore(self, data: bytes) -> Any:
        """The value that `load` reads from these bytes."""
        if self.by_path:
            with _temporary() as folder:
                path = os.path.join(folder, "value" + self.extension)
                with builtins.open(path, "wb") as file:
                    file.write(data)
                return self.load(path)
        return self.load(self._file(io.BytesIO(data)))

    def _file(self, data: io.BytesIO) -> IO[Any]:
        if self.binary:
            return data
        return io.TextIOWrapper(data, "utf-8", "surrogatepass", newline="", write_through=True)


_BY_NAME: dict[str, Codec] = {}
_BY_TYPE: dict[type, Codec] = {}
_ADOPTED: set[str] = set()


def register_codec(
    name: str,
    types: type | Iterable[type],
    extension: str,
    save: Callable[[Any, Any], Any],
    load: Callable[[Any], Any],
    by_path: bool = False,
    open: Callable[..., Any] = builtins.open,
    binary: bool = True,
    safe: bool = True,
) -> Codec:
    """Teach weft to keep values of your own types in your own format.

    Parameters
    ----------
    name
        What the stored bytes are marked with: a run opens only where a codec of this name is registered.
    types
        The exact types (not their subclasses) that it takes; none, if it is only asked for by name.
    extension
        Of its files, with the dot: ``".npz"``.
    save, load
        ``save(value, file)`` and ``load(file)``.
    by_path
        Whether they take a path in place of an open file.
    open
        What opens the file of an artifact, for instance ``gzip.open``.
    binary
        Whether the file is opened for bytes rather than for text.
    safe
        False if loading can execute what is in the file: then ``trust=False`` refuses it, like a pickle.

    Raises
    ------
    ValueError
        If the name or one of the types has another codec, or if a type (``int``, ``dict``, …) needs none.
        A cell of a notebook, or a module, that is executed again replaces its own.
    """
    kinds = (types,) if isinstance(types, type) else tuple(types)
    known = _BY_NAME.get(name)
    again = known is not None and (name in _ADOPTED or _written(known) == (_source(save), _source(load)))
    if known is not None and not again:
        raise ValueError(f"a codec named {name!r} is registered already; choose another name")
    for kind in kinds:
        if kind in NATIVE:
            raise ValueError(
                f"codec {name!r}: {kind.__name__} is always stored natively; leave it out of types"
            )
        if kind in _BY_TYPE and _BY_TYPE[kind].name != name:
            raise ValueError(
                f"codec {name!r}: {kind.__qualname__} has the codec {_BY_TYPE[kind].name!r} already"
            )
    if again:
        _forget(name)
    return _add(Codec(name, kinds, extension, save, load, by_path, open, binary, safe))


def _source(function: Callable[..., Any]) -> tuple[str, str] | None:
    """Where a function is written."""
    place = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    return place if all(isinstance(part, str) for part in place) else None  # type: ignore[return-value]


def _written(codec: Codec) -> tuple[tuple[str, str], tuple[str, str]] | None:
    """Where a codec's functions are written; None if that cannot be told."""
    save, load = _source(codec.save), _source(codec.load)
    return (save, load) if save and load else None


def _add(codec: Codec) -> Codec:
    _BY_NAME[codec.name] = codec
    _BY_TYPE.update(dict.fromkeys(codec.types, codec))
    return codec


def _forget(name: str) -> None:
    _ADOPTED.discard(name)
    for kind in _BY_NAME.pop(name).types:
        _BY_TYPE.pop(kind, None)


def registered() -> list[Codec]:
    """Every codec, for processes that have not run the code that registered it."""
    return list(_BY_NAME.values())


def adopt(codecs: Iterable[Codec], worker: bool = False) -> None:
    """Know the codecs of another process; what this one registered itself stays, unless it is a worker.

    A worker may have run the script a second time, and its classes are not those that the driver sends.
    """
    for codec in codecs:
        if codec.name in _ADOPTED or (worker and codec.name in _BY_NAME):
            _forget(codec.name)
        if codec.name not in _BY_NAME:
            _add(codec)
            _ADOPTED.add(codec.name)


def codecs_of(option: Any, given: Sequence[str], outputs: Sequence[str], owner: str) -> dict[str, Codec]:
    """The codec of each output that has one of its own, by a step's option ``codec``.

    `outputs` are what the pipeline calls those that the step calls `given`.

    Raises
    ------
    InvalidInput
        If it names an output that the step has not, or a codec that is not registered.
    """
    by_output = option if isinstance(option, Mapping) else dict.fromkeys(outputs, option)
    outer = {name: name for name in outputs} | dict(zip(given, outputs, strict=True))
    found = {}
    for output, codec in by_output.items():
        if output not in outer:
            raise InvalidInput(f"{owner}: codec names {output!r}; its outputs are {', '.join(outputs)}.")
        if codec is None:
            continue
        name = codec.name if isinstance(codec, Codec) else codec
        if name not in _BY_NAME:
            known = ", ".join(sorted(_BY_NAME)) or "none"
            raise InvalidInput(
                f"{owner}: no codec named {name!r} is registered (registered: {known}). Call register_codec "
                "first."
            )
        found[outer[output]] = _BY_NAME[name]
    return found


def codec_for(kind: type) -> Codec | None:
    """The codec that claims exactly this type."""
    return _BY_TYPE.get(kind)


def coded(value: Any) -> bool:
    """Whether there is a value in it, in lists and the like, whose type has a codec."""
    if not _BY_TYPE:
        return False
    if type(value) in _BY_TYPE:
        return True
    if isinstance(value, np.ndarray):
        return value.dtype == object and any(map(coded, value.flat))
    if type(value) is dict:
        value = [*value, *value.values()]
    return type(value) in (list, tuple) and any(map(coded, value))


def get_codec(name: str) -> Codec:
    """The codec of this name; a `StoreError` lists those that are registered."""
    try:
        return _BY_NAME[name]
    except KeyError:
        known = ", ".join(sorted(_BY_NAME)) or "none"
        raise StoreError(
            f"no codec named {name!r} is registered (registered: {known}); "
            "import the module that calls register_codec, then read again"
        ) from None
