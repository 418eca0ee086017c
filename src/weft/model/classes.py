"""Class steps: `__init__` takes configuration, `run` takes results, and both are wired by name."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from weft.errors import WiringError
from weft.model.annotations import resolve_annotations


def is_class_step(function: Any) -> bool:
    """Whether it is a class that has a method ``run``; any other class is called as a function is."""
    return inspect.isclass(function) and callable(getattr(function, "run", None))


def called(function: Any, name: str) -> Callable[..., Any]:
    """What an element of step `name` calls: the function, or what makes and runs an instance of a class step.

    Raises
    ------
    WiringError
        For a function that would have to be awaited.
    """
    if not is_class_step(function):
        refuse_async(f"step {name!r}", function)
        return function  # type: ignore[no-any-return]
    refuse_async(f"step {name!r}", function.run)
    return ClassCall(function)


def refuse_async(what: str, function: Any) -> None:
    """Refuse what returns a coroutine when it is called, as nobody would await it.

    Raises
    ------
    WiringError
        With what to do instead.
    """
    for one in (function, type(function).__call__):
        if not (inspect.iscoroutinefunction(one) or inspect.isasyncgenfunction(one)):
            continue
        raise WiringError(
            f"{what}: {getattr(function, '__qualname__', function)} is async, and steps are called, not "
            "awaited. Make it an ordinary function that runs the coroutine inside: return asyncio.run(...)."
        )


class ClassCall:
    """A class step as one function, by keyword: it makes an instance of the class and runs it.

    Attributes
    ----------
    configured
        The arguments that `__init__` takes; all others are for `run`.

    Raises
    ------
    WiringError
        For a name that both take, and for arguments that cannot be given by name.
    """

    def __init__(self, cls: Any) -> None:
        self.cls = cls
        self.__name__ = cls.__name__
        try:
            first = list(inspect.signature(cls).parameters.values())
        except ValueError:
            first = []  # a class of C, which does not say what it takes
        second = list(inspect.signature(cls.run).parameters.values())
        if not isinstance(inspect.getattr_static(cls, "run"), staticmethod | classmethod):
            second = second[1:]
        self.configured = frozenset(p.name for p in first if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL))
        _check(cls, self.configured, [*first, *second])
        # By keyword, so that a default of __init__ may stand before what run requires.
        named = [
            p.replace(kind=p.KEYWORD_ONLY)
            for p in [*first, *second]
            if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        ]
        self.__signature__ = inspect.Signature([*named, *(p for p in second if p.kind is p.VAR_KEYWORD)])
        taken = {name: hint for name, hint in resolve_annotations(cls).items() if name != "return"}
        self.__annotations__ = taken | resolve_annotations(cls.run)

    def configuration(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """What `__init__` takes, taken out of `arguments`."""
        return {name: arguments.pop(name) for name in self.configured if name in arguments}

    def __call__(self, /, **arguments: Any) -> Any:
        """Run a new instance."""
        return self.cls(**self.configuration(arguments)).run(**arguments)


class Reused:
    """A class step that runs its last instance again while the arguments of `__init__` stay the same."""

    def __init__(self, call: ClassCall) -> None:
        self.call = call
        # An instance in use is not in here, so two threads never share one.
        self.free: deque[tuple[dict[str, Any], Any]] = deque(maxlen=1)

    def __call__(self, /, **arguments: Any) -> Any:
        """Run an instance, an earlier one if it fits."""
        configuration = self.call.configuration(arguments)
        try:
            given, instance = self.free.pop()
        except IndexError:
            given, instance = None, None
        if given is None or not _same(given, configuration):
            given = instance = None  # two models at once may not fit into memory
            instance = self.call.cls(**configuration)
        try:
            return instance.run(**arguments)
        finally:
            self.free.append((configuration, instance))


def reused(call: Callable[..., Any], name: str, instances: dict[str, Any] | None) -> Callable[..., Any]:
    """The caller that keeps an instance for the step `name` as long as `instances` live."""
    kept = {} if instances is None else instances
    found: Callable[..., Any] = kept.setdefault(name, Reused(call))  # type: ignore[arg-type]
    return found


def _check(cls: type[Any], configured: frozenset[str], parameters: list[inspect.Parameter]) -> None:
    name = cls.__qualname__
    for number, p in enumerate(parameters):
        if p.kind is p.POSITIONAL_ONLY:
            raise WiringError(
                f"class step {name!r}: {p.name!r} can only be given by position, and class steps are wired "
                "by name. Remove the '/' from the arguments."
            )
        if p.name in configured and p.name in (q.name for q in parameters[:number]):
            raise WiringError(
                f"class step {name!r}: {p.name!r} is an argument of both __init__ and run. Both are wired by "
                "name, so rename one of them, or keep the value on self."
            )


def _same(given: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether arguments are the same objects, or equal in type and content: 1 and True are not."""
    from weft.values.content import digest

    try:
        return given.keys() == other.keys() and all(
            value is other[name] or digest(value) == digest(other[name]) for name, value in given.items()
        )
    except Exception:
        return False  # what cannot be compared may differ
