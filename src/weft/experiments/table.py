"""The table of a run: a row for each experiment, with its inputs, outputs and state."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, overload

import numpy as np

from weft.errors import InvalidInput, MissingResult, nearest
from weft.experiments.cells import ORDER, Cells, row_axes
from weft.model.labelled import Lazy
from weft.model.sweep import DEFAULT, points
from weft.model.varying import with_defaults
from weft.run.run import Run, open_run
from weft.study.labels import needed
from weft.values.content import digest
from weft.values.table import SHOWN, Table


class Experiments(Sequence[dict[str, Any]]):
    """A run as a table: a row for each experiment, with its inputs, outputs and state.

    A row lies at a position of the axes that all results with axes share, study or data, such as the
    ``point`` of a sweep. Results with further axes are parts of arrays in its cells. What is missing has no
    cell, and values of more than 4 KiB are not read: their cells are a `weft.Lazy`. A row is ``failed`` if
    anything in it failed, else ``blocked``, ``running``, ``open`` or ``done``. The table is the run as it is
    now: make a new one to see what happened since.

    Parameters
    ----------
    run
        A run, finished or not.
    axis
        Another axis, or several, to have a row for each position on.

    Examples
    --------
    >>> import weft
    >>> from weft.experiments import Domain, Experiments, Int
    >>> square = weft.step("y")(lambda x: x * x)
    >>> rows = Domain(x=Int(-3, 3)).sample(7, "grid")
    >>> table = Experiments(square.run(sweep=weft.points(rows)))
    >>> table.best(2, by="y")
    point  x   y  state
    3      0   0  done
    2      -1  1  done
    """

    def __init__(self, run: Run, axis: str | Sequence[str] | None = None) -> None:
        given = axis if axis is None or isinstance(axis, str) else tuple(axis)
        self.run = run
        self.axes = row_axes(run, given)
        self._cells = Cells(run, self.axes)
        self._rows = self._cells.rows()

    @classmethod
    def open(
        cls, path: str | os.PathLike[str], axis: str | Sequence[str] | None = None, trust: bool = True
    ) -> Experiments:
        """The table of a run directory; see `weft.open_run`."""
        return cls(open_run(path, trust=trust), axis)

    # Rows and columns

    @property
    def inputs(self) -> tuple[str, ...]:
        """The columns of inputs."""
        return tuple(self._cells.inputs)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The columns of outputs."""
        return tuple(self._cells.outputs)

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns: the axes (positions, or the input that is called so), inputs, outputs, ``state``."""
        return tuple(dict.fromkeys((*self.axes, *self.inputs, *self.outputs, "state")))

    @property
    def states(self) -> list[str]:
        """The state of each row."""
        return [ORDER[rank] for rank in self._cells.states()[self._rows].tolist()]

    @property
    def rows(self) -> Table:
        """All rows, as dicts of what is there."""
        columns = {name: self._values(name) for name in self.columns}
        return Table(
            {name: column[k] for name, column in columns.items() if k in column} for k in range(len(self))
        )

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, which: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, which: slice) -> Experiments: ...
    @overload
    def __getitem__(self, which: str) -> list[Any]: ...
    def __getitem__(self, which: Any) -> Any:
        """A row by number, some by a slice, or the values of a column by name.

        Raises
        ------
        MissingResult
            For a column that some rows have no value in.
        """
        if isinstance(which, str):
            self._known(which)
            found = self._values(which)
            if len(found) < len(self):
                raise MissingResult(
                    f"{len(self) - len(found)} of {len(self)} rows have no {which!r}. Take those that have: "
                    f".where(state='done')[{which!r}]."
                )
            return list(found.values())
        if isinstance(which, slice):
            return self._with(self._rows[which])
        return self._with(self._rows[[which]]).rows[0]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)

    def _known(self, column: str) -> None:
        if column not in self.columns:
            raise InvalidInput(
                f"There is no column {column!r}.{nearest(column, self.columns)} "
                f"Columns: {', '.join(self.columns)}."
            )

    def _values(self, name: str) -> dict[int, Any]:
        """Values of a column by place in this table, where there are any."""
        if name == "state":
            return dict(enumerate(self.states))
        if name in (*self.inputs, *self.outputs):
            column = self._cells.column(name)
            return {k: column[row] for k, row in enumerate(self._rows.tolist()) if row in column}
        return {k: self._cells.index(row)[name] for k, row in enumerate(self._rows.tolist())}

    # Choosing rows

    def where(self, condition: Callable[[dict[str, Any]], Any] | None = None, /, **equal: Any) -> Experiments:
        """The rows that meet a condition, and have these values in these columns.

        Parameters
        ----------
        condition
            Called with each row.
        **equal
            A value each; of ``state`` one or several: ``where(state=["open", "failed"])``.
        """
        kept = list(range(len(self)))
        for name, wanted in equal.items():
            self._known(name)
            many = _states(wanted) if name == "state" else [wanted]
            values = self._values(name)
            kept = [k for k in kept if k in values and any(_same(values[k], one) for one in many)]
        if condition is not None:
            rows = self._with(self._rows[kept]).rows
            kept = [k for k, row in zip(kept, rows, strict=True) if condition(row)]
        return self._with(self._rows[kept])

    def best(self, n: int = 1, by: str | None = None, ascending: bool = True) -> Experiments:
        """The `n` rows with the lowest values of a column, the best first; rows without a value never win.

        Parameters
        ----------
        by
            A column; the output, if there is just one.
        ascending
            False for the highest values.
        """
        if by is None and len(self.outputs) != 1:
            raise InvalidInput(f"Best by what? Say by=…, one of {', '.join(self.outputs) or 'no outputs'}.")
        column = by if by is not None else self.outputs[0]
        self._known(column)
        values = self._values(column)
        try:
            ranked = sorted(
                (k for k, v in values.items() if bool(v == v)), key=values.__getitem__, reverse=not ascending
            )
        except (TypeError, ValueError):
            raise InvalidInput(f"The values of {column!r} have no order: choose another column.") from None
        return self._with(self._rows[ranked[:n]])

    def _with(self, rows: Any) -> Experiments:
        made = object.__new__(type(self))
        made.__dict__.update(self.__dict__, _rows=rows)
        return made

    # Going on

    def append(self, rows: Any, **options: Any) -> Experiments:
        """Add rows to the run, and run what they need: everything that is done stays as it is.

        Parameters
        ----------
        rows
            Dicts of inputs, or a DataFrame; an input that one lacks keeps its default.
        **options
            As for `Run.resume`: ``backend``, ``on_error`` … (``outputs=()`` adds rows and runs nothing.)

        Returns
        -------
        Experiments
            The table of all rows, old and new.

        Raises
        ------
        InvalidInput
            For inputs that the rows of this run do not have, or a run without a directory.
        """
        if self.run.path is None:
            raise InvalidInput("This run is in memory and cannot grow. Run it with run_dir=, then append.")
        if len(self.axes) != 1:
            raise InvalidInput(
                f"Rows along {' and '.join(self.axes) or 'no axis'} cannot be appended one by one: "
                "run the pipeline again in this run_dir, with the longer inputs or the larger sweep."
            )
        added = list(rows) if not hasattr(rows, "columns") or isinstance(rows, Table) else rows
        grown = self._grown(points(added).values) if len(added) else {}
        run = self.run.resume(inputs=grown, **options) if grown else self.run
        return Experiments(run, self.axes)

    def _grown(self, new: Any) -> dict[str, list[Any]]:
        """The inputs along the axis of rows, as they were given, with more values."""
        now = Cells(self.run, self.axes).run  # others may have added rows since this table was made
        axis, along = self.axes[0], now._study.graph.axes
        known = [name for name, given in now._study.inputs.items() if axis in given.axes]
        if not known or any(along[name] != (axis,) for name in known):
            raise InvalidInput(
                f"The axis {axis!r} is not one of single values of inputs: nothing can be appended."
            )
        for name in new:
            if name not in known:
                raise InvalidInput(
                    f"{name!r} is no input of a row.{nearest(name, known)} A row has: {', '.join(known)}."
                )
        n = len(next(iter(new.values())))
        found = {}
        for name in known:
            values = with_defaults(self.run.pipeline.graph, name, new.get(name, [DEFAULT] * n), "rows")
            found[name] = [*now._values.whole(name).column.tolist(), *values]
        return found

    # Elsewhere

    def join(self, other: Experiments, suffix: str = "_other") -> Table:
        """The rows of both tables whose common inputs are the same, type included, as one row each.

        Parameters
        ----------
        suffix
            Marks columns of `other` that this table has too, such as its state.
        """
        shared = [name for name in self.inputs if name in other.inputs]
        if not shared:
            raise InvalidInput(
                f"The tables have no input in common: {', '.join(self.inputs)}; {', '.join(other.inputs)}."
            )

        def key(row: dict[str, Any]) -> tuple[Any, ...]:
            values = [row[name] for name in shared]
            return tuple(digest(v.load() if isinstance(v, Lazy) else v) for v in values)

        found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
        for row in other.rows:
            more = {k: v for k, v in row.items() if k not in shared}
            more = {f"{k}{suffix}" if k in self.columns else k: v for k, v in more.items()}
            found.setdefault(key(row), []).append(more)
        return Table({**row, **more} for row in self.rows for more in found.get(key(row), []))

    def to_pandas(self) -> Any:
        """A `pandas.DataFrame` with all columns: ints with holes are ``Int64``, mixed types objects."""
        pd = needed("pandas", "experiments")
        columns = {}
        for name in self.columns:
            values = self._values(name)
            kinds = set(map(type, values.values()))
            held = pd.Series(_objects([values.get(k, np.nan) for k in range(len(self))]), dtype=object)
            if kinds == {int} and len(values) < len(self):
                held = held.astype("Int64")
            elif len(kinds) == 1:
                held = held.infer_objects()
            columns[name] = held
        return pd.DataFrame(columns, columns=list(self.columns))

    def to_numpy(
        self, inputs: Sequence[str] | None = None, outputs: Sequence[str] | None = None
    ) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Inputs and outputs (some of them, by name), each an array of shape (rows, columns).

        They are floats, NaN where a value is missing; objects if they must be.
        """
        return self._matrix(self.inputs if inputs is None else inputs), self._matrix(
            self.outputs if outputs is None else outputs
        )

    def to_xarray(self) -> Any:
        """An `xarray.Dataset` of these rows, with ``state``; along ``row`` if rows have several axes.

        It reads all values of the run.
        """
        xr = needed("xarray", "labels")
        found = self._cells.run.to_xarray(*self._cells.outputs.values())
        dim = self.axes[0] if len(self.axes) == 1 else "row"
        index = [self._cells.index(row) for row in self._rows.tolist()]
        found = found.isel({axis: xr.Variable((dim,), [at[axis] for at in index]) for axis in self.axes})
        found = found.rename({"state": "state_"} if "state" in found.variables else {})
        return found.assign(state=((dim,), self.states))

    def _matrix(self, names: Sequence[str]) -> np.ndarray[Any, Any]:
        made = np.full((len(self), len(names)), np.nan, object)
        for j, name in enumerate(names):
            self._known(name)
            for k, value in self._values(name).items():
                made[k, j] = value
        plain = all(isinstance(value, (bool, int, float, np.number, np.bool_)) for value in made.flat)
        return made.astype(float) if plain else made

    def __repr__(self) -> str:
        more = f"\n… {len(self) - SHOWN} more" if len(self) > SHOWN else ""
        return f"{self[:SHOWN].rows!r}{more}"

    def _repr_html_(self) -> str:
        more = f"<p>… {len(self) - SHOWN} more</p>" if len(self) > SHOWN else ""
        return self[:SHOWN].rows._repr_html_() + more


def _objects(values: Sequence[Any]) -> np.ndarray[Any, Any]:
    held = np.empty(len(values), object)
    for place, value in enumerate(values):
        held[place] = value
    return held


def _same(value: Any, wanted: Any) -> bool:
    if isinstance(value, Lazy):
        return False
    try:
        return bool(value == wanted) or (value != value and wanted != wanted)
    except (TypeError, ValueError):  # arrays
        return bool(digest(value) == digest(wanted))


def _states(wanted: str | Collection[str]) -> list[str]:
    many = [wanted] if isinstance(wanted, str) else list(wanted)
    for state in many:
        if state not in ORDER:
            raise InvalidInput(
                f"There is no state {state!r}.{nearest(str(state), ORDER)} States: {', '.join(ORDER)}."
            )
    return many
