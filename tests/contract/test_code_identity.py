"""What counts as a change of code, seen from a run that is run again."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import weft
from weft.testing import Calls

Load = Callable[[str], ModuleType]


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Load]:
    """Write and import a module; the same name again, as after an edit."""
    names: set[str] = set()

    def loaded(text: str, name: str = "edited_study") -> ModuleType:
        file = tmp_path / f"{name}.py"
        file.write_text(text)
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        names.add(name)
        spec.loader.exec_module(module)
        return module

    yield loaded
    for name in names:
        sys.modules.pop(name, None)


STATEFUL = {
    "append": ("CALLS = []", "CALLS.append(x)"),
    "extend": ("CALLS = []", "CALLS.extend([x])"),
    "insert": ("CALLS = []", "CALLS.insert(0, x)"),
    "add": ("CALLS = set()", "CALLS.add(x)"),
    "discard": ("CALLS = {1, 2, 3}", "CALLS.discard(x)"),
    "update": ("CALLS = {}", "CALLS.update({x: 1})"),
    "setdefault": ("CALLS = {}", "CALLS.setdefault(x, []).append(1)"),
    "pop": ("CALLS = [1, 2, 3, 4]", "CALLS.pop()"),
    "remove": ("CALLS = [1, 2, 3, 4]", "CALLS.remove(x)"),
    "clear": ("CALLS = [1, 2, 3]", "CALLS.clear()"),
    "item": ("CALLS = {}", "CALLS[x] = 1"),
    "augmented item": ("CALLS = {1: 0, 2: 0, 3: 0}", "CALLS[x] += 1"),
    "deleted item": ("CALLS = {1: 0, 2: 0, 3: 0}", "del CALLS[x]"),
    "inner item": ("CALLS = {'n': [0]}", "CALLS['n'][0] += 1"),
    "global": ("CALLS = 0", "global CALLS; CALLS += 1"),
    "global made late": ("CALLS = None", "global CALLS; CALLS = CALLS or Model()"),
}


@pytest.mark.parametrize("what", STATEFUL)
def test_what_the_code_changes_is_state_not_identity(what: str, load: Load, go: Any) -> None:
    start, change = STATEFUL[what]
    module = load(
        f"import weft\n{start}\nclass Model:\n    pass\n\n"
        f"def note(x):\n    {change}\n\n"
        "@weft.step('y', mapspec='x[i] -> y[i]')\ndef f(x):\n    note(x)\n    return x + 1\n"
    )
    assert go([module.f], {"x": [1, 2, 3]})["y"].tolist() == [2, 3, 4]
    assert go([module.f], {"x": [1, 2, 3]})["y"].tolist() == [2, 3, 4]


def test_state_that_another_function_reads_is_state_there_too(load: Load, go: Any) -> None:
    module = load(
        "import weft\nCALLS = []\nN = 0\n"
        "def note(x):\n    global N\n    N += 1\n    CALLS.append(x)\n\n"
        "def seen():\n    return len(CALLS) + N\n\n"
        "@weft.step('y', mapspec='x[i] -> y[i]')\ndef f(x):\n    seen()\n    note(x)\n    return x + 1\n"
    )
    go([module.f], {"x": [1, 2, 3]})
    go([module.f], {"x": [1, 2, 3]})


def test_state_of_another_module_and_of_a_closure(load: Load, go: Any) -> None:
    load("CALLS = []\nRATE = 2\n", "edited_helpers")
    module = load(
        "import weft\nimport edited_helpers\n"
        "def make():\n    seen = []\n"
        "    @weft.step('y', mapspec='x[i] -> y[i]')\n    def f(x):\n        seen.append(x)\n"
        "        edited_helpers.CALLS.append(x)\n        return x * edited_helpers.RATE\n"
        "    return f\nf = make()\n"
    )
    go([module.f], {"x": [1, 2, 3]})
    go([module.f], {"x": [1, 2, 3]})
    sys.modules["edited_helpers"].RATE = 3  # type: ignore[attr-defined]
    with pytest.raises(weft.RunMismatch, match="RATE"):
        go([module.f], {"x": [1, 2, 3]})


def test_a_constant_stays_part_of_the_code(load: Load, go: Any) -> None:
    text = (
        "import weft\nTABLE = {1: %d}\n\ndef unrelated():\n    TABLE = {}\n    TABLE[2] = 3\n\n"
        "@weft.step('y', mapspec='x[i] -> y[i]')\ndef f(x):\n    unrelated()\n    return TABLE.get(x, 0)\n"
    )
    go([load(text % 5).f], {"x": [1, 2]})
    with pytest.raises(weft.RunMismatch, match="TABLE"):
        go([load(text % 6).f], {"x": [1, 2]})


def test_a_table_of_functions_stays_part_of_the_code(load: Load, go: Any) -> None:
    text = (
        "import weft\nKINDS = {}\n\ndef register(f):\n    KINDS[f.__name__] = f\n    return f\n\n"
        "@register\ndef twice(x):\n    return %s * x\n\n"
        "@weft.step('y', mapspec='x[i] -> y[i]')\n"
        "def f(x):\n    register(twice)\n    return KINDS['twice'](x)\n"
    )
    go([load(text % 2).f], {"x": [1, 2]})
    with pytest.raises(weft.RunMismatch, match="twice"):
        go([load(text % 3).f], {"x": [1, 2]})


def test_a_global_that_is_only_read_stays_part_of_the_code(load: Load, go: Any) -> None:
    text = (
        "import weft\nRATE = %d\n\n@weft.step('y', mapspec='x[i] -> y[i]')\n"
        "def f(x):\n    global RATE\n    return RATE * x\n"
    )
    go([load(text % 2).f], {"x": [1, 2]})
    with pytest.raises(weft.RunMismatch, match="RATE"):
        go([load(text % 3).f], {"x": [1, 2]})


def test_what_is_asked_for_by_name_of_a_module_is_part_of_the_code(load: Load, go: Any) -> None:
    helpers = (
        "CALLS = []\n\ndef one(x):\n    CALLS.append(x)\n    return inner(x)\n\n"
        "def inner(x):\n    return %d * x\n"
    )
    text = (
        "import edited_helpers\nimport weft\n\n@weft.step('y', mapspec='x[i] -> y[i]')\n"
        "def f(x, kind):\n    return getattr(edited_helpers, kind)(x)\n"
    )
    inputs = {"x": [1, 2], "kind": "one"}
    load(helpers % 2, "edited_helpers")
    go([load(text).f], inputs)
    go([load(text).f], inputs)
    load(helpers % 3, "edited_helpers")
    with pytest.raises(weft.RunMismatch, match="inner"):
        go([load(text).f], inputs)


def test_implementations_by_type_are_part_of_the_code(load: Load, go: Any) -> None:
    text = (
        "import functools\nimport weft\n\n@functools.singledispatch\ndef size(x):\n    return 0\n\n"
        "@size.register\ndef _(x: int):\n    return %d * x\n\n"
        "@weft.step('y', mapspec='x[i] -> y[i]')\ndef f(x):\n    return size(x)\n"
    )
    go([load(text % 2).f], {"x": [1, 2]})
    go([load(text % 2).f], {"x": [1, 2]})
    with pytest.raises(weft.RunMismatch, match="code of"):
        go([load(text % 3).f], {"x": [1, 2]})


MODULE = """
import weft
from edited_helpers import scale
RATE = 2
@weft.step('y', mapspec='x[i] -> y[i]')
def f(x, k=1):
    return scale(x) * RATE + k
