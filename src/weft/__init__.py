"""weft: computational studies as plain functions over named axes, every finished result safe on disk."""

from __future__ import annotations

import importlib
from typing import Any

from weft._version import __version__

_HOMES = {
    "weft.configuration.study": ("ConfiguredStudy", "load_study"),
    "weft.pipeline": ("Pipeline", "Step", "step"),
    "weft.streams": ("Source", "Filter", "Sink", "stream", "run_pipeline"),
    "weft.model.resources": ("Resources",),
    "weft.model.expansion": ("expand", "register_expansion"),
    "weft.model.sweep": ("Sweep", "grid", "points", "zipped"),
    "weft.model.labelled": ("Labelled", "Lazy"),
    "weft.model.loop": ("Loop",),
    "weft.model.reduction": ("Reduction",),
    "weft.engine.context": ("Context",),
    "weft.values.codecs": ("register_codec",),
    "weft.values.files": ("File",),
    "weft.contracts": ("Event",),
    "weft.backends": ("register_backend", "list_backends", "get_backend"),
    "weft.run.run": ("Run", "open_run", "list_runs"),
    "weft.plan.plan": ("Plan",),
    "weft.views.logs": ("configure_logging",),
    "weft.errors": (
        "WeftError", "MapSpecError", "WiringError", "ShapeError", "UnknownBackend", "InvalidInput",
        "MissingResult", "BackendUnavailable", "StepError", "RunMismatch", "RunLocked", "StoreError",
        "CorruptResult", "UnsafePayload", "ClusterError",
    ),
}  # fmt: skip
_home = {name: module for module, names in _HOMES.items() for name in names}

__all__ = ["__version__", *_home]


def __getattr__(name: str) -> Any:
    if name not in _home:
        raise AttributeError(f"module 'weft' has no attribute {name!r}")
    value = getattr(importlib.import_module(_home[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_home])
