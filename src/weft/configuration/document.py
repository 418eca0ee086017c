"""The text of a configuration as plain values, and the line where each of them was said."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

from weft.errors import BackendUnavailable, InvalidInput, MapSpecError, WeftError

Place = tuple[str, ...]
SECTIONS = ("name", "pipeline", "steps", "configure", "inputs", "sweep", "run", "variables")
_PLAIN = (str, bool, int, float, bytes)
_RANGE = re.compile(r"range\(\s*(-?[\d_]+)\s*(?:,\s*(-?[\d_]+)\s*)?(?:,\s*(-?[\d_]+)\s*)?\)")
_BY_INPUT = ("inputs", "sweep")  # their keys are names of inputs, which may have dots


@dataclass(frozen=True)
class Document:
    """The file that a configuration is in: places in it are told by line, or by the override there."""

    path: str
    parsed: Any = None
    overridden: dict[Place, str] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        """Where the file is."""
        return os.path.dirname(os.path.abspath(self.path))

    def where(self, place: Place) -> str:
        """What said the value at a place, or at the nearest one around it."""
        for n in range(len(place), -1, -1):
            if place[:n] in self.overridden:
                return f"{self.path}, {self.overridden[place[:n]]}"
        line, inside = 1, [self.parsed]
        for part in place:
            found = _under(inside[-1], part)
            if not found:
                break
            line, inside = found[0].start_mark.line + 1, found
        return f"{self.path}:{line}"


@dataclass(frozen=True)
class Node:
    """A value in a configuration, or what was made of it, and its place."""

    document: Document
    value: Any
    place: Place = ()

    def at(self, key: Any) -> Node:
        """What is there under a key, or a number; None if nothing is."""
        found = self.value.get(key) if isinstance(self.value, dict) else self.value[key]
        return Node(self.document, found, (*self.place, str(key)))

    def named(self) -> Node:
        """The same, if it is a mapping by names; an empty one for nothing."""
        if isinstance(self.value, dict) and all(isinstance(name, str) for name in self.value):
            return self
        if self.value is None:
            return replace(self, value={})
        raise self.refusal(f"{self.place[-1]} is a mapping by name, got {self.value!r}.")

    def find(self, key: str) -> Node | None:
        """Where a key is, in here or further inside."""
        if isinstance(self.value, dict) and key in self.value:
            return self.at(key)
        return next((found for inner in self.inner() if (found := inner.find(key))), None)

    def inner(self) -> list[Node]:
        """What is in a mapping or a list."""
        if isinstance(self.value, list):
            return [self.at(number) for number in range(len(self.value))]
        return [self.at(key) for key in self.value] if isinstance(self.value, dict) else []

    def refusal(self, message: str) -> InvalidInput:
        """An error that begins with the place."""
        return InvalidInput(f"{self.document.where(self.place)}: {message}")

    @contextlib.contextmanager
    def located(self) -> Iterator[None]:
        """Put the place in front of weft's errors: that of the key that the message is about, if any."""
        try:
            yield
        except WeftError as error:
            told = str(error)
            if told.startswith((f"{self.document.path}:", f"{self.document.path},")):
                raise
            about = f"mapspec {told}" if isinstance(error, MapSpecError) else told
            raise type(error)(f"{self.document.where(meant(self, about))}: {told}") from error


