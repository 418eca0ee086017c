"""What a piece of code says, apart from how it is laid out: its syntax, its bytecode, the names it reads."""

from __future__ import annotations

import ast
import dis
import functools
import linecache
import os
import sys
import types
from collections.abc import Iterator
from typing import Any

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_SILENT_FIELDS = frozenset({"ctx", "type_comment", "kind"})


def _operations(*names: str) -> frozenset[int]:
    return frozenset(dis.opmap[name] for name in names if name in dis.opmap)


_GLOBAL = dis.opmap["LOAD_GLOBAL"]
_NAMES = _operations("LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
_FREE = _operations("LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF")
_ATTRIBUTES = _operations("LOAD_ATTR", "LOAD_METHOD")
_ATTRIBUTE_SHIFT = 1 if sys.version_info >= (3, 12) else 0
_TRANSPARENT = _operations("CACHE", "PUSH_NULL", "EXTENDED_ARG")
_CHANGING = frozenset({
    "append", "appendleft", "extend", "extendleft", "add", "update", "insert", "pop", "popleft", "popitem",
    "remove", "discard", "clear", "setdefault",
})  # fmt: skip


class Source:
    """The text of one file or notebook cell, parsed and compiled once.

    It is compiled as well because the file may have been edited since it was imported: only a definition
    that compiles to the code at hand is that code's source.
    """

    def __init__(self, text: str) -> None:
        # A notebook's cell may await at its top.
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        self.tree = ast.parse(text)
        compiled = compile(self.tree, "<source>", "exec", flags=flags, dont_inherit=True)
        self.imports: list[ast.Import | ast.ImportFrom] = []
        self._codes: dict[str, list[types.CodeType]] = {}
        self._nodes: dict[tuple[str, int], list[ast.AST]] = {}
        self._index_codes(compiled)
        self._index_nodes()

    def _index_codes(self, module: types.CodeType) -> None:
        waiting = [module]
        while waiting:
            for constant in waiting.pop().co_consts:
                if isinstance(constant, types.CodeType):
                    self._codes.setdefault(constant.co_qualname, []).append(constant)
                    waiting.append(constant)

    def _index_nodes(self) -> None:
        for node in ast.walk(self.tree):
            if isinstance(node, _DEFINITIONS):
                first = node.decorator_list[0].lineno if node.decorator_list else node.lineno
                self._nodes.setdefault((node.name, first), []).append(node)
            elif isinstance(node, ast.Lambda):
                self._nodes.setdefault(("<lambda>", node.lineno), []).append(node)
            elif isinstance(node, ast.Import | ast.ImportFrom):
                self.imports.append(node)

    def function(self, code: types.CodeType) -> ast.AST | None:
        """The definition that compiles to `code`, or None if it is not here or not certain."""
        candidates = self._codes.get(code.co_qualname, [])
        # Equal codes are at the same lines and columns; if the text has moved since, the rest must be equal.
        same = [other for other in candidates if other == code]
        same = same or [other for other in candidates if code_text(other) == code_text(code)]
        nodes = [self._node(other) for other in same]
        texts = {syntax_text(node) for node in nodes if node is not None}
        return nodes[0] if len(texts) == 1 and None not in nodes else None

    def class_(
        self, qualname: str, methods: list[types.CodeType]
    ) -> tuple[types.CodeType, ast.ClassDef] | None:
        """The body's code and the definition of the class that has these methods, if that is certain."""
        fitting = []
        for body in self._codes.get(qualname, []):
            inner = [constant for constant in body.co_consts if isinstance(constant, types.CodeType)]
            moved = [code_text(code) for code in methods if code not in inner]
            if not moved or {code_text(code) for code in inner}.issuperset(moved):
                fitting.append(body)
        node = self._node(fitting[0]) if len(fitting) == 1 else None
        return (fitting[0], node) if isinstance(node, ast.ClassDef) else None

    def _node(self, code: types.CodeType) -> ast.AST | None:
        found = self._nodes.get((code.co_name, code.co_firstlineno), [])
        if len(found) == 1:
            return found[0]
        # Several lambdas on one line: the body of the right one is among the code's positions.
        positions = set(code.co_positions())
        found = [node for node in found if isinstance(node, ast.Lambda) and _place(node.body) in positions]
        return found[0] if len(found) == 1 else None

    def imports_within(self, node: ast.AST) -> list[ast.Import | ast.ImportFrom]:
        """The import statements inside a definition."""
        first, last, *_ = _place(node)
        return [found for found in self.imports if first <= found.lineno <= last]

    def names_from(self, package: str) -> frozenset[str]:
        """The names that this file's imports bind to `package` or to something of it."""
        bound = set()
        for statement in self.imports:
            for alias in statement.names:
                origin = alias.name if isinstance(statement, ast.Import) else statement.module or ""
                if origin.partition(".")[0] == package and not getattr(statement, "level", 0):
                    bound.add(alias.asname or alias.name.partition(".")[0])
        return frozenset(bound)


_SOURCES: dict[str, tuple[Any, Source | None]] = {}


def source(file: str) -> Source | None:
    """The source of a file or notebook cell, read again when it has changed; None if there is none."""
    try:
        status = os.stat(file)
        stamp: Any = (status.st_mtime_ns, status.st_size)
    except (OSError, ValueError):
        stamp = tuple(linecache.getlines(file))
    if file not in _SOURCES or _SOURCES[file][0] != stamp:
        linecache.checkcache(file)
        text = "".join(linecache.getlines(file))
        try:
            found = Source(text) if text else None
        except (SyntaxError, ValueError, RecursionError):
            found = None
        _SOURCES[file] = (stamp, found)
    return _SOURCES[file][1]


def _place(node: Any) -> tuple[int, int, int, int]:
    # The order of code.co_positions: lines first.
    return node.lineno, node.end_lineno, node.col_offset, node.end_col_offset


@functools.lru_cache(4096)  # what many steps call is written once
def syntax_text(root: ast.AST, without_decorators: frozenset[int] = frozenset()) -> str:
    """A syntax tree as text, the same for every layout and, as far as the syntax is, every Python.

    Left out are positions, docstrings, and fields that are empty, so that a field which a later Python
    adds changes nothing. A stack instead of recursion, for expressions of a thousand terms.
    """
    out: list[str] = []
    stack: list[Any] = [root]
    while stack:
        item = stack.pop()
        if type(item) is str:
            out.append(item)
        elif isinstance(item, ast.Constant):
            out.append(constant_text(item.value))
        elif isinstance(item, ast.AST):
            out.append(type(item).__name__ + "(")
            parts: list[Any] = []
            for name in item._fields:
                value = getattr(item, name, None)
                if value is None or name in _SILENT_FIELDS:
                    continue
                if name == "body" and isinstance(item, _DEFINITIONS):
                    value = _without_docstring(value)
                if name == "decorator_list" and item is root:
                    value = [one for place, one in enumerate(value) if place not in without_decorators]
                if value != []:
                    parts += (name + "=", value, ",")
            stack.append(")")
            stack.extend(reversed(parts))
            if parts:
                continue
        elif isinstance(item, list):
            stack.append("]")
            # "-" where the tree has None inside a list, as for ** in a dict.
            stack.extend("-," if one is None else one for one in reversed(item))
            stack.append("[")
        else:
            out.append(repr(item))
    return "".join(out)


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0] if body else None
    documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return body[1:] if documented and isinstance(first.value.value, str) else body  # type: ignore[union-attr]


