"""Configs with lists in them, expanded into plain configs: products, zips, groups, alternatives. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from weft.errors import InvalidInput
from weft.model.sweep import Sweep, points

_registered: dict[str, Callable[[Any], Iterable[dict[str, Any]]]] = {}


@dataclass(frozen=True)
class _Rules:
    method: str = "product"
    group_prefix: str = "@"
    ignore_prefix: str = "_"


@dataclass(frozen=True, eq=False)
class _Choice:
    """A list in a config: where it is, what it offers, and the group it is zipped with."""

    place: tuple[Any, ...]
    options: list[Any]
    group: str | None

    def __str__(self) -> str:
        return repr(".".join(map(str, self.place)))


def expand(
    config: Any, method: str = "product", group_prefix: str = "@", ignore_prefix: str = "_"
) -> list[dict[str, Any]]:
    """The configs that a config with lists stands for, the first key outermost.

    A list holds what a key can be, also inside nested dicts. Each dict in a list is an alternative that is
    expanded itself. A list inside a list, and a tuple, is one value: ``[[1, 2]]`` stands for ``[1, 2]``.

    Parameters
    ----------
    config
        A dict, or a list of dicts: alternatives.
    method
        ``"product"``: every combination. ``"zip"``: all lists together, those of one value repeated. Or the
        name of a method that was added by `register_expansion`, which is given the config alone.
    group_prefix
        In a product, lists that end in the same ``"@group"`` are zipped.
    ignore_prefix
        Keys that begin with it are kept as they are.

    Raises
    ------
    InvalidInput
        For an unknown method, an empty list, or lists to be zipped whose lengths differ.

    Examples
    --------
    >>> import weft
    >>> weft.expand({"opt": [{"name": "sgd", "lr": [1, 2]}, {"name": "adam"}]})
    [{'opt': {'name': 'sgd', 'lr': 1}}, {'opt': {'name': 'sgd', 'lr': 2}}, {'opt': {'name': 'adam'}}]
    >>> len(weft.expand({"a": [1, 2, "@x"], "b": [1, 2, 3], "c": [1, 2, "@x"]}))
    6
    """
    names_in(config)
    if method in _registered:
        return list(_registered[method](config))
    if method not in ("product", "zip"):
        known = ", ".join(["product", "zip", *_registered])
        raise InvalidInput(f"There is no expansion method {method!r}. Known: {known}.")
    rules = _Rules(method, group_prefix, ignore_prefix)
    return [
        row for part in ([config] if isinstance(config, Mapping) else config) for row in _rows(part, rules)
    ]


def register_expansion(name: str, function: Callable[[Any], Iterable[dict[str, Any]]]) -> None:
    """Add a method to `expand`: a function from a config to the configs that it stands for.

    Raises
    ------
    InvalidInput
        If there is a method of that name.
    """
    if name in ("product", "zip") or name in _registered:
        raise InvalidInput(f"There is an expansion method {name!r} already. Give this one another name.")
    _registered[name] = function


def names_in(config: Any) -> list[str]:
    """The keys of a config, whichever of its forms it has.

    Raises
    ------
    InvalidInput
        For something that is neither a dict, nor a list of dicts, nor a sweep.
    """
    if isinstance(config, Sweep):
        return list(config.values)
    if isinstance(config, Mapping):
        return list(config)
    if isinstance(config, list) and config and all(isinstance(part, Mapping) for part in config):
        return list(dict.fromkeys(name for part in config for name in part))
    raise InvalidInput(f"A config is a dict, or a list of dicts (alternatives), got {config!r}.")


def axes_in(config: Any) -> tuple[dict[str, dict[str, Sequence[Any]]], dict[str, Any]]:
    """The axes that a config opens, with the values of each key along them, and the keys that do not vary.

    Lists in one key, and the keys that a group ties together, share an axis, so that a list that grows adds
    points and leaves the others what they were.
    """
    if isinstance(config, list):
        config = points(expand(config))
    if isinstance(config, Sweep):
        return {axis.name: dict(axis.values) for axis in config.axes}, {}
    rules = _Rules()
    axes: dict[str, dict[str, Sequence[Any]]] = {}
    fixed = dict(config)
    _, choices = _template(config, rules)
    for tied in _together(choices, lambda c: {("key", c.place[0]), ("group", c.group or c)}):
        varied = {choice.place[0] for choice in tied}
        keys = [key for key in config if key in varied]
        rows = _rows({key: config[key] for key in keys}, rules)
        if all(len(c.options) == 1 and isinstance(c.options[0], list) for c in tied):
            fixed |= rows[0]
            continue
        groups = {choice.group for choice in tied}
        (group,) = groups if len(groups) == 1 else (None,)
        name = group or "_".join(map(str, keys))
        if name in axes:
            raise InvalidInput(
                f"Two axes of a config are named {name!r}. Rename the group, or the parameter."
            )
        axes[name] = {key: [row[key] for row in rows] for key in keys}
        for key in keys:
            del fixed[key]
    return axes, fixed


def _rows(config: Mapping[Any, Any], rules: _Rules) -> list[dict[str, Any]]:
    template, choices = _template(config, rules)
    zips = rules.method == "zip"
    parts = _together(choices, lambda choice: {"all" if zips else choice.group or choice})
    along = [_zipped(part, broadcast=zips) for part in parts]
    flat = [choice for part in parts for choice in part]
    return [
        _filled(template, dict(zip(flat, itertools.chain.from_iterable(combination), strict=True)))
        for combination in itertools.product(*along)
    ]


def _together(choices: Iterable[_Choice], keys: Callable[[_Choice], set[Any]]) -> list[list[_Choice]]:
    """The choices, those that share a key together, and with them those that share one with these."""
    found: list[tuple[set[Any], list[_Choice]]] = []
    for choice in choices:
        mine = keys(choice)
        near = [part for part in found if part[0] & mine]
        united = (mine.union(*(part[0] for part in near)), [*(c for part in near for c in part[1]), choice])
        # In the place of the first of those that it unites.
        first = found.index(near[0]) if near else len(found)
        found[first:] = [united, *(part for part in found[first:] if part not in near)]
    return [part for _, part in found]


def _template(
    config: Mapping[Any, Any], rules: _Rules, path: tuple[Any, ...] = (), kept: bool = False
) -> tuple[dict[Any, Any], list[_Choice]]:
    """The config with a choice for each list, and these; types are asked for once, not in each config."""
    made: dict[Any, Any] = {}
    choices: list[_Choice] = []
    for key, value in config.items():
        ignored = rules.ignore_prefix and isinstance(key, str) and key.startswith(rules.ignore_prefix)
        made[key] = value
        if isinstance(value, Mapping):
            made[key], inner = _template(value, rules, (*path, key), kept or bool(ignored))
            choices += inner
        elif isinstance(value, list) and not kept and not ignored:
            made[key] = _choice((*path, key), value, rules)
            choices.append(made[key])
    return made, choices


def _choice(place: tuple[Any, ...], given: list[Any], rules: _Rules) -> _Choice:
    group, items, prefix = None, given, rules.group_prefix
    last = given[-1] if given else None
    if prefix and isinstance(last, str) and last.startswith(prefix) and last != prefix:
        group, items = last.removeprefix(prefix), given[:-1]
    options = [o for item in items for o in (_rows(item, rules) if isinstance(item, Mapping) else [item])]
    choice = _Choice(place, options, group)
    if not options:
        raise InvalidInput(f"{choice} has no values in {given!r}. The empty list as a value is [[]].")
    return choice


def _zipped(choices: list[_Choice], broadcast: bool) -> list[tuple[Any, ...]]:
    """The values of all choices, at each position."""
    first = max(choices, key=lambda choice: len(choice.options))
    length = len(first.options)
    for choice in choices:
        if len(choice.options) != length and not (broadcast and len(choice.options) == 1):
            why = f"group {choice.group!r}" if not broadcast else "method 'zip'"
            raise InvalidInput(
                f"{choice} has {len(choice.options)} values and {first} has {length}: in one zip ({why}) "
                "they have one length."
            )
    return list(zip(*(c.options * (length if len(c.options) == 1 else 1) for c in choices), strict=True))


def _filled(template: dict[Any, Any], chosen: Mapping[_Choice, Any]) -> dict[Any, Any]:
    """A config of its own: no dict in it is another config's."""
    made = {}
    for key, value in template.items():
        if type(value) is _Choice:
            value = chosen[value]
        made[key] = _filled(value, chosen) if type(value) is dict else value
    return made
