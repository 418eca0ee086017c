"""A configured study: what a file says to run, ready to be run or planned."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from weft.configuration.building import built
from weft.configuration.checks import run_options
from weft.configuration.document import read
from weft.model.sweep import Sweep
from weft.model.varying import swept
from weft.pipeline import Pipeline

if TYPE_CHECKING:
    from weft.plan.plan import Plan
    from weft.run.run import Run


@dataclass(frozen=True, eq=False)
class ConfiguredStudy:
    """What a file says to run: a pipeline, its inputs, and the options of `Pipeline.run`. See `load_study`.

    Examples
    --------
    >>> import weft
    >>> weft.load_study("study.yaml", ["lr=0.1"]).run(run_dir="runs/a")  # doctest: +SKIP
    """

    pipeline: Pipeline
    inputs: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    def run(self, inputs: Mapping[str, Any] | None = None, **more: Any) -> Run:
        """Run it; inputs and options given here win over the file's. See `Pipeline.run`."""
        return self.pipeline.run(**self._given(inputs, more))

    def plan(self, inputs: Mapping[str, Any] | None = None, **more: Any) -> Plan:
        """What running it would do. See `Pipeline.plan`."""
        return self.pipeline.plan(**self._given(inputs, more))

    def varied(self) -> Pipeline:
        """The pipeline with the axes of its sweep, as a run of it is recorded."""
        if "sweep" not in self.options:
            return self.pipeline
        steps, _ = swept(self.pipeline.graph, self.options["sweep"], None)
        return Pipeline(steps, self.pipeline.name)

    def _given(self, inputs: Mapping[str, Any] | None, more: Mapping[str, Any]) -> dict[str, Any]:
        along = more["sweep"].values if isinstance(more.get("sweep"), Sweep) else ()
        own = {name: value for name, value in self.inputs.items() if name not in along}
        known = (*run_options(), "sweep")
        # Options of the file's backend mean nothing to another one.
        options = {n: v for n, v in self.options.items() if n in known or "backend" not in more}
        return {"inputs": {**own, **(inputs or {})}, **options, **more}


def load_study(
    path: str | os.PathLike[str], overrides: Iterable[str] = (), inputs: Mapping[str, Any] | None = None
) -> ConfiguredStudy:
    """Read a study from a YAML file. Everything in it is checked; nothing is run.

    Parameters
    ----------
    path
        The file. Its folder is importable while its functions are looked for, and later.
    overrides
        ``"key=value"``, the key as in the file (``run.n_jobs=2``, ``steps.fit.retries=3``), the value YAML or
        ``range(...)``. A key that begins with no section of the file is an input: ``lr=0.1`` is
        ``inputs.lr=0.1``.
    inputs
        Inputs by name as Python values, instead of the file's.

    Raises
    ------
    InvalidInput, WiringError
        For what is unknown, mistyped or cannot be wired; the message begins with the file and line.
    BackendUnavailable
        Without OmegaConf and Hydra (the extra ``yaml``).

    Examples
    --------
    >>> import weft
    >>> study = weft.load_study("study.yaml", ["run.n_jobs=2"])  # doctest: +SKIP
    >>> study.plan().n_elements  # doctest: +SKIP
    12
    """
    given = dict(inputs or {})
    top = read(os.fspath(path), [overrides] if isinstance(overrides, str) else overrides, given)
    return ConfiguredStudy(*built(top, given))
