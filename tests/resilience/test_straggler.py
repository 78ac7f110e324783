"""A rank that takes longer than the others is reported once, with what it spends its time on."""

import logging

import pytest
from clock import Clock

from talkies.resilience import straggler
from talkies.resilience.straggler import RankClock, RankTime, Stragglers

EVEN = RankTime(0.05, 0.20, 0.06)
SLOW_DATA, SLOW_COMPUTE = RankTime(0.60, 0.20, 0.61), RankTime(0.05, 0.75, 0.06)


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_one_warning_until_the_rank_is_fast_again(caplog: pytest.LogCaptureFixture) -> None:
    judge = Stragglers(2.0)
    for step in range(1, 6):
        found = judge.metrics([EVEN, EVEN, SLOW_DATA, EVEN], step)
    (line,) = warned(caplog)
    assert "rank 2 takes 3.2 times" in line
    assert "until step 2" in line
    assert "data 0.600 s, compute 0.200 s; the others: data 0.050 s, compute 0.200 s" in line
    assert found["train/slowest_rank"] == 2
    assert found["train/slowest_ratio"] == pytest.approx(3.2)
    assert found["train/data_seconds"] == pytest.approx((3 * 0.06 + 0.61) / 4)
    judge.metrics([EVEN] * 4, 6)
    for step in (7, 8, 9):
        judge.metrics([EVEN, SLOW_COMPUTE, EVEN, EVEN], step)
    assert len(warned(caplog)) == 2
    assert "rank 1 takes 3.2 times" in warned(caplog)[1]


@pytest.mark.parametrize(
    "owned",
    [
        [EVEN, RankTime(0.05, 0.44, 0.05)],  # below the ratio
        [RankTime(0.0, 0.001, 0.0), RankTime(0.0, 0.05, 0.0)],  # 50 times as long, but negligible
    ],
)
def test_small_differences_are_not_reported(caplog: pytest.LogCaptureFixture, owned: list[RankTime]) -> None:
    judge = Stragglers(2.0)
    for step in range(9):
        judge.metrics(owned, step)
    assert warned(caplog) == []


def test_one_slow_report_is_not_enough(caplog: pytest.LogCaptureFixture) -> None:
    judge = Stragglers(2.0)
    for step in range(9):
        judge.metrics([EVEN, SLOW_DATA if step % 2 else EVEN], step)
    assert warned(caplog) == []


def test_without_warn_there_are_metrics_alone(caplog: pytest.LogCaptureFixture) -> None:
    judge = Stragglers(2.0, warn=False)
    for step in range(5):
        assert judge.metrics([EVEN, SLOW_DATA], step)["train/slowest_rank"] == 1
    assert warned(caplog) == []


def test_a_process_alone_is_compared_with_nobody() -> None:
    assert Stragglers(2.0).metrics([EVEN], 1) == {"train/data_seconds": 0.06}
    assert Stragglers(2.0).metrics([None], 1) == {}


def test_own_time_is_the_wait_for_data_and_the_forward_pass_without_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(straggler, "time", clock)
    own = RankClock()
    for data, compute in ((0.3, 0.3), (0.02, 0.05), (0.02, 0.05)):
        own.loading()
        clock.now += data
        own.loaded()
        clock.now += compute
        own.computed()
        clock.now += 0.1  # backward: it waits for other ranks
    found = own.take(2)
    assert found is not None
    assert (found.data, found.compute) == (pytest.approx(0.04), pytest.approx(0.1))
    assert own.take(2) is None
