"""What cannot be run is refused before anything runs, and the message says what to do."""

from __future__ import annotations

import asyncio
import errno
import functools
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import weft
from weft.testing import Calls

Go = Callable[..., weft.Run]


def add(a, b):
    return a + b


@pytest.fixture
def step(calls: Calls) -> Any:
    def f(x, scale: float = 2.0):
        calls(x)
        return x * scale

    return weft.step("y", mapspec="x[i] -> y[i]")(f)


# Pipelines that cannot be


def test_a_cycle() -> None:
    with pytest.raises(
        weft.WiringError,
        match=r"cycle: .*first.* → .*second.* → .*first|cycle: .*second.* → .*first.* → .*second",
    ):
        weft.Pipeline([weft.step("a", name="first")(lambda b: b), weft.step("b", name="second")(lambda a: a)])
    with pytest.raises(weft.WiringError, match="takes its own output 'a': a cycle"):
        weft.Pipeline([weft.step("a")(lambda a: a)])


def test_duplicate_outputs_and_names() -> None:
    one, two = weft.step("a", name="one")(lambda x: x), weft.step("a", name="two")(lambda x: x)
    with pytest.raises(weft.WiringError, match="'a' is made by step 'one' and by 'two'"):
        weft.Pipeline([one, two])
    with pytest.raises(weft.WiringError, match="Two steps are named 'same'"):
        weft.Pipeline([weft.step("a", name="same")(lambda x: x), weft.step("b", name="same")(lambda x: x)])
    with pytest.raises(weft.WiringError, match="output names must be given and differ"):
        weft.step(("a", "a"))(lambda x: x)


@pytest.mark.parametrize(
    "mapspec",
    ["a[i], b -> c[i]", "a[i] -> ", "a[i] > c[i]", "a[i, i] -> c[i]", "a[i], a[i] -> c[i]",
     "a[i] b[i] -> c[i]", "a[0] -> c[i]", "a[i] -> c[:]", "a[i], b[j] -> c[i]",
     "a[i] -> c[i] -> d[i]", "a[] -> c[i]", "[i] -> c[i]"],
)  # fmt: skip
def test_a_mapspec_error_points_at_the_place(mapspec: str) -> None:
    with pytest.raises(weft.MapSpecError) as caught:
        weft.step("c", mapspec=mapspec)(add)
    lines = str(caught.value).splitlines()
    carets = [line for line in lines if set(line.strip()) == {"^"}]
    assert carets, str(caught.value)
    above = lines[lines.index(carets[0]) - 1]
    assert mapspec in above and len(carets[0].rstrip()) <= len(above) + 1


def test_a_mapspec_that_does_not_fit_its_function() -> None:
    with pytest.raises(weft.WiringError, match=r"names 'aa', which is not an argument.*Did you mean 'a'"):
        weft.step("c", mapspec="aa[i] -> c[i]")(add)
    with pytest.raises(weft.WiringError, match="its mapspec makes d, its output_name says c"):
        weft.step("c", mapspec="a[i] -> d[i]")(add)


def test_mapspecs_that_disagree() -> None:
    first = weft.step("y", mapspec="x[i] -> y[i]", name="first")(lambda x: x)
    with pytest.raises(
        weft.WiringError, match="Dimension 0 of 'y' is axis 'i' in step 'first' and 'k' in step 'z'"
    ):
        weft.Pipeline([first, weft.step("z", mapspec="y[k] -> z[k]")(lambda y: y)])
    with pytest.raises(weft.WiringError, match="'y' has 1 dimension"):
        weft.Pipeline([first, weft.step("z", mapspec="y[i, j] -> z[i, j]")(lambda y: y)])
    with pytest.raises(weft.WiringError, match=r"no mapspec.*\.\.\. -> y"):
        weft.Pipeline([weft.step("y")(lambda x: x), weft.step("z", mapspec="y[i] -> z[i]")(lambda y: y)])


def test_annotations_that_cannot_fit() -> None:
    def make(x: int) -> str:
        return str(x)

    def take(y: int) -> int:
        return y

    with pytest.raises(weft.WiringError, match="Step 'make' returns str as 'y', but step 'take' takes int"):
        weft.Pipeline([weft.step("y")(make), weft.step("z")(take)])
    with pytest.raises(weft.WiringError, match="returns str"):
        weft.Pipeline(
            [weft.step("y", mapspec="x[i] -> y[i]")(make), weft.step("z", mapspec="y[i] -> z[i]")(take)]
        )


