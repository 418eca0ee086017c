from __future__ import annotations

import functools
import importlib.util
import itertools
import math
import re
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from weft.model.identity import code_digest, explain_code

HELPERS = """
SCALE = 3
TABLE = {"a": [1, 2]}

def inner(x):
    return x * SCALE

def outer(x):
    # calls on
    return inner(x) + 1

class Model:
    '''A model.'''
    order = 2

    def predict(self, x):
        return inner(x) ** self.order

    def unrelated(self):
        return 1

class Child(Model):
    pass

def unused():
    return 0
"""
STEPS = """
import math
import numpy as np
import helpers
from helpers import outer, Model

RATE = 0.1
x_total = 5

def with_helper(x):
    return outer(x)

def with_module(x):
    return helpers.outer(x)

def with_class(x):
    return Model().predict(x)

def with_child(x):
    return helpers.Child().predict(x)

def with_constant(x):
    return x * RATE

def with_default(x, k=1.0, *, power=2):
    return x * k ** power

def with_numpy(x):
    return np.sin(x) + math.pi

def with_table(x):
    return x + len(helpers.TABLE)

def with_local_import(x):
    from helpers import inner as work
    import helpers as h
    return work(x) + h.outer(x)

def with_local_name(x):
    x_total = 3
    return x_total + x.RATE

def recursive(n):
    return 1 if n == 0 else n * even(n - 1)

def even(n):
    return recursive(n)

def with_inner(x):
    def deep(y):
        return outer(y)
    return [deep(v) for v in x]
"""
counter = itertools.count()


@pytest.fixture(autouse=True)
def fresh_modules() -> Iterator[None]:
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name in ("helpers", "steps", "script"):
            del sys.modules[name]


