"""Studies as YAML files: what they mean, what wins, and what is refused with its line."""

from __future__ import annotations

import functools
import json
import operator
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import weft

MODULE = """
import numpy as np
import weft

@weft.step("y", mapspec="x[i] -> y[i]")
def simulate(x: float, k: float = 1.0) -> float:
    return x * k

def total(y, power: int = 1) -> float:
    return float(np.sum(y**power))

def train(lr: float, size: int = 16, seed: int = 0, note: str = "") -> float:
    return lr * size + seed

class Scale:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    def run(self, total: float) -> float:
        return self.factor * total

def made(times: int) -> weft.Step:
    return weft.step("z")(lambda x: x * times)

def memory(arguments):
    return {"memory": "1G"}

pipe = weft.Pipeline([simulate, weft.step("total")(total)], name="ready")
again = weft.Loop([simulate], n_iterations=2, carry={"x": "y"})
number = 3
"""
STUDY = """\
name: study
variables: {n: 3}
steps:
  - cfg_steps.simulate
  - function: cfg_steps:total
    output: total
    retries: 2
    resources: {cpus: 2}
inputs:
  x:
    _target_: numpy.linspace
    start: 0
    stop: 1
    num: ${variables.n}
sweep:
  k: [1.0, 2.0]
run:
  n_jobs: 1
  on_error: continue
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, require: Callable[..., Any]) -> Iterator[Write]:
    """Write a file into a folder that has a module; what loading it leaves in this process is undone."""
    require("hydra")
    folder = tmp_path / "my studies"
    folder.mkdir()
    (folder / "cfg_steps.py").write_text(MODULE)
    monkeypatch.setattr(sys, "path", sys.path[:])
    before = set(sys.modules)

    def written(text: str, name: str = "study.yaml") -> Path:
        (folder / name).write_text(text)
        return folder / name

    yield written
    for name in set(sys.modules) - before:
        if name in cloudpickle.list_registry_pickle_by_value():
            cloudpickle.unregister_pickle_by_value(sys.modules[name])
        if name.startswith(("cfg_", "weft_study_")):
            del sys.modules[name]


def one(steps: str, **sections: Any) -> str:
    """A file with some steps; sections as JSON, which is YAML."""
    return f"steps: {steps}\n" + "".join(f"{name}: {json.dumps(v)}\n" for name, v in sections.items())


# What a file means


def test_a_study_runs_as_its_file_says(write: Write) -> None:
    study = weft.load_study(write(STUDY))
    assert study.pipeline.name == "study" and list(study.pipeline.steps) == ["simulate", "total"]
    total = study.pipeline.steps["total"]
    assert total.retries == 2 and weft.Resources.from_any(total.resources).cpus == 2
    assert study.plan().n_elements == 2 * 3 + 2
    run = study.run()
    assert run["total"].tolist() == [1.5, 3.0]
    assert run.to_xarray("y")["k"].values.tolist() == [1.0, 2.0]


def test_it_is_the_same_study_as_in_python(write: Write, tmp_path: Path) -> None:
    study = weft.load_study(write(STUDY))
    study.run(run_dir=tmp_path / "run")
    import cfg_steps  # type: ignore[import-not-found]

    by_hand = weft.Pipeline([cfg_steps.simulate, weft.step("total")(cfg_steps.total)])
    inputs = {"x": np.linspace(0, 1, 3)}
    plan = by_hand.plan(inputs, sweep=weft.grid(k=[1.0, 2.0]), run_dir=tmp_path / "run")
    assert plan.done == plan.n_elements == 8


def test_steps_by_name_and_options_that_replace_their_own(write: Write) -> None:
    file = write("""\
        steps:
          double: {function: cfg_steps.simulate, mapspec: "x[j] -> y[j]", bound: {k: 2.0}, version: "1"}
          sum:
            function: cfg_steps:total
            output: total
            config: {power: [1, 2]}
            resources: cfg_steps.memory
          scale: {function: cfg_steps.Scale, output: scaled, reuse: true}
        inputs: {x: [1, 2], factor: 10}
        """)
    study = weft.load_study(file)
    assert list(study.pipeline.steps) == ["double", "sum", "scale"] and study.pipeline.name == "study"
    assert study.run()["scaled"].tolist() == [60.0, 200.0]


@pytest.mark.parametrize("where", ["cfg_steps:pipe", "cfg_steps.pipe", "cfg_steps.py:pipe", "cfg_steps.py"])
def test_a_ready_pipeline(write: Write, where: str) -> None:
    file = write(f"pipeline: {where}\nconfigure: {{total: {{retries: 3}}}}\ninputs: {{x: [1, 2]}}\n")
    study = weft.load_study(file)
    assert study.pipeline.name == "ready" and study.pipeline.steps["total"].retries == 3
    assert study.run()["total"] == 3.0


def test_a_pipeline_among_the_steps_and_a_step_that_hydra_makes(write: Write) -> None:
    made = "{function: {_target_: cfg_steps.made, times: 3}, mapspec: 'x[i] -> z[i]'}"
    study = weft.load_study(write(one(f"[cfg_steps.pipe, {made}]", inputs={"x": [1, 2]})))
    run = study.run()
    assert run["total"] == 3.0 and run["z"].tolist() == [3, 6]


def test_a_study_of_what_hydra_makes_only(write: Write) -> None:
    alone = weft.load_study(write(one("[{_target_: cfg_steps.made, times: 3}]"))).pipeline
    assert alone(x=2)["z"] == 6
    with pytest.raises(weft.InvalidInput, match=r"study.yaml:1: cfg_steps has no 'maed'"):
        weft.load_study(write(one("[{_target_: cfg_steps.maed, times: 3}]")))


def test_a_loop_holds_steps_of_its_own(write: Write) -> None:
    file = write("""\
        steps:
          - loop:
              name: epoch
              n_iterations: 3
              carry: {lr: loss}
              steps:
                train: {function: cfg_steps.train, output: loss}
                inner: {loop: {n_iterations: 2, steps: [{function: cfg_steps.Scale, output: scaled}]}}
        inputs: {lr: 0.5, total: 1.0, factor: 2}
        """)
    study = weft.load_study(file, ["steps.0.loop.n_iterations=4", "steps.0.loop.steps.train.retries=2"])
    import cfg_steps

    train = weft.step("loss", name="train", retries=2)(cfg_steps.train)
    inner = weft.Loop([weft.step("scaled")(cfg_steps.Scale)], n_iterations=2, name="inner")
    by_hand = weft.Loop([train, inner], n_iterations=4, name="epoch", carry={"lr": "loss"})
    assert repr(study.pipeline) == repr(weft.Pipeline([by_hand], name="study"))
    assert study.plan().n_elements == weft.Pipeline([by_hand]).plan(study.inputs).n_elements
    assert "<Loop" in repr(weft.load_study(write(one("[cfg_steps.again]"))).pipeline.parts)


def test_values(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEFT_TEST_NOTE", "from outside")
    file = write("""\
        variables:
          shared: &shared {size: 8}
        steps: [{function: cfg_steps.train, output: loss}]
        inputs:
          lr: 1e-3
          seed: {_target_: builtins.max, _args_: [2, {_target_: builtins.len, _args_: [abc]}]}
          note: ${oc.env:WEFT_TEST_NOTE}
          <<: *shared
        """)
    assert weft.load_study(file).inputs == {"lr": 1e-3, "seed": 3, "note": "from outside", "size": 8}


def test_options_of_the_run(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = write("""\
        pipeline: cfg_steps:pipe
        inputs: {x: [1.0, 2.0]}
        run:
          run_dir: runs/a
          seed: 7
          backend:
            "": sequential
            simulate: {_target_: concurrent.futures.ThreadPoolExecutor, max_workers: 1}
          outputs: [y]
        """)
    run = weft.load_study(file).run()
    assert run.path == str(tmp_path / "runs" / "a") and run.seed == 7
    assert run["y"].tolist() == [1.0, 2.0] and run.status["total"]["open"] == 1


names = st.sampled_from("abcd")
values = st.lists(st.integers(0, 3), min_size=1, max_size=3)
forms = st.recursive(
    st.one_of(
        st.dictionaries(names, values, min_size=1, max_size=2).map(lambda v: {"grid": v}),
        st.dictionaries(names, st.integers(0, 3), min_size=1, max_size=2).map(
            lambda v: (
                {"zipped": {name: [start, 4] for name, start in v.items()}, "named": "pair"} if v else {}
            )
        ),
        st.lists(st.dictionaries(names, st.integers(0, 3), min_size=1), min_size=1, max_size=3).map(
            lambda v: {"points": v}
        ),
        st.dictionaries(names, values, min_size=1, max_size=2),
    ),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=2)
        | st.lists(inner, min_size=1, max_size=2).map(lambda parts: {"sum": parts})
    ),
    max_leaves=4,
)


def by_hand(form: Any) -> weft.Sweep:
    if isinstance(form, list):
        return functools.reduce(operator.mul, map(by_hand, form))
    if "sum" in form:
        return functools.reduce(operator.add, map(by_hand, form["sum"]))
    if "grid" in form:
        return weft.grid(**form["grid"])
    if "zipped" in form:
        return weft.zipped(**form["zipped"]).named("pair")
    return weft.points(form["points"]) if "points" in form else weft.grid(**form)


@settings(max_examples=40, deadline=None)
@given(forms)
def test_a_sweep_is_what_it_would_be_in_python(write: Write, form: Any) -> None:
    write("def f(a=9, b=9, c=9, d=9):\n    return 0\n", "cfg_abcd.py")
    file = write(one("[{function: cfg_abcd.f, output: y}]", sweep=form))
    try:
        wanted = by_hand(form)
    except weft.InvalidInput as error:
        with pytest.raises(weft.InvalidInput) as refused:
            weft.load_study(file)
        assert str(error) in str(refused.value) and str(refused.value).startswith(f"{file}:2: ")
        return
    found = weft.load_study(file).options["sweep"]
    assert found.names == wanted.names and list(found) == list(wanted)


# What wins


@pytest.mark.parametrize(
    ("overrides", "look", "wanted"),
    [
        (["x=[1, 2]"], lambda s: s.inputs["x"], [1, 2]),
        (["inputs.x=[]"], lambda s: s.inputs["x"], []),
        (["x.num=5"], lambda s: len(s.inputs["x"]), 5),
        (["variables.n=4"], lambda s: len(s.inputs["x"]), 4),
        (["power=2"], lambda s: s.inputs["power"], 2),
        (["run.n_jobs=2", "run.seed=3"], lambda s: (s.options["n_jobs"], s.options["seed"]), (2, 3)),
        (["run={}"], lambda s: "n_jobs" in s.options, False),
        (["steps.1.retries=5"], lambda s: s.pipeline.steps["total"].retries, 5),
        (["steps.1.resources.memory=1G"], lambda s: s.pipeline.steps["total"].resources["memory"], "1G"),
        (["sweep.k=[3.0]"], lambda s: list(s.options["sweep"]), [{"k": 3.0}]),
        (["sweep.k=range(2, 4)"], lambda s: list(s.options["sweep"]), [{"k": 2}, {"k": 3}]),
        (["x=range(3)"], lambda s: s.inputs["x"], [0, 1, 2]),
        (["inputs.x=range(4, 0, -2)"], lambda s: s.inputs["x"], [4, 2]),
        (["sweep=", "k=4.0"], lambda s: (s.inputs["k"], "sweep" in s.options), (4.0, False)),
        (["name=${variables.n}x"], lambda s: s.pipeline.name, "3x"),
        (["configure.total.timeout=9"], lambda s: s.pipeline.steps["total"].timeout, 9),
    ],
)
def test_overrides(write: Write, overrides: list[str], look: Callable[[Any], Any], wanted: Any) -> None:
    assert look(weft.load_study(write(STUDY), overrides)) == wanted


def test_an_override_of_a_scoped_input(write: Write) -> None:
    file = write(one("[{function: cfg_steps.train, output: loss, scope: a}]", inputs={"a.lr": 1.0}))
    assert weft.load_study(file, ["a.lr=2.0", "inputs.a.seed=1"]).inputs == {"a.lr": 2.0, "a.seed": 1}


def test_what_is_mandatory_is_given_as_text_or_as_a_value(write: Write) -> None:
    file = write("pipeline: cfg_steps:pipe\ninputs:\n  x: ???\n")
    with pytest.raises(weft.InvalidInput, match=r"study.yaml:3: inputs.x: Missing mandatory value"):
        weft.load_study(file)
    assert weft.load_study(file, ["x=[2]"]).run()["total"] == 2.0
    assert weft.load_study(file, inputs={"x": np.arange(3)}).run()["total"] == 3.0


def test_what_is_given_in_python_wins(write: Write) -> None:
    text = STUDY + "  backend: loky\n  timeout: 5\n"
    study = weft.load_study(write(text))
    assert study.plan({"x": [1]}).n_elements == 4
    assert study.run({"x": [1]}, backend="sequential", sweep=weft.grid(power=[1, 2]))["total"].tolist() == [
        1,
        1,
    ]


# What is refused


SIMULATE = "\n  - cfg_steps.simulate"
TWICE = f"steps:{SIMULATE}\n  - function: cfg_steps.train\n    retries: 1\n    output: y"


def step(*lines: str) -> str:
    """A file with one step, and lines that say more of it; the first is line 4."""
    return "\n    ".join(["steps:\n  - function: cfg_steps.total", "output: t", *lines])


def ready(*lines: str) -> str:
    """A file with a ready pipeline, and more lines; the first is line 2."""
    return "\n".join(["pipeline: cfg_steps:pipe", *lines])


def loop(*lines: str) -> str:
    """A file with a loop of one step, and lines that say more of it; the first is line 4."""
    steps = "steps: [{function: cfg_steps.train, output: loss}]"
    return "\n      ".join(["steps:\n  - loop:", steps, *lines])


REFUSED = [
    ("nmae: a", 1, "'nmae' is not known here. Did you mean 'name'?"),
    ("name: [a]", 1, "name is text or null, got ['a']"),
    ("name: a\nsteps: 3", 2, "steps are a list, or a mapping by name; got 3"),
    ("name: a", 1, "either steps or pipeline"),
    ("- a", 1, "a study is a mapping with name, pipeline, steps"),
    ("name: a\nsteps: [a", 3, "this is not YAML"),
    ("name: a\nname: b", 2, "this is not YAML: found duplicate key"),
    ("steps:\n  -", 2, "a step is the path of one"),
    ("steps:\n  - output: y", 2, "has no function"),
    ("steps:\n  - cfg_stebs.total", 2, "no module 'cfg_stebs' (cfg_stebs.total). Did you mean 'cfg_steps'?"),
    ("steps:\n  - cfg_steps.totl", 2, "cfg_steps has no 'totl'. Did you mean 'total'?"),
    ("steps:\n  - total", 2, "not of the form package.module:name"),
    ("steps:\n  - cfg_steps.total", 2, "is a function, not a step: say what it makes, output: NAME"),
    ("steps:\n  - cfg_steps.number", 2, "is an int, not a function"),
    ("steps:\n  - cfg_broken.f", 2, "ZeroDivisionError: division by zero (cfg_broken.py, line 2)"),
    ("steps:\n  a: cfg_steps.pipe", 2, "is a pipeline: it has no options"),
    (step("retry: 1"), 4, "'retry' is not known here. Did you mean 'retries'?"),
    (step("retries: x"), 4, "retries is a whole number, got 'x'"),
    (step("retries: -1"), 4, "retries is a whole number ≥ 0"),
    (step("timeout: soon"), 4, "timeout is a number or null, got 'soon'"),
    (step("keep: 1"), 4, "keep is true or false, got 1"),
    (step("bound:", "  power: 1", "  z: 1"), 6, "bound names 'z'"),
    (step("resources:", "  cpus: 1", "  memory: lots"), 6, "memory='lots'"),
    (step("mapspec: a[i]"), 4, "there is no '->'"),
    (step("mapspec: q[i] -> t[i]"), 4, "its mapspec names 'q'"),
    (step("config:", "  power: [1]", "  q: 1"), 6, "config names 'q'"),
    (step("backend: lokky"), 4, "no backend 'lokky'"),
    (step("after: nothing"), 4, "is after 'nothing', unknown"),
    (TWICE, 5, "'y' is made by step 'simulate' and by 'train'"),
    (step("config: {y: [1]}") + SIMULATE, 4, "config gives 'y', which step 'simulate' makes"),
    (loop("n_iterations: many"), 4, "n_iterations is a whole number, got 'many'"),
    (loop("n_iterations: 0"), 4, "n_iterations is a whole number ≥ 1, got 0"),
    (loop("untl: loss"), 4, "'untl' is not known here. Did you mean 'until'?"),
    (loop("carry:", "  lr: los"), 4, "carry names 'los', which its body does not make. Did you mean 'loss'?"),
    (loop("steps: []"), 4, "found duplicate key steps"),
    ("steps: [{loop: {n_iterations: 3}}]", 1, "steps are a list, or a mapping by name; got None"),
    (loop().replace("output:", "retries: x, output:"), 3, "retries is a whole number, got 'x'"),
    (f"{loop('n_iterations: 2')}\n    other: 1", 5, "'other' is not known here"),
    ("pipeline: cfg_steps:pip", 1, "cfg_steps has no 'pip'. Did you mean 'pipe'?"),
    ("pipeline: cfg_steps.py:pip", 1, "has no 'pip'. Did you mean 'pipe'?"),
    ("pipeline: none.py:pipe", 1, "There is no Python file"),
    ("pipeline: cfg_steps:number", 1, "is an int, not a pipeline"),
    (ready("configure:", "  total:", "    version: a"), 4, "configure cannot set 'version'"),
    (ready("configure:", "  totl: {retries: 1}"), 3, "Did you mean 'total'?"),
    (ready("inputs: [1]"), 2, "inputs is a mapping by name, got [1]"),
    (ready("inputs:", "  xx: [1]"), 3, "no input 'xx'. Did you mean 'x'? Inputs: x, k, power"),
    (ready("inputs:", "  y: [1]"), 3, "'y' is made by step 'simulate'"),
    (ready("inputs:", "  k: !!binary aGVsbG8="), 3, "step 'simulate' takes 'k' as a number, got b'hello'"),
    (ready("inputs:", "  x:", "    - !!binary aGVsbG8="), 4, "takes 'x' as a number, got b'hello'"),
    (ready("inputs:", "  power: two"), 3, "step 'total' takes 'power' as a whole number, got 'two'"),
    (ready("inputs:", "  power: [1]"), 3, "got [1]. Many: a mapspec, or the sweep."),
    (ready("inputs:", "  x:", "    - 1", "    - two"), 5, "takes 'x' as a number, got 'two'"),
    (ready("inputs:", "  x: ${variables.m}"), 3, "Interpolation key 'variables.m' not found"),
    (ready("inputs:", "  x: 1", "  k: ${variables"), 4, "inputs.k: "),
    (ready("inputs:", "  x: ${oc.env:WEFT_TEST_NOTHING}"), 3, "'WEFT_TEST_NOTHING' not found"),
    (ready("inputs:", "  x: ${inputs.x}"), 3, "inputs.x: Recursive interpolation"),
    (ready("name: a\0b"), 1, "this is not YAML"),
    (ready("inputs:", "  x: {_target_: numpy.nothing}"), 3, "numpy.nothing cannot be made: ImportError"),
    (ready("inputs:", "  x: {_target_: numpy.ones, shpe: 3}"), 3, "numpy.ones cannot be made: TypeError"),
    (ready("sweep:", "  - k: [1.0]", "  - kk: [1]"), 4, "no input 'kk'. Did you mean 'k'?"),
    (ready("sweep:", "  k: 0.5"), 3, "The values of 'k' in a sweep are a list, got 0.5"),
    (ready("sweep:", "  k:", "    - 0.5", "    - half"), 5, "takes 'k' as a number, got 'half'"),
    (ready("sweep:", "  zipped:", "    k: [1]", "    power: [1, 2]"), 4, "zipped values have one length"),
    (ready("sweep: {grid: [1]}"), 2, "grid is a mapping by name, got [1]"),
    (ready("sweep: {sum: {k: [1]}}"), 2, "sum is a list of sweeps"),
    (ready("inputs:", "  k: 1.0", "sweep: {k: [1.0]}"), 3, "'k' is varied by the sweep too"),
    (ready("run:", "  n_jobs: two"), 3, "n_jobs is a whole number or null, got 'two'"),
    (ready("run:", "  n_jobs: 0"), 3, "n_jobs is at least 1"),
    (ready("run:", "  seed: 1", "  n_job: 2"), 4, "'n_job' is no option of a run. Did you mean 'n_jobs'?"),
    (ready("run:", "  on_error: stpo"), 3, "on_error is 'stop', 'cancel' or 'continue'"),
    (ready("run:", "  on_change: kep"), 3, "'kep'"),
    (ready("run:", "  force: totl"), 3, "force names 'totl'"),
    (ready("run:", "  backend:", "    totl: loky"), 4, "no step or output 'totl'. Did you mean 'total'?"),
    (ready("run:", "  run_dir: 3"), 3, "run_dir is text or null, got 3"),
]


@pytest.mark.parametrize(("text", "line", "message"), REFUSED, ids=[message for _, _, message in REFUSED])
def test_a_mistake_is_told_with_its_line(write: Write, text: str, line: int, message: str) -> None:
    write("a = 1\nb = a / 0\n", "cfg_broken.py")
    file = write(text + "\n")
    with pytest.raises(
        (weft.InvalidInput, weft.WiringError, weft.MapSpecError, weft.UnknownBackend)
    ) as refused:
        weft.load_study(file)
    assert str(refused.value).startswith(f"{file}:{line}: "), refused.value
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("run.n_jobs=two", "study.yaml, run.n_jobs=two: n_jobs is a whole number or null, got 'two'"),
        ("run.n_job=2", "study.yaml, run.n_job=2: 'n_job' is no option of a run. Did you mean 'n_jobs'"),
        ("rum.n_jobs=2", "study.yaml, rum.n_jobs=2: There is no input 'rum.n_jobs'. Did you mean 'run'"),
        ("xx=2", "study.yaml, xx=2: There is no input 'xx'. Did you mean 'x'"),
        ("k=2.0", "study.yaml, k=2.0: 'k' is varied by the sweep too: say it in one of them, or sweep.k="),
        ("steps.1.retries=x", "study.yaml, steps.1.retries=x: retries is a whole number, got 'x'"),
        ("steps.1.mapspec=y", "study.yaml, steps.1.mapspec=y: "),
        ("steps.7.retries=1", "'steps.7.retries=1' has no place"),
        ("steps.0.retries=1", "'steps.0.retries=1' has no place"),
        ("variables.m=1", "there is no such variable. Variables: n."),
        ("x=[1", "the value of 'x=[1' is not YAML"),
        ("x=${nothing", "the value of 'x=${nothing' is not YAML"),
        ("x=${nothing}", "study.yaml, x=${nothing}: inputs.x: Interpolation key 'nothing' not found"),
        ("x=range(1, 2, 0)", "range(1, 2, 0) is no range"),
        ("steps.1.retries=range(2)", "retries is a whole number, got [0, 1]"),
        ("n_jobs", "'n_jobs' is not of the form key=value"),
    ],
)
def test_a_mistake_in_an_override_is_told_with_it(write: Write, override: str, message: str) -> None:
    with pytest.raises(weft.WeftError) as refused:
        weft.load_study(write(STUDY), [override])
    assert message in str(refused.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(weft.InvalidInput, match=r"none\.yaml cannot be read"):
        weft.load_study(tmp_path / "none.yaml")


def test_two_modules_of_one_name_are_not_mixed_up(write: Write, tmp_path: Path) -> None:
    weft.load_study(write(STUDY))
    other = tmp_path / "other"
    other.mkdir()
    (other / "cfg_steps.py").write_text(MODULE.replace("x * k", "x - k"))
    (other / "study.yaml").write_text(STUDY)
    with pytest.raises(weft.InvalidInput, match=r"study.yaml:4: The module 'cfg_steps' is imported already"):
        weft.load_study(other / "study.yaml")


def test_without_the_packages_the_extra_is_named_and_they_are_imported_late(write: Write) -> None:
    code = """
        import sys
        import weft
        weft.load_study
        assert not {"yaml", "omegaconf", "hydra"} & set(sys.modules)
        sys.modules["omegaconf"] = None
        try:
            weft.load_study(sys.argv[1])
        except ImportError as error:
            print(error)
        """
    command = [sys.executable, "-c", textwrap.dedent(code), str(write(STUDY))]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "pip install 'weft[yaml]'" in told.stdout
