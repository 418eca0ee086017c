"""What an element or a job needs: processors, memory, time. Plain data, checked when made."""

from __future__ import annotations

import difflib
import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from functools import partial
from typing import Any

from weft.errors import InvalidInput

_ESCALATE = 2.0
_UNITS = ("K", "M", "G", "T", "P")
_MEMORY = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGTP])(?:I?B)?", re.IGNORECASE)
_CLOCK = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?")
_SPOKEN = re.compile(r"(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?")
_DAY, _HOUR, _MINUTE = 86400, 3600, 60


@dataclass(frozen=True, slots=True)
class Resources:
    """What one element or one job needs. ``None`` inherits: step over pipeline over cluster.

    Parameters
    ----------
    cpus, gpus, nodes, tasks
        Counts; `gpus` may be 0.
    memory, memory_per_cpu
        ``"4G"``, ``"500M"``, ``"1.5GB"`` (units of 1024), or bytes as an int; only one of the two.
    time
        ``"HH:MM:SS"``, ``"D-HH:MM:SS"``, ``"MM:SS"``, ``"2h"``, ``"1h30m"``, a timedelta, or seconds.
    partition
        The queue to use.
    max_concurrent
        How many jobs may run at once.
    escalate
        Factor on memory or time after running out of it. The default inherits, like ``None`` elsewhere.
    max_memory, max_time
        Where escalation ends.
    extra
        Further options for the scheduler, by name.

    Raises
    ------
    InvalidInput
        If a field cannot be meant; the message names it.

    Examples
    --------
    >>> Resources(cpus=4, memory="1.5GB", time="90m")
    Resources(cpus=4, memory='1536M', time='01:30:00')
    """

    cpus: int | None = None
    memory: str | None = None
    memory_per_cpu: str | None = None
    gpus: int | None = None
    time: str | None = None
    nodes: int | None = None
    tasks: int | None = None
    partition: str | None = None
    max_concurrent: int | None = None
    escalate: float = _ESCALATE
    max_memory: str | None = None
    max_time: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        for name, checked in _CHECKS.items():
            value = getattr(self, name)
            if value is not None or name in ("escalate", "extra"):
                object.__setattr__(self, name, checked(name, value))
        if self.memory is not None and self.memory_per_cpu is not None:
            raise InvalidInput(
                f"memory={self.memory!r} and memory_per_cpu={self.memory_per_cpu!r} say the same thing; "
                "give one of them"
            )

    def __repr__(self) -> str:
        return f"Resources({', '.join(f'{name}={value!r}' for name, value in self.as_dict().items())})"

    @classmethod
    def from_any(cls, value: Resources | Mapping[str, Any] | None) -> Resources:
        """Resources from what a user may give: themselves, a mapping of their fields, or nothing."""
        if value is None:
            return cls()
        if isinstance(value, Resources):
            return value
        if not isinstance(value, Mapping):
            raise InvalidInput(
                f"resources are a weft.Resources or a dict such as {{'cpus': 4}}, not {type(value).__name__}"
            )
        known = [spec.name for spec in fields(cls)]
        for name in value:
            if name not in known:
                near = difflib.get_close_matches(str(name), known, n=1)
                cure = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
                hint = "(other scheduler options go into 'extra')"
                raise InvalidInput(f"resources have no field {name!r}; {cure} {hint}")
        return cls(**value)

    def over(self, other: Resources) -> Resources:
        """These resources, with what they leave open taken from `other`; `extra` is merged."""
        merged = other.as_dict()
        mine = self.as_dict()
        # The two ways of giving memory are one choice: what is inherited must not contradict it.
        if "memory" in mine or "memory_per_cpu" in mine:
            merged.pop("memory", None)
            merged.pop("memory_per_cpu", None)
        extra = {**other.extra, **self.extra}
        return Resources(**{**merged, **mine, "extra": extra})

    def as_dict(self) -> dict[str, Any]:
        """The fields that say something, ready for `from_any`."""
        named = {spec.name: getattr(self, spec.name) for spec in fields(self)}
        silent = {"escalate": _ESCALATE, "extra": {}}
        return {
            name: dict(value) if name == "extra" else value
            for name, value in named.items()
            if value is not None and value != silent.get(name)
        }

    @property
    def memory_bytes(self) -> int | None:
        """Memory of the whole in bytes; `memory_per_cpu` counts for each of `cpus` (1 if not given)."""
        if self.memory_per_cpu is not None:
            return memory_of("memory_per_cpu", self.memory_per_cpu) * (self.cpus or 1)
        return None if self.memory is None else memory_of("memory", self.memory)

    @property
    def seconds(self) -> int | None:
        """`time` in seconds."""
        return None if self.time is None else seconds_of("time", self.time)