def code_text(code: types.CodeType) -> str:
    """Bytecode with its constants and names, without line numbers; the same in every process."""
    constants = [
        code_text(constant) if isinstance(constant, types.CodeType) else constant_text(constant)
        for constant in code.co_consts
    ]
    arguments = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount)
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    return f"{code.co_code.hex()} {arguments} {constants} {names} {code.co_exceptiontable.hex()}"


def constant_text(value: Any) -> str:
    """A constant of the language with its type: ``1``, ``1.0`` and ``True`` differ."""
    if isinstance(value, tuple):
        return f"({','.join(map(constant_text, value))})"
    if isinstance(value, frozenset):
        # The order of a frozenset changes from process to process.
        return f"{{{','.join(sorted(map(constant_text, value)))}}}"
    # repr refuses integers of thousands of digits.
    return hex(value) if type(value) is int else repr(value)


def names_changed(node: ast.AST) -> tuple[set[str], set[str]]:
    """Names that a definition assigns as global or nonlocal, and those of containers that it changes.

    The second are dotted, as in ``CALLS.append(x)`` or ``helpers.COUNT[x] += 1``; they may be local ones.
    """
    declared: set[str] = set()
    assigned: set[str] = set()
    containers: set[str] = set()
    for part in ast.walk(node):
        if isinstance(part, ast.Global | ast.Nonlocal):
            declared.update(part.names)
        elif isinstance(part, ast.Name) and not isinstance(part.ctx, ast.Load):
            assigned.add(part.id)
        elif isinstance(part, _DEFINITIONS):
            assigned.add(part.name)
        elif isinstance(part, ast.alias):
            assigned.add(part.asname or part.name.partition(".")[0])
        elif (isinstance(part, ast.Subscript) and not isinstance(part.ctx, ast.Load)) or (
            isinstance(part, ast.Attribute) and part.attr in _CHANGING
        ):
            containers.add(".".join(dotted(part.value)))
    return declared & assigned, containers


