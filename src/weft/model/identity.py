"""The identity of code: what a function is made of, followed through its project, as one digest.

Source is compared as syntax, so comments, formatting and docstrings do not count, and neither do line
numbers, the names of modules, or the process.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import sys
import types
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from weft.model.project import import_project_module, is_project, is_project_module, library_name, of_weft
from weft.model.sourcecode import Source, code_text, names_read, source

_BUILT_IN = (
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.MethodWrapperType,
    types.ClassMethodDescriptorType,
)
# An object of a subclass of these is more than its attributes.
_VALUES: tuple[type[Any], ...] = (dict, list, tuple, set, frozenset, str, bytes, int, float, complex)


@dataclass(frozen=True, slots=True)
class _Reference:
    """Something that a part refers to, and what to call it if it has no name of its own."""

    value: Any
    label: str = ""


_References = dict[str, _Reference]

# What every module has says where the code is, not what it does; class bodies read some of it.
_OF_EVERY_MODULE = frozenset(vars(types.ModuleType(""))) | {
    "__annotations__",
    "__builtins__",
    "__cached__",
    "__conditional_annotations__",
    "__file__",
    "__path__",
}


@dataclass(slots=True)
class _Part:
    """One function, class or value that was met, and by number the parts that it refers to."""

    label: str
    own: str
    edges: list[tuple[str, int]] = field(default_factory=list)


def code_digest(function: Callable[..., Any], *, version: str | None = None) -> str:
    """The identity of a function's code: 32 hexadecimal digits.

    Parameters
    ----------
    function
        A function, method, partial, class, or callable object.
    version
        A text that stands for the code: if given, nothing else counts.

    Examples
    --------
    >>> code_digest(lambda x: x + 1) == code_digest(lambda x: (x + 1))
    True
    """
    if version is not None:
        return _hash(f"version {version}")
    return _hash("\n".join(f"{part.own} {part.edges}" for part in _follow(function)))


def explain_code(function: Callable[..., Any]) -> dict[str, str]:
    """Every part that `code_digest` follows, by qualified name, with a digest of that part alone."""
    explained: dict[str, str] = {}
    for part in _follow(function):
        label, number = part.label, 1
        while explained.get(label, part.own) != part.own:
            number += 1
            label = f"{part.label}#{number}"
        explained[label] = part.own
    return explained


def _follow(root: Any) -> list[_Part]:
    """All parts, in an order that the code alone decides; with a queue, as chains of calls can be long."""
    parts: list[_Part] = []
    numbers: dict[Any, int] = {}
    alive: list[Any] = []
    waiting: deque[tuple[_Part, _References]] = deque()

    def number(reference: _Reference) -> int:
        value = _unwrap(reference.value)
        label = reference.label
        if callable(value) and isinstance(getattr(value, "__qualname__", None), str):
            label = f"{getattr(value, '__module__', None)}.{value.__qualname__}"
        elif isinstance(value, types.ModuleType):
            label = value.__name__
        # Whether equal constants are one object is the interpreter's whim, so those go by name as well.
        has_parts = callable(value) or _holds_code(value) or is_project(type(value))
        key: Any = id(value) if has_parts else (label, id(value))
        if key not in numbers:
            alive.append(value)
            numbers[key] = len(parts)
            own, references = _describe(value, label)
            parts.append(_Part(label, _hash(own)))
            waiting.append((parts[-1], references))
        return numbers[key]

    number(_Reference(root, type(root).__qualname__))
    while waiting:
        part, references = waiting.popleft()
        part.edges = [(name, number(references[name])) for name in sorted(references)]
    return parts


def _unwrap(value: Any) -> Any:
    """The function inside weft's steps, static methods and class methods."""
    while True:
        if isinstance(value, staticmethod | classmethod):
            value = value.__func__
        elif of_weft(type(value)) and callable(getattr(value, "function", None)):
            value = value.function
        else:
            return value


def _describe(value: Any, label: str) -> tuple[str, _References]:
    """A value as text, and what it refers to."""
    if isinstance(value, types.FunctionType):
        return _describe_function(value)
    if isinstance(value, type):
        return _describe_class(value)
    if isinstance(value, types.ModuleType):
        return f"module {library_name(value.__name__)}", {}
    if isinstance(value, functools.partial):
        state: dict[Any, Any] = dict(enumerate(value.args)) | value.keywords
        return "partial", {"func": _Reference(value.func, f"{label}.func"), **_members(label, state)}
    if isinstance(value, types.MethodType):
        owner = _Reference(value.__self__, f"{label}.__self__")
        return "method", {"function": _Reference(value.__func__), "self": owner}
    if isinstance(value, _BUILT_IN):
        return _describe_built_in(value, label)
    if _holds_code(value):
        return type(value).__name__, _members(label, _items(value))
    if callable(value) or is_project(type(value)):
        return _describe_instance(value, label)
    return f"value {_content(value)}", {}