def memory_of(name: str, value: Any) -> int:
    """Bytes of an amount of memory; `name` is what an error calls it."""
    match = _MEMORY.fullmatch(value.strip()) if isinstance(value, str) else None
    if match:
        number, unit = match.groups()
        size: int = math.ceil(float(number) * 1024 ** (_UNITS.index(unit.upper()) + 1))
    else:
        size = _whole(value)
    # A bare 4 is meant as 4G more often than as four bytes: below a kilobyte nobody means it.
    if size < 1024:
        raise InvalidInput(f"{name}={value!r} is not an amount of memory; write '4G' or bytes as an int")
    return size


def seconds_of(name: str, value: Any) -> int:
    """Seconds of a length of time; `name` is what an error calls it."""
    given = value.total_seconds() if isinstance(value, timedelta) else value
    total = _seconds_of_text(given.strip()) if isinstance(given, str) else _number(given)
    if not math.isfinite(total) or total <= 0:
        raise InvalidInput(
            f"{name}={value!r} is not a length of time; write 'HH:MM:SS', 'D-HH:MM:SS', '2h' or '30m', "
            "or give seconds as a number or a timedelta"
        )
    return math.ceil(total)


def _seconds_of_text(text: str) -> float:
    amounts = _SPOKEN.fullmatch(text.lower()) or _CLOCK.fullmatch(text)
    if not amounts or not any(amounts.groups()):
        return math.nan
    parts = list(amounts.groups())
    if amounts.re is _CLOCK:
        given = [part for part in parts[1:] if part is not None]
        # A bare "30" is minutes to SLURM and seconds to Python: it is refused rather than guessed.
        if (parts[0] is None and len(given) == 1) or any(float(part) >= 60 for part in given[1:]):
            return math.nan
        if parts[0] is None and len(given) == 2:
            parts = [None, None, *given]
    return sum(float(part or 0) * unit for part, unit in zip(parts, (_DAY, _HOUR, _MINUTE, 1), strict=True))


def _whole(value: Any) -> int:
    """A whole number; -1 for what is none."""
    try:
        return -1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return -1


def _number(value: Any) -> float:
    """A number; NaN for what is none."""
    try:
        return math.nan if isinstance(value, bool | str) else float(value)
    except (TypeError, ValueError):
        return math.nan


def _count(name: str, value: Any, smallest: int = 1) -> int:
    if _whole(value) < smallest:
        raise InvalidInput(f"{name}={value!r} is not a count; give a whole number of at least {smallest}")
    return _whole(value)


def _memory_text(name: str, value: Any) -> str:
    kilobytes, unit = -(-memory_of(name, value) // 1024), 0
    while kilobytes % 1024 == 0 and unit < len(_UNITS) - 1:
        kilobytes //= 1024
        unit += 1
    return f"{kilobytes}{_UNITS[unit]}"


def _time_text(name: str, value: Any) -> str:
    days, rest = divmod(seconds_of(name, value), _DAY)
    clock = f"{rest // _HOUR:02d}:{rest % _HOUR // _MINUTE:02d}:{rest % _MINUTE:02d}"
    return f"{days}-{clock}" if days else clock


def _partition(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InvalidInput(f"{name}={value!r} is not the name of a queue; give a string, or leave it out")
    return value


def _factor(name: str, value: Any) -> float:
    factor = _number(value)
    if not math.isfinite(factor) or factor < 1:
        raise InvalidInput(f"{name}={value!r} is not a factor of at least 1; 1 raises nothing")
    return factor


def _options(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise InvalidInput(f"{name}={value!r} is not a dict of options by name, such as {{'qos': 'long'}}")
    return dict(value)


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    **dict.fromkeys(("cpus", "nodes", "tasks", "max_concurrent"), _count),
    "gpus": partial(_count, smallest=0),
    **dict.fromkeys(("memory", "memory_per_cpu", "max_memory"), _memory_text),
    **dict.fromkeys(("time", "max_time"), _time_text),
    "partition": _partition,
    "escalate": _factor,
    "extra": _options,
}
