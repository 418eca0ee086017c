"""The text of a configuration as plain values, and the line where each of them was said."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from weft.errors import BackendUnavailable, InvalidInput, MapSpecError, WeftError

Place = tuple[str, ...]
SECTIONS = ("name", "pipeline", "steps", "configure", "inputs", "sweep", "run", "variables")
_BY_INPUT = ("inputs", "sweep")  # their keys are names of inputs, which may have dots


@dataclass(frozen=True)
class Document:
    """A configuration, resolved; places in it are told as file and line, or as the override there."""

    path: str
    content: Mapping[str, Any]
    lines: Mapping[Place, int]
    overridden: dict[Place, str]

    def where(self, place: Place) -> str:
        """What said the value at a place, or at the nearest one around it."""
        around = [place[:n] for n in range(len(place), -1, -1)]
        for part in around:
            if part in self.overridden:
                return f"{self.path}, {self.overridden[part]}"
        line = next((self.lines[part] for part in around if part in self.lines), 1)
        return f"{self.path}:{line}"

    def find(self, section: str, key: str) -> Place:
        """The outermost place of a key in a section."""
        places = [p for p in (*self.overridden, *self.lines) if p[0:1] == (section,) and p[-1] == key]
        return min(places, key=len, default=(section,))

    def refusal(self, place: Place, message: str) -> InvalidInput:
        """An error that begins with the place."""
        return InvalidInput(f"{self.where(place)}: {message}")

    @contextlib.contextmanager
    def located(self, place: Place, body: Any = None) -> Iterator[None]:
        """Put the place in front of weft's errors; the key of `body` that the message is about, if any."""
        try:
            yield
        except WeftError as error:
            told = str(error)
            if told.startswith((f"{self.path}:", f"{self.path},")):
                raise
            about = f"mapspec {told}" if isinstance(error, MapSpecError) else told
            raise type(error)(f"{self.where(meant(place, body, about))}: {told}") from error


def read(path: str, overrides: Iterable[str], given: Iterable[str] = ()) -> Document:
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
    lines: dict[Place, int] = {}
    said: dict[Place, str] = {}
    document = Document(path, {}, lines, said)
    try:
        node = yaml.compose(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        if not isinstance(node, yaml.MappingNode | None):
            raise document.refusal((), f"a study is a mapping with {', '.join(SECTIONS)}.")
        _note(yaml, node, (), lines, ())
        raw: dict[str, Any] = OmegaConf.to_container(OmegaConf.create(text), resolve=False)
        for override in overrides:
            _override(document, raw, override)
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
        raise document.refusal(place, f"{'.'.join(place)}: {told}.") from error
    return Document(path, content, lines, said)


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


def _note(
    yaml: ModuleType, node: Any, place: Place, lines: dict[Place, int], around: tuple[Any, ...]
) -> None:
    """Note the line of every key and item; OmegaConf forgets them."""
    if any(node is other for other in around):
        return
    merged: list[Any] = []
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                merged += value.value if isinstance(value, yaml.SequenceNode) else [value]
                continue
            inner = (*place, str(key.value))
            lines.setdefault(inner, key.start_mark.line + 1)
            _note(yaml, value, inner, lines, (*around, node))
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            inner = (*place, str(number))
            lines.setdefault(inner, item.start_mark.line + 1)
            _note(yaml, item, inner, lines, (*around, node))
    for part in merged:
        _note(yaml, part, place, lines, (*around, node))


def _override(document: Document, raw: dict[str, Any], text: str) -> None:
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
    section, name, inside = place[0], ".".join(place[1:]), raw.get(place[0])
    known = inside if isinstance(inside, dict) else {}
    if section in _BY_INPUT and name and place[1] not in known and not isinstance(inside, list):
        place = (section, name)
    if section == "variables" and (not name or place[1] not in known):
        there = ", ".join(known) or "none"
        raise InvalidInput(f"{document.path}: {text!r}: there is no such variable. Variables: {there}.")
    try:
        made: Any = OmegaConf.to_container(OmegaConf.from_dotlist([f"value={value}"]))
    except (yaml.YAMLError, OmegaConfBaseException) as error:
        raise InvalidInput(f"{document.path}: the value of {text!r} is not YAML: {error}.") from error
    if not _put(raw, place, made["value"]):
        raise InvalidInput(f"{document.path}: {text!r} has no place: {key} is not in the file.")
    document.overridden[place] = text


def _put(into: Any, place: Place, value: Any) -> bool:
    """Put a value in nested containers; false if a list has no such position, or something is in the way."""
    key: Any = place[0]
    if isinstance(into, list):
        if not key.isdecimal() or int(key) >= len(into):
            return False
        key = int(key)
    elif not isinstance(into, dict):
        return False
    if len(place) == 1:
        into[key] = value
        return True
    if isinstance(into, dict) and into.get(key) is None:
        into[key] = {}
    return _put(into[key], place[1:], value)


def meant(place: Place, body: Any, message: str) -> Place:
    """The place of the key that a message is about, looking at the keys that it says first."""
    if not isinstance(body, Mapping):
        return place
    generic = ("name", "function", "output")
    keys = sorted((str(key) for key in body), key=lambda key: key in generic)
    quoted = [key for key in keys if repr(key) in message]
    named = quoted or [key for key in keys if re.search(rf"(?<!\w){re.escape(key)}(?!\w)", message)]
    for key in named[:1] or keys:
        inner = meant((*place, key), body.get(key), message)
        if key in named or len(inner) > len(place) + 1:
            return inner
    return place
