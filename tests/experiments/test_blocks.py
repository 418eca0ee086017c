"""Blocks: each takes a state and gives the next, as ordinary steps, the same on every backend."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import weft
from weft.experiments import Block

HERE: dict[str, Any] = {"backend": "sequential", "progress": False}


class Add(Block):
    def __init__(self, n: float) -> None:
        self.n = n
        self.armed: list[float] = []

    def arm(self, data: float) -> None:
        self.armed.append(data)

    def call(self, data: float, **options: Any) -> float:
        return self.armed[-1] + self.n * len(self.armed)


class Scale:
    """A block without the base class, and without arm."""

    def call(self, state: float, factor: float = 2.0) -> float:
        return state * factor


class Noise(Block):
    def call(self, data: float, rng: np.random.Generator) -> float:  # type: ignore[override]
        return data + float(rng.normal())


def test_a_chain_passes_the_state_on() -> None:
    chain = Add(1) >> Scale() >> Add(10)
    pipe = chain.pipeline("chain")
    assert list(pipe.steps) == ["Add", "Scale", "Add_2"]
    run = pipe(data=4)
    assert (run["data_1"], run["data_2"], run["result"]) == (5, 10, 20)
    assert pipe(data=4, factor=3.0)["result"] == 25


def test_chains_are_chained() -> None:
    left, right = Add(1) >> Add(2), Add(3) >> Scale()
    assert (left >> right).pipeline()(data=0)["result"] == 12
    assert (left >> right >> Add(1)).pipeline(takes="x", makes="y")(x=0)["y"] == 13
    assert Add(1).pipeline()(data=1)["result"] == 2


def test_blocks_are_swept_and_stand_among_other_steps() -> None:
    best = weft.step("best", reduce="all")(lambda result: float(result.max()))
    run = weft.Pipeline([*(Add(1) >> Scale()).steps(), best]).run(sweep=weft.grid(data=[1, 2, 3]), **HERE)
    assert run["result"].tolist() == [4, 6, 8] and run["best"] == 8.0


@pytest.mark.parametrize("backend", ["thread_pool", "process_pool", "loky"])
def test_the_same_on_every_backend(backend: str, tmp_path: Path) -> None:
    pipe = (Add(1) >> Noise() >> Scale()).pipeline()
    sweep = weft.grid(data=[1.0, 2.0, 3.0])
    here = pipe.run(sweep=sweep, **HERE)["result"]
    there = pipe.run(sweep=sweep, backend=backend, n_jobs=2, progress=False, run_dir=tmp_path / "r")["result"]
    assert np.array_equal(here, there)
    assert len(set((here / 2 - np.arange(2, 5)).tolist())) == 3


def test_what_a_block_is_made_of_is_its_code(tmp_path: Path) -> None:
    def go(n: int, **options: Any) -> float:
        found = (Noise() >> Add(n)).pipeline().run({"data": 1.0}, run_dir=tmp_path / "r", **HERE, **options)
        return float(found["result"])

    first = go(1)
    assert go(1) == first
    with pytest.raises(weft.RunMismatch, match="Add"):
        go(2)
    assert go(2, on_change="rerun") == first + 1


def test_a_block_of_a_script_is_the_same_in_each_process(tmp_path: Path) -> None:
    script = tmp_path / "study.py"
    script.write_text(
        "from weft.experiments import Block\n"
        "class Shift(Block):\n"
        "    def call(self, data: float):\n"
        "        print('called')\n"
        "        return data + 1\n"
        "run = (Shift() >> Shift()).pipeline().run({'data': 1}, run_dir='r', progress=False)\n"
        "print(run['result'])\n"
    )
    told = [
        subprocess.run(
            [sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
        )
        for _ in range(2)
    ]
    assert [one.stdout.split() for one in told] == [["called", "called", "3"], ["3"]]


def test_what_is_no_block_is_named() -> None:
    class Nothing(Block):
        pass

    class Stateless:
        def call(self) -> int:
            return 1

    with pytest.raises(weft.WiringError, match="3 is no block"):
        Add(1) >> 3
    with pytest.raises(weft.WiringError, match=r"Stateless.call takes no state"):
        (Add(1) >> Stateless()).steps()
    with pytest.raises(weft.StepError, match="Nothing has no method call"):
        Nothing().pipeline()(data=1)