def test_an_annotation_that_cannot_be_resolved() -> None:
    def f(x, rng: Nowhere):  # type: ignore[name-defined]  # noqa: F821
        return x

    with pytest.raises(weft.WiringError, match=r"annotation 'Nowhere' of 'rng' cannot be resolved"):
        weft.step("y")(f)

    def g(x: Elsewhere):  # type: ignore[name-defined]  # noqa: F821
        return x

    assert weft.Pipeline([weft.step("y")(g)])(x=1)["y"] == 1


@pytest.mark.parametrize("name", ["../..", "a b", "a..b", ".a", 3])
def test_what_is_no_name(name: Any) -> None:
    for options in ({"scope": name}, {"renames": {"y": name}}, {"renames": {"x": name}}):
        with pytest.raises(
            weft.WiringError, match=rf"step 'f': {re.escape(repr(name))} is not a name (for|to)"
        ):
            weft.step("y", name="f", **options)(lambda x: x)
    assert weft.step("y", scope="a.b")(lambda x: x).outputs == ("a.b.y",)


async def fetch(x):
    return x


async def flow(x):
    yield x


class Later:
    async def run(self, x):
        return x


class Awaited:
    async def __call__(self, x):
        return x


@pytest.mark.parametrize("function", [fetch, flow, Later, Awaited(), functools.partial(fetch, 1)])
def test_a_function_that_would_have_to_be_awaited(function: Any) -> None:
    with pytest.raises(weft.WiringError, match=r"step 'y': .* is async.*return asyncio\.run"):
        weft.Step(function, "y", name="y")
    with pytest.raises(weft.WiringError, match=r"Reduction: update: .* is async"):
        weft.Reduction(0, function if function is not Later else fetch, add)


def test_a_function_that_runs_a_coroutine_inside() -> None:
    assert weft.step("y")(lambda x: asyncio.run(fetch(x))).run({"x": 3})["y"] == 3


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("bound", {"z": 1}, "bound names 'z'"),
        ("defaults", {"aa": 1}, "Did you mean 'a'"),
        ("renames", {"q": "r"}, "renames names 'q'"),
        ("ignore", "bb", "Did you mean 'b'"),
        ("sizes", {"i": 3}, "sizes"),
        ("retries", -1, "retries is a whole number"),
        ("timeout", 0, "positive seconds"),
        ("after", "nowhere", "after 'nowhere', unknown"),
        ("resources", {"cpu": 1}, "cpus"),
    ],
)
def test_options_of_a_step_that_make_no_sense(option: str, value: Any, said: str) -> None:
    with pytest.raises((weft.WiringError, weft.InvalidInput), match=said):
        weft.Pipeline([weft.step("c", **{option: value})(add)])


def test_two_defaults_for_one_input() -> None:
    one = weft.step("y", name="one")(lambda k=1: k)
    two = weft.step("z", name="two")(lambda k=2: k)
    with pytest.raises(weft.WiringError, match="its default is 1 in step 'one' and 2 in step 'two'"):
        weft.Pipeline([one, two])


def test_what_is_no_step() -> None:
    for given in ([add], add, 3, {"y": add}):
        with pytest.raises(weft.WiringError, match=r"made of steps.*weft\.step"):
            weft.Pipeline(given)  # type: ignore[arg-type]
    with pytest.raises(weft.WiringError, match="made of steps and loops, got 3"):
        weft.Loop(3)  # type: ignore[arg-type]
    with pytest.raises(weft.WiringError, match="needs a function"):
        weft.step("y")(3)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["subpipeline", "from_step", "drop"])
def test_unknown_names_in_composition(method: str, step: Any) -> None:
    pipe = weft.Pipeline([step])
    with pytest.raises(ValueError, match=r"no step or output 'yy'. Did you mean 'y'\?"):
        getattr(pipe, method)("yy")
    with pytest.raises(ValueError):
        pipe.from_step(7)
    with pytest.raises(weft.InvalidInput, match="configure cannot set 'mapspec'"):
        pipe.configure({"y": {"mapspec": "x[j] -> y[j]"}})


# Inputs


@pytest.mark.parametrize("method", ["subpipeline", "configure"])
def test_known_names_are_listed_once(method: str) -> None:
    avg = weft.step("avg", name="avg")(lambda y: sum(y))
    pipe = weft.Pipeline([weft.step("y", name="make")(lambda x: [x]), avg])
    with pytest.raises(weft.WiringError, match=r"Did you mean 'avg'\? Known: make, avg, y\.$"):
        getattr(pipe, method)({"avgg": {"retries": 3}} if method == "configure" else "avgg")