def _describe_function(function: types.FunctionType) -> tuple[str, _References]:
    code, namespace = function.__code__, function.__globals__
    name = f"{function.__module__}.{function.__qualname__}"
    closure = _closure(function)
    references = dict(closure)
    if "__wrapped__" in vars(function):
        references["__wrapped__"] = _Reference(vars(function)["__wrapped__"], f"{name}.__wrapped__")
    if not is_project(function):
        # A library's wrapper matters for the functions of the project that it holds.
        held = {key: reference for key, reference in references.items() if callable(reference.value)}
        return f"external {library_name(namespace.get('__name__'))} {code.co_qualname}", held
    defaults: dict[Any, Any] = dict(enumerate(function.__defaults__ or ())) | (function.__kwdefaults__ or {})
    for key, value in defaults.items():
        references[f"default {key}"] = _Reference(value, f"{name}.default {key}")
    references |= _reads(code, namespace, closure)
    origin = source(code.co_filename)
    node = origin.function(code) if origin else None
    if origin is None or node is None:
        return f"bytecode {code_text(code)}", references
    references |= _imported(origin, node, namespace)
    return f"function {origin.text(node, _weft_decorators(origin, node, namespace))}", references


def _describe_class(cls: type) -> tuple[str, _References]:
    if not is_project(cls):
        return f"external {library_name(cls.__module__)} {cls.__qualname__}", {}
    references: _References = {}
    for place, base in enumerate((*cls.__bases__, type(cls))):
        if base not in (object, type):
            references[f"base {place}"] = _Reference(base)
    prefix = f"{cls.__qualname__}."
    members = {name: _functions_in(member) for name, member in vars(cls).items()}
    methods = [
        one for found in members.values() for one in found if one.__code__.co_qualname.startswith(prefix)
    ]
    closure = {name: there for method in methods for name, there in _closure(method).items()}
    references |= closure
    module = sys.modules.get(cls.__module__)
    file = methods[0].__code__.co_filename if methods else getattr(module, "__file__", None)
    namespace = methods[0].__globals__ if methods else vars(module) if module else {}
    origin = source(file) if file else None
    body, node = (
        origin.class_(cls.__qualname__, [one.__code__ for one in methods]) if origin else (None, None)
    )
    if origin is None or body is None or node is None:
        for name, member in vars(cls).items():
            if members[name] or not name.startswith("__"):
                for place, value in enumerate(members[name] or [member]):
                    label = f"{cls.__module__}.{prefix}{name}"
                    references[f"member {name} {place}"] = _Reference(value, label)
        return f"class {cls.__qualname__}", references
    references |= _reads(body, namespace, closure) | _imported(origin, node, namespace)
    return f"class {origin.text(node)}", references


def _describe_built_in(value: Any, label: str) -> tuple[str, _References]:
    owner = getattr(value, "__self__", None)
    module = getattr(value, "__module__", None) or type(owner).__module__
    described = f"external {library_name(module)} {value.__qualname__}"
    if owner is None or isinstance(owner, types.ModuleType | type):
        return described, {}
    return described, {"self": _Reference(owner, f"{label}.__self__")}


def _describe_instance(value: Any, label: str) -> tuple[str, _References]:
    """A callable object, or one of a class of the project: its class and its state."""
    cls = type(value)
    references = {"class": _Reference(cls)}
    state: dict[Any, Any] | None = getattr(value, "__dict__", None)
    if is_project(cls):
        slots = [
            name for base in cls.__mro__ for name in getattr(base, "__slots__", ()) if hasattr(value, name)
        ]
        own = {**(state or {}), **{name: getattr(value, name) for name in slots}}
        base = next((base for base in _VALUES if isinstance(value, base)), None)
        if base is not None:
            references["content"] = _Reference(base(value), label)
        described = "" if own or base else _content(value)
        return f"instance {described}", references | _members(label, own)
    # A library's object (a cache, a compiler) fills its private state as it is used.
    if callable(getattr(value, "__wrapped__", None)):
        return "callable", references | {"__wrapped__": _Reference(value.__wrapped__, label)}
    public = {name: one for name, one in (state or {}).items() if not str(name).startswith("_")}
    described = "" if public else f"{getattr(value, '__name__', '')} {_content(value)}"
    return f"callable {described}", references | _members(label, public)


