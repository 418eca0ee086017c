"""The identity of code: what a function is made of, followed through its project, as one digest.

Source is compared as syntax, so comments, formatting and docstrings do not count, and neither do line
numbers, the names of modules, or the process.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import sys
import types
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from weft.model.project import is_project, library_name, of_weft
from weft.model.references import Reference, References, closure_of, imports_of, reads_of
from weft.model.sourcecode import (
    Source,
    code_text,
    dotted,
    names_changed,
    only_annotated,
    source,
    syntax_text,
)

_BUILT_IN = (
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.MethodWrapperType,
    types.ClassMethodDescriptorType,
)
# An object of a subclass of these is more than its attributes.
_VALUES: tuple[type[Any], ...] = (dict, list, tuple, set, frozenset, str, bytes, int, float, complex)


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
    """All parts, in an order that the code alone decides, without what any of them changes."""
    state: set[str | int] = set()
    while True:
        known = len(state)
        parts = _followed(root, state)
        if len(state) == known:
            return parts


def _followed(root: Any, state: set[str | int]) -> list[_Part]:
    """All parts but `state`, which it adds to; with a queue, as chains of calls can be long."""
    parts: list[_Part] = []
    numbers: dict[Any, int] = {}
    alive: list[Any] = []
    waiting: deque[tuple[_Part, References]] = deque()

    def number(reference: Reference) -> int:
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

    number(Reference(root, type(root).__qualname__))
    while waiting:
        part, references = waiting.popleft()
        state.update(key for found in references.values() if found.state for key in found.keys if key)
        names = [name for name in sorted(references) if state.isdisjoint(references[name].keys)]
        part.edges = [(name, number(references[name])) for name in names]
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


def _describe(value: Any, label: str) -> tuple[str, References]:
    """A value as text, and what it refers to."""
    if isinstance(value, types.FunctionType):
        return _describe_function(value)
    if isinstance(value, type):
        return _describe_class(value)
    if isinstance(value, types.ModuleType):
        return f"module {library_name(value.__name__)}", {}
    if isinstance(value, functools.partial):
        state: dict[Any, Any] = dict(enumerate(value.args)) | value.keywords
        return "partial", {"func": Reference(value.func, f"{label}.func"), **_members(label, state)}
    if isinstance(value, types.MethodType):
        owner = Reference(value.__self__, f"{label}.__self__")
        return "method", {"function": Reference(value.__func__), "self": owner}
    if isinstance(value, _BUILT_IN):
        return _describe_built_in(value, label)
    if _holds_code(value):
        return type(value).__name__, _members(label, _items(value))
    if callable(value) or is_project(type(value)):
        return _describe_instance(value, label)
    return f"value {_content(value)}", {}


def _describe_function(function: types.FunctionType) -> tuple[str, References]:
    code, namespace = function.__code__, function.__globals__
    name = f"{function.__module__}.{function.__qualname__}"
    closure = closure_of(function)
    references = dict(closure)
    if "__wrapped__" in vars(function):
        references["__wrapped__"] = Reference(vars(function)["__wrapped__"], f"{name}.__wrapped__")
    if not is_project(function):
        # A library's wrapper matters for the functions of the project that it holds.
        held = {key: reference for key, reference in references.items() if callable(reference.value)}
        registered = vars(function).get("registry")
        if isinstance(registered, types.MappingProxyType):  # as functools.singledispatch has it
            for kind, one in registered.items():
                key = f"registered {getattr(kind, '__qualname__', kind)}"
                held[key] = Reference(one, f"{name}.{key}")
        return f"external {library_name(namespace.get('__name__'))} {code.co_qualname}", held
    defaults: dict[Any, Any] = dict(enumerate(function.__defaults__ or ())) | (function.__kwdefaults__ or {})
    for key, value in defaults.items():
        references[f"default {key}"] = Reference(value, f"{name}.default {key}")
    references |= reads_of(code, namespace, closure)
    origin = source(code.co_filename)
    node = origin.function(code) if origin else None
    if origin is None or node is None:
        return f"bytecode {code_text(code)}", references
    references |= imports_of(origin, node, namespace)
    references |= _changed(node, references, namespace)
    return f"function {syntax_text(node, _weft_decorators(origin, node, namespace))}", references


def _describe_class(cls: type) -> tuple[str, References]:
    if not is_project(cls):
        return f"external {library_name(cls.__module__)} {cls.__qualname__}", {}
    references: References = {}
    for place, base in enumerate((*cls.__bases__, type(cls))):
        if base not in (object, type):
            references[f"base {place}"] = Reference(base)
    prefix = f"{cls.__qualname__}."
    members = {name: _functions_in(member) for name, member in vars(cls).items()}
    methods = [
        one for found in members.values() for one in found if one.__code__.co_qualname.startswith(prefix)
    ]
    closure = {name: there for method in methods for name, there in closure_of(method).items()}
    references |= closure
    module = sys.modules.get(cls.__module__)
    file = methods[0].__code__.co_filename if methods else getattr(module, "__file__", None)
    namespace = methods[0].__globals__ if methods else vars(module) if module else {}
    origin = source(file) if file else None
    definition = origin.class_(cls.__qualname__, [one.__code__ for one in methods]) if origin else None
    if origin is None or definition is None:
        for name, member in vars(cls).items():
            if members[name] or not name.startswith("__"):
                for place, value in enumerate(members[name] or [member]):
                    label = f"{cls.__module__}.{prefix}{name}"
                    references[f"member {name} {place}"] = Reference(value, label)
        return f"class {cls.__qualname__}", references
    body, node = definition
    noted = only_annotated(node)
    reads = reads_of(body, namespace, closure)
    references |= {name: r for name, r in reads.items() if name.partition(".")[0] not in noted}
    references |= imports_of(origin, node, namespace)
    references |= _changed(node, references, namespace)
    return f"class {syntax_text(node, _weft_decorators(origin, node, namespace))}", references


def _describe_built_in(value: Any, label: str) -> tuple[str, References]:
    owner = getattr(value, "__self__", None)
    module = getattr(value, "__module__", None) or type(owner).__module__
    described = f"external {library_name(module)} {value.__qualname__}"
    if owner is None or isinstance(owner, types.ModuleType | type):
        return described, {}
    return described, {"self": Reference(owner, f"{label}.__self__")}


def _describe_instance(value: Any, label: str) -> tuple[str, References]:
    """A callable object, or one of a class of the project: its class and its state."""
    cls = type(value)
    references = {"class": Reference(cls)}
    state: dict[Any, Any] | None = getattr(value, "__dict__", None)
    if is_project(cls):
        slots = [
            name for base in cls.__mro__ for name in getattr(base, "__slots__", ()) if hasattr(value, name)
        ]
        own = {**(state or {}), **{name: getattr(value, name) for name in slots}}
        base = next((base for base in _VALUES if isinstance(value, base)), None)
        if base is not None:
            references["content"] = Reference(base(value), label)
        described = "" if own or base or _plain(cls) else _content(value)
        return f"instance {described}", references | _members(label, own)
    # A library's object (a cache, a compiler) fills its private state as it is used.
    if callable(getattr(value, "__wrapped__", None)):
        return "callable", references | {"__wrapped__": Reference(value.__wrapped__, label)}
    public = {name: one for name, one in (state or {}).items() if not str(name).startswith("_")}
    described = "" if public else f"{getattr(value, '__name__', '')} {_content(value)}"
    return f"callable {described}", references | _members(label, public)


def _plain(cls: type) -> bool:
    """Whether an instance is nothing but its attributes: the pickle of a script's class is never the same."""
    try:
        object.__new__(cls)
    except TypeError:
        return False
    return True


