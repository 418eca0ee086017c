"""The registry of backends: built in, registered by hand, or found as entry points ``weft.backends``."""

from __future__ import annotations

import importlib.util
from concurrent.futures import Executor
from typing import Any

from weft.backends.dask import Dask
from weft.backends.executors import Given, Loky, Processes, Sequential, Threads
from weft.backends.prefect import Prefect
from weft.errors import BackendUnavailable, InvalidInput, UnknownBackend

_registered: dict[str, Any] = {cls.name: cls for cls in (Sequential, Threads, Processes, Loky, Dask, Prefect)}
_found = False


def register_backend(cls: Any) -> Any:
    """Make a backend known by its ``name``; usable as a class decorator.

    Raises
    ------
    UnknownBackend
        If the name is taken.
    """
    if cls.name in _registered or cls.name == "auto":
        raise UnknownBackend(f"There is a backend {cls.name!r} already. Give this one another name.")
    _registered[cls.name] = cls
    return cls


def _all() -> dict[str, Any]:
    global _found
    if not _found:
        from importlib.metadata import entry_points

        _found = True
        for point in entry_points(group="weft.backends"):
            _registered.setdefault(point.name, point.load())
    return _registered


def list_backends() -> dict[str, dict[str, Any]]:
    """What is known of each backend: ``{name: {"description", "available", "requires"}}``."""
    found = {
        name: {"description": cls.description, "available": _available(cls), "requires": cls.requires}
        for name, cls in _all().items()
    }
    found["auto"] = {
        "description": "sequential for few or quick elements, loky otherwise",
        "available": True,
        "requires": "",
    }
    return found


def _available(cls: Any) -> bool:
    return not cls.requires or importlib.util.find_spec(cls.requires) is not None


def get_backend(name: Any, **options: Any) -> Any:
    """A backend by name, or made of what is given.

    Parameters
    ----------
    name
        A name, a `concurrent.futures.Executor`, or a backend object.
    options
        For the backend; one that it does not know is refused.

    Raises
    ------
    UnknownBackend
        For a name that is not registered; the message lists those that are.
    BackendUnavailable
        If its package is not installed.
    InvalidInput
        For an option that it does not know.
    """
    if isinstance(name, Executor):
        _refuse(Given, options)
        return Given(name)
    if not isinstance(name, str):
        if hasattr(name, "start") and hasattr(name, "stop"):
            _refuse(name, options)
            return name
        raise UnknownBackend(
            f"A backend is a name ({', '.join(['auto', *_all()])}), an Executor or a backend object; "
            f"got {name!r}."
        )
    cls = _all().get(name)
    if cls is None:
        raise UnknownBackend(f"There is no backend {name!r}. Known: {', '.join(['auto', *_all()])}.")
    if not _available(cls):
        raise BackendUnavailable(
            f"The backend {name!r} needs {cls.requires}: pip install 'weft[{cls.requires}]'."
        )
    known = {k: v for k, v in options.items() if k in cls.options}
    _refuse(cls, {k: v for k, v in options.items() if k not in known})
    return cls(**known)


def _refuse(cls: Any, options: dict[str, Any]) -> None:
    if options:
        takes = ", ".join(cls.options) or "none"
        raise InvalidInput(
            f"The backend {cls.name!r} has no option {next(iter(options))!r}. Its options: {takes}."
        )
