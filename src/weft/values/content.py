"""One value as bytes and back, with its exact type; and the digest by which equal content is known.

Bytes are msgpack with extension types: a code from `content_rules` and the parts of the value. What no rule
knows is pickled (by cloudpickle, so that classes of ``__main__`` survive) under a code of its own, which
``trust=False`` refuses. So is, as a whole, what is nested too deep, contains itself or is over 4 GiB.
"""

from __future__ import annotations

import dataclasses
import hashlib
import pickle
from collections.abc import Iterator
from typing import Any

import msgpack
import numpy as np

from weft.errors import CorruptResult, StoreError, UnsafePayload, WeftError
from weft.values import content_arrays, content_tables, files  # noqa: F401 (their rules register themselves)
from weft.values.codecs import Codec, codec_for, get_codec
from weft.values.content_digest import canonical, short_hash
from weft.values.content_rules import (
    BY_CODE,
    CLASS,
    CODEC,
    DEEPEST,
    PICKLE,
    CannotStore,
    NoRule,
    TooDeep,
    dumped,
    in_script,
    pickled,
    resolve,
    rule_of,
)

# msgpack takes these for something else, without asking.
_AWKWARD = frozenset({bytearray, memoryview, msgpack.ExtType, msgpack.Timestamp})
_LOOKED_INTO = _AWKWARD | {list, dict}
# Reading an extension within an extension takes 41 KB of the stack, which nothing guards.
_DEEPEST_EXTENSION = 24
# A byte that msgpack never writes: the rest is a pickle of all.
_WHOLE = b"\xc1"


def _plain(value: Any, encoder: _Encoder, depth: int = 0) -> Any:
    """The value, with extensions for what msgpack would mistake in its lists and dicts."""
    if depth == DEEPEST:
        raise TooDeep
    kind = type(value)
    if kind is list:
        if _LOOKED_INTO.isdisjoint(map(type, value)):
            return value
        return [_plain(item, encoder, depth + 1) for item in value]
    if kind is dict:
        if not _AWKWARD.isdisjoint(map(type, value)):
            return encoder.pickle(value)
        if _LOOKED_INTO.isdisjoint(map(type, value.values())):
            return value
        return {key: _plain(item, encoder, depth + 1) for key, item in value.items()}
    return encoder.extension(value) if kind in _AWKWARD else value


class _Encoder:
    """One call of `encode`."""

    def __init__(self) -> None:
        self.depth = 0

    def pack(self, value: Any) -> bytes:
        # A Packer is not reentrant. A new one costs 0.2 µs, with its usual buffer of 256 KiB up to 10 µs.
        packer = msgpack.Packer(
            default=self.extension, strict_types=True, unicode_errors="surrogatepass", buf_size=256
        )
        return bytes(packer.pack(value))

    def pickle(self, value: Any) -> msgpack.ExtType:
        return msgpack.ExtType(PICKLE, pickled(value))

    def extension(self, value: Any) -> msgpack.ExtType:
        codec = codec_for(type(value))
        if codec is not None:
            return self.coded(value, codec)
        try:
            rule = rule_of(value)
            parts = rule.reduce(value)
        except NoRule:
            return self.pickle(value)
        if rule.leaf:
            return msgpack.ExtType(rule.code, self.pack(parts))
        if self.depth == _DEEPEST_EXTENSION:
            raise TooDeep
        self.depth += 1
        packed = self.pack(_plain(parts, self))
        self.depth -= 1
        return msgpack.ExtType(rule.code, packed)

    def coded(self, value: Any, codec: Codec) -> msgpack.ExtType:
        return msgpack.ExtType(CODEC, self.pack([codec.name, dumped(codec, value)]))


def _encode(value: object) -> bytes:
    encoder = _Encoder()
    try:
        return encoder.pack(_plain(value, encoder))
    except (TooDeep, ValueError):
        return _WHOLE + pickled(value)


def encode(value: object, codec: Codec | None = None) -> bytes:
    """Bytes from which `decode` makes an equal value of the same type; as `codec` has it, if one is given.

    Raises
    ------
    TypeError
        If it cannot be stored, not even as a pickle; the message names the place inside the value.

    Examples
    --------
    >>> decode(encode({"shape": (2, 3), "seen": {1.0, None}})) == {"shape": (2, 3), "seen": {1.0, None}}
    True
    """
    try:
        if codec is not None:
            encoder = _Encoder()
            return encoder.pack(encoder.coded(value, codec))
        return _encode(value)
    except CannotStore as error:
        raise _refusal(value, error) from error.__cause__


def _refusal(value: object, error: CannotStore) -> TypeError:
    path, culprit, reason = _blame(value, str(error))
    name = type(culprit).__name__
    article = "an" if name[:1].lower() in "aeiou" else "a"
    return TypeError(f"{path} ({article} {name}) cannot be stored: {reason}")


