"""The checks of a wiring that need the whole of it: axes across aliases, defaults, annotations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from weft.errors import WiringError
from weft.model.annotations import fits, scalar_annotation
from weft.model.crossing import Crossing
from weft.model.step import REQUIRED

Known = tuple[list[str | None], str]
"""The axes of an array, None for those that nobody has named yet, and the step that told them."""


def unite(graph: Crossing, found: dict[str, Known]) -> None:
    """Give aliases the axes of what they stand for, and the other way round."""
    for alias in list(graph.aliases.values()) * 2:  # twice, for aliases of aliases
        if alias.initial is None:
            if alias.of not in found:
                continue
            axes, where = found[alias.of]
            left = [a for a in axes if a != alias.axis]
            own, taker = found.setdefault(alias.name, (left, where))
            if not _agree(own, left):
                raise WiringError(
                    f"{graph.base(alias.of)!r}, made by step {where!r}, lies along [{_shown(left)}] "
                    f"after loop {alias.axis!r}, but step {taker!r} takes it along [{_shown(own)}]. Both "
                    "need the same axes in their mapspecs."
                )
            continue
        if alias.initial_axes and alias.initial not in graph.producer:
            found.setdefault(alias.initial, (list(alias.initial_axes), alias.axis))
        if alias.name not in found and alias.of not in found:
            continue
        axes, where = found.setdefault(alias.name, found.get(alias.of, ([], "")))
        others, maker = found.setdefault(alias.of, (axes, where))
        if not _agree(axes, others):
            raise WiringError(
                f"Loop {alias.axis!r} carries {graph.base(alias.of)!r}, made by step {maker!r}, to "
                f"step {where!r}, which takes it along "
                f"[{_shown([a for a in axes if a != alias.axis])}]. Both need the same axes in their "
                "mapspecs."
            )


def _agree(axes: list[str | None], others: list[str | None]) -> bool:
    """Whether two may say the axes of one array; if so, what one leaves open is taken from the other."""
    if len(axes) != len(others) or any(a != b for a, b in zip(axes, others, strict=True) if a and b):
        return False
    axes[:] = others[:] = [a or b for a, b in zip(axes, others, strict=True)]
    return True


def name_reduced(graph: Crossing, found: dict[str, Known]) -> None:
    """Give the axis of inputs that are read in runs its name, where no mapspec does; tell runs its name."""
    for step in graph.order:
        for array in step.spec.inputs if step.spec and step.coarse else ():
            axes = found[array.name][0]
            if None in array.indices and step.coarse:
                place = array.indices.index(None)
                axes[place] = fine = axes[place] or step.coarse.of
                graph.coarse[step.coarse.axis] = replace(step.coarse, of=fine)


def check_ragged(graph: Crossing) -> None:
    """Rows of different lengths are taken row by row."""
    for step in graph.order:
        if step.ragged and len(step.opened) > 1:
            raise WiringError(
                f"Step {step.name!r} opens {', '.join(step.opened)} at once, the last with rows of different "
                "lengths. Open the others in a step before it."
            )
        ragged = [axis for axis in step.axes if axis in graph.ragged]
        if len(ragged) > 1 or (ragged and step.axes[-1] != ragged[0]):
            raise WiringError(
                f"Step {step.name!r} runs along {', '.join(step.axes)}: of axes with rows of different "
                f"lengths ({', '.join(ragged)}) there can be one, and it stands last."
            )
        for axis in ragged:
            parents = graph.ragged[axis].axes
            if not set(parents) <= set(step.axes):
                raise WiringError(
                    f"Step {step.name!r} runs along {axis!r} without {', '.join(parents)}, but each of these "
                    f"has its own {axis!r}: a column of rows of different lengths. Take them row by row."
                )
    for name, axes in graph.axes.items():
        held = [axis for axis in axes if axis in graph.ragged]
        if held and name not in graph.aliases and name not in graph.producer:
            raise WiringError(
                f"{name!r} is an input along {held[0]!r}, which step {graph.ragged[held[0]].name!r} opens "
                "with another length each time. Give one of them another index in its mapspec."
            )


def check_iterations(graph: Crossing) -> None:
    """The number of an iteration exists in its loop only."""
    for step in graph.order:
        inside = {loop.name for loop in step.loops}
        for p in step.inputs:
            if p.name in graph.loops and p.name not in inside:
                raise WiringError(
                    f"Step {step.name!r} takes {p.name!r}, the iteration of that loop, which exists only "
                    "in its body."
                )


def check_reduce(graph: Crossing) -> None:
    """Only study axes are reduced."""
    for step in graph.order:
        known = {axis for p in step.inputs for axis in graph.axes.get(p.name, ())}
        for axis in step.reduce:
            if axis in step.axes or axis in known:
                raise WiringError(
                    f"step {step.name!r}: {axis!r} in reduce is a data axis, not a study axis. "
                    "To take it whole, say ':' in the mapspec."
                )


def check_defaults(graph: Crossing) -> None:
    """One input has one default."""
    seen: dict[str, tuple[Any, str]] = {}
    for step in graph.order:
        for p in step.inputs:
            if graph.makers(p.name) or p.default is REQUIRED:
                continue
            name = graph.start(p.name)
            default, where = seen.setdefault(name, (p.default, step.name))
            if default is not p.default and not _same(default, p.default):
                raise WiringError(
                    f"{name!r} is one input, but its default is {default!r} in step {where!r} and "
                    f"{p.default!r} in step {step.name!r}. Make them equal (defaults=...), or rename one "
                    "(renames=...)."
                )


def check_annotations(graph: Crossing) -> None:
    """What one step returns is what the next one takes, as far as annotations tell."""
    for step in graph.order:
        for p in step.inputs:
            whole = None in graph.read(step, p.name).indices
            if whole and not (step.reduce or step.batch) and scalar_annotation(p.annotation):
                axes = ", ".join(graph.axes[p.name])
                raise WiringError(
                    f"Step {step.name!r} takes {p.name!r} whole along {axes}, but annotates it as one "
                    f"{_plain(p.annotation)}. Give it a mapspec, or annotate what it gets: np.ndarray."
                )
            made = graph.producer.get(graph.base(p.name))
            if made is None or len(made.outputs) > 1 or made.output_picker or made.batch or step.batch:
                continue
            produced = made.annotations.get("return", REQUIRED)
            if (
                REQUIRED in (produced, p.annotation)
                or made.opened
                or step.reduce
                or not graph.read(step, p.name).elementwise
                or (
                    p.name in graph.aliases and made.spec and len(made.axes) != len(made.spec.outputs[0].axes)
                )
            ):
                continue
            if not fits(produced, p.annotation):
                raise WiringError(
                    f"Step {made.name!r} returns {_plain(produced)} as {graph.said(p.name)!r}, but step "
                    f"{step.name!r} takes {_plain(p.annotation)}. Change one of the annotations, or the "
                    "wiring."
                )


def _same(a: Any, b: Any) -> bool:
    from weft.values.content import digest

    try:
        return digest(a) == digest(b)
    except TypeError:
        return False


def _shown(axes: list[str | None]) -> str:
    return ", ".join(axis or ":" for axis in axes)


def _plain(annotation: Any) -> str:
    return getattr(annotation, "__name__", None) or str(annotation)


#: What every wiring has to pass.
CHECKS = (check_defaults, check_annotations, check_reduce, check_iterations, check_ragged)
