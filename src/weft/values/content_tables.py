"""Rules for pandas and xarray, neither of which is imported before one of its values is met."""

from __future__ import annotations

import importlib
from functools import partial
from typing import Any

import numpy as np

from weft.values.content_rules import NoRule, rule


def _pandas() -> Any:
    return importlib.import_module("pandas")


def _xarray() -> Any:
    return importlib.import_module("xarray")


# --- pandas --------------------------------------------------------------------------------------


def _column(values: Any) -> list[Any]:
    """The data of a Series or an Index, as its kind and plain arrays."""
    pandas, dtype = _pandas(), values.dtype
    if isinstance(dtype, np.dtype):
        return ["numpy", values.to_numpy()]
    if type(dtype) is pandas.CategoricalDtype:
        array = values.array
        return ["categorical", np.asarray(array.codes), array.categories, bool(array.ordered)]
    if type(dtype) is pandas.DatetimeTZDtype:
        return ["zoned", values.to_numpy(dtype=f"datetime64[{dtype.unit}]"), dtype.tz]
    if type(dtype) is pandas.StringDtype:
        missing = np.asarray(values.isna())
        texts = [None if gone else text for text, gone in zip(values.array, missing)]
        return ["string", dtype.storage, dtype.na_value is pandas.NA, texts]
    if type(dtype).__name__.removesuffix("Dtype") == dtype.name and hasattr(dtype, "numpy_dtype"):
        missing = np.asarray(values.isna())
        filled = values.array.to_numpy(dtype=dtype.numpy_dtype, na_value=dtype.numpy_dtype.type(0))
        return ["nullable", filled, missing]
    if type(dtype) is pandas.BooleanDtype:
        missing = np.asarray(values.isna())
        return ["nullable", values.array.to_numpy(dtype=bool, na_value=False), missing]
    raise NoRule


def _array(parts: list[Any]) -> Any:
    """What pandas makes a Series or an Index of, with ``dtype`` given so that it infers nothing."""
    pandas, kind = _pandas(), parts[0]
    if kind == "numpy":
        return parts[1]
    if kind == "categorical":
        return pandas.Categorical.from_codes(parts[1], categories=parts[2], ordered=parts[3])
    if kind == "zoned":
        return pandas.DatetimeIndex(parts[1]).tz_localize("UTC").tz_convert(parts[2]).array
    if kind == "string":
        na_value = pandas.NA if parts[2] else np.nan
        return pandas.array(parts[3], dtype=pandas.StringDtype(parts[1], na_value=na_value))
    makers = {"b": pandas.arrays.BooleanArray, "f": pandas.arrays.FloatingArray}
    return makers.get(parts[1].dtype.kind, pandas.arrays.IntegerArray)(parts[1], parts[2])


def _reduce_index(index: Any) -> list[Any]:
    # A frequency is part of what makes two indexes of times equal to pandas' own comparison.
    frequency = getattr(index, "freqstr", None)
    return [index.name, frequency, *_column(index)]


def _restore_index(parts: list[Any]) -> Any:
    array = _array(parts[2:])
    index = _pandas().Index(array, dtype=array.dtype, name=parts[0], tupleize_cols=False)
    if parts[1] is not None:
        index.freq = parts[1]
    return index


def _reduce_multi(index: Any) -> list[Any]:
    return [list(index.names), list(index.levels), [np.asarray(codes) for codes in index.codes]]


def _restore_multi(parts: list[Any]) -> Any:
    return _pandas().MultiIndex(levels=parts[1], codes=parts[2], names=parts[0])


def _series(parts: list[Any], index: Any, name: Any = None) -> Any:
    array = _array(parts)
    return _pandas().Series(array, index=index, name=name, dtype=array.dtype)


def _reduce_frame(frame: Any) -> list[Any]:
    return [frame.columns, frame.index, *(_column(frame.iloc[:, i]) for i in range(frame.shape[1]))]


def _restore_frame(parts: list[Any]) -> Any:
    # By number, then named: names may repeat.
    columns = {i: _series(column, parts[1]) for i, column in enumerate(parts[2:])}
    frame = _pandas().DataFrame(columns, index=parts[1])
    frame.columns = parts[0]
    return frame


