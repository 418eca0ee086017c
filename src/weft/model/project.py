"""What belongs to the user's project, and what to a library, to Python, or to weft."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import sys
import sysconfig
import types
from typing import Any


def of_weft(value: Any) -> bool:
    """Whether a function, class or instance says that it is defined in weft."""
    module = getattr(value, "__module__", None)
    return isinstance(module, str) and module.partition(".")[0] == "weft"


def is_project(value: Any) -> bool:
    """Whether a function or class is the user's own: not a library's, Python's, or weft's."""
    if isinstance(value, types.FunctionType):
        module = str(value.__globals__.get("__name__") or value.__module__)
        if os.path.isabs(value.__code__.co_filename):
            return module.partition(".")[0] != "weft" and not _installed(value.__code__.co_filename)
        return is_project_module(module)
    return is_project_module(str(value.__module__))


def is_project_module(name: str) -> bool:
    """Whether the module of that name is the user's own."""
    top = name.partition(".")[0]
    # In a worker, __main__ is the worker's own program, and what is said to be of it came by value.
    if top in ("weft", "__main__"):
        return top == "__main__"
    file = getattr(sys.modules.get(name), "__file__", None)
    if file:
        return not _installed(os.path.abspath(file))
    return top not in sys.stdlib_module_names


@functools.cache
def _installed(file: str) -> bool:
    path = file.replace(os.sep, "/")
    if "/site-packages/" in path or "/dist-packages/" in path:
        return True
    return path.startswith(_roots())


@functools.cache
def _roots() -> tuple[str, ...]:
    roots = (sysconfig.get_path(key) for key in ("stdlib", "platstdlib"))
    return tuple(root.replace(os.sep, "/").rstrip("/") + "/" for root in roots if root)


def library_name(module: str | None) -> str:
    """A library's module with the version of the library, as far as that is known without searching."""
    top = str(module).partition(".")[0]
    version = getattr(sys.modules.get(top), "__version__", None)
    # What a step computes does not depend on the version of weft.
    return f"{module} {version}" if isinstance(version, str) and top != "weft" else str(module)


def import_project_module(name: str) -> types.ModuleType | None:
    """A module of the project; a library's is not imported, for it may be there on the workers only."""
    try:
        if name not in sys.modules:
            spec = importlib.util.find_spec(name.partition(".")[0])
            places = [spec.origin, *(spec.submodule_search_locations or ())] if spec else []
            if not any(place and os.path.isabs(place) and not _installed(place) for place in places):
                return None
        return importlib.import_module(name) if is_project_module(name) else None
    except Exception:
        return None
