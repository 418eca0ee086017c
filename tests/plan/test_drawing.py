from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest

import weft


@weft.step("y", mapspec="x[i] -> y[i]")
def simulate(x, k=1.0):
    return x * k


@weft.step("z", mapspec="y[i], w[j] -> z[i, j]")
def cross(y, w):
    return y * w


@weft.step("best")
def best(z):
    return z.max()


@weft.step("table", mapspec="z[i, :] -> table[i]", after="best")
def rows(z):
    return z.sum()


PIPE = weft.Pipeline([simulate, cross, best, rows], name="demo")


def test_text_shows_layers() -> None:
    assert str(PIPE.draw("text")).splitlines() == [
        "inputs: x[i], k, w[j]",
        "  │",
        " 1─ simulate   x[i], k    → y[i]",
        "  │",
        " 2─ cross      y[i], w[j] → z[i, j]    after simulate",
        "  │",
        " 3─ best       z[:, :]    → best       after cross",
        "  │",
        " 4─ rows       z[i, :]    → table[i]   after cross, best",
    ]


def test_text_of_twelve_steps_has_a_line_for_each() -> None:
    steps = [weft.step("s0", mapspec="x[i] -> s0[i]")(lambda x: x)]
    for n in range(1, 12):
        made = weft.Step(eval(f"lambda s{n // 2 if n > 1 else 0}: 0"), f"s{n}")
        steps.append(made)
    lines = str(weft.Pipeline(steps).draw("text")).splitlines()
    assert len(lines) < 24 and max(map(len, lines)) < 80
    assert sum("→" in line for line in lines) == 12


def test_mermaid_labels_arrays_with_their_axes() -> None:
    lines = str(PIPE.draw()).splitlines()
    assert lines[0] == "flowchart TD"
    ids = dict(re.findall(r'(\w+)[\[(]+"(\w+)"', "\n".join(lines)))
    names = {name: short for short, name in ids.items()}
    assert f'    {names["x"]}(["x"])' in lines
    assert f'    {names["cross"]}["cross"]' in lines
    assert f'    {names["simulate"]} -->|"y[i]"| {names["cross"]}' in lines
    assert f'    {names["cross"]} -->|"z[i, :]"| {names["rows"]}' in lines
    assert any("-.->" in line for line in lines), "order without data is dashed"


def test_names_that_mermaid_would_read_are_escaped() -> None:
    odd = weft.Step(lambda x: x, "y", name='a"] --> b<c> #1 & `d`')
    text = str(weft.Pipeline([odd]).draw())
    label = next(line for line in text.splitlines() if "#quot;" in line)
    assert label.count('"') == 2
    assert not re.search(r"[<>&`]", label.split('"')[1])


def test_html_is_one_page_without_network() -> None:
    odd = weft.Step(lambda x: x, "y", name="a<b & c")
    page = str(weft.Pipeline([odd]).draw("html"))
    svg = page[page.index("<svg") : page.index("</body>")]
    ElementTree.fromstring(svg)
    assert "http" not in svg.replace("http://www.w3.org/2000/svg", "")
    assert "a&lt;b &amp; c" in svg


def test_a_notebook_shows_a_picture() -> None:
    bundle = PIPE.draw()._repr_mimebundle_()
    assert bundle["text/vnd.mermaid"].startswith("flowchart")
    assert bundle["text/html"].startswith("<svg")
    assert set(PIPE.draw("text")._repr_mimebundle_()) == {"text/plain"}


def test_an_empty_pipeline_draws() -> None:
    for kind in ("mermaid", "text", "html"):
        assert str(weft.Pipeline([]).draw(kind))


def test_an_unknown_kind_lists_those_there_are() -> None:
    with pytest.raises(weft.InvalidInput, match=r"Did you mean 'text'.*mermaid, text, html"):
        PIPE.draw("txt")


@weft.step("step")
def propose(state, round):
    return state + round


@weft.step("new_state")
def update(state, step):
    return state + step


@weft.step("converged")
def is_converged(step):
    return abs(step) < 1


@weft.step("answer")
def finish(new_state, step):
    return new_state, step.sum()


LOOP = weft.Loop(
    [propose, update, is_converged],
    n_iterations=20,
    name="round",
    until="converged",
    carry={"state": "new_state"},
    collect=["step"],
)
LOOPED = weft.Pipeline([LOOP, finish])


def nested() -> weft.Pipeline:
    add = weft.step("s2", name="add", mapspec="s[i] -> s2[i]")(lambda s, a, inner: s + a)
    grow = weft.step("a", name="grow")(lambda s2, a: a * 10)
    inner = weft.Loop([add], n_iterations=2, name="inner", carry={"s": "s2"})
    outer = weft.Loop([inner, grow], n_iterations=3, name="outer", carry={"s": "s2"})
    beside = weft.step("w", name="beside")(lambda z: z)
    return weft.Pipeline(
        [weft.step("z", name="before")(lambda q: q), outer, beside, weft.step("end")(lambda s2, a, w: a)]
    )


