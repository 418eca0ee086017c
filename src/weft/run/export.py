"""Results with their labels, for xarray, pandas, and files that other tools open."""

from __future__ import annotations

import contextlib
import math
import os
import secrets
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from weft.errors import InvalidInput
from weft.run.handle import Handle
from weft.store.fs import TEMPORARY, current


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
        xr = _needed("xarray", "labels")
        arrays = self._arrays(names or self._shaped())
        axes = self._study.graph.axes
        data = {name: (_dims(name, axes.get(name, ()), array), array) for name, array in arrays.items()}
        used = {dim for dims, _ in data.values() for dim in dims}
        return xr.Dataset(data, coords=self._coordinates(used, set(data)), attrs={"name": self._study.name})

    def to_dataframe(self, *names: str) -> Any:
        """Results as a tidy `pandas.DataFrame`: a row for each element, columns for inputs and outputs.

        Parameters
        ----------
        *names
            If none is given, the result with the most axes, and all that share them or have none.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        pd = _needed("pandas", "labels")
        study, axes_of = self._sync(), self._study.graph.axes
        if not names:
            shaped = self._shaped()
            widest = max((axes_of.get(n, ()) for n in shaped), key=len, default=())
            names = tuple(n for n in shaped if set(axes_of.get(n, ())) <= set(widest))
        arrays = self._arrays(names)
        axes = list(dict.fromkeys(axis for name in names for axis in axes_of.get(name, ())))
        shape = tuple(study.axes[axis].length or 0 for axis in axes)
        inputs = [
            n
            for n, given in study.inputs.items()
            if given.axes and set(given.axes) <= set(axes) and n not in names
        ]
        labelled = {study.inputs[n].axes[0] for n in inputs if len(study.inputs[n].axes) == 1}
        columns: dict[str, Any] = {}
        for place, axis in enumerate(axes):
            if axis not in labelled:
                columns[axis] = _spread(np.arange(shape[place]), (axis,), axes, shape)
        for name in inputs:
            columns[name] = _spread(
                _cells(self._values.whole(name).array(), len(axes_of[name])), axes_of[name], axes, shape
            )
        for name, array in arrays.items():
            own = axes_of.get(name, ())
            columns[name] = _spread(_cells(array, len(own)), own, axes, shape)
        return pd.DataFrame(columns)

    def to_zarr(self, path: str | os.PathLike[str], *names: str) -> None:
        """Write results as a Zarr store, which ``xarray.open_zarr`` opens.

        Raises
        ------
        InvalidInput
            If there is something at `path` already, or a result is no array of numbers or text.
        ImportError
            If xarray or zarr is not installed.
        """
        _needed("zarr", "zarr")
        dataset = self.to_xarray(*names)
        for name, array in dataset.variables.items():
            if array.dtype.kind == "U":  # Zarr's format knows text of any length, not NumPy's of a fixed one
                dataset[name] = dataset[name].astype(object)
            elif array.dtype == object and not all(isinstance(v, str) for v in array.values.reshape(-1)):
                raise InvalidInput(
                    f"{name!r} holds Python objects, which Zarr cannot. Name what to export: "
                    "run.to_zarr(path, 'y', …)."
                )
        with _new(path) as place:
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
        pyarrow = _needed("pyarrow", "parquet")
        frame = self.to_dataframe(*names)
        with _new(path) as place:
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

    def _arrays(self, names: Sequence[str]) -> dict[str, np.ndarray[Any, Any]]:
        """Results with holes filled as xarray would."""
        found = {}
        for name in names:
            assembled = self._assembled(name)
            if not self._study.graph.axes.get(name):
                found[name] = _scalar(np.nan if assembled.n_missing else self._shown(name, assembled))
            elif assembled.present is not None and not len(assembled.present):
                found[name] = np.full(assembled.shape, np.nan)
            else:
                found[name] = _filled(assembled.array())
        return found

    def _coordinates(self, used: set[str], taken: set[str]) -> dict[str, Any]:
        """Inputs along the axes; the only one on an axis is its index too."""
        study, found = self._study, {}
        for name, given in study.inputs.items():
            if not given.axes or not set(given.axes) <= used:
                continue
            array = self._values.whole(name).array()
            if name not in taken:
                found[name] = (_dims(name, given.axes, array), array)
            alone = [v for v in study.inputs.values() if v.axes == given.axes]
            if len(given.axes) == 1 and len(alone) == 1 and array.ndim == 1 and _indexable(array):
                found[given.axes[0]] = (given.axes, array)
        return found


def _needed(package: str, extra: str) -> Any:
    import importlib

    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ImportError(f"This needs {package}: pip install 'weft[{extra}]'") from error


def _dims(name: str, axes: Sequence[str], array: np.ndarray[Any, Any]) -> tuple[str, ...]:
    return (*axes, *(f"{name}_d{k}" for k in range(array.ndim - len(axes))))


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


def _filled(array: Any) -> np.ndarray[Any, Any]:
    """An array with NaN, or NaT, in its holes."""
    if not isinstance(array, np.ma.MaskedArray):
        return np.asarray(array)
    values, holes, kind = np.array(array.data), np.ma.getmaskarray(array), array.dtype.kind
    if not holes.any():
        return values
    if kind in "mM":
        values[holes] = np.array("NaT", values.dtype)
        return values
    if kind in "iu":
        values = values.astype(np.float64)
    elif kind not in "fc":
        values = values.astype(object)
    values[holes] = np.nan
    return values


def _indexable(array: np.ndarray[Any, Any]) -> bool:
    if array.dtype != object:
        return True
    try:
        return len({hash(value) for value in array}) >= 0
    except TypeError:
        return False


def _cells(array: np.ndarray[Any, Any], n_axes: int) -> np.ndarray[Any, Any]:
    """One object for each element that is an array itself."""
    if array.ndim == n_axes:
        return array
    shape = array.shape[:n_axes]
    flat = array.reshape(math.prod(shape), *array.shape[n_axes:])
    held = np.empty(len(flat), object)
    for place, part in enumerate(flat):
        held[place] = part
    return held.reshape(shape)


def _spread(
    array: np.ndarray[Any, Any], own: Sequence[str], axes: Sequence[str], shape: tuple[int, ...]
) -> Any:
    """Values of an array along some axes, repeated along the others: one for each row."""
    order = [own.index(axis) for axis in axes if axis in own]
    placed = array.transpose(order).reshape(
        [n if axis in own else 1 for axis, n in zip(axes, shape, strict=True)]
    )
    return np.broadcast_to(placed, shape).reshape(-1)


@contextlib.contextmanager
def _new(path: str | os.PathLike[str]) -> Iterator[str]:
    """A place to write to, which gets the name `path` when all is written, and is removed otherwise."""
    fs, target = current(), os.path.abspath(os.path.expanduser(os.fspath(path)))
    if fs.exists(target):
        raise InvalidInput(
            f"{target} exists, and weft does not overwrite it. Remove it yourself, or choose another name."
        )
    fs.make_dirs(os.path.dirname(target))
    partial = f"{os.path.dirname(target)}/{TEMPORARY}{secrets.token_hex(8)}"
    try:
        yield partial
        fs.move(partial, target)
    except BaseException:
        fs.remove_tree(partial)
        raise
