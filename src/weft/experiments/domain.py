"""Domains: named parameters with what they may be, to be sampled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from weft.errors import InvalidInput
from weft.experiments.parameters import Parameter
from weft.experiments.sampling import sampled
from weft.values.table import Table


@dataclass(frozen=True, init=False, eq=False)
class Domain(Mapping[str, Parameter]):
    """Named parameters, to be sampled; read-only, otherwise like a dict. ``a | b`` has those of both.

    Parameters
    ----------
    parameters, **more
        By name; a mapping is for names that are no identifiers.

    Examples
    --------
    >>> from weft.experiments import Category, Domain, Float, Int
    >>> domain = Domain(lr=Float(1e-4, 1e-1, log=True), depth=Int(2, 10, step=2), kind=Category("a", "b"))
    >>> domain.sample({"lr": 2, "depth": 2}, "grid")[:3]
    [{'lr': 0.0001, 'depth': 2, 'kind': 'a'}, {'lr': 0.0001, 'depth': 2, 'kind': 'b'},
     {'lr': 0.0001, 'depth': 10, 'kind': 'a'}]
    """

    parameters: Mapping[str, Parameter]

    def __init__(self, parameters: Mapping[str, Parameter] | None = None, /, **more: Parameter) -> None:
        found = {**(parameters or {}), **more}
        for name, parameter in found.items():
            if not isinstance(name, str):
                raise InvalidInput(f"Parameters of a domain have names, got {name!r}.")
            if not isinstance(parameter, Parameter):
                raise InvalidInput(
                    f"{name!r} of a domain is a Float, Int, Category, Constant or Array, got {parameter!r}. "
                    f"A value that stays the same is Constant({parameter!r})."
                )
        object.__setattr__(self, "parameters", found)

    def __getitem__(self, name: str) -> Parameter:
        return self.parameters[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.parameters)

    def __len__(self) -> int:
        return len(self.parameters)

    def __or__(self, other: Mapping[str, Parameter]) -> Domain:
        return Domain({**self.parameters, **other})

    def sample(self, n: int | Mapping[str, int], method: str = "random", seed: int = 0) -> Table:
        """Points of the domain: a row for each, which prints as a table and goes into `weft.points`.

        Parameters
        ----------
        n
            How many points. For a grid, how many levels: of every parameter, or by name (floats and arrays
            need a number; ints have all their values without one, and categories always).
        method
            ``"random"``, ``"latin"`` (latin hypercube), ``"sobol"`` or ``"halton"`` (both scrambled), or
            ``"grid"``. Fewer points of random, sobol or halton are the first ones of more.
        seed
            The same seed gives the same points; a grid needs none.

        Raises
        ------
        InvalidInput
            For a method that does not exist, or a number of points that cannot be.
        ImportError
            For latin, sobol and halton, if SciPy is not installed.
        """
        return sampled(self, n, method, seed)
