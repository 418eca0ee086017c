"""Pipelines and functions by where they are: ``FILE.py:name``, ``package.module:name``."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from types import ModuleType
from typing import Any

from weft.errors import InvalidInput, kind_of, nearest
from weft.pipeline import Pipeline, Step


def pipeline(target: str, folder: str = "") -> Pipeline:
    """The pipeline of ``FILE.py:name``: a Pipeline, a step, or a function without arguments that returns one.

    Parameters
    ----------
    folder
        What a relative path is relative to; given one, ``module:name`` will do, too.

    Raises
    ------
    InvalidInput
        If there is no such file, or nothing of that name in it.
    """
    path, name = target.rsplit(":", 1) if ":" in target else (target, "")
    if folder and not path.endswith(".py"):
        found, there = imported(target, folder), ""
    else:
        module = _file_module(os.path.join(folder, path))
        there = _there(module)
        pipelines = [key for key, value in _public(module).items() if isinstance(value, Pipeline)]
        if not name and len(pipelines) != 1:
            raise InvalidInput(f"Which pipeline of {path}? Name it: {path}:NAME.{there}")
        found = _attribute(module, path, name or pipelines[0])
    if not isinstance(found, (Pipeline, Step)) and callable(found):
        try:
            found = found()
        except TypeError as error:
            raise InvalidInput(f"{target} is called without arguments, and failed: {error}.") from error
    if isinstance(found, Step):
        found = Pipeline([found], found.name)
    if not isinstance(found, Pipeline):
        raise InvalidInput(f"{target} is {kind_of(found)}, not a pipeline.{there}")
    return found


def importable(folder: str) -> None:
    """Let modules in a folder be found, before all others, in workers too."""
    if folder not in sys.path:
        sys.path.insert(0, folder)


def is_own(name: str, folder: str) -> bool:
    """Whether a dotted name begins with a module in the folder."""
    top = os.path.join(folder, name.partition(".")[0])
    return os.path.isfile(f"{top}.py") or os.path.isdir(top)


def imported(name: str, folder: str) -> Any:
    """What ``package.module:name``, ``package.module.name`` or ``FILE.py:name`` means.

    The folder is where files are, and modules of a study's own; see `importable`.

    Raises
    ------
    InvalidInput
        If there is no such module or name, or the import failed.
    """
    path, colon, attribute = name.rpartition(":")
    if colon and path.endswith(".py"):
        return _attribute(_file_module(os.path.join(folder, path)), path, attribute)
    parts = (path if colon else name).split(".")
    attributes = attribute.split(".") if colon else []
    if not all(part.isidentifier() for part in (*parts, *attributes)) or len(parts) + len(attributes) < 2:
        raise InvalidInput(f"{name!r} is not of the form package.module:name.")
    module = _module(".".join(parts), folder)
    while module is None and len(parts) > 1 and not colon:
        attributes.insert(0, parts.pop())
        module = _module(".".join(parts), folder)
    if module is None:
        beside = [os.path.splitext(entry)[0] for entry in os.listdir(folder) if entry.endswith(".py")]
        raise InvalidInput(f"There is no module {'.'.join(parts)!r} ({name}).{nearest(parts[0], beside)}")
    return _attribute(module, ".".join(parts), ".".join(attributes))


def _attribute(module: ModuleType, where: str, name: str) -> Any:
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            raise InvalidInput(f"{where} has no {part!r}.{nearest(part, _public(module))}{_there(module)}")
        found = getattr(found, part)
    return found


def _public(module: ModuleType) -> dict[str, Any]:
    return {key: value for key, value in vars(module).items() if not key.startswith("_")}


def _there(module: ModuleType) -> str:
    """A hint at what a module has."""
    named = [key for key, value in _public(module).items() if isinstance(value, (Pipeline, Step))]
    return f" There: {', '.join(named) or 'no pipeline'}."


def _module(name: str, folder: str) -> ModuleType | None:
    """A module by name, none if there is none; one in the folder goes to other processes by value."""
    import cloudpickle

    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            return None
        raise InvalidInput(f"{name} cannot be imported: {error}{_line(error, folder)}.") from error
    except Exception as error:
        where = _line(error, folder)
        raise InvalidInput(f"{name} cannot be imported: {type(error).__name__}: {error}{where}.") from error
    _check_source(name.partition(".")[0], folder)
    if os.path.abspath(module.__file__ or "").startswith(os.path.join(folder, *name.split("."))):
        cloudpickle.register_pickle_by_value(module)
    return module


def _check_source(top: str, folder: str) -> None:
    """Refuse a module that was imported from elsewhere before, while the folder has its own."""
    own = [os.path.join(folder, f"{top}.py"), os.path.join(folder, top, "__init__.py")]
    there = [path for path in own if os.path.isfile(path)]
    file = getattr(sys.modules[top], "__file__", None)
    if there and not any(file and os.path.samefile(file, path) for path in there):
        raise InvalidInput(
            f"The module {top!r} is imported already, from {file or 'elsewhere'}, and {there[0]} is another: "
            "rename it, or use one process for each."
        )


def _file_module(path: str) -> ModuleType:
    import cloudpickle

    whole = os.path.abspath(path)
    if not os.path.isfile(whole) or not whole.endswith(".py"):
        raise InvalidInput(f"There is no Python file {path}. A pipeline is given as FILE.py:name.")
    name = os.path.splitext(os.path.basename(whole))[0]
    if name in sys.modules or not name.isidentifier():
        name = f"weft_study_{abs(hash(whole)):x}"
    sys.path.insert(0, os.path.dirname(whole))
    spec = importlib.util.spec_from_file_location(name, whole)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        where = _line(error, os.path.dirname(whole))
        raise InvalidInput(f"{path} cannot be loaded: {type(error).__name__}: {error}{where}.") from error
    # Workers, and whoever resumes from another directory, need not find the file.
    cloudpickle.register_pickle_by_value(module)
    return module


def _line(error: BaseException, folder: str) -> str:
    """Where in the files of a folder an error came up."""
    found = ""
    trace = error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if file.startswith(folder + os.sep):
            found = f" ({os.path.relpath(file, folder)}, line {trace.tb_lineno})"
        trace = trace.tb_next
    return found
