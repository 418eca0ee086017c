"""The canonical form of a value: tagged bytes that depend on no insertion order, process or memory layout.

No canonical form begins another, so that they can stand one after the other without ambiguity.
"""

from __future__ import annotations

import hashlib
import math
import struct
from typing import Any

import numpy as np

from weft.values.codecs import codec_for
from weft.values.content_arrays import canonical_rows, dtype_spec
from weft.values.content_rules import (
    ARRAY,
    CLASS,
    CODEC,
    DATACLASS,
    DEEPEST,
    DICT,
    FILE,
    FROZENSET,
    LIST,
    SCALAR,
    SET,
    NoRule,
    TooDeep,
    dumped,
    pickled,
    rule_of,
)

_CONSTANTS: dict[Any, bytes] = {None: b"N", True: b"T", False: b"F"}
INT, FLOAT, COMPLEX, TEXT, BYTES = b"i", b"f", b"c", b"s", b"b"
_INT64 = range(-(2**63), 2**63)


def short_hash(data: bytes | memoryview) -> bytes:
    """16 bytes of BLAKE2b."""
    return hashlib.blake2b(data, digest_size=16).digest()


def sized(tag: bytes, data: bytes) -> bytes:
    """Tag, length, data."""
    return tag + len(data).to_bytes(8, "little") + data


def _float(value: float) -> bytes:
    return struct.pack("<d", math.nan if value != value else value)


def _native(value: Any) -> bytes | None:
    """The form of what needs no rule; None for anything else."""
    kind = type(value)
    if kind is float:
        return FLOAT + _float(value)
    if kind is int:
        if value in _INT64:
            return INT + int(value).to_bytes(8, "little", signed=True)
        return sized(b"I", value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True))
    if kind is str:
        return sized(TEXT, value.encode("utf-8", "surrogatepass"))
    if kind is bytes:
        return sized(BYTES, value)
    if kind is complex:
        return COMPLEX + _float(value.real) + _float(value.imag)
    if kind is bool or value is None:
        return _CONSTANTS[value]
    return None


def _parts(parts: Any) -> bytes:
    """The form of the parts of a leaf: lists of numbers, text and bytes."""
    if type(parts) in (list, tuple):
        return _node(0, [_parts(part) for part in parts])
    native = _native(parts)
    assert native is not None
    return native


def scalar_tag(dtype: np.dtype[Any]) -> bytes:
    """What stands in front of the data of a NumPy scalar."""
    return sized(b"g", _parts(dtype_spec(dtype)))


def array_tag(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """What stands in front of the hash of an array's data."""
    return sized(b"a", _parts([dtype_spec(dtype), shape]))


def _leaf(value: Any, code: int, parts: list[Any]) -> bytes:
    if code == ARRAY:
        return array_tag(value.dtype, value.shape) + short_hash(canonical_rows(value[None]).data)
    if code == SCALAR and not isinstance(value, (np.str_, np.bytes_)):
        return scalar_tag(value.dtype) + canonical_rows(np.asarray(value)[None]).tobytes()
    if code in (CLASS, FILE):
        # A class by name, its pickles differ from process to process; a file by path and checksum.
        parts = parts[:2]
    return sized(b"x" + bytes([code]), _parts(parts))


def _node(code: int, children: list[bytes]) -> bytes:
    if code == DICT:
        pairs = sorted(zip(children[::2], children[1::2]))
        children = [part for pair in pairs for part in pair]
    elif code in (SET, FROZENSET):
        children = sorted(children)
    return b"n" + bytes([code]) + len(children).to_bytes(8, "little") + b"".join(children)


def _form(value: Any, depth: int) -> bytes:
    native = _native(value)
    if native is not None:
        return native
    kind = type(value)
    parts: Any
    if kind is list:
        code, parts = LIST, value
    elif kind is dict:
        code, parts = DICT, [part for pair in value.items() for part in pair]
    elif (codec := codec_for(kind)) is not None:
        return sized(b"x" + bytes([CODEC]), sized(b"", codec.name.encode()) + dumped(codec, value))
    else:
        try:
            rule = rule_of(value)
            code, parts = rule.code, rule.reduce(value)
            if rule.leaf:
                return _leaf(value, code, parts)
        except NoRule:
            return sized(b"p", pickled(value))
    if depth == DEEPEST:
        raise TooDeep
    if code == DATACLASS:
        # The class and its fields: what else was hung on the instance, a cached property say, is no content.
        parts = parts[:2]
    return _node(code, [_form(part, depth + 1) for part in parts])


def canonical(value: Any) -> bytes:
    """The canonical form of any value; of a pickle, the pickle's bytes."""
    try:
        return _form(value, 0)
    except TooDeep:
        return sized(b"p", pickled(value))
