from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.contracts import Event
from weft.views.tally import MOST_SAMPLES, StepState, Tally, clock, per_second


def counts(done: int, total: int | None = 10, failed: int = 0, blocked: int = 0) -> dict[str, object]:
    return {"done": done, "failed": failed, "blocked": blocked, "total": total, "seconds": 0.0}


def ended(time: float, done: int, worker: str = "host:1", **more: int) -> Event:
    data = {"n": 5, "seconds": 1.0, "worker": worker, "token": "t", "counts": {"f": counts(done, **more)}}
    return Event("job-ended", time, "f", data)


def started(time: float = 100.0) -> Event:
    return Event("run-started", time, "", {"name": "demo", "path": "/runs/demo", "steps": ["f", "g"]})


def test_events_become_states() -> None:
    tally = Tally()
    tally(started())
    tally(Event("job-sent", 101.0, "f", {"n": 5, "token": "t"}))
    assert tally.under_way == {"t": "f"}
    tally(ended(102.0, 4, failed=1))
    assert tally.under_way == {}
    state = tally.steps["f"]
    assert (state.done, state.failed, state.total, state.open) == (4, 1, 10, 5)
    assert tally.workers["host:1"].n == 5
    tally(Event("element-failed", 102.0, "f", {"message": "bad", "traceback": "Traceback"}))
    tally(Event("worker-died", 103.0, "f", {"token": "t"}))
    assert [kind for kind, _ in tally.news()] == ["traceback", "failure", "note"] and not tally.news()
    tally(Event("run-ended", 104.0, "", {"counts": {"f": counts(9, failed=1), "g": counts(0, 1, blocked=1)}}))
    assert tally.ended == 104.0 and all(s.open == 0 for s in tally.steps.values())


def test_what_was_done_before_does_not_count_as_speed() -> None:
    tally = Tally()
    tally(started())
    tally(Event("tick", 100.0, "", {"counts": {"f": counts(1000, 2000)}}))
    tally(Event("job-sent", 100.0, "f", {"n": 5, "token": "t"}))
    tally(Event("job-ended", 110.0, "f", {**ended(110.0, 1010).data, "counts": {"f": counts(1010, 2000)}}))
    tally.sample(110.0)
    assert tally.steps["f"].rate() == pytest.approx(1.0)
    assert tally.steps["f"].left() == pytest.approx(990)


def test_the_rate_follows_a_change() -> None:
    state = StepState(total=10**6, samples=[(0.0, 0)])
    for second in range(1, 101):
        state.done += 1 if second <= 50 else 100
        state.sample(float(second))
    assert 90 < (state.rate() or 0) <= 101


@given(st.lists(st.integers(0, 50), max_size=300))
def test_a_rate_is_never_negative_and_samples_stay_few(steps: list[int]) -> None:
    state = StepState(total=sum(steps), samples=[(0.0, 0)])
    for second, more in enumerate(steps, start=1):
        state.done += more
        state.sample(float(second))
        assert (state.rate() or 0) >= 0
    assert len(state.samples) <= MOST_SAMPLES + 1


def test_numbers_for_people() -> None:
    assert [clock(t) for t in (None, 0, 59.6, 3600)] == ["", "00:00", "01:00", "1:00:00"]
    assert [per_second(r) for r in (None, 0.05, 2.5, 12345.6)] == ["", "3/min", "2.5/s", "12,346/s"]
