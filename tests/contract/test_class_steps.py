"""Class steps: `__init__` takes configuration, ``run`` takes results, both by name."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import weft
from weft.testing import Calls


@weft.step("y", mapspec="x[i] -> y[i]")
class Train:
    """Has a state that only one element may see."""

    def __init__(self, lr: float = 0.1, depth: int = 2) -> None:
        self.lr, self.depth, self.seen = lr, depth, 0

    def run(self, x: float, *, offset: float = 0.0) -> float:
        self.seen += 1
        return self.scaled(x) + offset + self.seen

    def scaled(self, x: float) -> float:
        return x * self.lr * self.depth


@weft.step("y", mapspec="x[i] -> y[i]", name="Train")
def train(x: float, lr: float = 0.1, depth: int = 2, *, offset: float = 0.0) -> float:
    return x * lr * depth + offset + 1


class Loads:
    """Slow to load, so it says when it is."""

    def __init__(self, path: str, size: Any, calls: Calls) -> None:
        calls("load", path, size)
        self.size = size

    def run(self, x: int) -> int:
        return int(x * self.size)


def loads(**options: Any) -> weft.Step:
    return weft.Step(Loads, "y", options.pop("mapspec", "x[i] -> y[i]"), ignore=("calls",), **options)


@pytest.mark.parametrize("given", [{}, {"lr": 2.0}, {"depth": 3, "offset": 1.0}], ids=str)
def test_a_class_and_a_function_give_the_same(backend: str, given: dict[str, Any], tmp_path: Path) -> None:
    options: dict[str, Any] = {"backend": backend, "n_jobs": 2, "progress": False}
    inputs = {"x": np.arange(12.0), **given}
    of_class = Train.run(inputs, run_dir=tmp_path / "run", **options)["y"]
    assert of_class.tolist() == train.run(inputs, backend="sequential")["y"].tolist()
    assert weft.open_run(tmp_path / "run")["y"].tolist() == of_class.tolist()


def test_configuration_may_be_mapped_or_swept_or_a_result() -> None:
    step = weft.Step(Train.function, "y", "x[i], lr[j] -> y[i, j]")
    assert step.run({"x": [1.0, 2.0], "lr": [1.0, 10.0]})["y"].tolist() == [[3, 21], [5, 41]]
    swept = weft.Pipeline([Train]).run({"x": [1.0, 2.0]}, sweep=weft.grid(lr=[1.0, 10.0]))
    assert swept["y"].tolist() == [[3, 5], [21, 41]]
    depth = weft.step("depth")(lambda: 5)
    assert weft.Pipeline([depth, Train])(x=[1.0], lr=1.0)["y"].tolist() == [6]


def test_the_decorated_class_makes_instances_of_itself() -> None:
    model = Train(lr=3.0)
    assert type(model) is Train.function and model.run(2.0) == 13
    assert Train.__doc__ == "Has a state that only one element may see."


def test_what_step_options_do_to_functions_they_do_to_classes() -> None:
    step = weft.Step(
        Train.function,
        "y",
        "value[i] -> y[i]",
        renames={"x": "value"},
        bound={"lr": 1.0},
        defaults={"offset": 7.0},
    )
    assert step.name == "Train"
    assert [p.name for p in step.inputs] == ["depth", "value", "offset"]
    assert step.run({"value": [1.0]})["y"].tolist() == [10]
    scoped = weft.Step(Train.function, "y", "x[i] -> y[i]", scope="a")
    assert scoped.run({"a.x": [1.0], "a.lr": 1.0})["a.y"].tolist() == [3]


def test_a_dataclass_with_run_is_a_class_step_and_other_classes_are_functions() -> None:
    @dataclass
    class Scale:
        factor: int = 2

        def run(self, x: int) -> int:
            return x * self.factor

    @dataclass
    class Pair:
        x: int
        y: int = 1

    assert weft.Step(Scale, "y").run({"x": 3, "factor": 5})["y"] == 15
    assert weft.Step(Pair, "p").run({"x": 3})["p"] == Pair(3)


def test_run_may_be_static_and_take_any_name() -> None:
    class Loose:
        @staticmethod
        def run(x: int, **others: int) -> int:
            return x + sum(others.values())

    assert weft.Step(Loose, "y", "x[i], k[i] -> y[i]").run({"x": [1, 2], "k": [10, 20]})["y"].tolist() == [
        11,
        22,
    ]


def test_streams_contexts_and_resources_go_to_run() -> None:
    @weft.step("y", mapspec="x[i] -> y[i]", resources={"cpus": 1})
    class Asks:
        def __init__(self, k: int = 1) -> None:
            self.k = k

        def run(self, x: int, rng: np.random.Generator, ctx: weft.Context, res: weft.Resources) -> Any:
            return rng.random(), ctx.index["i"], res.cpus, self.k

    @weft.step("y", mapspec="x[i] -> y[i]", name="Asks")
    def asks(x: int, rng: np.random.Generator, ctx: weft.Context, res: weft.Resources) -> Any:
        return rng.random(), ctx.index["i"], 1, 1

    assert list(Asks.run({"x": [1, 2]})["y"]) == list(asks.run({"x": [1, 2]})["y"])


def test_batches_several_outputs_and_opened_axes() -> None:
    class Batch:
        def __init__(self, k: int) -> None:
            self.k = k

        def run(self, x: Any) -> Any:
            return x + self.k, x * self.k

    step = weft.Step(Batch, ("a", "b"), "x[i] -> a[i], b[i]", batch=True, reuse=True)
    run = step.run({"x": np.arange(3), "k": 2})
    assert run["a"].tolist() == [2, 3, 4] and run["b"].tolist() == [0, 2, 4]
    opened = weft.Step(Batch, "c", "... -> c[j]").run({"x": 1, "k": 4})
    assert opened["c"].tolist() == [5, 4]


def test_nested_class_steps() -> None:
    last = weft.step("z", mapspec="y[i] -> z[i]")(lambda y: -y)
    nested = weft.Pipeline([Train.replace(reuse=True), last]).nest("z", "both")
    assert nested(x=[1.0, 2.0], lr=1.0)["z"].tolist() == [-3, -6]


# Reuse


def test_each_element_has_an_instance_of_its_own(calls: Calls) -> None:
    loads().run({"x": [1, 2, 3], "path": "m", "size": 2, "calls": calls}, backend="sequential")
    assert calls.made() == ["load m 2"] * 3


def test_reuse_loads_once_a_job(calls: Calls, backend: str, kept: dict[str, Any]) -> None:
    options: dict[str, Any] = {"backend": backend, "n_jobs": 2, "block_size": 10, "progress": False, **kept}
    run = loads(reuse=True).run({"x": np.arange(60), "path": "m", "size": 2, "calls": calls}, **options)
    assert run["y"].tolist() == list(range(0, 120, 2))
    # Six blocks, and perhaps a first job that measured.
    assert 1 <= len(calls) <= 7 and set(calls.made()) == {"load m 2"}


def test_reuse_in_one_job_loads_once(calls: Calls) -> None:
    inputs = {"x": np.arange(60), "path": "m", "size": 2, "calls": calls}
    step = loads(reuse=True, elements_per_job=60)
    step.run(inputs, backend="sequential", block_size=60)
    assert len(calls) == 1
    step.run(inputs, backend="sequential", block_size=60)
    assert len(calls) == 2, "an instance does not outlive its job"


def test_another_configuration_makes_another_instance(calls: Calls) -> None:
    # 1, 1.0 and True are equal, and different configurations.
    sizes = [1, 1, 1.0, 1.0, True, [2], [2], [2.0]]
    run = loads(reuse=True, mapspec="x[i], size[i] -> y[i]").run(
        {"x": np.arange(5), "path": "m", "size": sizes[:5], "calls": calls},
        backend="sequential",
        block_size=5,
    )
    assert run["y"].tolist() == [0, 1, 2, 3, 4]
    assert calls.take() == ["load m 1", "load m 1.0", "load m True"]


def test_equal_configurations_need_not_be_one_object(calls: Calls) -> None:
    class Deep:
        def __init__(self, config: dict[str, Any]) -> None:
            calls("load")

        def run(self, x: int) -> int:
            return x

    configs = [{"a": np.arange(3)}, {"a": np.arange(3)}, {"a": np.arange(3.0)}]
    weft.Step(Deep, "y", "x[i], config[i] -> y[i]", reuse=True).run(
        {"x": [1, 2, 3], "config": configs}, backend="sequential", block_size=3
    )
    assert len(calls) == 2


def test_a_reused_instance_survives_an_element_that_fails(calls: Calls) -> None:
    class Fails:
        def __init__(self) -> None:
            calls("load")

        def run(self, x: int) -> int:
            return 6 // x

    run = weft.Step(Fails, "y", "x[i] -> y[i]", reuse=True).run(
        {"x": [1, 0, 3]}, backend="sequential", block_size=3, on_error="continue"
    )
    assert len(calls) == 1
    assert run.get("y", missing=None).tolist() == [6, None, 2]
    with pytest.raises(ZeroDivisionError):
        run.errors[0].reproduce()


# Errors


class Both:
    def __init__(self, x: int) -> None: ...

    def run(self, x: int) -> None: ...


class Early:
    def __init__(self, rng: np.random.Generator) -> None: ...

    def run(self, x: int) -> None: ...


class ByPosition:
    def run(self, x: int, /) -> None: ...


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: weft.Step(Both, "y"), r"'Both': 'x' is an argument of both __init__ and run.*rename"),
        (lambda: weft.Step(Early, "y"), r"'Early': 'rng' is made anew .* run can take it, __init__ cannot"),
        (lambda: weft.Step(ByPosition, "y"), r"'ByPosition': 'x' can only be given by position"),
        (lambda: weft.Step(lambda x: x, "y", reuse=True), r"step 'y': reuse=True .* class with a method run"),
        (lambda: weft.Step(dict, "y", reuse=True), r"'dict' is none"),
        (
            lambda: Train.replace(mapspec="z[i] -> y[i]"),
            r"'z', which is not an argument of Train\(lr, depth, x",
        ),
    ],
)
def test_errors(make: Callable[[], Any], says: str) -> None:
    with pytest.raises(weft.WiringError, match=says):
        make()


def test_what_is_missing_is_named() -> None:
    with pytest.raises(weft.WeftError, match="size"):
        loads().run({"x": [1], "path": "m", "calls": None})


def test_a_failing_init_is_the_elements_failure() -> None:
    class Refuses:
        def __init__(self, k: int) -> None:
            raise OSError("no such model")

        def run(self, x: int) -> int: ...

    with pytest.raises(weft.StepError, match="no such model"):
        weft.Step(Refuses, "y", "x[i] -> y[i]", reuse=True).run({"x": [1], "k": 1}, backend="sequential")


# Identity

MODULE = """
import weft

