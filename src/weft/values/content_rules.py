"""How a value of each known type is taken apart into plainer values, and put together again.

`weft.values.content` turns the parts into bytes. The codes are on disk in every run: never renumber them.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from weft.errors import StoreError, UnsafePayload
from weft.values.codecs import Codec

# Not by a rule: what only code restores, a user's codec; list and dict, which only digests name. 3 was once
# used otherwise.
PICKLE, CODEC, LIST, DICT = 1, 2, 4, 5
CLASS, DATACLASS, ENUM, NAMEDTUPLE, FILE = 40, 41, 42, 43, 44
SCALAR, ARRAY, OBJECTS = 52, 53, 54
DEEPEST = 100  # lists in lists: each takes up to three of the thousand calls that Python lets be open


class NoRule(Exception):
    """A value without a rule, or beyond its rule: pickle has to take it."""


class TooDeep(Exception):
    """Values in values in values, or a value that contains itself: pickle has to take all of it."""


class CannotStore(Exception):
    """Not even cloudpickle takes this value."""


def pickled(value: object) -> bytes:
    """The last resort; cloudpickle also takes lambdas, and classes that cannot be imported."""
    import cloudpickle

    if type(value) is memoryview:  # cloudpickle would make bytes of it
        raise CannotStore("it is a view of another object's memory; make bytes of it")
    try:
        return bytes(cloudpickle.dumps(value, protocol=5))
    except Exception as error:
        raise CannotStore(f"{type(error).__name__}: {error}") from error


def dumped(codec: Codec, value: object) -> bytes:
    """What a user's codec makes of a value."""
    try:
        return codec.dump(value)
    except Exception as error:
        raise CannotStore(f"codec {codec.name!r} raised {type(error).__name__}: {error}") from error


@dataclass(frozen=True)
class Rule:
    """One kind of value.

    Attributes
    ----------
    code
        Tag of the kind in stored bytes.
    reduce
        From a value to a list of parts.
    restore
        From the parts to an equal value of the same type.
    leaf
        Whether the parts hold only numbers, text and bytes, none of a user's values.
    """

    code: int
    reduce: Callable[[Any], list[Any]]
    restore: Callable[[list[Any]], Any]
    leaf: bool = True


BY_CODE: dict[int, Rule] = {}
_BY_NAME: dict[str, Rule] = {}
_BY_TYPE: dict[type, Rule] = {}


def rule(
    code: int,
    types: str,
    reduce: Callable[[Any], list[Any]],
    restore: Callable[[list[Any]], Any],
    leaf: bool = True,
) -> Rule:
    """Register a kind; types are named, not imported, so that knowing pandas costs nothing without pandas."""
    made = Rule(code, reduce, restore, leaf)
    assert code not in BY_CODE
    BY_CODE[code] = made
    for name in types.split():
        _BY_NAME[name] = made
    return made


def rule_of(value: Any) -> Rule:
    """The rule for this value: by its exact type, for an array by its dtype; `NoRule` if there is none."""
    kind = type(value)
    if kind is np.ndarray:
        return BY_CODE[OBJECTS if value.dtype.kind in "OT" else ARRAY]
    known = _BY_TYPE.get(kind)
    if known is not None:
        return known
    named = _BY_NAME.get(f"{kind.__module__}.{kind.__qualname__}")
    if named is not None and importable(kind):
        _BY_TYPE[kind] = named
        return named
    if issubclass(kind, type):
        return BY_CODE[CLASS]
    if issubclass(kind, enum.Enum):
        return BY_CODE[ENUM]
    if dataclasses.is_dataclass(kind):
        return BY_CODE[DATACLASS]
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return BY_CODE[NAMEDTUPLE]
    if issubclass(kind, np.generic) and kind.__module__ == "numpy":
        _BY_TYPE[kind] = _BY_NAME["numpy.generic"]
        return _BY_TYPE[kind]
    if issubclass(kind, np.dtype) and kind.__module__ in ("numpy", "numpy.dtypes"):
        _BY_TYPE[kind] = _BY_NAME["numpy.dtype"]
        return _BY_TYPE[kind]
    raise NoRule


# --- classes, by name ----------------------------------------------------------------------------


def _walk(module: object, qualname: str) -> Any:
    for name in qualname.split("."):
        module = getattr(module, name)
    return module