def test_a_missing_input_and_the_nearest_name(go: Go, step: Any, calls: Calls, tmp_path: Path) -> None:
    with pytest.raises(weft.InvalidInput, match=r"input 'x' of step 'f' is missing"):
        go([step], {})
    named = weft.step("y")(lambda learning_rate: learning_rate)
    with pytest.raises(weft.InvalidInput, match=r"Did you mean 'learning_rate'|Did you mean 'lerning_rate'"):
        go([named], {"lerning_rate": 1})
    assert not (tmp_path / "run").exists() and calls.made() == []


def test_an_unknown_input(go: Go, step: Any) -> None:
    with pytest.raises(weft.InvalidInput, match=r"no input 'scal'. Did you mean 'scale'\? Inputs: x, scale"):
        go([step], {"x": [1], "scal": 3})
    second = weft.step("z")(lambda y: y)
    with pytest.raises(weft.InvalidInput, match="'y' is made by step 'f'"):
        go([step, second], {"x": [1], "y": [2]})
    with pytest.raises(weft.InvalidInput, match="mapping of names"):
        go([step], [1, 2])


@pytest.mark.parametrize(
    "value", [[1.0, 2.0], (1.0, 2.0), range(3), np.arange(3.0)], ids=["list", "tuple", "range", "array"]
)
def test_a_list_for_a_scalar_names_both_cures(value: Any, go: Go) -> None:
    def f(rate: float) -> float:
        return rate

    with pytest.raises(weft.InvalidInput) as caught:
        go([weft.step("y")(f)], {"rate": value})
    text = str(caught.value)
    assert "'f'" in text and "'rate'" in text and "float" in text
    assert 'mapspec="rate[i] -> y[i]"' in text and "sweep=weft.grid(rate=" in text


def test_a_list_for_an_unannotated_parameter_is_a_value(go: Go) -> None:
    assert go([weft.step("y")(lambda rate: len(rate))], {"rate": [1, 2]})["y"] == 2


def test_unequal_lengths(go: Go) -> None:
    pair = weft.step("c", mapspec="a[i], b[i] -> c[i]")(add)
    with pytest.raises(weft.ShapeError) as caught:
        go([pair], {"a": [1, 2, 3], "b": [1, 2]})
    text = str(caught.value)
    assert all(word in text for word in ("'i'", "'a'", "'b'", "3", "2"))


@pytest.mark.parametrize(
    "value", ["text", {"a": 1}, {1, 2}, 5, None, b"bytes"], ids=lambda v: type(v).__name__
)
def test_what_cannot_be_mapped(value: Any, go: Go, step: Any) -> None:
    with pytest.raises(weft.InvalidInput, match="'x'"):
        go([step], {"x": value})


def test_nested_lists_that_do_not_fit(go: Go) -> None:
    flat = weft.step("y", mapspec="x[i, j] -> y[i, j]")(lambda x: x)
    with pytest.raises((weft.ShapeError, weft.InvalidInput), match="'x'"):
        go([flat], {"x": [[1, 2], [3]]})
    with pytest.raises((weft.ShapeError, weft.InvalidInput), match="'x'"):
        go([flat], {"x": [1, 2]})


# Options


def test_an_unknown_backend_lists_the_names(go: Go, step: Any) -> None:
    with pytest.raises(weft.UnknownBackend) as caught:
        go([step], {"x": [1]}, backend="proces_pool")
    for name in ("auto", "sequential", "thread_pool", "process_pool", "loky"):
        assert name in str(caught.value)
    with pytest.raises(weft.UnknownBackend, match=r"a name \(auto, sequential, .*; got 42"):
        go([step], {"x": [1]}, backend=42)
    with pytest.raises(weft.UnknownBackend):
        weft.get_backend("nothing")
    assert set(weft.list_backends()) >= {"auto", "sequential", "thread_pool", "process_pool", "loky"}
    assert all(set(v) == {"description", "available", "requires"} for v in weft.list_backends().values())


def test_an_unknown_option_of_a_backend(backend: str, go: Go, step: Any, calls: Calls) -> None:
    with pytest.raises(weft.InvalidInput, match=rf"'{backend}' has no option 'wrokers'"):
        go([step], {"x": [1]}, backend=backend, n_jobs=2, wrokers=3)
    assert calls.made() == []


OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"n_jobs": 0}, "n_jobs is at least 1, or -1"),
    ({"n_jobs": -2}, "n_jobs"),
    ({"n_jobs": 1.5}, "n_jobs is a whole number"),
    ({"n_jobs": True}, "n_jobs is a whole number"),
    ({"seed": "a"}, "seed is a whole number ≥ 0, got 'a'"),
    ({"seed": -1}, "seed is a whole number ≥ 0"),
    ({"seed": 1.5}, "seed is a whole number ≥ 0"),
    ({"seed": True}, "seed is a whole number ≥ 0"),
    ({"block_size": 0}, "block_size is 'auto' or a number of elements"),
    ({"block_size": "large"}, "block_size"),
    ({"block_size": 2.0}, "block_size"),
    ({"flush_seconds": -1}, "flush_seconds is a number of seconds ≥ 0, got -1"),
    ({"flush_seconds": "a"}, "flush_seconds is"),
    ({"flush_seconds": float("nan")}, "flush_seconds is"),
    ({"observers": 3}, "observers are callables that take an event, got 3"),
    ({"observers": [print, 3]}, "observers are callables"),
    ({"wait": "no"}, "wait is True or False, got 'no'"),
    ({"shared": "yes"}, "shared is True or False, got 'yes'"),
    ({"progress": "yes"}, "progress is True, False or 'auto', got 'yes'"),
    ({"on_error": "ignore"}, "'stop', 'cancel' or 'continue'"),
    ({"outputs": ["yy"]}, "'yy'"),
    ({"outputs": "nothing"}, "nothing"),
    ({"indices": {"k": 1}}, "axis 'k'; the axes are i"),
    ({"indices": {"i": 5}}, "axis 'i' has 3 positions, there is no 5"),
    ({"indices": {"i": -4}}, "there is no -4"),
    ({"indices": {"i": "a"}}, "whole numbers, slices or lists"),
    ({"indices": {"i": 1.5}}, "whole numbers, slices or lists"),
    ({"force": "ff"}, "'ff'"),
    ({"store": "fils"}, "Did you mean 'files'"),
    ({"store": "memory"}, "store='memory'"),
]


@pytest.mark.parametrize(
    ("options", "said"), OPTIONS, ids=lambda v: str(v)[:30] if isinstance(v, dict) else ""
)
def test_options_of_a_run(options: dict[str, Any], said: str, go: Go, step: Any, calls: Calls) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        go([step], {"x": [1, 2, 3]}, **options)
    assert isinstance(caught.value, weft.WeftError)
    assert calls.made() == []


def test_how_a_run_is_shown_is_checked_before_a_directory_is_made(step: Any, tmp_path: Path) -> None:
    with pytest.raises(weft.InvalidInput):
        step.run({"x": [1]}, run_dir=tmp_path / "run", progress="yes")
    assert not (tmp_path / "run").exists()


def test_one_step_is_a_pipeline_and_one_callable_observes(step: Any) -> None:
    seen: list[str] = []
    run = weft.Pipeline(step).run({"x": [1]}, observers=lambda event: seen.append(event.kind))
    assert run.ok and seen[0] == "run-started" and seen[-1] == "run-ended"


def test_an_output_that_needs_what_indices_leave_open(go: Go, step: Any, calls: Calls) -> None:
    pipe = [step, weft.step("s")(lambda y: sum(y))]
    with pytest.raises(weft.InvalidInput) as caught:
        go(pipe, {"x": [1, 2, 3]}, indices={"i": 1}, outputs=["s"])
    assert "'s'" in str(caught.value) and "'i'" in str(caught.value)
    assert calls.made() == []


def test_store_files_needs_a_directory(step: Any) -> None:
    with pytest.raises(weft.InvalidInput, match="needs a run_dir"):
        weft.Pipeline([step]).run({"x": [1]}, store="files")


# Directories