def test_text_draws_a_loop_as_a_box_around_its_body() -> None:
    assert str(LOOPED.draw("text")).splitlines() == [
        "inputs: state",
        "  │",
        "  ╭ round × 20, until converged",
        "  │ 1─ propose        state, round           → step",
        "  │  │",
        "  │ 2┬ update         state, step            → new_state   after propose",
        "  │ 2├ is_converged   step                   → converged   after propose",
        "  ╰ again: state ← new_state",
        "  │",
        " 3─ finish            new_state[-1], step[:] → answer      after update, propose",
    ]


def test_text_draws_loops_in_loops() -> None:
    assert str(nested().draw("text")).splitlines() == [
        "inputs: q, s[i], a",
        "  │",
        " 1─ before      q                       → z",
        "  ╭ outer × 3",
        "  │  ╭ inner × 2",
        "  │  │ 1─ add   s[i], a, inner          → s2[i]",
        "  │  ╰ again: s ← s2",
        "  │  │",
        "  │ 2─ grow     s2[-1, :], a            → a       after add",
        "  ╰ again: s ← s2, a",
        "  │",
        " 2─ beside      z                       → w       after before",
        "  │",
        " 3─ end         s2[-1, -1, :], a[-1], w → end     after add, grow, beside",
    ]


def test_pictures_frame_loops_around_what_is_in_them() -> None:
    for pipe, frames in ((LOOPED, ["round"]), (nested(), ["outer", "inner"])):
        picture = pipe.draw("html").picture
        ElementTree.fromstring(picture)
        boxes = re.findall(r"<title>step (\w+)</title><rect x='([^']+)' y='([^']+)'", picture)
        at = {name: (float(x), float(y)) for name, x, y in boxes}
        found = re.findall(r"<g><rect x='([^']+)' y='([^']+)' width='([^']+)' height='([^']+)'", picture)
        assert [name in picture for name in frames] == [True] * len(found)
        for (x, y, width, height), name in zip(found, frames, strict=True):
            left, top = float(x), float(y)
            inside = {
                n
                for n, (a, b) in at.items()
                if left < a < left + float(width) and top < b < top + float(height)
            }
            assert inside == {s.name for s in pipe.graph.order if name in [loop.name for loop in s.loops]}


@pytest.mark.parametrize("kind", ["text", "mermaid", "html"])
@pytest.mark.parametrize("pipe", [LOOPED, nested(), LOOPED.vary("state")], ids=["loop", "nested", "swept"])
def test_no_drawing_shows_the_names_that_a_loop_makes_up(pipe: weft.Pipeline, kind: str) -> None:
    text = str(pipe.draw(kind)) + repr(pipe) + str(pipe.info())
    for alias in [*pipe.graph.aliases, *(name for name in pipe.graph.inputs if name.endswith(".first"))]:
        assert alias not in text
    assert not {"round", "inner", "outer"} & set(re.findall(r'\(\["(\w+)"\]\)', text))


def test_loops_are_told_in_the_words_of_their_users() -> None:
    assert repr(LOOPED).splitlines() == [
        "<Pipeline 'pipeline': 4 steps; inputs state>",
        "  round × 20, until converged: state ← new_state",
        "    propose: state, round -> step",
        "    update: state, step -> new_state",
        "    is_converged: step -> converged",
        "  finish: new_state, step -> answer",
    ]
    assert repr(nested()).splitlines() == [
        "<Pipeline 'pipeline': 5 steps; inputs q, s, a>",
        "  before: q -> z",
        "  outer × 3: s ← s2, a",
        "    inner × 2: s ← s2",
        "      add: s[i] -> s2[i]",
        "    grow: s2, a -> a",
        "  beside: z -> w",
        "  end: s2, a, w -> end",
    ]
    rows = {row["step"]: row for row in nested().info()}
    assert rows["add"]["mapspec"] == "s[i] -> s2[i]"
    assert rows["add"]["loop"] == "outer × 3, inner × 2"
    assert rows["end"]["inputs"] == "s2, a, w" and rows["end"]["loop"] == ""
    assert "loop" not in PIPE.info()[0]


def test_mermaid_draws_a_subgraph_and_dashed_edges_back() -> None:
    lines = str(LOOPED.draw()).splitlines()
    ids = {name: short for short, name in re.findall(r'(\w+)[\[(]+"([^"]+)"', "\n".join(lines))}
    start = lines.index(f'    subgraph {ids["round × 20, until converged"]}["round × 20, until converged"]')
    inside = lines[start + 1 : lines.index("    end")]
    assert inside == [f'        {ids[name]}["{name}"]' for name in ("propose", "update", "is_converged")]
    assert f'    {ids["update"]} -.->|"state"| {ids["propose"]}' in lines
    assert f'    {ids["state"]} -->|"state"| {ids["propose"]}' in lines
    assert f'    {ids["update"]} -->|"new_state[-1]"| {ids["finish"]}' in lines
    assert f'    {ids["propose"]} -->|"step[:]"| {ids["finish"]}' in lines