def _inside(value: Any) -> Iterator[tuple[str, Any]]:
    """What a value holds, with how one writes the way to it."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield f"[{key!r}]", item
            yield f" key {key!r}", key
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        yield from ((f".{name}", item) for name, item in zip(value._fields, value))
    elif isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.ndim == 1):
        yield from ((f"[{i}]", item) for i, item in enumerate(value))
    elif isinstance(value, (set, frozenset)):
        yield from ((f"{{{item!r}}}", item) for item in value)
    elif dataclasses.is_dataclass(value) or not isinstance(value, type):
        yield from ((f".{name}", item) for name, item in getattr(value, "__dict__", {}).items())


def _blame(value: Any, reason: str) -> tuple[str, Any, str]:
    """The innermost thing that cannot be stored: its path, itself, why."""
    path = "value"
    for _ in range(100):  # a value may contain itself
        for step, item in _inside(value):
            try:
                _encode(item)
            except CannotStore as error:
                path, value, reason = path + step, item, str(error)
                break
        else:
            break
    return path, value, reason


class _Decoder:
    """One call of `decode`."""

    def __init__(self, trust: bool) -> None:
        self.trust = trust
        self.depth = 0

    def unpack(self, data: bytes | memoryview) -> Any:
        self.depth += 1
        if self.depth > 2 * _DEEPEST_EXTENSION:
            raise CorruptResult("a value is nested deeper than weft ever writes one")
        value = msgpack.unpackb(
            data, ext_hook=self.extension, strict_map_key=False, unicode_errors="surrogatepass"
        )
        self.depth -= 1
        return value

    def unpickle(self, data: bytes | memoryview) -> Any:
        if not self.trust:
            raise UnsafePayload(
                "a value is stored as a pickle, which can run any code, and trust=False was asked for; "
                "ask for trust=True if you trust who wrote it"
            )
        try:
            return pickle.loads(data)
        except Exception as error:
            raise StoreError(
                f"a pickled value cannot be restored ({type(error).__name__}: {error}); "
                "make what it was made of importable again"
            ) from error

    def script_class(self, _: str, qualname: str, by_value: bytes) -> Any:
        """A class of a script: that of the script which runs here, else as it was."""
        kind = in_script(qualname)
        return self.unpickle(by_value) if kind is None else kind

    def extension(self, code: int, data: bytes) -> Any:
        if code == PICKLE:
            return self.unpickle(data)
        if code == CODEC:
            name, body = self.unpack(data)
            codec = get_codec(name)
            if not (codec.safe or self.trust):
                raise UnsafePayload(
                    f"the codec {name!r} can run code as it loads, and trust=False was asked for; "
                    "ask for trust=True if you trust who wrote it"
                )
            try:
                return codec.restore(body)
            except Exception as error:
                raise StoreError(f"the codec {name!r} raised {type(error).__name__}: {error}") from error
        parts = self.unpack(data)
        if code == CLASS:
            return self.script_class(*parts) if len(parts) > 2 else resolve(parts[0], parts[1], self.trust)
        rule = BY_CODE.get(code)
        if rule is None:
            raise StoreError(f"a value has the unknown kind {code}: a newer weft wrote it; upgrade weft")
        try:
            return rule.restore(parts)
        except WeftError:
            raise
        except Exception as error:
            raise StoreError(
                f"a stored value cannot be restored ({type(error).__name__}: {error})"
            ) from error


def decode(data: bytes | memoryview, *, trust: bool = True) -> Any:
    """The value that `encode` was given.

    Parameters
    ----------
    data
        What `encode` returned.
    trust
        If False, pickles, codecs that are not safe, and classes of modules that neither are imported already
        nor belong to the standard library are refused.

    Raises
    ------
    UnsafePayload
        If it is not trusted.
    StoreError
        If a codec or a class that it needs is not there.
    CorruptResult
        If the bytes are no stored value.
    """
    decoder = _Decoder(trust)
    if bytes(data[:1]) == _WHOLE:
        return decoder.unpickle(data[1:])
    try:
        return decoder.unpack(data)
    except (ValueError, msgpack.UnpackException) as error:
        if isinstance(error, WeftError):
            raise
        raise CorruptResult(f"these {len(data)} bytes are not a stored value ({error})") from error


def digest(value: object) -> str:
    """32 hexadecimal digits that equal content of equal type shares, and nothing else does.

    ``1``, ``1.0`` and ``True`` differ, a NaN equals any other, the order in dicts and sets does not count.
    What only a pickle can hold has the digest of the pickle, which another process may write differently.

    Examples
    --------
    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    True
    >>> digest(1) == digest(1.0)
    False
    """
    try:
        return short_hash(canonical(value)).hex()
    except CannotStore as error:
        raise _refusal(value, error) from error.__cause__


def digest_bytes(*parts: bytes) -> str:
    """32 hexadecimal digits of the BLAKE2b hash of byte strings; where one ends counts."""
    state = hashlib.blake2b(digest_size=16)
    for part in parts:
        state.update(len(part).to_bytes(8, "little"))
        state.update(part)
    return state.hexdigest()