class Base:
    def prepared(self, x):
        return x + 1

@weft.step("y", mapspec="x[i] -> y[i]")
class Train(Base):
    '''Trains.'''

    def __init__(self, lr=0.1):
        self.lr = lr * 10

    def run(self, x):
        return self.helped(super().prepared(x))

    def helped(self, x):
        return x * self.lr
"""
RUNNING = """
import sys, weft, study_of_class
if __name__ == "__main__":
    inputs = {"x": [1, 2, 3]}
    run = study_of_class.Train.run(inputs, run_dir="run", backend=sys.argv[1], n_jobs=2, progress=False)
    print(run["y"].tolist())
"""


def run_module(folder: Path, text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "study_of_class.py").write_text(text)
    (folder / "go.py").write_text(RUNNING)
    return subprocess.run(
        [sys.executable, "-B", "go.py", *arguments], cwd=folder, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ("lr * 10", "lr * 11", "Train"),
        ("self.helped(super()", "-self.helped(super()", "Train"),
        ("x * self.lr", "x / self.lr", "Train"),
        ("x + 1", "x + 2", "Base"),
    ],
    ids=["init", "run", "method", "base"],
)
def test_an_edit_is_noticed(tmp_path: Path, old: str, new: str, part: str) -> None:
    first = run_module(tmp_path, MODULE, "sequential")
    assert first.stdout == "[2.0, 3.0, 4.0]\n", first.stderr
    edited = run_module(tmp_path, MODULE.replace(old, new), "sequential")
    assert "RunMismatch" in edited.stderr and part in edited.stderr


def test_layout_and_options_of_the_decorator_are_no_edit(tmp_path: Path, processes: str) -> None:
    first = run_module(tmp_path, MODULE, processes)
    assert first.stdout == "[2.0, 3.0, 4.0]\n", first.stderr
    quiet = MODULE.replace("'''Trains.'''", "# trains").replace('-> y[i]"', '-> y[i]", reuse=True, retries=1')
    again = run_module(tmp_path, quiet, processes)
    assert again.stdout == "[2.0, 3.0, 4.0]\n", again.stderr


MAIN = """
import sys
import weft

RATE = 3

class Base:
    def __init__(self, lr=1):
        self.lr = lr

@weft.step("y", mapspec="x[i] -> y[i]", reuse=True)
class Train(Base):
    def __init__(self, k, lr=2):
        super().__init__(lr)
        self.k = k

    def run(self, x):
        return x * self.lr * RATE + self.k

if __name__ == "__main__":
    run = Train.run({"x": range(20), "k": 1}, run_dir="run", backend=sys.argv[1], n_jobs=2, progress=False)
    print(run["y"].tolist() == [6 * x + 1 for x in range(20)])
"""


def test_classes_of_main_travel(tmp_path: Path, processes: str) -> None:
    (tmp_path / "script.py").write_text(MAIN)
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "script.py", processes], cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        assert done.stdout == "True\n", done.stderr
