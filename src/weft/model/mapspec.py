"""How a mapspec such as ``"a[i], b[j, :] -> c[i, j]"`` is parsed, checked and written.

The grammar is strict: what it does not cover is an error with a caret, never a guess.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, NoReturn

from weft.errors import MapSpecError

_TOKEN = re.compile(r"->|\.\.\.|\w+|\S")


@dataclass(frozen=True, slots=True)
class ArraySpec:
    """One array of a mapspec and the names of its dimensions.

    Parameters
    ----------
    name
        Name of the array; may be scoped, as in ``"train.loss"``.
    indices
        One for each dimension; ``None`` stands for ``:``, a dimension that is taken whole.
    ragged
        Whether the last dimension has its own length in each row (written ``x[j, i?]``).

    Examples
    --------
    >>> str(ArraySpec("x", ("i", None)))
    'x[i, :]'
    """

    name: str
    indices: tuple[str | None, ...]
    ragged: bool = False

    @property
    def axes(self) -> tuple[str, ...]:
        """The named indices, in order."""
        return tuple(index for index in self.indices if index is not None)

    def renamed(self, names: Mapping[str, str]) -> ArraySpec:
        """The same under another name, if `names` has one for it."""
        return replace(self, name=names.get(self.name, self.name))

    def __str__(self) -> str:
        inner = ", ".join(":" if index is None else index for index in self.indices)
        return f"{self.name}[{inner}{'?' if self.ragged else ''}]"


@dataclass(frozen=True, slots=True)
class MapSpec:
    """Which arrays a step runs along, and how its outputs are laid out.

    Raises
    ------
    MapSpecError
        If the arrays break a rule of the grammar, however the value was made.

    Examples
    --------
    >>> spec = MapSpec.parse("n[j] -> x[i, j]")
    >>> spec.axes, spec.opened
    (('j',), ('i',))
    """

    inputs: tuple[ArraySpec, ...]
    outputs: tuple[ArraySpec, ...]

    def __post_init__(self) -> None:
        # One road for texts and for values made by hand: both must survive the parser.
        text = str(self)
        if _Parser(text).parse() != (self.inputs, self.outputs):
            raise MapSpecError(f"these arrays do not form the mapspec they are written as: {text}")

    @classmethod
    def parse(cls, text: str) -> MapSpec:
        """Read a mapspec.

        Raises
        ------
        MapSpecError
            Where the text leaves the grammar; the message has a caret under the place.
        """
        if not isinstance(text, str):
            raise MapSpecError(f"a mapspec is a string such as 'x[i] -> y[i]', not {type(text).__name__}")
        return cls(*_Parser(text).parse())

    def __str__(self) -> str:
        inputs = ", ".join(map(str, self.inputs)) or "..."
        return f"{inputs} -> {', '.join(map(str, self.outputs))}"

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs."""
        return tuple(spec.name for spec in self.outputs)

    @property
    def output_indices(self) -> tuple[str, ...]:
        """The indices that all outputs have, in order."""
        return self.outputs[0].axes

    @property
    def axes(self) -> tuple[str, ...]:
        """The axes the step runs along: output indices that an input carries, in output order."""
        carried = {axis for spec in self.inputs for axis in spec.axes}
        return tuple(axis for axis in self.output_indices if axis in carried)

    @property
    def opened(self) -> tuple[str, ...]:
        """The axes the step opens: output indices that no input carries, in output order."""
        running = self.axes
        return tuple(axis for axis in self.output_indices if axis not in running)

    def input_spec(self, name: str) -> ArraySpec | None:
        """The mapped input called `name`, or None if the step takes it whole."""
        return next((spec for spec in self.inputs if spec.name == name), None)

    def rename(self, names: Mapping[str, str]) -> MapSpec:
        """The same mapspec with arrays renamed (``{"x": "scope.x"}``); names not in `names` stay."""
        return MapSpec(
            tuple(spec.renamed(names) for spec in self.inputs), tuple(s.renamed(names) for s in self.outputs)
        )


class _Token(NamedTuple):
    text: str
    start: int


class _Placed(NamedTuple):
    """An array with the places of its name and its indices in the text."""

    spec: ArraySpec
    start: int
    index_starts: tuple[int, ...]
    end: int


