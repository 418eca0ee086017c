"""Blocks: objects that take a state and give the next one, chained by ``>>``, made into steps."""

from __future__ import annotations

import copy
import inspect
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from weft.errors import WiringError
from weft.model.annotations import resolve_annotations
from weft.model.loop import Loop
from weft.pipeline import Pipeline, Step


class Chained:
    """What blocks, and chains of them, have in common."""

    def __rshift__(self, other: Any) -> Chain:
        """Both, one after the other."""
        return Chain((*_once(self), *_once(other)))

    def loop(self, n: int, name: str = "round") -> Chain:
        """Again and again: each of `n` rounds from the state that the one before made.

        Parameters
        ----------
        name
            The axis of the rounds. A parameter of that name is given the number of the round, and a result
            of the loop is its history along that axis.
        """
        return Chain(_once(self), n, name)

    def steps(self, takes: str = "data", makes: str = "result") -> list[Any]:
        """The steps, and loops of them, to be put into a pipeline with others.

        Parameters
        ----------
        takes, makes
            Names of the first state, an input, and of the last. Between are ``data_1``, ``data_2``…
        """
        return _steps(self, takes, makes, takes, Counter())

    def pipeline(self, name: str = "blocks", takes: str = "data", makes: str = "result") -> Pipeline:
        """A pipeline of them alone."""
        return Pipeline(self.steps(takes, makes), name)


class Block(Chained):
    """One operation on a state, such as a table of points and what is known of them.

    Subclasses have ``call(self, data, …)``, which returns the next state, and may have ``arm(self, data)``,
    which is called before it. As a step, every call has its own copy of the block: what it writes on itself
    is gone afterwards, so results do not depend on where or in how many sessions it runs. What comes behind
    the state is wired by name, like the arguments of any step: ``rng: np.random.Generator`` is its stream.

    Examples
    --------
    >>> from weft.experiments import Block
    >>> class Add(Block):
    ...     def __init__(self, n):
    ...         self.n = n
    ...     def call(self, data):
    ...         return data + self.n
    >>> (Add(1) >> Add(10)).pipeline()(data=5)["result"]
    16
    """

    def arm(self, data: Any) -> None:
        """Prepare for a state."""

    def call(self, data: Any, **options: Any) -> Any:
        """Return the next state."""
        raise NotImplementedError(f"{type(self).__name__} has no method call(self, data).")


@dataclass(frozen=True)
class Chain(Chained):
    """Blocks one after the other; with `n`, all of them in that many rounds."""

    blocks: tuple[Any, ...]
    n: int | None = None
    name: str = "round"

    def __post_init__(self) -> None:
        for block in self.blocks:
            if not isinstance(block, Chained) and not callable(getattr(block, "call", None)):
                raise WiringError(f"{block!r} is no block: it has no method call(data).")


def _once(part: Any) -> tuple[Any, ...]:
    """The blocks of a chain that is not repeated, else a chain's or a block's own self."""
    return part.blocks if isinstance(part, Chain) and part.n is None else (part,)


class BlockCall:
    """A block as a function of the state, and of what else its ``call`` takes."""

    def __init__(self, block: Any) -> None:
        self.block = block
        self.__name__, self.__module__ = type(block).__name__, type(block).__module__
        self.__signature__ = inspect.signature(block.call)
        self.__annotations__ = resolve_annotations(block.call)

    def __call__(self, /, *args: Any, **more: Any) -> Any:
        """Arm a copy of the block, and call it."""
        given = self.__signature__.bind(*args, **more)
        block = copy.deepcopy(self.block)
        if hasattr(block, "arm"):
            block.arm(next(iter(given.arguments.values())))
        return block.call(*given.args, **given.kwargs)


def _steps(part: Any, takes: str, makes: str, between: str, used: Counter[str]) -> list[Any]:
    """The steps from one state to another.

    Parameters
    ----------
    between
        What the names of the states between them begin with.
    used
        How many blocks of each name there are: the second one has its number behind.
    """
    if not isinstance(part, Chain):
        return [_step(part, takes, makes, used)]
    if part.n is not None:
        name = _numbered(part.name, used)
        body = _steps(replace(part, n=None), takes, makes, makes, used)
        return [Loop(body, n_iterations=part.n, name=name, carry={takes: makes})]
    found: list[Any] = []
    for place, block in enumerate(part.blocks, start=1):
        to = makes if place == len(part.blocks) else f"{between}_{place}"
        found += _steps(block, takes, to, to, used)
        takes = to
    return found


def _step(block: Any, takes: str, makes: str, used: Counter[str]) -> Step:
    function = BlockCall(block)
    first = next(iter(function.__signature__.parameters.values()), None)
    if first is None or first.kind not in (first.POSITIONAL_ONLY, first.POSITIONAL_OR_KEYWORD):
        raise WiringError(f"{function.__name__}.call takes no state: write call(self, data).")
    renames = {first.name: takes} if first.name != takes else {}
    return Step(function, makes, name=_numbered(function.__name__, used), renames=renames)


def _numbered(name: str, used: Counter[str]) -> str:
    used[name] += 1
    return name if used[name] == 1 else f"{name}_{used[name]}"
