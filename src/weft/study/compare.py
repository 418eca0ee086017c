"""What differs between a study and its record, and what follows from it: the identities of steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from weft.errors import InvalidInput, RunMismatch, nearest
from weft.model.graph import Graph
from weft.model.identity import code_digest, explain_code
from weft.model.iterations import FIRST
from weft.model.step import Step
from weft.store.record import Change, StepRecord
from weft.store.results import CommitStore, Results
from weft.study.study import Input
from weft.values.content import digest, digest_bytes

CHOICES = ("error", "rerun", "keep", "replace")


def described(graph: Graph, inputs: Mapping[str, Input], seed: int) -> dict[str, StepRecord]:
    """What identifies each step by itself, identity and needs left open."""
    digests: dict[str, str] = {}
    found = {}
    for step in graph.order:
        parts: dict[str, str] = {}
        for p in step.parameters:
            if step.ignores(p) or (p.name in graph.producer and not step.is_bound(p)):
                continue
            name = graph.start(p.name)
            if step.is_bound(p):
                parts[p.name] = digest(step.bound_value(p))
            elif name in inputs:
                given = inputs[name]
                if not given.axes:
                    parts[name] = digests.setdefault(name, given.digest or digest(given.value))
            elif p.name in graph.aliases:
                continue
            elif p.injected == "rng":
                parts["seed"] = digest(seed)
            elif p.injected is None and not p.required:
                parts[p.name] = digest(p.default)
        found[step.name] = StepRecord(
            "", code_of(step), parts, mapspec=str(step.spec) if step.spec else None, outputs=step.outputs,
            inputs=tuple(p.name for p in step.parameters if not step.is_bound(p)), after=step.after,
            keep=step.keep, allow_missing=step.allow_missing, aliases=step.aliases, loops=step.loops,
            coarse=step.coarse, study=step.study,
            followed=explain_code(step.function) if step.version is None else {},
        )  # fmt: skip
    return found


def code_of(step: Step) -> str:
    """Digest of a step's code, and of the options that results depend on."""
    own = code_digest(step.function, version=step.version)
    picker = code_digest(step.output_picker) if step.output_picker else ""
    wiring = f"{step.spec}|{step.outputs}|{step.batch}|{step.allow_missing}|{picker}"
    if step.aliases:
        wiring += "|" + repr([(a.name, a.of, a.axis, a.initial) for a in step.aliases])
    if step.coarse:
        wiring += f"|{step.coarse.axis} {step.coarse.length}"
    return digest_bytes(own.encode(), wiring.encode())


def identity(record: StepRecord, generation: int, salt: str = "") -> str:
    """The name of a step's folder of results: what its results depend on, in a digest."""
    parts = "|".join(f"{name}={value}" for name, value in sorted(record.parts.items()))
    text = [record.code, parts, *record.needs, str(record.forced), str(generation), salt]
    return digest_bytes(*(t.encode() for t in text))


def differences(old: StepRecord, new: StepRecord) -> tuple[str, ...]:
    """What differs between two records of a step, in words; the steps before it aside."""
    found = []
    if old.code != new.code:
        changed = sorted(
            name
            for name in {*old.followed, *new.followed}
            if old.followed.get(name) != new.followed.get(name)
        )
        if old.mapspec != new.mapspec:
            found.append(f"mapspec ({old.mapspec or 'none'} → {new.mapspec or 'none'})")
        found.append(f"code of {', '.join(changed)}" if changed else "code or options of the step")
    for name in sorted({*old.parts, *new.parts}):
        if old.parts.get(name) != new.parts.get(name):
            found.append("the seed" if name == "seed" else f"input {name.removesuffix(FIRST)!r}")
    return tuple(found)


def forced_steps(graph: Graph, force: Any) -> frozenset[str]:
    """The steps that a ``force`` option names.

    Raises
    ------
    InvalidInput
        For a name that is no step or output.
    """
    if not force:
        return frozenset()
    found: set[str] = set()
    for name in [force] if isinstance(force, str) else list(force):
        if name == "all" and "all" not in graph.steps:
            return frozenset(graph.steps)
        bare = name.removesuffix("+")
        step = graph.steps.get(bare) or graph.producer.get(bare)
        if step is None:
            raise InvalidInput(f"force names {name!r}, which is no step.{nearest(bare, graph.steps)}")
        found |= {s.name for s in graph.descendants(step)} if name.endswith("+") else {step.name}
    return frozenset(found)


def check_choice(on_change: str) -> None:
    """Refuse an ``on_change`` that does not exist."""
    if on_change not in CHOICES:
        raise InvalidInput(f"on_change is one of {', '.join(map(repr, CHOICES))}, got {on_change!r}.")


