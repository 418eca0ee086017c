"""Loops as ordinary steps: a body along the axis of its iterations, and names for what crosses them.

What comes out are steps with longer mapspecs and with aliases, so nothing downstream knows the body's order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from weft.errors import WiringError
from weft.model.graph import Graph
from weft.model.iterations import FIRST, Alias, Iterations
from weft.model.loop import Loop
from weft.model.mapspec import ArraySpec, MapSpec
from weft.model.step import Step


@dataclass
class _Scope:
    """What a body, or the pipeline, makes: where each name is written, and how it is read outside loops."""

    writes: dict[str, int] = field(default_factory=dict)
    views: dict[str, str] = field(default_factory=dict)
    aliases: dict[str, Alias] = field(default_factory=dict)


def lowered(parts: Sequence[Any]) -> list[Step]:
    """The steps of a pipeline, with those of its loops along their axes.

    Raises
    ------
    WiringError
        If a loop's name is taken, or its body does not fit together.
    """
    if not any(isinstance(part, Loop) for part in parts):
        return list(parts)
    _check_names(parts)
    steps: list[Step] = []
    scope = _Scope()
    homes: dict[str, str] = {}
    for part in parts:
        made = _body(part, scope) if isinstance(part, Loop) else [part]
        if isinstance(part, Loop):
            homes |= {output: part.name for step in made for output in step.outputs}
        steps += made
    inside = {loop.name: tuple(s.name for s in steps if loop in s.loops) for s in steps for loop in s.loops}
    found = []
    for step in steps:
        own = step.loops[0].name if step.loops else ""
        # Inside its loop a name is the current value, outside the last one.
        names = {name: view for name, view in scope.views.items() if homes[name] != own}
        step = _read_as(step, names, scope.aliases, names)
        if not inside.keys().isdisjoint(step.after):  # after a loop: after all of its body
            step = step.replace(after=[n for name in step.after for n in inside.get(name, (name,))])
        found.append(step)
    return found


def beside(steps: Iterable[Step], recorded: Iterable[Step]) -> list[Step]:
    """Steps of a part of a pipeline, reading what its recorded loops make as those of all of it do.

    That is the last value; or the history, where others outside read that (``collect``).
    """
    known, steps = list(recorded), list(steps)
    given = {output for step in steps for output in step.outputs}
    looped = [(output, step) for step in known if step.loops for output in step.outputs]
    own = {output: step.loops[0].name for output, step in looped if output not in given}
    aliases = {alias.name: alias for step in known for alias in step.aliases}
    views: dict[str, str] = {}
    for step in known:
        for output in (output for output in step.outputs if output in own):
            views[output] = output
            for loop in reversed(step.loops):
                view = f"{views[output]}.last"
                aliases.setdefault(view, Alias(view, views[output], loop.name))
                views[output] = view
    for step in known:
        for name in (p.name for p in step.inputs):
            while (alias := aliases.get(name)) is not None and alias.initial is not None:
                name = alias.initial
            made = name
            while made in aliases:
                made = aliases[made].of
            if made in own and own[made] != (step.loops[0].name if step.loops else ""):
                views[made] = name
    return [_read_as(step, views, aliases, views) for step in steps]


def _check_names(parts: Iterable[Any]) -> None:
    """A loop's name is nobody else's."""

    def walk(parts: Iterable[Any]) -> Iterable[tuple[str, str]]:
        for part in parts:
            if isinstance(part, Loop):
                yield "loop", part.name
                yield from walk(part.steps)
            else:
                yield "step", part.name
                yield from (("output", output) for output in part.outputs)

    known: dict[str, str] = {}
    for kind, name in walk(parts):
        other = known.get(name)
        if other is not None and "loop" in (kind, other):
            raise WiringError(
                f"{name!r} is the name of a loop and of another {other}. Rename one: Loop(..., name=...)."
            )
        known[name] = kind


def _body(loop: Loop, outside: _Scope) -> list[Step]:
    """The steps of a loop along its axis; tells `outside` how what they make is read there."""
    scope, places = _Scope(), []
    for place, part in enumerate(loop.steps):
        steps = _body(part, scope) if isinstance(part, Loop) else [part]
        places.append(steps)
        scope.writes |= {output: place for step in steps for output in step.outputs}
    flat = [
        _resolved(loop, step, place, scope, isinstance(loop.steps[place], Loop))
        for place, steps in enumerate(places)
        for step in steps
    ]
    graph = Graph([step.replace(after=()) for step in flat])
    inside = {
        name for name in (*graph.axes, *graph.aliases, *graph.producer) if graph.base(name) in graph.producer
    }
    mine = Iterations(loop.name, loop.n_iterations, loop.until)
    for name in scope.writes:
        view = scope.views.get(name, name)
        outside.views[name] = view if name in loop.collect else f"{view}.last"
        outside.aliases |= scope.aliases
        outside.aliases[f"{view}.last"] = Alias(f"{view}.last", view, loop.name)
    opened = {axis for step in flat for axis in step.opened}
    return [_along(mine, step, graph, inside, opened) for step in flat]


def _resolved(loop: Loop, step: Step, place: int, scope: _Scope, looped: bool) -> Step:
    """A step of a body that reads what was written before it as it is, carried values by their aliases."""
    aliases = dict(scope.aliases)

    def seen(name: str) -> str:
        written = scope.writes.get(name)
        if written is not None and written < place:
            return scope.views.get(name, name)
        update = name if written is not None else loop.carry.get(name)
        if update is None:
            return name
        alias = f"{loop.name}.{name}"
        # Where the body makes the name itself, what comes from outside under it needs another.
        initial = name if written is None else name + FIRST
        aliases[alias] = Alias(alias, scope.views.get(update, update), loop.name, initial)
        return alias

    own = {output for output, written in scope.writes.items() if written == place} if looped else set()
    initial = {}
    for name in [alias.initial for alias in step.aliases if alias.initial is not None]:
        plain = name.removesuffix(FIRST)
        initial[name] = seen(plain) if seen(plain) != plain else name
    reads = [p.name for p in step.parameters if not step.is_bound(p) and p.name not in own]
    known = {alias.name for alias in step.aliases}
    return _read_as(step, {name: seen(name) for name in reads if name not in known}, aliases, initial)


def _read_as(
    step: Step, names: Mapping[str, str], aliases: Mapping[str, Alias], initial: Mapping[str, str]
) -> Step:
    """A step that reads some names by others, and whose carried values begin with others."""
    taken = {
        p.argument: names[p.name]
        for p in step.parameters
        if not step.is_bound(p) and names.get(p.name, p.name) != p.name
    }
    old = {p.argument: p.name for p in step.parameters}
    reads, defaults, ignore = {**dict(step.reads), **taken}, dict(step.defaults), list(step.ignore)
    for argument in taken:
        if old[argument] in defaults:
            defaults[argument] = defaults.pop(old[argument])
        ignore = [argument if name == old[argument] else name for name in ignore]
    spec = step.spec
    if spec is not None:
        spec = MapSpec(tuple(replace(a, name=names.get(a.name, a.name)) for a in spec.inputs), spec.outputs)
    own = {a.name: replace(a, initial=initial.get(a.initial or "", a.initial)) for a in step.aliases}
    wanted = [*taken.values(), *(a.initial for a in own.values() if a.initial is not None)]
    while wanted:
        name = wanted.pop()
        if name in aliases and name not in own:
            alias = own[name] = aliases[name]
            wanted += [alias.of, alias.initial or ""]
    if not taken and tuple(own.values()) == step.aliases:
        return step
    return step.replace(
        reads=tuple(reads.items()),
        defaults=defaults,
        ignore=ignore,
        mapspec=spec,
        aliases=tuple(own.values()),
    )


def _along(mine: Iterations, step: Step, graph: Graph, inside: set[str], opened: set[str]) -> Step:
    """A step with the loop's axis in front of whatever the body makes."""
    hidden = (mine.name, *(loop.name for loop in step.loops))
    inputs = [ArraySpec(name, (name,)) for name in hidden]
    for p in step.parameters:
        if step.is_bound(p) or p.name in hidden:
            continue
        given = step.input_spec(p.name)
        behind = given.indices if given else (None,) * len(graph.axes.get(p.name, ()))
        if p.name in inside:
            inputs.append(ArraySpec(p.name, (mine.name, *behind)))
        elif given:
            inputs.append(given)
    outputs = []
    for name in step.outputs:
        spec = next((a for a in step.spec.outputs if a.name == name), None) if step.spec else None
        indices = spec.indices if spec else ()
        # Each iteration may make another number of them.
        ragged = bool(spec and (spec.ragged or (step.opened and step.opened == indices[-1:])))
        outputs.append(ArraySpec(name, (mine.name, *indices), ragged))
    aliases = []
    for alias in step.aliases:
        if alias.axis == mine.name and alias.initial is not None:
            # What comes from outside lies along an axis of its own where the body makes another each time.
            axes = (f"{a}_first" if a in opened else a for a in graph.axes.get(alias.name, ()))
            alias = replace(alias, initial_axes=tuple(axes))
        elif alias.initial is not None and alias.initial in inside:
            alias = replace(alias, initial_axes=(mine.name, *alias.initial_axes))
        aliases.append(alias)
    return step.replace(
        mapspec=MapSpec(tuple(inputs), tuple(outputs)), loops=(mine, *step.loops), aliases=tuple(aliases)
    )
