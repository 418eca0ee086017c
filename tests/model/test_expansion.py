"""`weft.expand`: every rule by example, and against a naive expansion."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import weft


def test_lists_expand_by_product_the_first_key_outermost() -> None:
    assert weft.expand({"a": [1, 2], "b": [3, 4], "c": 5}) == [
        {"a": 1, "b": 3, "c": 5},
        {"a": 1, "b": 4, "c": 5},
        {"a": 2, "b": 3, "c": 5},
        {"a": 2, "b": 4, "c": 5},
    ]


def test_lists_in_nested_dicts_expand() -> None:
    found = weft.expand({"train": {"opt": {"lr": [1, 2]}, "size": [8, 16]}, "seed": 0})
    assert [(c["train"]["opt"]["lr"], c["train"]["size"], c["seed"]) for c in found] == [
        (1, 8, 0),
        (1, 16, 0),
        (2, 8, 0),
        (2, 16, 0),
    ]


def test_dicts_in_a_list_are_alternatives() -> None:
    alternatives = [{"n": "sgd", "lr": [1, 2]}, {"n": "adam"}]
    expected = [{"n": "sgd", "lr": 1}, {"n": "sgd", "lr": 2}, {"n": "adam"}]
    assert weft.expand(alternatives) == expected
    assert weft.expand({"opt": alternatives}) == [{"opt": one} for one in expected]
    assert len(weft.expand({"opt": alternatives, "size": [8, 16]})) == 6


def test_a_list_in_a_list_and_a_tuple_are_values() -> None:
    assert weft.expand({"layers": [[1, 2]], "shape": (3, 4)}) == [{"layers": [1, 2], "shape": (3, 4)}]
    assert weft.expand({"layers": [[1, 2], [3]]}) == [{"layers": [1, 2]}, {"layers": [3]}]
    assert weft.expand({"layers": [[]]}) == [{"layers": []}]


def test_a_group_is_zipped() -> None:
    found = weft.expand({"a": [1, 2, "@x"], "b": [1, 2, 3], "c": [1, 2, "@x"]})
    assert [(c["a"], c["b"], c["c"]) for c in found] == [
        (1, 1, 1), (1, 2, 1), (1, 3, 1), (2, 1, 2), (2, 2, 2), (2, 3, 2),
    ]  # fmt: skip


def test_a_group_reaches_into_nested_dicts_and_has_other_prefixes() -> None:
    found = weft.expand({"a": [1, 2, "@x"], "b": {"c": [3, 4, "@x"]}})
    assert found == [{"a": 1, "b": {"c": 3}}, {"a": 2, "b": {"c": 4}}]
    assert weft.expand({"a": ["u", "@v"]}, group_prefix="$") == [{"a": "u"}, {"a": "@v"}]
    assert weft.expand({"a": [1, 2, "$g"], "b": [3, 4, "$g"]}, group_prefix="$")[1] == {"a": 2, "b": 4}


def test_zip_repeats_single_values() -> None:
    assert weft.expand({"a": [1, 2], "b": {"c": [3, 4]}, "d": [5], "e": 6}, method="zip") == [
        {"a": 1, "b": {"c": 3}, "d": 5, "e": 6},
        {"a": 2, "b": {"c": 4}, "d": 5, "e": 6},
    ]
    assert weft.expand({"a": 1}, method="zip") == [{"a": 1}]


def test_unequal_lengths_name_both() -> None:
    with pytest.raises(weft.InvalidInput, match=r"'b\.c' has 2 values and 'a' has 3"):
        weft.expand({"a": [1, 2, 3], "b": {"c": [1, 2]}}, method="zip")
    with pytest.raises(weft.InvalidInput, match=r"'b' has 1 values and 'a' has 2.*group 'x'"):
        weft.expand({"a": [1, 2, "@x"], "b": [1, "@x"]})


def test_ignored_keys_stay_as_they_are() -> None:
    config = {"_log": [1, 2], "a": [3, 4], "b": {"_c": {"d": [5]}}}
    assert weft.expand(config) == [
        {"_log": [1, 2], "a": 3, "b": {"_c": {"d": [5]}}},
        {"_log": [1, 2], "a": 4, "b": {"_c": {"d": [5]}}},
    ]
    assert len(weft.expand(config, ignore_prefix="#")) == 4


@pytest.mark.parametrize("bad", [{"a": []}, {"a": {"b": []}}, {"a": ["@x"]}])
def test_an_empty_list_is_refused(bad: Any) -> None:
    with pytest.raises(weft.InvalidInput, match="has no values"):
        weft.expand(bad)


@pytest.mark.parametrize("bad", [3, "a", [], [1], None])
def test_what_is_no_config_is_refused(bad: Any) -> None:
    with pytest.raises(weft.InvalidInput, match="A config is a dict"):
        weft.expand(bad)


def test_configs_share_no_dicts() -> None:
    first, second = weft.expand({"a": [1, 2], "b": [{"c": {"d": 1}}]})
    first["b"]["c"]["d"] = 9
    assert second["b"]["c"]["d"] == 1


def test_methods_can_be_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weft.model.expansion._registered", {})
    weft.register_expansion("first", lambda config: [{key: value[0] for key, value in config.items()}])
    assert weft.expand({"a": [1, 2], "b": [3]}, method="first") == [{"a": 1, "b": 3}]
    for name in ("first", "product", "zip"):
        with pytest.raises(ValueError, match="already"):
            weft.register_expansion(name, list)
    with pytest.raises(weft.InvalidInput, match="Known: product, zip, first"):
        weft.expand({"a": [1]}, method="last")


def naive(value: Any, key: str = "") -> list[Any]:
    if key.startswith("_"):
        return [value]
    if isinstance(value, list):
        return [one for item in value for one in (naive(item) if isinstance(item, dict) else [item])]
    if isinstance(value, dict):
        found: list[dict[str, Any]] = [{}]
        for name, inner in value.items():
            found = [{**start, name: end} for start in found for end in naive(inner, name)]
        return found
    return [value]


KEYS = st.sampled_from(["a", "b", "c", "_d"])
VALUES = st.one_of(st.integers(0, 3), st.booleans(), st.none(), st.tuples(st.integers(0, 1)), st.text("xy"))


def configs(depth: int) -> st.SearchStrategy[dict[str, Any]]:
    items: Any = st.one_of(VALUES, st.lists(st.integers(0, 3), max_size=2))
    leaves: Any = VALUES
    if depth:
        items = st.one_of(items, configs(depth - 1))
        leaves = st.one_of(leaves, configs(depth - 1))
    return st.dictionaries(KEYS, st.one_of(leaves, st.lists(items, min_size=1, max_size=2)), max_size=2)


@settings(max_examples=100, deadline=None)
@given(configs(2))
def test_any_config_equals_its_naive_expansion(config: dict[str, Any]) -> None:
    found = weft.expand(config)
    assert repr(found) == repr(naive(config))
