"""What made a value: step, code, each argument and where it came from, and the commit that holds it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from weft.engine.failures import at_place, brief
from weft.model.step import Parameter, Step
from weft.plan.blocks import Positions
from weft.run.contents import element_state
from weft.store.commits import STATES
from weft.store.layout import results_folder
from weft.study.arguments import Fetcher, place
from weft.study.arrays import Values
from weft.study.opening import RecordedFunction
from weft.study.reading import injected
from weft.study.streams import stream_words
from weft.study.study import Study
from weft.values.content import digest


class Explanation(dict[str, Any]):
    """Facts by name, which print as a page to read."""

    def __repr__(self) -> str:
        place = at_place(self["index"], {})
        lines = [f"{self['name']!r}{place} is made by step {self['step']!r}: {self['state']}"]
        lines += [f"  {name:10}{brief(value)}" for name, value in self["coords"].items()]
        for given in self["inputs"]:
            value = f" = {given['value']}" if given["value"] is not None else ""
            what = f" ({given['digest'][:12]})" if given["digest"] else ""
            lines.append(f"  takes {given['name']}{value}{what}, {given['from']}")
        for key in ("rng", "code", "identity", "file", "host", "worker"):
            if self.get(key):
                lines.append(f"  {key:10}{self[key]}")
        if self.get("started"):
            when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self["started"]))
            lines.append(f"  {'started':10}{when}, attempt {self['attempt']}")
        return "\n".join(lines)


def explain(study: Study, step: Step, name: str, chosen: Mapping[str, Positions]) -> Explanation:
    """What made the elements at the chosen storage positions; the commit too, if it is a single one."""
    record = study.records[step.name]
    found = Explanation(
        name=name, step=step.name, mapspec=record.mapspec, identity=record.identity, code=record.code,
        index={}, coords={}, state=_summary(study, step), inputs=[], rng=None,
    )  # fmt: skip
    single = all(axis in chosen and len(chosen[axis]) == 1 for axis in step.axes)
    where = {axis: chosen[axis] for axis in step.axes} if single else None
    values = Values(study)
    if where is not None:
        index, coords = place(study, values, step, where, 1)
        found["index"] = {axis: p[0] for axis, p in index.items()}
        found["coords"] = {n: v[0] for n, v in coords.items()}
        found |= _committed(study, step, where)
    told: dict[str, tuple[str | None, str, str]] = {}
    for parameter in step.parameters:
        if not injected(step, parameter, study) and not _unknown(study, step, parameter):
            told[study.graph.said(parameter.name)] = _input(study, values, step, parameter, where)
    for name, known in record.parts.items():
        if name not in record.inputs and name != "seed":
            told.setdefault(name, (None, known, "bound to the step"))
    found["inputs"] = [
        {"name": name, "value": value, "digest": content, "from": source}
        for name, (value, content, source) in told.items()
    ]
    if "seed" in record.parts:
        key = ", and the element's coordinates"
        if where is not None:
            words = stream_words(step.name, Fetcher(study).coordinates(step, where, 1))[0]
            key = f", spawn key {tuple(words.tolist())}"
        found["rng"] = f"PCG64 from seed {study.seed}{key}"
    return found


def _unknown(study: Study, step: Step, parameter: Parameter) -> bool:
    """Whether the record, without code, says nothing of an argument: weft makes it."""
    known = (study.graph.producer, study.graph.aliases, study.inputs, study.records[step.name].parts)
    return isinstance(step.function, RecordedFunction) and not any(parameter.name in names for names in known)


def _summary(study: Study, step: Step) -> str:
    commits = [c for held in study.results[step.name].commits.values() for c in held.values()]
    return f"{sum(c.n_done for c in commits)} elements in {len(commits)} commits"


def _committed(study: Study, step: Step, where: Mapping[str, Positions]) -> dict[str, Any]:
    """The commit that holds an element."""
    found = element_state(study, step, where)
    state, position = found if found is not None else (None, 0)
    what = STATES[state.states()[position]] if state is not None else "open"
    if state is None or what == "open":
        return {"state": what}
    commit = state.commits[state.counting()[position]]
    file = f"{results_folder(commit.step, commit.identity)}/{commit.name}.weft" if study.path else None
    kept = asdict(commit)
    told = {name: kept[name] for name in ("host", "worker", "started", "attempt", "epoch", "forced")}
    return {"state": what, "file": file, **told}


def _origin(study: Study, name: str, where: Mapping[str, Positions] | None) -> tuple[str, str]:
    """The array that a name stands for at an element, and of which iteration it is."""
    when = ""
    while (alias := study.graph.aliases.get(name)) is not None:
        if alias.initial is None:
            name, when = alias.of, f" in the last iteration of {alias.axis!r}"
        elif where is not None and int(where[alias.axis][0]) == 0:
            name = alias.initial
        else:
            return study.graph.base(alias.of), f" in the iteration of {alias.axis!r} before"
    return name, when


def _input(
    study: Study, values: Values, step: Step, parameter: Parameter, where: Mapping[str, Positions] | None
) -> tuple[str | None, str, str]:
    """Of an argument its value and digest, where they are known, and where it comes from."""
    name, graph = parameter.name, study.graph
    if step.is_bound(parameter):
        value = step.bound_value(parameter)
        return brief(value), digest(value), "bound to the step"
    origin, when = _origin(study, name, where)
    made, given = graph.producer.get(origin), study.inputs.get(origin)
    if made is None and given is None:
        known = None if isinstance(step.function, RecordedFunction) else brief(parameter.default)
        return known, study.records[step.name].parts.get(origin, ""), "the default"
    source = f"made by step {made.name!r}{when}" if made is not None else "an input"
    read = graph.read(step, name)
    if not read.indices and given is not None:
        return brief(given.value), given.digest, source
    if not read.elementwise:
        part = ", a part taken whole" if any(read.indices) else ", taken whole"
        shape = study.array_shape(name)
        shown = None if shape is None else f"array of shape {shape}"
        return shown, given.digest if given else "", source + (", a run of it" if step.coarse else part)
    if where is not None and bool(values.present(name, where, 1).all()):
        column = values.elements(name, where, 1)
        return brief(column.tolist()[0]), column.element_digests()[0].tobytes().hex(), source
    return None, "", source
