"""Pipeline and Step as users hold them: they bind the pure graph to plan, run and drawings."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from weft.errors import InvalidInput, WiringError, nearest
from weft.model import step as model
from weft.model.graph import Graph
from weft.model.loop import Loop, body, changed, flat
from weft.model.looping import lowered
from weft.model.reducing import cut, reduced
from weft.model.sweep import axis_name
from weft.model.varying import swept, varied

if TYPE_CHECKING:
    from weft.plan.plan import Plan
    from weft.run.run import Run

CONFIGURABLE = frozenset({
    "retries", "retry_delay", "timeout", "resources", "resources_scope", "elements_per_job",
    "resources_variable", "parallelization_mode", "backend", "cache", "reuse", "codec", "store",
})  # fmt: skip


class Step(model.Step):
    """A function wired by name; called as itself, and run as a pipeline of one. Options: see `weft.step`."""

    def run(self, inputs: Any = None, **options: Any) -> Run:
        """Run a pipeline of this step alone; see `Pipeline.run`."""
        return Pipeline([self]).run(inputs, **options)

    def plan(self, inputs: Any = None, **options: Any) -> Plan:
        """What running it would do; see `Pipeline.plan`."""
        return Pipeline([self]).plan(inputs, **options)


def step(output_name: str | tuple[str, ...], **options: Any) -> Callable[[Callable[..., Any]], Step]:
    """Make a function a step.

    Parameters
    ----------
    output_name
        A name, or a tuple of names when the function returns a tuple or a dict by name.
    **options
        See `weft.Step`.

    Examples
    --------
    >>> import weft
    >>> @weft.step("y", mapspec="x[i] -> y[i]")
    ... def double(x: float) -> float:
    ...     return 2 * x
    >>> double(4)
    8
    >>> double.run({"x": [1, 2, 3]})["y"]
    array([2, 4, 6])
    """

    def decorate(function: Callable[..., Any]) -> Step:
        made = Step(function, output_name, **options)
        for attribute in ("__doc__", "__module__", "__qualname__"):
            if hasattr(function, attribute):
                object.__setattr__(made, attribute, getattr(function, attribute))
        object.__setattr__(made, "__wrapped__", function)
        return made

    return decorate


class Pipeline:
    """Steps wired by name. An immutable value: every method that changes something returns a new one.

    Parameters
    ----------
    steps
        Steps (functions that were made steps) and loops, in any order.
    name
        Names the run.

    Raises
    ------
    WiringError
        For duplicate names or outputs, cycles, mapspecs that disagree, and annotations that cannot fit.

    Examples
    --------
    >>> import weft
    >>> square = weft.step("y", mapspec="x[i] -> y[i]")(lambda x: x * x)
    >>> total = weft.step("total")(lambda y: y.sum())
    >>> weft.Pipeline([square, total])(x=[1, 2, 3])["total"]
    np.int64(14)
    """

    def __init__(self, steps: Iterable[Any], name: str = "pipeline") -> None:
        found = flat(steps)
        for part in found:
            if not isinstance(part, (model.Step, Loop)):
                raise WiringError(
                    f"A pipeline is made of steps, got {part!r}. Make it one: weft.step('output')(function)."
                )
        self.graph = reduced(Graph(lowered(found)))
        order = {step.name: place for place, step in enumerate(self.graph.order)}
        #: Steps and loops as they were given, in running order.
        self.parts: tuple[model.Step | Loop, ...] = tuple(
            sorted(found, key=lambda part: min(order[step.name] for step in body([part])))
        )
        self.name = name

    @property
    def steps(self) -> dict[str, model.Step]:
        """The steps by name, in running order."""
        return dict(self.graph.steps)

    # Running

    def __call__(self, **inputs: Any) -> Run:
        """Run in memory, in this process."""
        return self.run(inputs, backend="sequential", progress=False)

    def run(
        self,
        inputs: Any = None,
        *,
        sweep: Any = None,
        run_dir: str | os.PathLike[str] | None = None,
        backend: Any = "auto",
        n_jobs: int | None = None,
        outputs: Any = None,
        indices: Mapping[str, Any] | None = None,
        force: Any = None,
        on_error: str = "stop",
        on_change: str = "error",
        block_size: int | str = "auto",
        seed: int | None = None,
        progress: bool | str = "auto",
        observers: Callable[[Any], None] | Iterable[Callable[[Any], None]] = (),
        wait: bool = True,
        store: str | Mapping[str, str] = "auto",
        flush_seconds: float = 30.0,
        shared: bool = False,
        **backend_options: Any,
    ) -> Run:
        """Run, or go on with what the run directory holds.

        Parameters
        ----------
        inputs
            A mapping, or a DataFrame whose columns share the data axis ``row``. A mapped input is a list,
            tuple, range, array, Series, DataArray or anything with ``__len__`` and ``__getitem__``.
        sweep
            Study axes and their values, by `weft.grid`, `weft.zipped` and `weft.points`.
        run_dir
            Where results are kept. If it holds this run, the run resumes. None: in memory.
        backend
            ``"auto"`` (sequential for few or quick elements, loky otherwise), ``"sequential"``,
            ``"thread_pool"``, ``"process_pool"``, ``"loky"``, any executor, or a dict by step or output with
            ``""`` as the default.
        n_jobs
            Workers: all cores by default; 1 is sequential, -1 all cores.
        outputs, indices
            What to make; ``{axis: int, slice or list}`` for only those elements.
        force
            ``"all"``, ``"step"``, ``"step+"`` (and all that follows), or a list.
        on_error
            ``"stop"``: no new work, what is running ends and is committed, then `StepError`. ``"cancel"``:
            what is running is cancelled too. ``"continue"``: all that can run runs; no exception, ``run.ok``
            is false.
        on_change
            When code or whole inputs differ from the record: ``"error"``, ``"rerun"``, ``"keep"`` or
            ``"replace"``.
        block_size
            Elements per block, or ``"auto"``.
        seed
            The root of every random stream; 0 in a new run.
        progress
            ``True``, ``False`` or ``"auto"``: live on a terminal or in a notebook, log lines elsewhere.
        observers
            A callable that receives events, or several.
        wait
            ``False`` returns at once with a live run.
        store
            ``"auto"``, ``"memory"`` or ``"files"``, or these by step or output.
        flush_seconds
            Nothing finished stays uncommitted for longer.
        shared
            Make directories for a group (umask and setgid) instead of for the user alone.
        **backend_options
            For the backend, or that of ``""``, which refuses what it does not know: ``devices=["cuda:0", …]``
            (one for each worker, as ``ctx.device``), ``mp_context=``, ``initializer=``, ``initargs=``.

        Raises
        ------
        InvalidInput, ShapeError
            Before work starts, for what cannot be run.
        StepError
            When an element failed, unless `on_error` is ``"continue"``.
        RunMismatch
            When code or whole inputs differ from the record.
        RunLocked
            When another driver works on the directory.
        """
        # Not above: building pipelines needs half of weft only, which takes a quarter of the time to import.
        from weft.engine.session import Options
        from weft.run.starting import start

        options = Options(
            backend, n_jobs, outputs, indices or {}, on_error, block_size, flush_seconds, observers,
            backend_options,
        )  # fmt: skip
        pipe, inputs = self._swept(sweep, inputs)
        return start(
            pipe, inputs, options, run_dir=run_dir, store=store, seed=seed, on_change=on_change, force=force,
            shared=shared, progress=progress, wait=wait,
        )  # fmt: skip

    def plan(self, inputs: Any = None, *, sweep: Any = None, **options: Any) -> Plan:
        """What running would do, with the options of `run`: steps, axes, shapes, blocks, jobs, files.

        Computes nothing, and writes nothing; what a run directory already has is counted as done.
        """
        from weft.engine.planning import planned
        from weft.engine.session import Options, check_store, checked_seed

        pipe, inputs = self._swept(sweep, inputs)
        given = inspect.signature(Pipeline.run).bind(pipe, inputs, **options)
        given.apply_defaults()
        o = given.arguments
        check_store(o["store"], o["run_dir"], self.graph)
        names = ("backend", "n_jobs", "outputs", "indices", "on_error", "block_size", "backend_options")
        checked = Options(**{name: o[name] for name in names} | {"indices": o["indices"] or {}})
        seed = checked_seed(o["seed"])
        return planned(pipe.graph, inputs, self.name, o["run_dir"], seed, o["on_change"], o["force"], checked)

    def _swept(self, sweep: Any, inputs: Any) -> tuple[Pipeline, Any]:
        """With the axes of a sweep and of configs, and the inputs with the values along them."""
        inputs = self.graph.supplied(inputs)
        if sweep is None and all(step.config is None for step in self.graph.order):
            return self, inputs
        steps, inputs = swept(self.graph, sweep, inputs)
        return Pipeline(steps, self.name), inputs

    def vary(self, *names: str | Mapping[str, Iterable[str]], **axes: str) -> Pipeline:
        """With study axes, which flow through every step that depends on them, until one reduces them.

        Parameters
        ----------
        *names, **axes
            Inputs with an axis of their own name, the first outermost; inputs with the names of their axes;
            or a mapping from axes to inputs.

        Examples
        --------
        >>> import weft
        >>> fit = weft.step("loss", mapspec="x[i] -> loss[i]", name="fit")(lambda x, lr: x * lr)
        >>> weft.Pipeline([fit]).vary("lr")
        <Pipeline 'pipeline': 1 steps; inputs x, lr>
          fit: x[i], lr[lr] -> loss[lr, i]
        """
        by_axis: dict[str, list[str]] = {}
        for given in names:
            if isinstance(given, str):
                by_axis.setdefault(axis_name([given]), []).append(given)
            else:
                by_axis |= {axis: list(inputs) for axis, inputs in given.items()}
        for name, axis in axes.items():
            by_axis.setdefault(axis, []).append(name)
        return Pipeline(varied(self.graph, by_axis), self.name)

    # Composition

    def subpipeline(self, outputs: str | Iterable[str]) -> Pipeline:
        """Only what is needed for some outputs.

        Raises
        ------
        ValueError
            For an unknown name.
        """
        names = [outputs] if isinstance(outputs, str) else list(outputs)
        return self._with(self.graph.ancestors(self.graph.find(name) for name in names))

    def _given(self, name: str) -> str:
        """The step, as it was given, of a name or output: a reduction is two in the graph."""
        found = self.graph.find(name).name
        return found if found in {s.name for s in body(self.parts)} else found.removesuffix(".parts")

    def _with(self, steps: Iterable[model.Step]) -> Pipeline:
        """Only the parts that hold some steps: a loop is taken whole."""
        names = {self._given(step.name) for step in steps}
        parts = [p for p in self.parts if any(s.name in names for s in body([p]))]
        return Pipeline(cut(self.graph, parts), self.name)

    def from_step(self, which: str | int) -> Pipeline:
        """The step or loop of a name or index and all that follow; earlier results come from the record.

        Raises
        ------
        ValueError
            For an unknown name or index.
        """
        if isinstance(which, int):
            if not -len(self.parts) <= which < len(self.parts):
                raise WiringError(f"There is no step number {which}; there are {len(self.parts)} steps.")
            return Pipeline(cut(self.graph, self.parts[which:]), self.name)
        return self._with(self.graph.descendants(self.graph.find(which)))

    def add(self, *steps: Any) -> Pipeline:
        """With more steps."""
        return Pipeline([*self.parts, *steps], self.name)

    def replace(self, name: str, step: Any) -> Pipeline:
        """With another step in the place of the one of that name (or that makes that output)."""
        return Pipeline(changed(self.parts, {self._given(name): step}), self.name)

    def drop(self, *names: str) -> Pipeline:
        """Without some steps; their outputs become inputs."""
        loops = [part for part in self.parts if part.name in names and part.name in self.graph.loops]
        dropped = {self._given(name): None for name in names} | {s.name: None for s in body(loops)}
        return Pipeline(cut(self.graph, changed(self.parts, dropped)), self.name)

    def __or__(self, other: Any) -> Pipeline:
        """Both together; conflicts are `WiringError`."""
        return self.add(other)

    def configure(self, options: Mapping[str, Mapping[str, Any]]) -> Pipeline:
        """Other resources, backends, retries… by step or output; never part of what a result is.

        Raises
        ------
        InvalidInput
            For an option that changes results, or that does not exist.
        """
        changes: dict[str, dict[str, Any]] = {}
        for name, given in options.items():
            for option in given:
                if option not in CONFIGURABLE:
                    raise InvalidInput(
                        f"configure cannot set {option!r} of {name!r}.{nearest(option, CONFIGURABLE)} It "
                        f"sets: {', '.join(sorted(CONFIGURABLE))}."
                    )
            changes.setdefault(self._given(name), {}).update(given)
        steps = {step.name: step for step in body(self.parts)}
        new = {name: steps[name].replace(**options) for name, options in changes.items()}
        return Pipeline(changed(self.parts, new), self.name)

    def nest(self, outputs: str | Iterable[str], name: str) -> Pipeline:
        """What makes some outputs, folded into one step of that name, which keeps nothing between.

        Raises
        ------
        WiringError
            If a step outside needs a value that would be hidden.
        """
        from weft.engine.nesting import nested_step

        wanted = (outputs,) if isinstance(outputs, str) else tuple(outputs)
        inside = list(self.graph.ancestors(self.graph.find(o) for o in wanted))
        if any(step.loops for step in inside):
            raise WiringError(
                f"What makes {', '.join(wanted)} has a loop in it, which cannot be folded into one."
            )
        rest = [p for p in self.parts if p.name not in {step.name for step in inside}]
        return Pipeline([Step(**nested_step(self.graph, inside, body(rest), wanted, name)), *rest], self.name)

    # Looking

    def info(self) -> list[dict[str, Any]]:
        """A row for each step: name, inputs, outputs, mapspec, resources."""
        from weft.plan.wording import rows
        from weft.values.table import Table

        return Table(rows(self.graph))

    def draw(self, kind: str = "mermaid") -> Any:
        """A drawing of the wiring, ``"mermaid"``, ``"text"`` or ``"html"``; a notebook displays it."""
        from weft.plan.drawing import draw

        return draw(self.graph, kind)

    def __repr__(self) -> str:
        from weft.plan.wording import lines

        inputs = ", ".join(self.graph.said(name) for name in self.graph.inputs) or "none"
        head = f"<Pipeline {self.name!r}: {len(self.graph.order)} steps; inputs {inputs}>"
        return "\n".join([head, *lines(self.graph)])