def only_annotated(node: ast.AST) -> set[str]:
    """Names that a definition reads in annotations alone, which are not there where it travelled by value."""
    noted: set[str] = set()
    used: set[str] = set()
    waiting: list[tuple[ast.AST, bool]] = [(node, False)]
    while waiting:
        part, noting = waiting.pop()
        if isinstance(part, ast.Name):
            (noted if noting else used).add(part.id)
        for field, value in ast.iter_fields(part):
            inner = [value] if isinstance(value, ast.AST) else value if isinstance(value, list) else []
            notes = noting or field in ("annotation", "returns")
            waiting += [(one, notes) for one in inner if isinstance(one, ast.AST)]
    return noted - used


def dotted(node: ast.AST) -> list[str]:
    """``["a", "b"]`` for ``a.b``, ``a.b[0]`` and ``a.b()``, empty for what does not begin with a name."""
    attributes: list[str] = []
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        if isinstance(node, ast.Attribute):
            attributes.insert(0, node.attr)
        node = node.func if isinstance(node, ast.Call) else node.value
    return [node.id, *attributes] if isinstance(node, ast.Name) else []


def names_read(code: types.CodeType) -> Iterator[tuple[bool, list[str]]]:
    """Each global or free name that is read, also by inner codes, with the attributes read right off it.

    The bytecode is asked, not the syntax: there the compiler has decided which names are local.

    Yields
    ------
    free, chain
        Whether the name is a closure's, and for ``helpers.f`` the list ``["helpers", "f"]``.
    """
    cells = (cell for cell in code.co_cellvars if cell not in code.co_varnames)
    variables = (*code.co_varnames, *cells, *code.co_freevars)
    free, chain = False, list[str]()
    raw, extended = code.co_code, 0
    for position in range(0, len(raw), 2):
        operation, argument = raw[position], raw[position + 1] | extended
        extended = argument << 8 if operation == dis.EXTENDED_ARG else 0
        if operation in _TRANSPARENT:
            continue
        if operation in _ATTRIBUTES and chain:
            chain.append(code.co_names[argument >> _ATTRIBUTE_SHIFT])
            continue
        if chain:
            yield free, chain
        free, chain = operation in _FREE, []
        if operation == _GLOBAL:
            chain = [code.co_names[argument >> 1]]
        elif operation in _NAMES:
            chain = [code.co_names[argument]]
        elif free and variables[argument] in code.co_freevars:
            chain = [variables[argument]]
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            yield from names_read(inner)