def _holds_code(value: Any) -> bool:
    """Whether a container has functions in it, or objects that have."""
    if type(value) not in (dict, list, tuple):
        return False
    items = value.values() if isinstance(value, dict) else value
    return any(map(callable, items)) or any(map(is_project, set(map(type, items))))


def _items(container: Any) -> dict[Any, Any]:
    return container if isinstance(container, dict) else dict(enumerate(container))


def _members(label: str, state: Mapping[Any, Any]) -> References:
    return {f"item {key!r}": Reference(value, f"{label}[{key!r}]") for key, value in state.items()}


def _functions_in(member: Any) -> list[types.FunctionType]:
    """The functions of a class member: a method, or those of a property."""
    parts = ("__func__", "fget", "fset", "fdel", "func")
    found = [member, *(getattr(member, part, None) for part in parts)]
    return [one for one in found if isinstance(one, types.FunctionType)]


def _changed(node: ast.AST, references: References, namespace: Mapping[str, Any]) -> References:
    """The variables that a definition changes as it runs; a table of functions is code all the same."""
    declared, inside = names_changed(node)
    found = {name: references[name] for name in declared if name in references}
    for name in declared - set(references) & set(namespace):
        found[name] = Reference(namespace[name], f"{namespace.get('__name__', '?')}.{name}")
    for name in inside & set(references):
        value = references[name].value
        callables = callable(value) or (_holds_code(value) and any(map(callable, _items(value).values())))
        if not callables and not is_project(type(value)) and not isinstance(value, types.ModuleType):
            found[name] = references[name]
    return {name: replace(reference, state=True) for name, reference in found.items()}


def _weft_decorators(origin: Source, node: ast.AST, namespace: Mapping[str, Any]) -> frozenset[int]:
    """Positions of weft's own decorators, whose options say nothing about what the code computes."""
    found = set()
    imported = origin.names_from("weft")
    for place, decorator in enumerate(getattr(node, "decorator_list", ())):
        name, *attributes = dotted(decorator) or [""]
        # A function that travelled by value has lost the globals that only its decorators use.
        value = functools.reduce(lambda one, part: getattr(one, part, None), attributes, namespace.get(name))
        by_name = value is None and (name == "weft" or [name, *attributes][-1] in ("step", "Step"))
        if name in imported or by_name or of_weft(value) or of_weft(type(value)):
            found.add(place)
    return frozenset(found)


def _content(value: Any) -> str:
    from weft.values.content import digest

    try:
        return str(digest(value))
    except Exception:
        return f"{type(value).__module__}.{type(value).__qualname__}"


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