def load(folder: Path, name: str, text: str) -> types.ModuleType:
    """Import a module from a new folder, so that no cached bytecode of another version is found."""
    place = folder / f"version{next(counter)}"
    place.mkdir()
    (place / f"{name}.py").write_text(text)
    spec = importlib.util.spec_from_file_location(name, place / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def digests(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """The digests of all functions in `steps`, with edits to both files."""

    def digests(steps: tuple[str, str] = ("", ""), helpers: tuple[str, str] = ("", "")) -> dict[str, str]:
        assert steps[0] in STEPS and helpers[0] in HELPERS
        load(tmp_path, "helpers", HELPERS.replace(*helpers) if helpers[0] else HELPERS)
        module = load(tmp_path, "steps", STEPS.replace(*steps) if steps[0] else STEPS)
        functions = {name: one for name, one in vars(module).items() if isinstance(one, types.FunctionType)}
        return {name: code_digest(one) for name, one in functions.items() if one.__module__ == "steps"}

    return digests


ALL = set(re.findall(r"^def (\w+)", STEPS, re.MULTILINE))
CALLS_INNER = {"with_helper", "with_module", "with_class", "with_child", "with_inner", "with_local_import"}


@pytest.mark.parametrize(
    ("steps", "helpers", "changed"),
    [
        (("", ""), ("", ""), set()),
        (("RATE = 0.1", "RATE = 0.2"), ("", ""), {"with_constant"}),
        (("RATE = 0.1", "RATE = 1"), ("", ""), {"with_constant"}),
        (("k=1.0", "k=2.0"), ("", ""), {"with_default"}),
        (("power=2", "power=3"), ("", ""), {"with_default"}),
        (("x_total = 5", "x_total = 6"), ("", ""), set()),
        (("np.sin(x)", "np.cos(x)"), ("", ""), {"with_numpy"}),
        (("n * even(n - 1)", "n + even(n - 1)"), ("", ""), {"recursive", "even"}),
        (("return recursive(n)", "return recursive(n) + 0"), ("", ""), {"recursive", "even"}),
        (("import math", "import math\n\n\n# a comment\n"), ("", ""), set()),
        (("return outer(x)", "return (outer(\n        x))  # comment"), ("", ""), set()),
        (("def with_helper(x):", "def with_helper(x):\n    'Documented.'"), ("", ""), set()),
        (("", ""), ("# calls on", "# calls on and on\n"), set()),
        (("", ""), ("'''A model.'''", "'''Another text.'''"), set()),
        (("", ""), ("SCALE = 3", "SCALE = 4"), CALLS_INNER),
        (("", ""), ("return x * SCALE", "return x + SCALE"), CALLS_INNER),
        (("", ""), ("inner(x) + 1", "inner(x) + 2"), CALLS_INNER - {"with_class", "with_child"}),
        (("", ""), ("** self.order", "* self.order"), {"with_class", "with_child"}),
        (("", ""), ("order = 2", "order = 3"), {"with_class", "with_child"}),
        (("", ""), ("    pass", "    extra = 1"), {"with_child"}),
        (("", ""), ('"a": [1, 2]', '"a": [1, 3]'), {"with_table"}),
        (("", ""), ("return 0", "return 1"), set()),
    ],
)
def test_an_edit_changes_exactly_what_depends_on_it(
    digests: Callable[..., dict[str, str]],
    steps: tuple[str, str],
    helpers: tuple[str, str],
    changed: set[str],
) -> None:
    before, after = digests(), digests(steps, helpers)
    assert set(before) == ALL
    assert {name for name in ALL if before[name] != after[name]} == changed


def test_the_name_of_the_module_does_not_count(tmp_path: Path) -> None:
    text = "def f(x):\n    return g(x)\n\ndef g(x):\n    return x + 1\n"
    assert code_digest(load(tmp_path, "steps", text).f) == code_digest(load(tmp_path, "script", text).f)


def test_a_version_stands_for_the_code() -> None:
    assert code_digest(math.sin, version="1") == code_digest(len, version="1")
    assert code_digest(len, version="1") != code_digest(len, version="2")
    assert re.fullmatch(r"[0-9a-f]{32}", code_digest(len, version="1"))
    assert re.fullmatch(r"[0-9a-f]{32}", code_digest(len))


def test_explain_names_every_part(tmp_path: Path) -> None:
    load(tmp_path, "helpers", HELPERS)
    before = explain_code(load(tmp_path, "steps", STEPS).with_helper)
    assert set(before) == {"steps.with_helper", "helpers.outer", "helpers.inner", "helpers.SCALE"}
    load(tmp_path, "helpers", HELPERS.replace("inner(x) + 1", "inner(x) + 2"))
    after = explain_code(load(tmp_path, "steps", STEPS).with_helper)
    assert {name for name in before if before[name] != after[name]} == {"helpers.outer"}


def test_libraries_are_named_not_read() -> None:
    for function in (np.sin, np.mean, np.linalg.norm, math.sin, len, functools.reduce, dict.get, [].append):
        assert code_digest(function) == code_digest(function)
    assert len({code_digest(function) for function in (np.sin, np.cos, np.mean, math.sin, len, sum)}) == 6
    assert "numpy.linalg.norm" in explain_code(np.linalg.norm)


def test_closures_count_by_content_and_code() -> None:
    def make(value: Any) -> Callable[[], Any]:
        return lambda: value

    assert code_digest(make([1, 2])) == code_digest(make([1, 2]))
    assert code_digest(make([1, 2])) != code_digest(make([1, 3]))
    assert code_digest(make(1)) != code_digest(make(1.0))
    assert code_digest(make(make(1))) != code_digest(make(make(2)))
    assert code_digest(make(np.arange(3))) != code_digest(make(np.arange(4)))
    assert code_digest(make(object())) == code_digest(make(object()))


def test_partials_count_function_and_arguments() -> None:
    def power(x: float, n: int) -> float:
        return float(x**n)

    assert code_digest(functools.partial(power, n=2)) == code_digest(functools.partial(power, n=2))
    different = (
        power,
        functools.partial(power, n=2),
        functools.partial(power, n=3),
        functools.partial(power, 2),
    )
    assert len({code_digest(one) for one in different}) == 4


class Scaler:
    def __init__(self, factor: float) -> None:
        self.factor = factor

    def __call__(self, x: float) -> float:
        return x * self.factor

    def add(self, x: float) -> float:
        return x + self.factor


def test_methods_and_callable_objects_count_their_state() -> None:
    assert code_digest(Scaler(1)) == code_digest(Scaler(1))
    assert code_digest(Scaler(1).add) == code_digest(Scaler(1).add)
    assert (
        len({code_digest(one) for one in (Scaler(1), Scaler(2), Scaler(1).add, Scaler(2).add, Scaler)}) == 5
    )


class Node:
    def __init__(self, name: str) -> None:
        self.name = name
        self.itself = self


def test_objects_of_the_project_count_their_class_and_state() -> None:
    def make(value: Any) -> Callable[[], Any]:
        return lambda: value

    assert code_digest(make(Node("a"))) == code_digest(make(Node("a")))
    assert code_digest(make(Node("a"))) != code_digest(make(Node("b")))
    assert code_digest(make([Node("a")])) != code_digest(make([Node("b")]))
    assert any(name.endswith("Node") for name in explain_code(make(Node("a"))))


def test_wrappers_are_followed_both_ways() -> None:
    def twice(function: Callable[[int], int], times: int) -> Callable[[int], int]:
        @functools.wraps(function)
        def wrapper(x: int) -> int:
            return function(x) * times

        return wrapper

    def one(x: int) -> int:
        return x + 1

    def two(x: int) -> int:
        return x + 2

    wrapped = (one, twice(one, 2), twice(one, 3), twice(two, 2), functools.cache(one), functools.cache(two))
    assert len({code_digest(function) for function in wrapped}) == 6
    cached = functools.cache(one)
    before = code_digest(cached)
    cached(1)
    assert code_digest(cached) == before


def test_containers_of_functions_are_followed() -> None:
    def make(functions: Any) -> Callable[[], Any]:
        return lambda: functions

    a, b = (lambda: 1), (lambda: 2)
    assert len({code_digest(make(one)) for one in ([a, b], [b, a], [a], {"a": a}, {"b": a})}) == 5
    loop: list[Any] = [a]
    loop.append(loop)
    assert code_digest(make(loop)) == code_digest(make(loop))


def test_lambdas_on_one_line_are_told_apart(tmp_path: Path) -> None:
    module = load(
        tmp_path,
        "steps",
        "a, b, c, d = lambda x: x + 1, lambda x: x + 2, lambda: (lambda x: x), lambda x:(x+1)\n",
    )
    digests = [code_digest(one) for one in (module.a, module.b, module.c, module.c(), module.d)]
    assert len(set(digests)) == 4
    assert digests[0] == digests[4]


def test_code_without_source_goes_by_its_bytecode() -> None:
    def made(body: str, **namespace: Any) -> Any:
        exec(f"def f(x):\n    return {body}\n", namespace)
        return namespace["f"]

    assert code_digest(made("x + 1")) == code_digest(made("(x   +   1)"))
    assert code_digest(made("x + 1")) != code_digest(made("x + 2"))
    assert code_digest(made("x + k", k=1)) != code_digest(made("x + k", k=2))
    assert code_digest(made("g(x)", g=made("x"))) != code_digest(made("g(x)", g=made("-x")))
    assert code_digest(made("x in {'a', 'b', 'c'}")) == code_digest(made("x in {'a', 'b', 'c'}"))


def test_a_class_without_source_goes_by_its_members() -> None:
    def made(body: str) -> Any:
        namespace: dict[str, Any] = {"__name__": "unknown"}
        exec(f"class A:\n    k = 1\n    def run(self):\n        return {body}\n", namespace)
        return namespace["A"]

    assert code_digest(made("1")) == code_digest(made("1"))
    assert code_digest(made("1")) != code_digest(made("2"))


def test_a_file_edited_after_its_import_does_not_speak_for_the_old_code(tmp_path: Path) -> None:
    module = load(tmp_path, "steps", "def f(x):\n    return x + 1\n\ndef g(x):\n    return x\n")
    before = {name: code_digest(getattr(module, name)) for name in "fg"}
    text = "\n\ndef f(x):\n    return x + 2222\n\ndef g(x):\n    # moved\n    return x\n"
    assert module.__file__ is not None
    Path(module.__file__).write_text(text)
    assert code_digest(module.g) == before["g"]
    edited = load(tmp_path, "steps", text)
    assert code_digest(module.f) != code_digest(edited.f)
    assert code_digest(edited.g) == before["g"]


def test_weft_decorators_are_left_out_and_others_stay(tmp_path: Path) -> None:
    weft = types.ModuleType("weft.pipeline_standin")

    class Step:
        def __init__(self, function: Any) -> None:
            self.function = function

        def __call__(self, x: Any) -> Any:
            return self.function(x)

    Step.__module__ = "weft.pipeline"

    def step(name: str, **options: Any) -> Any:
        return Step

    step.__module__ = "weft.pipeline"
    weft.step = step  # type: ignore[attr-defined]
    sys.modules["weft.pipeline_standin"] = weft
    try:
        head = "import weft.pipeline_standin as w\nfrom weft.pipeline_standin import step as s\n"
        head += "def other(f):\n    return f\n\n"
        body = "def f(x):\n    return g(x)\n\n@s('z')\ndef g(x):\n    return x\n"
        decorators = (
            "@w.step('y', retries=3)\n",
            "@s('y')\n@w.step('z')\n",
            "",
            "@other\n",
            "@s('y')\n@other\n",
        )
        codes = [code_digest(load(tmp_path, "steps", head + one + body).f) for one in decorators]
    finally:
        del sys.modules["weft.pipeline_standin"]
    assert codes[0] == codes[1] == codes[2]
    assert codes[3] == codes[4] != codes[0]


def test_long_chains_and_deep_expressions(tmp_path: Path) -> None:
    chain = "".join(f"def f{n}(x):\n    return f{n + 1}(x)\n\n" for n in range(1500))
    deep = "def g(x):\n    return " + " + ".join(["x"] * 700) + "\n"
    module = load(tmp_path, "steps", f"{chain}def f1500(x):\n    return x\n\n{deep}")
    assert len(explain_code(module.f0)) == 1501
    assert code_digest(module.g) == code_digest(module.g)


SCRIPT = """
import dataclasses, enum, functools, sys
from weft.model.identity import code_digest, explain_code

NAMES = {"alpha", "beta", "gamma"}

@dataclasses.dataclass
class Config:
    rate: float = 0.5
    def scaled(self): return self.rate * 2

@dataclasses.dataclass(slots=True, frozen=True)
class Slotted:
    name: str = "a"

class Colour(enum.Enum):
    RED = 1

class Names(list): pass

CONFIG = Config()
OTHERS = [Slotted(), Colour.RED, Names([1, 2])]

def g(x): return x in {"a", "b", "c"} and x in NAMES

def f(x, names=frozenset(NAMES)): return g(x), CONFIG.scaled(), OTHERS, [n for n in names]

exec("def h(x): return x in {'a', 'b', 'c'}")
print(code_digest(f), code_digest(h), code_digest(functools.partial(f, 1)), code_digest(Config))
"""


def test_another_process_finds_the_same(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "moved.py").write_text("# on other lines\n\n" + SCRIPT)
    source = str(Path(sys.modules["weft.errors"].__file__ or "").parents[1])
    outputs = {
        subprocess.run(
            [sys.executable, str(tmp_path / name)],
            env={"PYTHONPATH": source, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for name, seed in (("script.py", "1"), ("script.py", "2"), ("moved.py", "3"))
    }
    assert len(outputs) == 1
    assert len(set(outputs.pop().split())) == 4
