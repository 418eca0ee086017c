from __future__ import annotations

import pickle
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weft.errors import InvalidInput
from weft.model.resources import Resources


@pytest.mark.parametrize(
    ("given_", "text", "size"),
    [
        ("4G", "4G", 4 * 1024**3),
        ("500M", "500M", 500 * 1024**2),
        ("1.5GB", "1536M", 1536 * 1024**2),
        ("2 gib", "2G", 2 * 1024**3),
        ("1024K", "1M", 1024**2),
        (4 * 1024**3, "4G", 4 * 1024**3),
        (np.int64(4_000_000_000), "3906250K", 4_000_000_000),
        (1025, "2K", 2048),
    ],
)
def test_memory_is_kept_in_one_form(given_: Any, text: str, size: int) -> None:
    resources = Resources(memory=given_, max_memory=given_)
    assert resources.memory == resources.max_memory == text
    assert resources.memory_bytes == size


@pytest.mark.parametrize(
    ("given_", "text", "seconds"),
    [
        ("01:02:03", "01:02:03", 3723),
        ("26:00:00", "1-02:00:00", 93600),
        ("2-01:00:00", "2-01:00:00", 176400),
        ("1-12", "1-12:00:00", 129600),
        ("10:30", "00:10:30", 630),
        ("2h", "02:00:00", 7200),
        ("1h30m", "01:30:00", 5400),
        ("1.5d", "1-12:00:00", 129600),
        ("30m", "00:30:00", 1800),
        ("90s", "00:01:30", 90),
        (90, "00:01:30", 90),
        (0.2, "00:00:01", 1),
        (timedelta(hours=3), "03:00:00", 10800),
    ],
)
def test_time_is_kept_in_one_form(given_: Any, text: str, seconds: int) -> None:
    resources = Resources(time=given_, max_time=given_)
    assert resources.time == resources.max_time == text
    assert resources.seconds == seconds


def test_what_is_not_given_is_none() -> None:
    assert Resources().memory_bytes is None
    assert Resources().seconds is None
    assert Resources().as_dict() == {}


def test_memory_per_cpu_counts_for_each_cpu() -> None:
    assert Resources(cpus=3, memory_per_cpu="1G").memory_bytes == 3 * 1024**3
    assert Resources(memory_per_cpu="1G").memory_bytes == 1024**3


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cpus", 0),
        ("cpus", 1.5),
        ("cpus", True),
        ("cpus", "4"),
        ("gpus", -1),
        ("nodes", 0),
        ("tasks", 0),
        ("max_concurrent", 0),
        ("memory", "4"),
        ("memory", "lots"),
        ("memory", 4),
        ("memory", -1),
        ("memory_per_cpu", 1.5),
        ("max_memory", "0G"),
        ("time", "30"),
        ("time", ""),
        ("time", "1:99:00"),
        ("time", 0),
        ("time", float("inf")),
        ("time", float("nan")),
        ("max_time", "soon"),
        ("max_time", True),
        ("partition", ""),
        ("partition", 3),
        ("escalate", 0.5),
        ("escalate", None),
        ("escalate", float("nan")),
        ("extra", None),
        ("extra", {1: "a"}),
    ],
)
def test_errors_name_the_field_and_the_value(field: str, value: Any) -> None:
    with pytest.raises(InvalidInput, match=f"^{field}=") as caught:
        Resources(**{field: value})
    assert repr(value) in str(caught.value)


def test_memory_can_be_said_one_way_only() -> None:
    with pytest.raises(InvalidInput, match="give one of them"):
        Resources(memory="1G", memory_per_cpu="1G")


def test_zero_gpus_can_be_asked_for() -> None:
    assert Resources(gpus=0).over(Resources(gpus=2)).gpus == 0


def test_over_inherits_field_by_field() -> None:
    step = Resources(cpus=4, extra={"qos": "long"})
    cluster = Resources(cpus=1, time="1h", escalate=3, extra={"qos": "short", "constraint": "avx"})
    assert step.over(cluster) == Resources(
        cpus=4, time="1h", escalate=3, extra={"qos": "long", "constraint": "avx"}
    )


def test_over_lets_one_way_of_giving_memory_replace_the_other() -> None:
    assert Resources(memory="8G").over(Resources(memory_per_cpu="1G")) == Resources(memory="8G")
    assert Resources(cpus=2).over(Resources(memory_per_cpu="1G")) == Resources(cpus=2, memory_per_cpu="1G")


def test_from_any() -> None:
    assert Resources.from_any(None) == Resources()
    assert Resources.from_any({"cpus": 2, "time": "5m"}) == Resources(cpus=2, time="00:05:00")
    resources = Resources(gpus=1)
    assert Resources.from_any(resources) is resources


def test_from_any_names_the_nearest_field() -> None:
    with pytest.raises(InvalidInput, match="no field 'memmory'; did you mean 'memory'"):
        Resources.from_any({"memmory": "1G"})
    with pytest.raises(InvalidInput, match="known are cpus, "):
        Resources.from_any({"qqq": 1})
    with pytest.raises(InvalidInput, match="not int"):
        Resources.from_any(3)  # type: ignore[arg-type]


def test_the_value_cannot_be_changed_from_outside() -> None:
    extra = {"qos": "a"}
    resources = Resources(extra=extra)
    extra["qos"] = "b"
    resources.as_dict()["extra"]["qos"] = "c"
    assert resources.extra == {"qos": "a"}
    assert hash(resources) == hash(Resources(extra={"qos": "a"}))
    assert pickle.loads(pickle.dumps(resources)) == resources


@settings(max_examples=60, deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "cpus": st.integers(1, 64),
            "memory": st.integers(1024, 2**50),
            "time": st.integers(1, 10**7),
            "gpus": st.integers(0, 8),
            "escalate": st.floats(1, 10),
            "extra": st.dictionaries(st.text(max_size=3), st.integers()),
        },
    )
)
def test_resources_survive_their_dict(fields: dict[str, Any]) -> None:
    resources = Resources.from_any(fields)
    assert Resources.from_any(resources.as_dict()) == resources
    assert resources.over(Resources()) == resources
    assert Resources().over(resources) == resources
    assert resources.over(resources) == resources
    if "time" in fields:
        assert resources.seconds == fields["time"]
    if "memory" in fields:
        assert resources.memory_bytes is not None
        assert 0 <= resources.memory_bytes - fields["memory"] < 1024
