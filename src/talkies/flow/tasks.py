"""Tasks: which streams of a sample are given, clean and without loss, and how often. Imports no torch."""

from collections.abc import Mapping

from talkies.streams.system import Task

TOLERANCE = 1e-6


def chances(tasks: Mapping[str, Task], turns: int) -> tuple[dict[str, float], ...]:
    """For each of the `turns` that optimizer steps take, the probability of every task, such that the shares hold over
    all steps: a task that only some turns can train is drawn more often there, and the others fill up what is left.

    Raises ValueError for shares that do not add up to 1, or that the turns cannot hold.
    """
    total = sum(task.share for task in tasks.values())
    if abs(total - 1) > TOLERANCE:
        raise ValueError(f"the shares of {', '.join(tasks)} add up to {total:g}: they must add up to 1")
    free = {name: task.share for name, task in tasks.items() if task.turns is None}
    rest = sum(free.values()) or 1.0
    bound = [_bound(tasks, turn, turns) for turn in range(turns)]
    for here in bound:
        _check_room(tasks, here, turns)
    found = []
    for here in bound:
        left = max(0.0, 1 - sum(here.values()))
        found.append(here | {name: left * share / rest for name, share in free.items()})
    return tuple(found)


def _bound(tasks: Mapping[str, Task], turn: int, turns: int) -> dict[str, float]:
    """The probability at a turn of every task that only some turns can train."""
    return {
        name: task.share * turns / len(task.turns)
        for name, task in tasks.items()
        if task.turns is not None and turn in task.turns
    }


def _check_room(tasks: Mapping[str, Task], here: Mapping[str, float], turns: int) -> None:
    """ValueError if the tasks of one turn have more than it holds. If none has, none has too little without a free
    task either: the turns' probabilities add up to their number."""
    if (total := sum(here.values())) <= 1 + TOLERANCE:
        return
    name = max(here, key=lambda name: here[name])
    share, steps = tasks[name].share, len(tasks[name].turns or ())
    raise ValueError(
        f"the share of {name} is {share:g}, but only {steps} of {turns} steps can train it: give it at most "
        f"{share / total:g}, and the rest to another task"
    )