def settle(
    graph: Graph,
    new: Mapping[str, StepRecord],
    old: Change | None,
    on_change: str,
    force: frozenset[str],
    cost: Callable[[StepRecord, str], tuple[int, float]],
) -> tuple[dict[str, StepRecord], int, str | None]:
    """The identities of all steps: recorded ones where nothing differs.

    Returns
    -------
    records, generation, reason
        `reason` is None if nothing differs from the record.

    Raises
    ------
    RunMismatch
        If something differs and `on_change` is ``"error"``.
    """
    check_choice(on_change)
    before = old.steps if old else {}
    generation = old.generation if old else 0
    found_differences = {
        step.name: what
        for step in graph.order
        if step.name in before and (what := differences(before[step.name], new[step.name]))
    }
    if found_differences and on_change == "error":
        raise RunMismatch(_mismatch(graph, found_differences, before, cost))
    replaced = bool(found_differences) and on_change == "replace"
    generation += replaced
    records: dict[str, StepRecord] = {}
    reason = None if old else "start"
    for step in graph.order:
        known = before.get(step.name)
        needs = (
            _around(graph, step, new, records, before, force)
            if step.loops
            else tuple(records[n.name].identity for n in graph.needs(step) if n.name not in step.after)
        )
        record = replace(
            new[step.name], needs=needs, forced=(known.forced if known else 0) + (step.name in force)
        )
        if known is None:
            record = replace(record, identity=identity(record, generation))
            reason = reason or "steps added"
        elif (
            step.name not in force
            and not replaced
            and known.needs == needs
            and not differences(known, record)
        ):
            record = replace(record, identity=known.identity, bases=known.bases)
            reason = reason or (None if _wiring(known) == _wiring(record) else "wiring")
        elif on_change == "keep" and step.name not in force:
            bases = (known.identity, *known.bases)
            record = replace(
                record, identity=identity(record, generation, f"kept {known.identity}"), bases=bases
            )
            reason = "keep"
        else:
            record = replace(record, identity=identity(record, generation))
            reason = "replace" if replaced else "rerun" if found_differences else "force"
        records[step.name] = record
    return records, generation, reason


def _around(
    graph: Graph, step: Step, new: Mapping[str, StepRecord], records: Mapping[str, StepRecord],
    before: Mapping[str, StepRecord], force: frozenset[str],
) -> tuple[str, ...]:  # fmt: skip
    """What a step in a loop depends on: what it needs of the body, in any iteration, and what goes in."""
    inside, waiting = {step.name: step}, [step]
    while waiting:
        other = waiting.pop()
        for needed in (*graph.needs(other), *graph.carriers(other)):
            if needed.loops and needed.loops[0].name == step.loops[0].name and needed.name not in inside:
                inside[needed.name] = needed
                waiting.append(needed)
    body = inside.values()
    outside = {
        records[n.name].identity
        for other in body
        for n in graph.needs(other)
        if n.name not in inside and n.name not in other.after
    }
    parts = []
    for other in body:
        forced = (before[other.name].forced if other.name in before else 0) + (other.name in force)
        own = sorted(new[other.name].parts.items())
        parts.append(repr((other.name, new[other.name].code, own, forced)))
    return (*sorted(outside), digest_bytes(*(part.encode() for part in sorted(parts))))


def _wiring(record: StepRecord) -> tuple[Any, ...]:
    return record.outputs, record.inputs, record.after, record.mapspec


def _mismatch(
    graph: Graph, found: Mapping[str, Sequence[str]], before: Mapping[str, StepRecord],
    cost: Callable[[StepRecord, str], tuple[int, float]],
) -> str:  # fmt: skip
    below = (step.name for name in found for step in graph.descendants(graph.steps[name]))
    affected = dict.fromkeys(name for name in below if name in before)
    lines = ["This is not what the run directory records:"]
    lines += [f"  step {name!r}: {', '.join(what)} changed" for name, what in found.items()]
    n, seconds = 0, 0.0
    for name in affected:
        elements, spent = cost(before[name], name)
        n, seconds = n + elements, seconds + spent
        if elements:
            lines.append(f"  {name}: {elements} finished element(s), {spent:.3g} s of work, are affected")
    lines += [
        "Choose with on_change=:",
        f"  'rerun'    run again what is stale: {n} element(s), about {seconds:.3g} s; "
        "old results stay until gc",
        "  'keep'     keep what is done; what is open or failed runs with today's code",
        "  'replace'  a new run of everything; the old one stays until the new one stands",
    ]
    return "\n".join(lines)


def cost_in(store: CommitStore) -> Callable[[StepRecord, str], tuple[int, float]]:
    """Counts the finished elements under an identity, and the seconds that they took."""

    def cost(record: StepRecord, step: str) -> tuple[int, float]:
        results = Results(store, step, record.identity, record.bases).refresh()
        commits = [commit for found in results.commits.values() for commit in found.values()]
        return sum(c.n_done for c in commits), sum(c.seconds for c in commits if c.n_done)

    return cost