class _Parser:
    """Reads one mapspec from left to right, then checks the rules that span arrays."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = [_Token(match.group(), match.start()) for match in _TOKEN.finditer(text)]
        self.tokens.append(_Token("", len(text.rstrip())))
        self.position = 0

    def parse(self) -> tuple[tuple[ArraySpec, ...], tuple[ArraySpec, ...]]:
        arrows = [token for token in self.tokens if token.text == "->"]
        if not arrows:
            self.fail(self.tokens[-1].start, "there is no '->'; write inputs -> outputs: 'x[i] -> y[i]'")
        if len(arrows) > 1:
            self.fail(arrows[1].start, "there is a second '->'; one stands between inputs and outputs")
        inputs = self.arrays("input")
        self.position += 1
        outputs = self.arrays("output")
        self.check_names(inputs, outputs)
        self.check_outputs(outputs)
        self.check_inputs(inputs, outputs)
        return tuple(array.spec for array in inputs), tuple(array.spec for array in outputs)

    def fail(self, place: int, message: str) -> NoReturn:
        # Control characters would break the line that the caret is under.
        shown = "".join(character if character.isprintable() else " " for character in self.text)
        raise MapSpecError(f"{message}\n    {shown}\n    {' ' * place}^")

    @property
    def token(self) -> _Token:
        return self.tokens[self.position]

    def take(self) -> _Token:
        token = self.token
        self.position += 1
        return token

    def arrays(self, side: str) -> list[_Placed]:
        """Arrays up to the arrow or the end."""
        if self.token.text == "...":
            dots = self.take()
            if side == "output":
                self.fail(dots.start, "'...' cannot be an output; name the outputs with their indices")
            if self.token.text != "->":
                self.fail(dots.start, "'...' means that no input is mapped, so it stands alone before '->'")
            return []
        if self.token.text in ("->", ""):
            cure = "write '...' if no input is mapped: '... -> x[i]'"
            if side == "output":
                cure = "name at least one"
            self.fail(self.token.start, f"there is no {side} here; {cure}")
        arrays = [self.array(side)]
        while self.token.text == ",":
            comma = self.take()
            if self.token.text in ("->", ""):
                self.fail(comma.start, "there is nothing after this ','; leave it out or name another array")
            arrays.append(self.array(side))
        if self.token.text not in ("->", ""):
            self.fail(self.token.start, f"{self.token.text!r} is not expected here; separate arrays by ','")
        return arrays

    def array(self, side: str) -> _Placed:
        start = self.token.start
        name = self.identifier("a name")
        while self.token.text == ".":
            self.take()
            name += "." + self.identifier("a name after '.'")
        if self.token.text != "[":
            if self.token.text not in (",", "->", ""):
                found = f"{self.token.text!r} is not expected after {name!r}"
                self.fail(self.token.start, f"{found}; its indices are written {name}[i, j]")
            if side == "input":
                cure = "leave it out (arguments not in a mapspec are given whole)"
            else:
                cure = "a step whose outputs have no indices has no mapspec (it takes its arguments whole)"
            self.fail(start, f"{name!r} has no indices; {cure}")
        self.take()
        indices: list[str | None] = []
        places: list[int] = []
        ragged = False
        while True:
            places.append(self.token.start)
            indices.append(self.index(name, side, indices))
            if self.token.text == "?":
                ragged = self.mark(side)
            separator = self.take()
            if separator.text == "]":
                return _Placed(ArraySpec(name, tuple(indices), ragged), start, tuple(places), separator.start)
            if separator.text != ",":
                found = repr(separator.text) if separator.text else "the end"
                message = f"{found} is not expected in the indices of {name!r}; write ',' or ']'"
                self.fail(separator.start, message)

    def index(self, name: str, side: str, before: list[str | None]) -> str | None:
        token = self.token
        if token.text == ":":
            if side == "output":
                self.fail(token.start, f"':' cannot be in an output; name this dimension of {name!r}")
            self.take()
            return None
        if token.text == "]":
            self.fail(token.start, f"an index of {name!r} is missing before ']'; name it, or say ':'")
        index = self.identifier("an index (a name, or ':' in an input)")
        if index in before:
            self.fail(token.start, f"index {index!r} is twice in {name!r}; each dimension has its own name")
        return index

    def mark(self, side: str) -> bool:
        question = self.take()
        if side == "input":
            self.fail(question.start, "'?' is only for the step that opens the axis; leave it out of inputs")
        if self.token.text == ",":
            self.fail(question.start, "'?' can only be at the last index; put the ragged dimension last")
        return True

    def identifier(self, expected: str) -> str:
        token = self.token
        if not token.text.isidentifier():
            found = f"{token.text!r} is not {expected}" if token.text else f"the text ends before {expected}"
            self.fail(token.start, f"{found}; arrays are written as in 'x[i, j]'")
        return self.take().text

    def check_names(self, inputs: list[_Placed], outputs: list[_Placed]) -> None:
        seen: set[str] = set()
        for array in (*inputs, *outputs):
            if array.spec.name in seen:
                self.fail(array.start, f"array {array.spec.name!r} is here twice; name it once")
            seen.add(array.spec.name)

    def check_outputs(self, outputs: list[_Placed]) -> None:
        first = outputs[0].spec
        for array in outputs[1:]:
            if (array.spec.indices, array.spec.ragged) != (first.indices, first.ragged):
                wanted = replace(first, name=array.spec.name)
                self.fail(array.start, f"outputs of one step have the same indices ({first}); write {wanted}")

    def check_inputs(self, inputs: list[_Placed], outputs: list[_Placed]) -> None:
        produced = outputs[0].spec.axes
        for array in inputs:
            for index, place in zip(array.spec.indices, array.index_starts, strict=True):
                if index is not None and index not in produced:
                    self.fail(
                        place,
                        f"no output has the index {index!r} of {array.spec.name!r}; "
                        f"say ':' to take that dimension whole, or give it to the outputs",
                    )
        last = produced[-1]
        if outputs[0].spec.ragged and any(last in array.spec.axes for array in inputs):
            self.fail(
                outputs[0].end - 1,
                f"'?' is only for the step that opens the axis, and an input has {last!r}; leave '?' out",
            )