def _holds_code(value: Any) -> bool:
    """Whether a container has functions in it, or objects that have."""
    if type(value) not in (dict, list, tuple):
        return False
    items = value.values() if isinstance(value, dict) else value
    return any(map(callable, items)) or any(map(is_project, set(map(type, items))))


def _items(container: Any) -> dict[Any, Any]:
    return container if isinstance(container, dict) else dict(enumerate(container))


def _members(label: str, state: Mapping[Any, Any]) -> _References:
    return {f"item {key!r}": _Reference(value, f"{label}[{key!r}]") for key, value in state.items()}


def _functions_in(member: Any) -> list[types.FunctionType]:
    """The functions of a class member: a method, or those of a property."""
    parts = ("__func__", "fget", "fset", "fdel", "func")
    found = [member, *(getattr(member, part, None) for part in parts)]
    return [one for one in found if isinstance(one, types.FunctionType)]


def _closure(function: types.FunctionType) -> _References:
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            value = cell.cell_contents
        except ValueError:
            continue
        found[name] = _Reference(value, f"{function.__module__}.{function.__qualname__}.{name}")
    return found


def _reads(code: types.CodeType, namespace: Mapping[str, Any], closure: _References) -> _References:
    """The globals that a code reads, and what it reads off the project's modules."""
    found: _References = {}
    for free, (root, *attributes) in names_read(code):
        if free and root in closure:
            found |= _attributes(root, closure[root], attributes)
        elif not free and root in namespace and root not in _OF_EVERY_MODULE:
            label = f"{namespace.get('__name__', '?')}.{root}"
            found |= _attributes(root, _Reference(namespace[root], label), attributes)
    return found


def _attributes(name: str, reference: _Reference, attributes: Iterable[str]) -> _References:
    """What a chain such as ``helpers.sub.f`` means, walked as far as it goes through project modules."""
    for attribute in attributes:
        module = reference.value
        if not isinstance(module, types.ModuleType) or not is_project_module(module.__name__):
            break
        if attribute not in vars(module):
            break
        name = f"{name}.{attribute}"
        reference = _Reference(vars(module)[attribute], f"{module.__name__}.{attribute}")
    return {name: reference}


def _imported(origin: Source, node: ast.AST, namespace: Mapping[str, Any]) -> _References:
    """What a function imports from the project when it runs."""
    bound: _References = {}
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
                bound[name] = _Reference(value, f"{module.__name__ if module else ''}.{alias.name}")
    found = {f"import {name}": reference for name, reference in bound.items()}
    for part in ast.walk(node) if bound else ():
        attributes: list[str] = []
        while isinstance(part, ast.Attribute):
            attributes.insert(0, part.attr)
            part = part.value
        if isinstance(part, ast.Name) and part.id in bound:
            found |= _attributes(f"import {part.id}", bound[part.id], attributes)
    return found


def _weft_decorators(origin: Source, node: ast.AST, namespace: Mapping[str, Any]) -> frozenset[int]:
    """Positions of weft's own decorators, whose options say nothing about what the code computes."""
    found = set()
    imported = origin.names_from("weft")
    for place, decorator in enumerate(getattr(node, "decorator_list", ())):
        attributes: list[str] = []
        part = decorator
        while isinstance(part, ast.Call | ast.Attribute):
            if isinstance(part, ast.Attribute):
                attributes.insert(0, part.attr)
            part = part.func if isinstance(part, ast.Call) else part.value
        if not isinstance(part, ast.Name):
            continue
        # A function that travelled by value has lost the globals that only its decorators use.
        value = namespace.get(part.id)
        for attribute in attributes:
            value = getattr(value, attribute, None)
        by_name = value is None and (part.id == "weft" or [part.id, *attributes][-1] in ("step", "Step"))
        if part.id in imported or by_name or of_weft(value) or of_weft(type(value)):
            found.add(place)
    return frozenset(found)


def _content(value: Any) -> str:
    from weft.model.content import digest

    try:
        return str(digest(value))
    except Exception:
        return f"{type(value).__module__}.{type(value).__qualname__}"


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
