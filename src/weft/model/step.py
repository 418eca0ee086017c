"""A step: a function, the names of what goes in and comes out, and how it is to be run. A pure value."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

from weft.errors import InvalidInput, WiringError, nearest
from weft.model.annotations import Unresolved, resolve_annotations, wants
from weft.model.classes import ClassCall, called
from weft.model.coarse import Coarse
from weft.model.expansion import names_in
from weft.model.iterations import Alias, Iterations
from weft.model.mapspec import ArraySpec, MapSpec
from weft.model.resources import Resources
from weft.values.codecs import Codec, codecs_of

REQUIRED = inspect.Parameter.empty
INJECTED = {"numpy.random._generator.Generator": "rng", "weft.engine.context.Context": "ctx"}
INJECTED |= {"weft.model.resources.Resources": "res"}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument of a step's function.

    `name` is what the pipeline calls it (after renames and scope), `argument` what the function does.
    """

    name: str
    argument: str
    keyword: bool = False
    default: Any = REQUIRED
    annotation: Any = REQUIRED
    injected: str | None = None

    @property
    def required(self) -> bool:
        """Whether a value must come from somewhere."""
        return self.default is REQUIRED


@dataclass(frozen=True, eq=False)
class Step:
    """A function wired by name.

    Parameters
    ----------
    function
        Any callable. A class with a method ``run`` is a class step: both `__init__` and ``run`` are wired by
        name.
    output_name
        A name, or a tuple of names when the function returns a tuple or a dict by name.
    mapspec
        Which data axes the step runs along, as in ``"a[i], b[j] -> c[i, j]"``. Without one, the step runs
        once and takes every value whole.
    name
        Defaults to the function's name.
    defaults, bound, renames, scope
        Other defaults; arguments fixed for good; ``{argument: name}``; a prefix ``scope.`` for every name.
    output_picker
        ``output_picker(returned, name)`` picks one output from what the function returned.
    config
        A dict, a list of dicts or a Sweep of this step's own parameters: lists become study axes
        ``step_parameter``, by the rules of `weft.expand`. Keys that begin with ``_`` are ignored inputs.
    ignore
        Inputs that reach the function but do not identify a result, such as ``n_threads``.
    reduce
        Study axes that this step takes whole: ``"all"``, or names.
    after
        Steps to wait for without using their data.
    sizes
        Lengths of the axes that this step opens, if they are known.
    reuse
        A class step keeps its instance for all elements of a job, while the arguments of `__init__` stay the
        same; otherwise each element has a new one.
    batch
        The function takes and returns arrays for many elements at once.
    allow_missing
        May take an axis with failed elements; then it gets a masked array.
    keep
        Whether outputs stay on disk once nothing open needs them.
    cache
        Results are shared between runs, by the content of the arguments: for functions that are slow, and
        that depend on nothing else.
    version
        A string that stands for the code; it replaces the comparison of source code.
    retries, retry_delay, timeout
        Further attempts after an element's own failures; seconds between them; seconds one may take.
    resources, resources_scope, elements_per_job, resources_variable, parallelization_mode
        What an element or a job needs, see `Resources`.
    codec, store
        The name of a registered codec in which outputs are kept, whatever their type, or such names by
        output; the store that keeps them, where it is not that of the run. See `register_codec`.
    loops, aliases, reads, coarse
        What a `weft.Loop` around the step, or a `weft.Reduction` in it, means for it; made by the pipeline.

    Raises
    ------
    WiringError
        For names that the function does not have, or output names that do not fit the mapspec.
    """

    function: Callable[..., Any]
    output_name: str | tuple[str, ...]
    mapspec: str | MapSpec | None = None
    name: str = ""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    bound: Mapping[str, Any] = field(default_factory=dict)
    renames: Mapping[str, str] = field(default_factory=dict)
    scope: str | None = None
    output_picker: Callable[[Any, str], Any] | None = None
    config: Any = None
    ignore: tuple[str, ...] = ()
    reduce: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)
    reuse: bool = False
    batch: bool = False
    allow_missing: bool = False
    keep: bool = True
    cache: bool = False
    version: str | None = None
    retries: int = 0
    retry_delay: float = 0.0
    timeout: float | None = None
    resources: Any = None
    resources_scope: str = "auto"
    elements_per_job: int | None = None
    resources_variable: str | None = None
    parallelization_mode: str = "external"
    backend: Any = None
    codec: Any = None
    store: str | None = None
    loops: tuple[Iterations, ...] = ()
    aliases: tuple[Alias, ...] = ()
    reads: tuple[tuple[str, str], ...] = ()
    study: tuple[str, ...] = ()
    coarse: Coarse | None = None

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise WiringError(f"A step needs a function, got {self.function!r}.")
        default_name = getattr(self.function, "__name__", type(self.function).__name__)
        if default_name == "<lambda>" or not default_name.isidentifier():
            default_name = self.outputs_as_given[0] if self.outputs_as_given else "step"
        object.__setattr__(self, "name", self.name or default_name)
        if self.reuse and not isinstance(self.callee, ClassCall):
            raise WiringError(
                f"step {self.name!r}: reuse=True keeps the instance of a class with a method run; "
                f"{default_name!r} is none."
            )
        for option in ("ignore", "after", "reduce", "study"):
            value = getattr(self, option)
            object.__setattr__(self, option, (value,) if isinstance(value, str) else tuple(value))
        if isinstance(self.output_name, list):
            object.__setattr__(self, "output_name", tuple(self.output_name))
        self._check_options()
        self._check_names()
        self._check_cache()
        for key in names_in(self.config) if self.config is not None else ():
            self.configurable(key)

    def _check_options(self) -> None:
        if isinstance(self.retries, bool) or not isinstance(self.retries, int) or self.retries < 0:
            raise InvalidInput(f"step {self.name!r}: retries is a whole number ≥ 0, got {self.retries!r}.")
        if self.retry_delay < 0 or (self.timeout is not None and self.timeout <= 0):
            raise InvalidInput(f"step {self.name!r}: retry_delay and timeout are positive seconds.")
        if self.resources_scope not in ("auto", "element", "map"):
            known = f"resources_scope is 'auto', 'element' or 'map', got {self.resources_scope!r}"
            raise InvalidInput(f"step {self.name!r}: {known}.")
        if self.parallelization_mode not in ("external", "internal"):
            raise InvalidInput(f"step {self.name!r}: parallelization_mode is 'external' or 'internal'.")
        if self.resources is not None and not callable(self.resources):
            Resources.from_any(self.resources)
        _ = self.codecs

    def _check_cache(self) -> None:
        if not self.cache:
            return
        if self.batch:
            raise WiringError(
                f"step {self.name!r}: cache=True keeps the result of each element, and batch=True computes "
                "many at once. Leave one of them out."
            )
        for p in self.parameters:
            if p.injected == "ctx" and not self.is_bound(p):
                raise WiringError(
                    f"step {self.name!r}: cache=True shares results of equal arguments, and {p.name!r} is a "
                    "context, which no two elements share. Leave one of them out."
                )
            if wants(p.annotation) in ("iterator", "lazy") and not self.is_bound(p):
                raise WiringError(
                    f"step {self.name!r}: cache=True compares whole arguments, and {p.name!r} is read as it "
                    "goes. Annotate it as np.ndarray or list, or leave cache=True out."
                )

    def _check_names(self) -> None:
        outputs = self.outputs_as_given
        scope, renamed = (self.scope,) if self.scope else (), self.renames.values()
        for what, given in (("for an output", outputs), ("for a scope", scope), ("to rename to", renamed)):
            for name in given:
                if not isinstance(name, str) or not all(map(str.isidentifier, name.split("."))):
                    raise WiringError(f"step {self.name!r}: {name!r} is not a name {what}.")
        if not outputs or len(set(outputs)) != len(outputs):
            raise WiringError(f"step {self.name!r}: output names must be given and differ, got {outputs}.")
        arguments, names = [p.argument for p in self.parameters], [p.name for p in self.parameters]
        for option in ("defaults", "bound", "renames"):
            for key in getattr(self, option):
                if key not in (*arguments, *names, *(outputs if option == "renames" else ())):
                    raise WiringError(
                        f"step {self.name!r}: {option} names {key!r}, which is not an argument of "
                        f"{self.name}({', '.join(arguments)}).{nearest(key, arguments)}"
                    )
        for key in self.ignore:
            if key not in names and key not in arguments:
                raise WiringError(f"step {self.name!r}: ignore names {key!r}, unknown.{nearest(key, names)}")
        spec = self.spec
        if spec is None:
            if self.sizes:
                raise WiringError(
                    f"step {self.name!r}: sizes are for axes that its mapspec opens; it has none."
                )
            return
        for array in spec.inputs:
            if array.name not in names and array.name not in self.hidden:
                raise WiringError(
                    f"step {self.name!r}: its mapspec names {array.name!r}, which is not an argument of "
                    f"{self.name}({', '.join(names)}).{nearest(array.name, names)}"
                )
        if spec.output_names != self.outputs:
            raise WiringError(
                f"step {self.name!r}: its mapspec makes {', '.join(spec.output_names)}, "
                f"its output_name says {', '.join(self.outputs)}."
            )
        for axis in self.sizes:
            if axis not in spec.opened:
                raise WiringError(f"step {self.name!r}: sizes names {axis!r}, an axis that it does not open.")

    @property
    def outputs_as_given(self) -> tuple[str, ...]:
        """Output names before renames and scope."""
        return (self.output_name,) if isinstance(self.output_name, str) else tuple(self.output_name)

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs in the pipeline."""
        return tuple(self._outer(name) for name in self.outputs_as_given)

    def _outer(self, name: str) -> str:
        name = self.renames.get(name, name)
        return f"{self.scope}.{name}" if self.scope and "." not in name else name

    @cached_property
    def spec(self) -> MapSpec | None:
        """The parsed mapspec, in the pipeline's names."""
        if self.mapspec is None:
            return None
        if isinstance(self.mapspec, MapSpec):
            return self.mapspec
        spec = MapSpec.parse(self.mapspec)
        return spec.rename({a.name: self._outer(a.name) for a in (*spec.inputs, *spec.outputs)})

    @cached_property
    def axes(self) -> tuple[str, ...]:
        """Axes that the step runs along, in the order of its outputs."""
        return self.spec.axes if self.spec else ()

    @cached_property
    def opened(self) -> tuple[str, ...]:
        """Axes that each call returns as a dimension."""
        return self.spec.opened if self.spec else ()

    @cached_property
    def ragged(self) -> str:
        """The axis that it opens with another length for each element; an empty string if there is none."""
        return self.opened[-1] if self.spec and self.opened and self.spec.outputs[0].ragged else ""

    @property
    def hidden(self) -> tuple[str, ...]:
        """Axes that it runs along though it may have no argument for them: of its loops, and of runs."""
        return (*(loop.name for loop in self.loops), *((self.coarse.axis,) if self.coarse else ()))

    @property
    def codecs(self) -> dict[str, Codec]:
        """The codecs that outputs are kept in, of those that do not go by their type."""
        return codecs_of(self.codec, self.outputs_as_given, self.outputs, f"step {self.name!r}")

    def input_spec(self, name: str) -> ArraySpec | None:
        """How the mapspec takes input `name`; None if it takes it whole."""
        return self.spec.input_spec(name) if self.spec else None

    @cached_property
    def callee(self) -> Callable[..., Any]:
        """What an element calls: the function, or what makes and runs an instance of a class step."""
        return called(self.function, self.name)

    @cached_property
    def annotations(self) -> dict[str, Any]:
        """Resolved annotations of the function, ``return`` included."""
        return resolve_annotations(self.callee)

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """The arguments of the function, under the pipeline's names, without the bound ones' sources."""
        callee = self.callee
        try:
            signature = list(inspect.signature(callee).parameters.values())
        except (ValueError, TypeError):
            signature = None
        found = [
            self._parameter(p)
            for p in signature or ()
            if p.kind not in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        ]
        by_keyword = signature is not None
        if by_keyword and not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in signature or ()):
            return tuple(found)
        # What the signature does not tell, the mapspec does.
        given = MapSpec.parse(self.mapspec) if isinstance(self.mapspec, str) else self.mapspec
        known = {*self.hidden, *(p.argument for p in found), *(p.name for p in found)}
        read = {name: argument for argument, name in self.reads}
        for name in (array.name for array in (given.inputs if given else ()) if array.name not in known):
            outer = name if name in read else self._outer(name)
            found.append(Parameter(outer, read.get(name, name), keyword=by_keyword))
        return tuple(found)

    def _parameter(self, p: inspect.Parameter) -> Parameter:
        name = dict(self.reads).get(p.name) or self._outer(p.name)
        default = self.defaults.get(p.name, self.defaults.get(name, p.default))
        annotation = self.annotations.get(p.name, REQUIRED)
        injected = self._injection(p.name, annotation)
        if injected and isinstance(self.callee, ClassCall) and p.name in self.callee.configured:
            raise WiringError(
                f"step {self.name!r}: {p.name!r} is made anew for each element, so run can take it, "
                "__init__ cannot."
            )
        return Parameter(name, p.name, p.kind is p.KEYWORD_ONLY, default, annotation, injected)

    def _injection(self, argument: str, annotation: Any) -> str | None:
        if argument == self.resources_variable:
            return "res"
        if isinstance(annotation, Unresolved):
            if argument in ("rng", "ctx", "res") and argument not in self.bound:
                raise WiringError(
                    f"step {self.name!r}: the annotation {annotation.text!r} of {argument!r} cannot be "
                    "resolved. Import its name at the top of the module, outside 'if TYPE_CHECKING'."
                )
            return None
        if not isinstance(annotation, type):
            return None
        return INJECTED.get(f"{annotation.__module__}.{annotation.__qualname__}")

    @cached_property
    def inputs(self) -> tuple[Parameter, ...]:
        """The parameters that take a value by name: neither bound nor injected."""
        return tuple(p for p in self.parameters if not self.is_bound(p) and p.injected is None)

    def is_bound(self, parameter: Parameter) -> bool:
        """Whether the argument is fixed by ``bound``."""
        return parameter.argument in self.bound or parameter.name in self.bound

    def bound_value(self, parameter: Parameter) -> Any:
        """The value fixed by ``bound``."""
        return self.bound.get(parameter.argument, self.bound.get(parameter.name))

    def configurable(self, key: str) -> Parameter:
        """The parameter that a key of a config means: its name, or with an underscore in front."""
        by_name = {name: p for p in self.inputs for name in (p.name, p.argument)}
        found = by_name.get(key) or by_name.get(key.removeprefix("_"))
        if found is None:
            raise WiringError(
                f"step {self.name!r}: config names {key!r}, which it does not take. It takes: "
                f"{', '.join(p.name for p in self.inputs) or 'nothing'}.{nearest(key, by_name)}"
            )
        return found

    def ignores(self, parameter: Parameter) -> bool:
        """Whether the argument is no part of what identifies a result."""
        return parameter.name in self.ignore or parameter.argument in self.ignore

    def replace(self, **changes: Any) -> Step:
        """Return a step with other options."""
        known = {f.name for f in fields(self)}
        for key in changes:
            if key not in known:
                raise InvalidInput(f"step {self.name!r} has no option {key!r}.{nearest(key, known)}")
        return replace(self, **changes)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function as itself."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        made = ", ".join(self.outputs)
        wiring = str(self.spec) if self.spec else f"{', '.join(p.name for p in self.inputs)} -> {made}"
        return f"<Step {self.name}: {wiring}>"
