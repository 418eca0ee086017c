"""Results with their labels, for xarray, pandas, and files that other tools open."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from weft.errors import InvalidInput
from weft.run.contents import new_place
from weft.run.handle import Handle
from weft.study.assembled import Assembled
from weft.study.labels import columns, coordinates, dims, filled, needed


class Export(Handle):
    """The part of `Run` that hands results to other tools."""

    def to_xarray(self, *names: str) -> Any:
        """Results as an `xarray.Dataset`: dims are axes, coordinates the inputs along them.

        Missing values are NaN (NaT for times), as xarray has it: integers become floats, other types objects.

        Parameters
        ----------
        *names
            All results whose shape is known, if none is given. Dimensions of elements that are arrays are
            called ``NAME_d0``, ``NAME_d1``…

        Raises
        ------
        ImportError
            If xarray is not installed.
        """
        xr = needed("xarray", "labels")
        arrays = {name: self._filled(name, self._assembled(name)) for name in names or self._shaped()}
        axes = self._study.graph.axes
        data = {name: (dims(name, axes.get(name, ()), array), array) for name, array in arrays.items()}
        used = {dim for dims, _ in data.values() for dim in dims}
        return xr.Dataset(data, coords=self._coordinates(used, set(data)), attrs={"name": self._study.name})

    def to_dataframe(self, *names: str) -> Any:
        """Results as a tidy `pandas.DataFrame`: a row for each element, columns for inputs and outputs.

        Iterations that a loop ended before, and cells that a row does not have, are no rows.

        Parameters
        ----------
        *names
            If none is given, the result with the most axes, and all that share them or have none.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        pd = needed("pandas", "labels")
        study, axes_of = self._sync(), self._study.graph.axes
        if not names:
            shaped = self._shaped()
            widest = max((axes_of.get(n, ()) for n in shaped), key=len, default=())
            names = tuple(n for n in shaped if set(axes_of.get(n, ())) <= set(widest))
        found = {name: self._assembled(name) for name in names}
        arrays = {name: self._filled(name, held) for name, held in found.items()}
        axes = list(dict.fromkeys(axis for name in names for axis in axes_of.get(name, ())))
        # Of the arrays themselves: a loop may have ended early.
        lengths = {a: n for name in names for a, n in zip(axes_of.get(name, ()), arrays[name].shape)}
        shape = tuple(lengths[axis] for axis in axes)
        inputs = {
            n: (given.axes, self._values.whole(n).array())
            for n, given in study.inputs.items()
            if given.axes and set(given.axes) <= set(axes) and n not in names
        }
        behind = {}
        for name, held in found.items():
            if len(held.gone):
                behind[name] = (axes_of[name], np.zeros(held.shape, bool))
                behind[name][1].reshape(-1)[held.gone] = True
                if not held.n_missing:  # nothing is left to fill, so the values keep their type
                    arrays[name] = np.ma.getdata(held.array())
        placed = {name: (axes_of.get(name, ()), array) for name, array in arrays.items()}
        frame = pd.DataFrame(columns(axes, shape, inputs, placed))
        if behind:
            marks = columns(axes, shape, {}, behind)
            frame = frame[~np.logical_or.reduce([marks[name] for name in behind])].reset_index(drop=True)
        return frame

    def to_zarr(self, path: str | os.PathLike[str], *names: str) -> None:
        """Write results as a Zarr store, which ``xarray.open_zarr`` opens.

        Raises
        ------
        InvalidInput
            If there is something at `path` already, or a result is no array of numbers or text.
        ImportError
            If xarray or zarr is not installed.
        """
        needed("zarr", "zarr")
        dataset = self.to_xarray(*names)
        for name, array in dataset.variables.items():
            if array.dtype.kind == "U":  # Zarr's format knows text of any length, not NumPy's of a fixed one
                dataset[name] = dataset[name].astype(object)
            elif array.dtype == object and not all(isinstance(v, str) for v in array.values.reshape(-1)):
                raise InvalidInput(
                    f"{name!r} holds Python objects, which Zarr cannot. Name what to export: "
                    "run.to_zarr(path, 'y', …)."
                )
        with new_place(path) as place:
            dataset.to_zarr(place, mode="w-", consolidated=False)

    def to_parquet(self, path: str | os.PathLike[str], *names: str) -> None:
        """Write the table of `to_dataframe` as a Parquet file.

        Raises
        ------
        InvalidInput
            If there is something at `path` already, or Parquet cannot hold a column.
        ImportError
            If pandas or pyarrow is not installed.
        """
        pyarrow = needed("pyarrow", "parquet")
        frame = self.to_dataframe(*names)
        with new_place(path) as place:
            try:
                frame.to_parquet(place, engine="pyarrow", index=False)
            except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError, pyarrow.ArrowNotImplementedError) as error:
                raise InvalidInput(
                    f"Parquet cannot hold a column: {error}. Name what to export: "
                    "run.to_parquet(path, 'y', …)."
                ) from error

    def _shaped(self) -> tuple[str, ...]:
        """Results whose shape is known, less those that are not kept."""
        study = self._sync()
        made = {n: study.graph.producer[n] for n in study.graph.outputs if study.array_shape(n) is not None}
        return tuple(n for n, step in made.items() if step.keep or study.results[step.name].commits)

    def _filled(self, name: str, found: Assembled) -> np.ndarray[Any, Any]:
        """A result with holes filled as xarray would."""
        if not self._study.graph.axes.get(name):
            return _scalar(np.nan if found.n_missing else self._shown(name, found))
        if found.present is not None and not len(found.present):
            return np.full(found.shape, np.nan)
        return filled(found.array())

    def _coordinates(self, used: set[str], taken: set[str]) -> dict[str, Any]:
        """Inputs along the axes that are used."""
        along = {n: v.axes for n, v in self._study.inputs.items() if v.axes and set(v.axes) <= used}
        return coordinates({n: (own, self._values.whole(n).array()) for n, own in along.items()}, taken)


def _scalar(value: Any) -> np.ndarray[Any, Any]:
    if isinstance(value, (np.ndarray, np.generic, bool, int, float, complex, str)) and not isinstance(
        value, np.ma.MaskedArray
    ):
        array = np.asarray(value)
        if array.dtype != object:
            return array
    held = np.empty((), object)
    held[()] = value
    return held
