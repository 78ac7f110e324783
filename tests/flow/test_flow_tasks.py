import pytest

from talkies.flow.tasks import chances
from talkies.streams.system import Task


def task(share: float, *turns: int) -> Task:
    return Task(share=share, turns=frozenset(turns) if turns else None)


@pytest.mark.parametrize(
    ("tasks", "turns"),
    [
        ({"all": task(1.0)}, 1),
        ({"a": task(0.5), "b": task(0.3), "c": task(0.2)}, 1),
        ({"a": task(0.5), "b": task(0.3), "c": task(0.2)}, 2),
        ({"a": task(0.5), "b": task(0.3), "low": task(0.2, 1)}, 2),
        ({"a": task(0.5), "low": task(0.5, 1)}, 2),
        ({"high": task(0.5, 0), "low": task(0.5, 1)}, 2),
        ({"a": task(0.55), "some": task(0.3, 0, 2), "last": task(0.15, 2)}, 3),
        ({"a": task(1.0), "never": task(0.0)}, 2),
    ],
)
def test_the_shares_hold_over_all_steps_and_a_task_is_drawn_only_where_it_can_be_trained(
    tasks: dict[str, Task], turns: int
) -> None:
    found = chances(tasks, turns)
    assert len(found) == turns
    for turn, chance in enumerate(found):
        assert sum(chance.values()) == pytest.approx(1)
        for name, value in chance.items():
            assert 0 <= value <= 1 + 1e-9
            allowed = tasks[name].turns
            assert allowed is None or turn in allowed or value == 0
    for name, one in tasks.items():
        assert sum(chance.get(name, 0.0) for chance in found) / turns == pytest.approx(one.share, abs=1e-9)


@pytest.mark.parametrize(
    ("tasks", "turns", "message"),
    [
        ({"a": task(0.5), "b": task(0.4)}, 1, "the shares of a, b add up to 0.9: they must add up to 1"),
        ({"a": task(0.7), "b": task(0.4)}, 1, "add up to 1.1"),
        (
            {"a": task(0.4), "low": task(0.6, 1)},
            2,
            "the share of low is 0.6, but only 1 of 2 steps can train it: .* 0.5",
        ),
        (
            {"low": task(1.0, 1)},
            2,
            "the share of low is 1, but only 1 of 2 .*: give it at most 0.5, and the rest to an",
        ),
        ({"low": task(1.0, 1), "a": task(0.0)}, 2, "the share of low is 1, .* at most 0.5"),
        ({"low": task(0.5, 1, 2), "last": task(0.5, 2)}, 3, "the share of last is 0.5, but only 1 of 3 .* 0.2222"),
        ({"low": task(0.4, 1), "high": task(0.6, 0)}, 2, "the share of high is 0.6, .* at most 0.5"),
    ],
)
def test_shares_that_the_turns_cannot_hold_are_refused(tasks: dict[str, Task], turns: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        chances(tasks, turns)
