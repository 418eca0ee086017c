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