def importable(kind: type) -> bool:
    """Whether its module and qualified name lead to this class, also in another process."""
    if kind.__module__ == "__main__":
        return False
    try:
        return _walk(sys.modules.get(kind.__module__), kind.__qualname__) is kind
    except AttributeError:
        return False


def resolve(module: str, qualname: str, trust: bool) -> type:
    """The class of this name; without trust nothing is imported that could be a user's."""
    if not trust and module not in sys.modules and module.partition(".")[0] not in sys.stdlib_module_names:
        raise UnsafePayload(
            f"restoring a {qualname} would import {module}, and this run was opened with trust=False; "
            f"import {module} first, or open the run with trust=True if you trust who wrote it"
        )
    try:
        kind = _walk(importlib.import_module(module), qualname)
    except (ImportError, AttributeError) as error:
        raise StoreError(
            f"the class {module}.{qualname} of a stored value is not there ({error}); "
            "make it importable again"
        ) from error
    if not isinstance(kind, type):
        raise StoreError(f"{module}.{qualname} was a class when this value was stored, and is none now")
    return kind


def of_script(kind: type) -> bool:
    """Whether it is a class of a script or notebook, which other processes know by value only."""
    return kind.__module__ == "__main__" and "<locals>" not in kind.__qualname__


def in_script(qualname: str) -> type | None:
    """The class of this name in the script that runs here; None if it has none."""
    try:
        kind = _walk(sys.modules["__main__"], qualname)
    except AttributeError:
        return None
    return kind if isinstance(kind, type) else None


def _nameable(kind: type) -> bool:
    return of_script(kind) or importable(kind)


def _reduce_class(kind: type) -> list[Any]:
    if of_script(kind):
        return [kind.__module__, kind.__qualname__, pickled(kind)]
    if not importable(kind):
        raise NoRule
    return [kind.__module__, kind.__qualname__]


rule(CLASS, "builtins.type", _reduce_class, lambda p: resolve(p[0], p[1], True))


# Dataclasses with slots that are frozen get these two from the standard library: they change nothing.
_PLAIN_GETSTATE = (getattr(object, "__getstate__", None), getattr(dataclasses, "_dataclass_getstate", None))
_MISSING = object()


def _plainly(kind: Any) -> bool:
    """Whether its values are made by name and parts, with no way of their own for pickle."""
    own_way = kind.__reduce__ is not object.__reduce__ or kind.__reduce_ex__ is not object.__reduce_ex__
    return not own_way and _nameable(kind)


def _reduce_dataclass(value: Any) -> list[Any]:
    kind: Any = type(value)
    if not _plainly(kind) or getattr(kind, "__getstate__", None) not in _PLAIN_GETSTATE:
        raise NoRule
    try:
        object.__new__(kind)
    except TypeError:  # an exception, a dict or the like underneath holds more than the fields
        raise NoRule from None
    fields = {}
    for field in dataclasses.fields(value):
        item = getattr(value, field.name, _MISSING)
        if item is not _MISSING:
            fields[field.name] = item
    more = {name: item for name, item in getattr(value, "__dict__", {}).items() if name not in fields}
    return [kind, fields, more] if more else [kind, fields]


def _restore_dataclass(parts: list[Any]) -> Any:
    kind = parts[0]
    if not dataclasses.is_dataclass(kind):
        raise StoreError(f"{kind.__qualname__} was a dataclass when this value was stored, and is none now")
    value = object.__new__(parts[0])
    for fields in parts[1:]:
        for name, item in fields.items():
            object.__setattr__(value, name, item)
    return value


def _reduce_enum(value: enum.Enum) -> list[Any]:
    kind = type(value)
    if not _nameable(kind):
        raise NoRule
    if value.name is not None and kind.__members__.get(value.name) is value:
        return [kind, value.name]
    return [kind, None, value.value]  # a combination of flags


def _restore_enum(parts: list[Any]) -> Any:
    kind = parts[0]
    if not issubclass(kind, enum.Enum):
        raise StoreError(f"{kind.__qualname__} was an Enum when this value was stored, and is none now")
    return kind(parts[2]) if parts[1] is None else kind[parts[1]]


def _reduce_namedtuple(value: Any) -> list[Any]:
    kind = type(value)
    if not _plainly(kind) or getattr(value, "__dict__", None):
        raise NoRule
    return [kind, *tuple.__iter__(value)]