def read(path: str, overrides: Iterable[str], given: Iterable[str] = ()) -> Node:
    """Read a file and put overrides in it; interpolations are resolved, and nothing is built.

    Parameters
    ----------
    given
        Inputs whose values come from elsewhere: what the file says of them is left out.

    Raises
    ------
    InvalidInput
        For YAML or interpolations that cannot be read, with the line.
    BackendUnavailable
        Without OmegaConf and Hydra (the extra ``yaml``).
    """
    yaml, OmegaConf = _packages()
    from omegaconf.errors import OmegaConfBaseException

    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"The configuration {path} cannot be read: {error}.") from error
    document = Document(path)
    try:
        parsed = yaml.compose(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        if not isinstance(parsed, yaml.MappingNode | None):
            raise Node(document, None).refusal(f"a study is a mapping with {', '.join(SECTIONS)}.")
        document = Document(path, parsed)
        config = OmegaConf.create(text)
        for override in overrides:
            _override(document, config, override)
        raw: Any = OmegaConf.to_container(config, resolve=False)
        if isinstance(raw.get("inputs"), dict):
            raw["inputs"] = {name: value for name, value in raw["inputs"].items() if name not in given}
        content = OmegaConf.to_container(OmegaConf.create(raw), resolve=True, throw_on_missing=True)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        told = getattr(error, "problem", None) or str(error)
        line = mark.line + 1 if mark else 1
        raise InvalidInput(f"{path}:{line}: this is not YAML: {told}.") from error
    except OmegaConfBaseException as error:
        place = tuple(re.findall(r"[^.\[\]]+", error.full_key or ""))
        told = str(error.msg or error).partition("\n")[0]
        raise Node(document, None, place).refusal(f"{'.'.join(place)}: {told}.") from error
    return Node(document, content)


def as_range(text: str) -> range | None:
    """What ``range(...)`` stands for where a value is given as text; None for any other text.

    Raises
    ------
    InvalidInput
        For a range with a step of 0.
    """
    match = _RANGE.fullmatch(text.strip())
    if match is None:
        return None
    try:
        return range(*(int(part) for part in match.groups() if part is not None))
    except ValueError as error:
        raise InvalidInput(f"{text.strip()} is no range: {error}.") from None


def _packages() -> tuple[ModuleType, Any]:
    try:
        import hydra.utils  # noqa: F401 (all that is needed later, found now)
        import yaml
        from omegaconf import OmegaConf
    except ImportError as error:
        raise BackendUnavailable(
            f"Configuration files need OmegaConf and Hydra ({error}): pip install 'weft[yaml]'."
        ) from error
    return yaml, OmegaConf


def _under(node: Any, part: str) -> list[Any]:
    """What is under a key, or a number, of parsed YAML: where it begins, and the value; else nothing."""
    import yaml

    if isinstance(node, yaml.SequenceNode):
        return node.value[int(part) :][:1] if part.isdecimal() else []
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    merged: list[Any] = []
    for key, value in pairs:
        if key.value == part:
            return [key, value]
        if key.tag == "tag:yaml.org,2002:merge":
            merged += value.value if isinstance(value, yaml.SequenceNode) else [value]
    return next((found for other in merged if (found := _under(other, part))), [])


def _override(document: Document, config: Any, text: str) -> None:
    """Put ``key=value`` in a configuration; a key that begins with no section is an input."""
    import yaml
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    key, equals, value = text.partition("=")
    place = tuple(key.split("."))
    if not equals or not all(place):
        raise InvalidInput(f"{document.path}: the override {text!r} is not of the form key=value.")
    if place[0] not in SECTIONS:
        place = ("inputs", *place)
    section, name, inside = place[0], ".".join(place[1:]), config.get(place[0])
    known = inside if OmegaConf.is_dict(inside) else {}
    if section in _BY_INPUT and name and place[1] not in known and not OmegaConf.is_list(inside):
        place = (section, name)
    if section == "variables" and (not name or place[1] not in known):
        there = ", ".join(known) or "none"
        raise InvalidInput(f"{document.path}: {text!r}: there is no such variable. Variables: {there}.")
    try:
        made: Any = OmegaConf.to_container(OmegaConf.from_dotlist([f"value={value}"]))
        values = as_range(value)
    except (yaml.YAMLError, OmegaConfBaseException) as error:
        raise InvalidInput(f"{document.path}: the value of {text!r} is not YAML: {error}.") from error
    paths = ["".join(f"[{part}]" for part in place[:n]) for n in range(1, len(place) + 1)]
    try:
        # What is in the way, OmegaConf would replace.
        if any(isinstance(OmegaConf.select(config, path), _PLAIN) for path in paths[:-1]):
            raise ValueError
        said = made["value"] if values is None else list(values)
        OmegaConf.update(config, paths[-1], said, merge=False, force_add=True)
    except (OmegaConfBaseException, ValueError):
        raise InvalidInput(f"{document.path}: {text!r} has no place: {key} is not in the file.") from None
    document.overridden[place] = text


def meant(node: Node, message: str) -> Place:
    """The place of the key that a message is about, looking at the keys that it says first."""
    if not isinstance(node.value, dict):
        return node.place
    generic = ("name", "function", "output")
    keys = sorted(map(str, node.value), key=lambda key: key in generic)
    quoted = [key for key in keys if repr(key) in message]
    named = quoted or [key for key in keys if re.search(rf"(?<!\w){re.escape(key)}(?!\w)", message)]
    for key in named[:1] or keys:
        inner = meant(node.at(key), message)
        if key in named or len(inner) > len(node.place) + 1:
            return inner
    return node.place
