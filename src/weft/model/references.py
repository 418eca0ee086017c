"""What a piece of code refers to: globals, closures, and what it imports when it runs."""

from __future__ import annotations

import ast
import importlib.util
import sys
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from weft.model.annotations import closed_over
from weft.model.project import import_project_module, is_project_module
from weft.model.sourcecode import Source, dotted, names_read

_PLAIN = (type(None), bool, int, float, complex, str, bytes, tuple, frozenset)


@dataclass(frozen=True, slots=True)
class Reference:
    """Something that a part refers to, and what to call it if it has no name of its own.

    What the part itself changes as it runs is state: it says nothing about what the code computes.
    """

    value: Any
    label: str = ""
    state: bool = False

    @property
    def keys(self) -> tuple[str, int]:
        """What the same variable is known by elsewhere: its name, and the object if it can change."""
        return self.label, 0 if isinstance(self.value, _PLAIN) else id(self.value)


References = dict[str, Reference]

# What every module has says where the code is, not what it does; class bodies read some of it.
_OF_EVERY_MODULE = frozenset(vars(types.ModuleType(""))) | {
    "__annotations__",
    "__builtins__",
    "__cached__",
    "__conditional_annotations__",
    "__file__",
    "__path__",
}


def closure_of(function: types.FunctionType) -> References:
    """What a function closes over, by name."""
    owner = f"{function.__module__}.{function.__qualname__}"
    return {name: Reference(value, f"{owner}.{name}") for name, value in closed_over(function).items()}


def reads_of(code: types.CodeType, namespace: Mapping[str, Any], closure: References) -> References:
    """The globals that a code reads, and what it reads off the project's modules."""
    found: References = {}
    for free, (root, *attributes) in names_read(code):
        if free and root in closure:
            found |= _attributes(root, closure[root], attributes)
        elif not free and root in namespace and root not in _OF_EVERY_MODULE:
            label = f"{namespace.get('__name__', '?')}.{root}"
            found |= _attributes(root, Reference(namespace[root], label), attributes)
    for name, reference in list(found.items()):
        if isinstance(reference.value, types.ModuleType):
            found |= _by_name(name, reference.value)
    return found


def _by_name(name: str, module: types.ModuleType) -> References:
    """What may be asked for by name, as in ``getattr(models, kind)``, of a project's module that is read."""
    if not is_project_module(module.__name__):
        return {}
    return {
        f"{name}.{attribute}": Reference(value, f"{module.__name__}.{attribute}")
        for attribute, value in vars(module).items()
        if attribute not in _OF_EVERY_MODULE and callable(value)
    }


def _attributes(name: str, reference: Reference, attributes: Iterable[str]) -> References:
    """What a chain such as ``helpers.sub.f`` means, walked as far as it goes through project modules."""
    for attribute in attributes:
        module = reference.value
        if not isinstance(module, types.ModuleType) or not is_project_module(module.__name__):
            break
        # Asked for, not looked up: what a lazy module has must not depend on who asked for it before.
        if not hasattr(module, attribute):
            break
        name = f"{name}.{attribute}"
        reference = Reference(getattr(module, attribute), f"{module.__name__}.{attribute}")
    return {name: reference}


def imports_of(origin: Source, node: ast.AST, namespace: Mapping[str, Any]) -> References:
    """What a function imports from the project when it runs."""
    bound: References = {}
    for statement in origin.imports_within(node):
        for alias in statement.names:
            if isinstance(statement, ast.Import):
                module = import_project_module(alias.name)
                top = module and sys.modules.get(alias.name.partition(".")[0])
                value, name = (module, alias.asname) if alias.asname else (top, alias.name.partition(".")[0])
            else:
                package = str(namespace.get("__package__") or "")
                relative = "." * statement.level + (statement.module or "")
                try:
                    full = importlib.util.resolve_name(relative, package)
                except ImportError:
                    continue
                module = import_project_module(full)
                value, name = vars(module).get(alias.name) if module else None, alias.asname or alias.name
                if module and value is None:
                    value = import_project_module(f"{full}.{alias.name}")
            if value is not None:
                bound[name] = Reference(value, f"{module.__name__ if module else ''}.{alias.name}")
    found = {f"import {name}": reference for name, reference in bound.items()}
    for part in ast.walk(node) if bound else ():
        name, *attributes = dotted(part) or [""]
        if name in bound:
            found |= _attributes(f"import {name}", bound[name], attributes)
    return found
