"""Loops as ordinary steps: a body along the axis of its iterations, and names for what crosses them.

What comes out are steps with longer mapspecs and with aliases, so nothing downstream knows the body's order.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from weft.errors import WiringError
from weft.model.graph import Graph
from weft.model.iterations import FIRST, Alias, Iterations
from weft.model.loop import Loop
from weft.model.rewriting import in_front, reading
from weft.model.step import Step


@dataclass
class _Scope:
    """How what the loops of a body, or of the pipeline, make is read beside them."""

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
    scope = _Scope()
    bodies = [_body(part, scope) if isinstance(part, Loop) else [part] for part in parts]
    flat = [step for steps in bodies for step in steps]
    inside = {loop.name: [s.name for s in flat if loop in s.loops] for s in flat for loop in s.loops}
    found = []
    for steps in bodies:
        # Inside its loop a name is the current value, outside the last one.
        own = {output for step in steps for output in step.outputs}
        for step in steps:
            step = _seen(step, lambda name: scope.views.get(name, name), scope.aliases, own)
            if not inside.keys().isdisjoint(step.after):  # after a loop: after all of its body
                step = step.replace(after=[n for name in step.after for n in inside.get(name, (name,))])
            found.append(step)
    return found


def beside(steps: Iterable[Step], recorded: Iterable[Step]) -> list[Step]:
    """Steps of a part of a pipeline, reading what its recorded loops make as those of all of it do.

    That is the last value; or the history, where others outside read that (``collect``).
    """
    known, steps = Graph(recorded), list(steps)
    given = {output for step in steps for output in step.outputs}
    homes = {output: known.producer[output].loops for output in known.outputs if output not in given}
    aliases = dict(known.aliases)
    views: dict[str, str] = {}
    for output, loops in homes.items():
        for loop in reversed(loops):
            of = views.get(output, output)
            views[output] = f"{of}.last"
            aliases.setdefault(views[output], Alias(views[output], of, loop.name))
    for step in known.order:
        for name in (known.start(p.name) for p in step.inputs):
            made = known.base(name)
            if made in views and homes[made][0].name not in {loop.name for loop in step.loops[:1]}:
                views[made] = name
    return [_seen(step, lambda name: views.get(name, name), aliases) for step in steps]


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
    scope = _Scope()
    bodies = [_body(part, scope) if isinstance(part, Loop) else [part] for part in loop.steps]
    writes = {o: place for place, steps in enumerate(bodies) for step in steps for o in step.outputs}
    aliases = dict(scope.aliases)

    def see(place: int, name: str) -> str:
        """What was written before `place` as it is, a carried value by its alias."""
        plain = name.removesuffix(FIRST)
        written = writes.get(plain)
        if written is not None and written < place:
            return scope.views.get(plain, plain)
        update = plain if written is not None else loop.carry.get(plain)
        if update is None:
            return name
        alias = f"{loop.name}.{plain}"
        # Where the body makes the name itself, what comes from outside under it needs another.
        initial = plain if written is None else plain + FIRST
        aliases[alias] = Alias(alias, scope.views.get(update, update), loop.name, initial)
        return alias

    flat = []
    for place, steps in enumerate(bodies):
        inner = isinstance(loop.steps[place], Loop)
        own = {output for step in steps for output in step.outputs} if inner else frozenset()
        flat += [_seen(step, partial(see, place), aliases, own) for step in steps]
    graph = Graph([step.replace(after=()) for step in flat])
    for name in writes:
        view = scope.views.get(name, name)
        outside.views[name] = view if name in loop.collect else f"{view}.last"
        outside.aliases |= scope.aliases
        outside.aliases[f"{view}.last"] = Alias(f"{view}.last", view, loop.name)
    opened = {axis for step in flat for axis in step.opened}
    mine = Iterations(loop.name, loop.n_iterations, loop.until)
    return [_along(mine, step, graph, opened) for step in flat]


def _seen(
    step: Step, see: Callable[[str], str], aliases: Mapping[str, Alias], own: Collection[str] = ()
) -> Step:
    """A step with names as they are seen from where it stands, but for those that its own loop makes."""
    read = [p.name for p in step.parameters if not step.is_bound(p)]
    initial = [alias.initial for alias in step.aliases if alias.initial is not None]
    seen = {name: see(name) for name in (*read, *initial) if name not in own}
    changes = reading(step, seen)
    known = {a.name: replace(a, initial=seen.get(a.initial or "", a.initial)) for a in step.aliases}
    wanted = [seen[name] for name in read if seen.get(name, name) != name]
    wanted += [a.initial for a in known.values() if a.initial is not None]
    while wanted:
        name = wanted.pop()
        if name in aliases and name not in known:
            alias = known[name] = aliases[name]
            wanted += [alias.of, alias.initial or ""]
    if not changes and tuple(known.values()) == step.aliases:
        return step
    return step.replace(**changes, aliases=tuple(known.values()))


def _along(mine: Iterations, step: Step, graph: Graph, opened: set[str]) -> Step:
    """A step with the loop's axis in front of whatever the body makes."""
    front = {p.name: (mine.name,) for p in step.parameters if graph.made(p.name)}
    # Each iteration may make another number of what a step opens.
    ragged = bool(step.spec and step.opened and step.opened == step.spec.outputs[0].indices[-1:])
    aliases = []
    for alias in step.aliases:
        if alias.axis == mine.name and alias.initial is not None:
            # What comes from outside lies along an axis of its own where the body makes another each time.
            axes = (f"{a}_first" if a in opened else a for a in graph.axes.get(alias.name, ()))
            alias = replace(alias, initial_axes=tuple(axes))
        elif alias.initial is not None and graph.made(alias.initial):
            alias = replace(alias, initial_axes=(mine.name, *alias.initial_axes))
        aliases.append(alias)
    options = in_front(graph, step, front, (mine.name,), (mine.name, *step.hidden), ragged)
    return step.replace(**options, loops=(mine, *step.loops), aliases=tuple(aliases))
