from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weft.errors import MapSpecError
from weft.model.mapspec import ArraySpec, MapSpec


def test_reads_arrays_indices_and_whole_dimensions() -> None:
    spec = MapSpec.parse("a[i], b[j, :] -> c[i, j]")
    assert spec.inputs == (ArraySpec("a", ("i",)), ArraySpec("b", ("j", None)))
    assert spec.outputs == (ArraySpec("c", ("i", "j")),)
    assert spec.output_names == ("c",)
    assert spec.input_spec("b") == ArraySpec("b", ("j", None))
    assert spec.input_spec("c") is None
    assert spec.inputs[1].axes == ("j",)


def test_axes_and_opened_follow_the_outputs_order() -> None:
    spec = MapSpec.parse("n[j], m[k] -> x[k, i, j], y[k, i, j]")
    assert spec.output_indices == ("k", "i", "j")
    assert spec.axes == ("k", "j")
    assert spec.opened == ("i",)


def test_dots_mean_no_mapped_inputs() -> None:
    spec = MapSpec.parse("... -> x[i]")
    assert (spec.inputs, spec.axes, spec.opened) == ((), (), ("i",))
    assert str(spec) == "... -> x[i]"


def test_blank_space_does_not_matter() -> None:
    assert MapSpec.parse(" a [ i,j ]\n,b[:]->c [i , j]") == MapSpec.parse("a[i, j], b[:] -> c[i, j]")


def test_ragged_axis_is_kept() -> None:
    spec = MapSpec.parse("n[j] -> x[j, i?], y[j, i?]")
    assert spec.outputs[0] == ArraySpec("x", ("j", "i"), ragged=True)
    assert str(spec) == "n[j] -> x[j, i?], y[j, i?]"
    assert spec.opened == ("i",)


def test_rename_reaches_scoped_names_and_leaves_others() -> None:
    spec = MapSpec.parse("a[i], s.b[i] -> c[i]").rename({"a": "s.a", "s.b": "b", "c": "d.e", "zz": "q"})
    assert str(spec) == "s.a[i], b[i] -> d.e[i]"


def test_rename_onto_another_array_is_an_error() -> None:
    with pytest.raises(MapSpecError, match="'b' is here twice"):
        MapSpec.parse("a[i], b[i] -> c[i]").rename({"a": "b"})


@pytest.mark.parametrize(
    ("text", "caret", "message"),
    [
        ("", 0, "there is no '->'"),
        ("a[i]", 4, "there is no '->'"),
        ("a[i] -> b[i] -> c[i]", 13, "second '->'"),
        ("-> y[i]", 0, "'... -> x[i]'"),
        ("x[i] ->", 7, "there is no output here"),
        ("a[i], b -> c[i]", 6, "'b' has no indices; leave it out (arguments not in a mapspec are"),
        ("a[i] -> c", 8, "'c' has no indices; a step whose outputs have no indices has no mapspec"),
        ("a[] -> c[i]", 2, "missing before ']'"),
        ("a[i,] -> c[i]", 4, "missing before ']'"),
        ("a[i], -> c[i]", 4, "nothing after this ','"),
        ("a[i] b[i] -> c[i]", 5, "separate arrays by ','"),
        ("a[i j] -> c[i]", 4, "'j' is not expected in the indices of 'a'"),
        ("a[i -> c[i]", 4, "'->' is not expected in the indices of 'a'"),
        ("a[i] -> c[i", 11, "the end is not expected"),
        ("a[0] -> c[i]", 2, "'0' is not an index"),
        ("2a[i] -> c[i]", 0, "'2a' is not a name"),
        ("a.[i] -> c[i]", 2, "'[' is not a name after '.'"),
        ("a(i) -> c[i]", 1, "'(' is not expected after 'a'"),
        ("a[i] -> c[i];", 12, "';' is not expected here"),
        ("a[i, i] -> c[i]", 5, "index 'i' is twice in 'a'"),
        ("a[i], a[i] -> c[i]", 6, "array 'a' is here twice"),
        ("a[i] -> a[i]", 8, "array 'a' is here twice"),
        ("a[i] -> c[i, :]", 13, "':' cannot be in an output"),
        ("a[i, j] -> c[i]", 5, "say ':'"),
        ("a[i] -> c[i], d[i, j]", 14, "write d[i]"),
        ("a[i] -> ...", 8, "cannot be an output"),
        ("..., a[i] -> c[i]", 0, "stands alone"),
        ("a[i], ... -> c[i]", 6, "'...' is not a name"),
        ("a[i?] -> c[i]", 3, "leave it out of inputs"),
        ("a[j] -> c[i?, j]", 11, "put the ragged dimension last"),
        ("a[i] -> c[i?]", 11, "an input has 'i'"),
        ("a[j] -> c[j, i?], d[j, i]", 18, "write d[j, i?]"),
        ("a[i?:] -> c[i]", 3, "leave it out of inputs"),
        ("a[i] => c[i]", 12, "there is no '->'"),
        ("a\n[i], b -> c[i]", 7, "'b' has no indices"),
    ],
)
def test_every_deviation_points_at_its_place(text: str, caret: int, message: str) -> None:
    with pytest.raises(MapSpecError) as caught:
        MapSpec.parse(text)
    assert message in str(caught.value)
    _, shown, pointer = str(caught.value).splitlines()
    assert shown == "    " + text.replace("\n", " ")
    assert pointer == " " * (4 + caret) + "^"