"""
HELPERS = "def scale(x):\n    return inner(x)\ndef inner(x):\n    return 3 * x\n"
EDITS: dict[str, tuple[str, str, str]] = {
    "function": (MODULE.replace("+ k", "- k"), HELPERS, "f"),
    "constant": (MODULE.replace("RATE = 2", "RATE = 5"), HELPERS, "RATE"),
    "default": (MODULE.replace("k=1", "k=4"), HELPERS, "'k'"),
    "helper": (MODULE, HELPERS.replace("return inner(x)", "return -inner(x)"), "scale"),
    "helper's helper": (MODULE, HELPERS.replace("3 * x", "4 * x"), "inner"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_is_noticed_and_named(edit: str, load: Load, go: Any) -> None:
    load(HELPERS, "edited_helpers")
    go([load(MODULE).f], {"x": [1, 2, 3]})
    module, helpers, named = EDITS[edit]
    load(helpers, "edited_helpers")
    with pytest.raises(weft.RunMismatch) as caught:
        go([load(module).f], {"x": [1, 2, 3]})
    text = str(caught.value)
    assert named in text and "3 finished element(s)" in text
    assert all(choice in text for choice in ("'rerun'", "'keep'", "'replace'"))


@pytest.mark.parametrize(
    "edited",
    [
        MODULE.replace("return scale", "# a comment\n    return  scale"),
        MODULE.replace("    return", '    """What it does."""\n    return'),
        "\n\n" + MODULE + "\ndef unused():\n    return 1\n",
        MODULE.replace("mapspec='x[i] -> y[i]'", "mapspec='x[i] -> y[i]', retries=3"),
    ],
    ids=["comment", "docstring", "elsewhere", "options"],
)
def test_what_does_not_compute_is_no_change(edited: str, load: Load, go: Any, calls: Calls) -> None:
    load(HELPERS, "edited_helpers")
    first = go([load(MODULE).f], {"x": [1, 2, 3]})
    again = go([load(edited).f], {"x": [1, 2, 3]})
    assert again["y"].tolist() == first["y"].tolist() == [7, 13, 19]


def test_a_version_stands_for_the_code(load: Load, go: Any) -> None:
    versioned = MODULE.replace("mapspec=", "version='1', mapspec=")
    load(HELPERS, "edited_helpers")
    go([load(versioned).f], {"x": [1]})
    go([load(versioned.replace("+ k", "- k")).f], {"x": [1]})
    with pytest.raises(weft.RunMismatch):
        go([load(versioned.replace("'1'", "'2'")).f], {"x": [1]})


def test_what_a_lazy_module_makes_when_asked_is_the_same_before_and_after(load: Load, go: Any) -> None:
    load(
        "def twice(x):\n    return 2 * x\n\n"
        "def __getattr__(name):\n"
        "    if name != 'scale':\n        raise AttributeError(name)\n"
        "    globals()[name] = twice\n    return twice\n",
        name="lazy_helpers",
    )
    module = load(
        "import weft\nimport lazy_helpers\n\n"
        "@weft.step('y', mapspec='x[i] -> y[i]')\ndef f(x):\n    return lazy_helpers.scale(x)\n"
    )
    assert go([module.f], {"x": [1, 2]})["y"].tolist() == [2, 4]
    assert go([module.f], {"x": [1, 2]})["y"].tolist() == [2, 4]