def test_a_directory_that_cannot_be_made(go: Go, step: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(weft.WeftError) as caught:
        go([step], {"x": [1]}, run_dir=tmp_path / "file" / "run")
    assert str(tmp_path / "file") in str(caught.value)
    with pytest.raises(weft.WeftError) as caught:
        go([step], {"x": [1]}, run_dir=tmp_path / "file")
    assert str(tmp_path / "file") in str(caught.value)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("file", "file is a file"),
        ("file/run", "file is a file"),
        ("file/a/run", "file is a file"),
        ("link", "link is a symbolic link to nothing"),
        ("link/run", "link is a symbolic link to nothing"),
    ],
)
def test_what_is_in_the_way_of_a_directory_is_named(
    place: str, said: str, go: Go, step: Any, calls: Calls, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere" / "at all")
    done = step.run({"x": [1]}, run_dir=tmp_path / "done")
    before = calls.made()
    with pytest.raises(weft.InvalidInput, match=rf"cannot be a directory for a run: .*{said}"):
        go([step], {"x": [1]}, run_dir=tmp_path / place)
    with pytest.raises(weft.InvalidInput, match=said):
        weft.Pipeline([step]).plan({"x": [1]}, run_dir=tmp_path / place)
    with pytest.raises(weft.InvalidInput, match=r"is a file|holds no run"):
        weft.open_run(tmp_path / place)
    with pytest.raises(weft.InvalidInput, match=r"exists|is a file|link to nothing"):
        done.copy(tmp_path / place)
    assert calls.made() == before and (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("place", ["a\0b", 3, b"run", ["run"]])
def test_what_is_no_place_on_disk(place: Any, go: Go, step: Any, calls: Calls) -> None:
    with pytest.raises(weft.InvalidInput, match="place on disk"):
        go([step], {"x": [1]}, run_dir=place)
    with pytest.raises(weft.InvalidInput, match="place on disk"):
        weft.Pipeline([step]).plan({"x": [1]}, run_dir=place)
    with pytest.raises(weft.InvalidInput, match="place on disk"):
        weft.open_run(place)
    assert calls.made() == []


@pytest.mark.parametrize(
    "code", [errno.EACCES, errno.EROFS, errno.ENOSPC], ids=["denied", "read-only", "full"]
)
def test_a_directory_that_cannot_be_written(
    code: int, go: Go, step: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    go([step], {"x": [1]})
    real = os.open

    def refuse(path: Any, flags: int, *rest: Any, **named: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR) and "run" in str(path) and "calls" not in str(path):
            raise OSError(code, os.strerror(code), str(path))
        return real(path, flags, *rest, **named)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(weft.StoreError) as caught:
        go([step], {"x": [1, 2]})
    monkeypatch.undo()
    assert os.strerror(code) in str(caught.value) and "run" in str(caught.value)
    assert go([step], {"x": [1, 2]})["y"].tolist() == [2, 4]


def test_opening_what_is_no_run(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(weft.WeftError, match=str(path)):
            weft.open_run(path)


def test_results_that_are_not_there(go: Go, step: Any) -> None:
    run = go([step], {"x": [1, 2, 3]}, indices={"i": [0, 2]})
    with pytest.raises(KeyError, match=r"Did you mean 'y'|no result 'yy'"):
        run["yy"]
    with pytest.raises(weft.MissingResult, match=r"of 3 element\(s\) 2 are done, 1 not run yet"):
        run["y"]
    with pytest.raises(LookupError):
        run["y"]


def test_workers_that_cannot_be_started_are_not_taken_for_a_full_disk(tmp_path: Path) -> None:
    class Unstartable:
        name, description, requires, options, separate = "unstartable", "no workers", "", (), True

        def start(self, n_jobs: int) -> Any:
            raise OSError("AF_UNIX path too long")

        def stop(self, executor: Any, kill: bool = False) -> None:
            raise AssertionError("nothing was started")

    pipe = weft.Pipeline([weft.step("y", mapspec="x[i] -> y[i]")(lambda x: x)])
    with pytest.raises(
        weft.WeftError, match="workers of 'unstartable' cannot be started: AF_UNIX"
    ) as refused:
        pipe.run({"x": [1]}, backend=Unstartable(), n_jobs=2, run_dir=tmp_path / "r")
    assert not isinstance(refused.value, weft.StoreError)


@pytest.mark.parametrize("one", [(x for x in [1, 2]), map(str, [1, 2]), iter([1, 2])])
def test_a_whole_input_that_can_be_read_only_once(one: Any, kept: dict[str, Any]) -> None:
    total = weft.step("total")(lambda numbers: sum(numbers))
    with pytest.raises(weft.InvalidInput, match=r"'numbers'.* read only once.*list"):
        total.run({"numbers": one}, progress=False, **kept)


def test_a_result_that_can_be_read_only_once(kept: dict[str, Any]) -> None:
    numbers = weft.step("numbers", name="count")(lambda: (x for x in [1, 2]))
    total, longest = (
        weft.step("total")(lambda numbers: sum(numbers)),
        weft.step("n")(lambda numbers: len(numbers)),
    )
    with pytest.raises(weft.StepError, match="'numbers' of step 'count' cannot be stored"):
        weft.Pipeline([numbers, total, longest]).run(progress=False, **kept)


def test_loky_workers_that_are_killed_as_they_start_are_not_told_to_use_loky() -> None:
    pipe = weft.Pipeline([weft.step("y", mapspec="x[i] -> y[i]")(lambda x: x)])
    with pytest.raises(
        weft.WeftError, match=r"ended before their first job\. Something killed them"
    ) as refused:
        pipe.run({"x": [1, 2]}, backend="loky", n_jobs=2, initializer=lambda: os._exit(1), progress=False)
    assert "__main__" not in str(refused.value)