def _restore_namedtuple(parts: list[Any]) -> Any:
    if not issubclass(parts[0], tuple):
        raise StoreError(f"{parts[0].__qualname__} was a tuple when this value was stored, and is none now")
    return tuple.__new__(parts[0], parts[1:])


rule(DATACLASS, "", _reduce_dataclass, _restore_dataclass, leaf=False)
rule(ENUM, "", _reduce_enum, _restore_enum, leaf=False)
rule(NAMEDTUPLE, "", _reduce_namedtuple, _restore_namedtuple, leaf=False)


# --- the standard library ------------------------------------------------------------------------


def _module(name: str) -> Any:
    return importlib.import_module(name)


def _big(value: int) -> list[Any]:
    return [value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)]


def _reduce_datetime(v: datetime.datetime) -> list[Any]:
    return [v.year, v.month, v.day, v.hour, v.minute, v.second, v.microsecond, v.fold, v.tzinfo]


def _reduce_time(v: datetime.time) -> list[Any]:
    return [v.hour, v.minute, v.second, v.microsecond, v.fold, v.tzinfo]


def _reduce_zone(zone: Any) -> list[Any]:
    if zone.key is None:
        raise NoRule
    return [zone.key]


def _reduce_timezone(zone: datetime.timezone) -> list[Any]:
    offset = zone.utcoffset(None)
    plain = datetime.timezone(offset)
    name = zone.tzname(None)
    return [offset.days, offset.seconds, offset.microseconds, None if name == plain.tzname(None) else name]


def _restore_timezone(p: list[Any]) -> datetime.timezone:
    offset = datetime.timedelta(p[0], p[1], p[2])
    return datetime.timezone(offset) if p[3] is None else datetime.timezone(offset, p[3])


# Only integers beyond 64 bits get here: the others are native.
rule(10, "builtins.int", _big, lambda p: int.from_bytes(p[0], "little", signed=True))
rule(11, "builtins.complex", lambda v: [v.real, v.imag], lambda p: complex(p[0], p[1]))
rule(12, "builtins.bytearray", lambda v: [bytes(v)], lambda p: bytearray(p[0]))
SET, FROZENSET = 14, 15
rule(13, "builtins.tuple", list, tuple, leaf=False)
rule(SET, "builtins.set", list, set, leaf=False)
rule(FROZENSET, "builtins.frozenset", list, frozenset, leaf=False)
rule(16, "builtins.range", lambda v: [v.start, v.stop, v.step], lambda p: range(*p))
rule(17, "builtins.slice", lambda v: [v.start, v.stop, v.step], lambda p: slice(*p), leaf=False)
_BY_TYPE[type(...)] = rule(18, "", lambda v: [], lambda p: ...)
rule(
    20,
    "datetime.datetime",
    _reduce_datetime,
    lambda p: datetime.datetime(*p[:7]).replace(tzinfo=p[8], fold=p[7]),
    leaf=False,
)
rule(21, "datetime.date", lambda v: [v.year, v.month, v.day], lambda p: datetime.date(*p))
rule(
    22,
    "datetime.time",
    _reduce_time,
    lambda p: datetime.time(*p[:4]).replace(tzinfo=p[5], fold=p[4]),
    leaf=False,
)
rule(
    23, "datetime.timedelta", lambda v: [v.days, v.seconds, v.microseconds], lambda p: datetime.timedelta(*p)
)
rule(24, "datetime.timezone", _reduce_timezone, _restore_timezone)
rule(25, "zoneinfo.ZoneInfo", _reduce_zone, lambda p: _module("zoneinfo").ZoneInfo(p[0]))
rule(26, "decimal.Decimal", lambda v: [str(v)], lambda p: _module("decimal").Decimal(p[0]))
rule(
    27,
    "fractions.Fraction",
    lambda v: [v.numerator, v.denominator],
    lambda p: _module("fractions").Fraction(*p),
)
rule(28, "uuid.UUID", lambda v: [v.bytes], lambda p: _module("uuid").UUID(bytes=p[0]))
_PATHS = ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")
rule(
    29,
    " ".join(f"{module}.{name}" for module in ("pathlib", "pathlib._local") for name in _PATHS),
    lambda v: [_PATHS.index(type(v).__name__), str(v)],
    lambda p: getattr(_module("pathlib"), _PATHS[p[0]])(p[1]),
)