def test_something_else_than_text_is_refused() -> None:
    with pytest.raises(MapSpecError, match="not NoneType"):
        MapSpec.parse(None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ((), ()),
        ((ArraySpec("a", ()),), (ArraySpec("b", ("i",)),)),
        ((ArraySpec("a[i], b", ("i",)),), (ArraySpec("c", ("i",)),)),
        ((ArraySpec("a", ("k",)),), (ArraySpec("b", ("i",)),)),
    ],
)
def test_values_made_by_hand_obey_the_grammar(
    inputs: tuple[ArraySpec, ...], outputs: tuple[ArraySpec, ...]
) -> None:
    with pytest.raises(MapSpecError):
        MapSpec(inputs, outputs)


identifiers = st.sampled_from(["i", "j", "k", "row", "été", "_x1"])
names = st.lists(st.sampled_from(["a", "b", "loss", "Ω"]), min_size=1, max_size=3).map(".".join)


@st.composite
def specs(draw: st.DrawFn) -> MapSpec:
    outputs = tuple(draw(st.lists(identifiers, min_size=1, max_size=4, unique=True)))
    arrays = draw(st.lists(names, min_size=1, max_size=5, unique=True))
    n_outputs = draw(st.integers(1, len(arrays)))
    inputs = []
    for name in arrays[n_outputs:]:
        chosen = draw(st.lists(st.sampled_from(outputs), unique=True))
        whole = draw(st.integers(0 if chosen else 1, 2))
        inputs.append(ArraySpec(name, tuple(draw(st.permutations([*chosen, *[None] * whole])))))
    opened = all(outputs[-1] not in spec.axes for spec in inputs)
    ragged = opened and draw(st.booleans())
    return MapSpec(tuple(inputs), tuple(ArraySpec(name, outputs, ragged) for name in arrays[:n_outputs]))


@settings(max_examples=100, deadline=None)
@given(specs())
def test_what_is_written_is_read_back(spec: MapSpec) -> None:
    assert MapSpec.parse(str(spec)) == spec
    assert sorted(spec.axes + spec.opened) == sorted(spec.output_indices)


@settings(max_examples=100, deadline=None)
@given(st.text() | st.text(alphabet="ab ij[],.:?->\n"))
def test_random_text_is_read_or_refused(text: str) -> None:
    try:
        spec = MapSpec.parse(text)
    except MapSpecError:
        return
    assert MapSpec.parse(str(spec)) == spec
