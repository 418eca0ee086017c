"""Every exception of weft.

Each derives from `WeftError` and from the built-in that a caller would catch. A message says what
happened, where, and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class WeftError(Exception):
    """The base of every error that weft raises on purpose."""


class MapSpecError(WeftError, ValueError):
    """A mapspec that the grammar does not cover; the message points at the place with a caret."""


class WiringError(WeftError, ValueError):
    """Steps that cannot be connected: cycles, duplicate names, disagreeing axes, unknown parameters."""


class MissingSink(WiringError, RuntimeError):
    """A stream without a sink that is to be run."""


class ShapeError(WeftError, ValueError):
    """Lengths that do not agree; the message names the axis, the arrays and both lengths."""


class UnknownBackend(WeftError, ValueError):
    """A backend name that is not registered; the message lists those that are."""


class InvalidInput(WeftError, ValueError):
    """A value or an option that a run cannot start with."""


class MissingResult(WeftError, LookupError):
    """A result that is not there (open, failed, blocked); the message has counts and the first cause."""


class BackendUnavailable(WeftError, ImportError):
    """A backend whose package is not installed; the message names the extra."""


class StepError(WeftError, RuntimeError):
    """A step's function failed for one element; the original exception is the ``__cause__``.

    Attributes
    ----------
    step : str
        Name of the step.
    index : dict[str, int]
        Position of the element on each of its axes.
    coords : dict[str, object]
        Values of the inputs that vary along those axes.
    """

    def __init__(
        self,
        message: str,
        *,
        step: str = "",
        index: dict[str, int] | None = None,
        coords: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.step = step
        self.index = index or {}
        self.coords = coords or {}


class RunMismatch(WeftError, RuntimeError):
    """Code or whole inputs differ from what the run directory records; see ``on_change``."""


class RunLocked(WeftError, RuntimeError):
    """Another driver is working on this run directory."""


class StoreError(WeftError, RuntimeError):
    """A run directory that cannot be read or written."""


class CorruptResult(WeftError, RuntimeError):
    """Bytes on disk that do not match their checksum."""


class UnsafePayload(WeftError, RuntimeError):
    """A value that only code can restore (pickle), refused because the run was opened untrusted."""


class ClusterError(WeftError, RuntimeError):
    """A queue that refused or lost a job."""


def nearest(name: str, known: Iterable[str]) -> str:
    """`` Did you mean 'x'?`` for the known name closest to `name`, or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""


def kind_of(value: Any) -> str:
    """The type of a value, with its article: ``a list``, ``an int``."""
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"