# Each under its public name (pandas 3) and the module that has it in pandas 2.
_rule = partial(rule, leaf=False)


_rule(
    60,
    "pandas.Series pandas.core.series.Series",
    lambda v: [v.name, v.index, *_column(v)],
    lambda p: _series(p[2:], p[1], p[0]),
)
_rule(61, "pandas.DataFrame pandas.core.frame.DataFrame", _reduce_frame, _restore_frame)
_rule(
    62,
    "pandas.Index pandas.core.indexes.base.Index "
    "pandas.DatetimeIndex pandas.core.indexes.datetimes.DatetimeIndex "
    "pandas.TimedeltaIndex pandas.core.indexes.timedeltas.TimedeltaIndex "
    "pandas.CategoricalIndex pandas.core.indexes.category.CategoricalIndex",
    _reduce_index,
    _restore_index,
)
_rule(
    63,
    "pandas.RangeIndex pandas.core.indexes.range.RangeIndex",
    lambda v: [v.name, v.start, v.stop, v.step],
    lambda p: _pandas().RangeIndex(*p[1:], name=p[0]),
)
_rule(64, "pandas.MultiIndex pandas.core.indexes.multi.MultiIndex", _reduce_multi, _restore_multi)
_rule(
    65,
    "pandas.Timestamp pandas._libs.tslibs.timestamps.Timestamp",
    lambda v: [v.asm8, v.tzinfo, v.fold],
    lambda p: _timestamp(*p),
)
_rule(
    66,
    "pandas.Timedelta pandas._libs.tslibs.timedeltas.Timedelta",
    lambda v: [v.asm8],
    lambda p: _pandas().Timedelta(p[0]),
)
_rule(67, "pandas.api.typing.NAType pandas._libs.missing.NAType", lambda v: [], lambda p: _pandas().NA)
_rule(
    68, "pandas.api.typing.NaTType pandas._libs.tslibs.nattype.NaTType", lambda v: [], lambda p: _pandas().NaT
)


def _timestamp(moment: np.datetime64, zone: Any, fold: int) -> Any:
    stamp = _pandas().Timestamp(moment)
    stamp = stamp if zone is None else stamp.tz_localize("UTC").tz_convert(zone)
    return stamp if stamp.fold == fold else stamp.replace(fold=fold)


# --- xarray --------------------------------------------------------------------------------------


def _variable(variable: Any) -> list[Any]:
    if not isinstance(variable.dtype, np.dtype) or hasattr(variable.data, "dask"):
        raise NoRule
    return [list(variable.dims), np.asarray(variable.values), dict(variable.attrs)]


def _coords(value: Any) -> dict[Any, Any]:
    """The coordinates; refused with other indexes than xarray makes by itself when it is given them."""
    plain = _xarray().indexes.PandasIndex
    indexed = {name for name, index in value.xindexes.items() if type(index) is plain}
    expected = {name for name, coord in value.coords.items() if coord.dims == (name,)}
    if indexed != expected or len(value.xindexes) != len(indexed):
        raise NoRule
    return {name: _variable(coord.variable) for name, coord in value.coords.items()}


def _variables(parts: dict[Any, Any]) -> dict[Any, Any]:
    return {name: _xarray().Variable(*variable) for name, variable in parts.items()}


def _restore_data_array(parts: list[Any]) -> Any:
    name, (dims, data, attrs), coords = parts
    return _xarray().DataArray(data, coords=_variables(coords), dims=dims, name=name, attrs=attrs)


def _reduce_dataset(value: Any) -> list[Any]:
    data = {name: _variable(array.variable) for name, array in value.data_vars.items()}
    return [data, _coords(value), dict(value.attrs)]


_rule(
    70,
    "xarray.DataArray xarray.core.dataarray.DataArray",
    lambda v: [v.name, _variable(v.variable), _coords(v)],
    _restore_data_array,
)
_rule(
    71,
    "xarray.Dataset xarray.core.dataset.Dataset",
    _reduce_dataset,
    lambda p: _xarray().Dataset(_variables(p[0]), _variables(p[1]), p[2]),
)
