"""Streams as users hold them: a pipeline over the indices of a source."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from weft.errors import InvalidInput
from weft.model.stages import AXIS, PATHS, STREAM, Filter, Sink, Source, check_stages, stage_name, stateful
from weft.model.stream import Merging, Through
from weft.pipeline import Pipeline, Step

__all__ = ["Filter", "Sink", "Source", "Stream", "run_pipeline", "stream"]


class Stream(Pipeline):
    """Items from a source, through filters, into a sink: a `Pipeline` over the axis ``index``.

    Made by `weft.stream`. Its step ``stream`` makes, for each index, ``paths`` (what the sink returned),
    ``stamps`` (size and time of those files) and ``stages`` (seconds of each stage, and by how much it raised
    the peak of memory). Each stateful filter has a step of its name, which merges what it gathered.
    """

    def __init__(
        self, source: Any, filters: Iterable[Any] = (), sink: Any = None, name: str = "stream",
        options: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:  # fmt: skip
        self.source, self.filters, self.sink, self.options = source, tuple(filters), sink, dict(options or {})
        check_stages(source, self.filters, sink)
        through = Through(source, self.filters, sink)
        made = ", ".join(f"{output}[{AXIS}]" for output in through.outputs)
        steps = [Step(through, through.outputs, f"{AXIS}[{AXIS}] -> {made}", STREAM)]
        for found in filter(stateful, self.filters):
            output, partial = stage_name(found), bool(getattr(found, "allow_missing", False))
            renames = {"states": f"{output}_state"}
            steps.append(Step(Merging(found), output, None, output, renames=renames, allow_missing=partial))
        super().__init__(steps, name)
        super().__init__(super().configure(self.options).parts, name)
        self._through = through

    def filter(self, filter: Any) -> Stream:
        """With one more filter, behind the others."""
        return Stream(self.source, [*self.filters, filter], self.sink, self.name, self.options)

    def write(self, sink: Any) -> Stream:
        """With a sink, in place of another."""
        return Stream(self.source, self.filters, sink, self.name, self.options)

    def configure(self, options: Mapping[str, Mapping[str, Any]]) -> Stream:
        """With other resources, retries…: see `Pipeline.configure`; all stages together are ``"stream"``."""
        merged = {name: {**self.options.get(name, {}), **given} for name, given in options.items()}
        return Stream(self.source, self.filters, self.sink, self.name, {**self.options, **merged})

    def __len__(self) -> int:
        return len(self.source)

    def __bool__(self) -> bool:
        return True  # also of an empty source

    def __getitem__(self, index: int) -> list[Any]:
        """Run one index in this process, and return the paths that the sink wrote. Nothing is kept.

        Raises
        ------
        IndexError
            For an index that is not there.
        WiringError
            Without a sink; it is a RuntimeError, too.
        """
        self._through.check_sink()
        n = len(self.source)
        if not -n <= index < n:
            raise IndexError(f"The stream has {n} indices, there is no {index}.")
        paths: list[Any] = self._through.at(range(n)[index])[0]
        return paths


def stream(source: Any, name: str = "stream") -> Stream:
    """A stream: ``weft.stream(source).filter(f).write(sink)``.

    Parameters
    ----------
    source
        A `weft.Source`.
    name
        Names the run.

    Examples
    --------
    >>> import weft
    >>> class Numbers(weft.Source):
    ...     def __len__(self):
    ...         return 3
    ...
    ...     def __getitem__(self, index):
    ...         yield from range(index)
    >>> class Sum(weft.Filter):
    ...     total = 0
    ...
    ...     def __call__(self, items):
    ...         for item in items:
    ...             self.total += item
    ...             yield item
    ...
    ...     def flush(self):
    ...         return self.total
    ...
    ...     def merge(self, states):
    ...         return sum(states)
    >>> def nowhere(items, index):
    ...     return [] if list(items) else []
    >>> weft.stream(Numbers()).filter(Sum()).write(nowhere)()["Sum"]
    1
    """
    return Stream(source, name=name)


def run_pipeline(pipeline: Any, inputs: Any = None, *, indices: Any = None, **options: Any) -> Any:
    """Run a pipeline: ``pipeline.run(inputs, **options)``; a stream returns what its sink wrote.

    Parameters
    ----------
    indices
        Of a stream: which, in any order, negative ones from the end, as often as you like; all by default.
        What stateful filters gather is merged only when all are run. Of another pipeline: as for
        `Pipeline.run`.
    **options
        As for `Pipeline.run`.

    Returns
    -------
    list or Run
        For a stream a list of paths for each index, in the order of `indices`; None for one that failed.
    """
    if not isinstance(pipeline, Stream):
        return pipeline.run(inputs, indices=indices, **options)
    if not options.get("wait", True):
        raise InvalidInput("run_pipeline waits for its result; for a live run: pipeline.run(wait=False).")
    chosen = indices.get(AXIS, slice(None)) if isinstance(indices, Mapping) else indices
    if not isinstance(chosen, int | slice | None):
        chosen = np.array(list(chosen))
    run = pipeline.run(inputs, indices={} if chosen is None else {AXIS: chosen}, **options)
    found = run.get(PATHS, missing=None)
    if isinstance(chosen, np.ndarray):
        chosen = chosen.astype(np.int64)
    return list(np.atleast_1d(found if chosen is None else found[chosen]))
