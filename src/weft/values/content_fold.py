"""From the leaves of a nested value to its root, without recursion: values may be nested to any depth."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

import numpy as np

from weft.values.codecs import codec_for
from weft.values.content_arrays import ARRAY, OBJECTS
from weft.values.content_rules import BY_CODE, DICT, LIST, NoRule, Rule, rule_for

Result = TypeVar("Result")


class Cyclic(Exception):
    """The value contains itself."""


def rule_of(value: Any) -> Rule | None:
    """The rule for this value: of its type, and for an array of its dtype."""
    kind = type(value)
    if kind is np.ndarray:
        return OBJECTS if value.dtype.kind in "OT" else BY_CODE[ARRAY]
    return rule_for(kind)


def open_value(value: Any) -> tuple[int, list[Any]] | None:
    """The code and the parts of a value that may hold other values of the user; None for a leaf."""
    kind = type(value)
    if kind is list:
        return LIST, value
    if kind is dict:
        return DICT, [part for pair in value.items() for part in pair]
    if codec_for(kind) is not None:
        return None
    rule = rule_of(value)
    if rule is None or rule.leaf:
        return None
    try:
        return rule.code, rule.reduce(value)
    except NoRule:
        return None


class _Frame(NamedTuple):
    code: int
    rest: Iterator[Any]
    made: list[Any]
    identity: int
    parts: list[Any]  # kept alive: the identity of what lies in it must not be given to another object


def fold(value: Any, leaf: Callable[[Any], Result], node: Callable[[int, list[Result]], Result]) -> Result:
    """What `leaf` makes of each leaf and `node` of each code with what its parts became."""
    bottom = _Frame(LIST, iter([value]), [], 0, [])
    stack, open_now = [bottom], set[int]()
    while True:
        frame = stack[-1]
        for part in frame.rest:
            opened = open_value(part)
            if opened is None:
                frame.made.append(leaf(part))
                continue
            if id(part) in open_now:
                raise Cyclic
            open_now.add(id(part))
            stack.append(_Frame(opened[0], iter(opened[1]), [], id(part), opened[1]))
            break
        else:
            if frame is bottom:
                result: Result = bottom.made[0]
                return result
            stack.pop()
            open_now.discard(frame.identity)
            stack[-1].made.append(node(frame.code, frame.made))
