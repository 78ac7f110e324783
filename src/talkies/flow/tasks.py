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
    bound = {name: task for name, task in tasks.items() if task.turns is not None}
    free = {name: task.share for name, task in tasks.items() if task.turns is None}
    found = []
    for turn in range(turns):
        here = {
            name: task.share * turns / len(task.turns)
            for name, task in bound.items()
            if task.turns is not None and turn in task.turns
        }
        left = 1 - sum(here.values())
        if left < -TOLERANCE:
            name = max(here, key=lambda name: here[name])
            most = tasks[name].share / sum(here.values())
            raise ValueError(
                f"the share of {name} is {tasks[name].share:g}: only some steps train it, at most {most:g}"
            )
        if left > TOLERANCE and not sum(free.values()):
            raise ValueError(
                f"only {', '.join(bound)} have a share, which leaves steps without a task: add another one"
            )
        rest = sum(free.values()) or 1.0
        found.append(here | {name: max(0.0, left) * share / rest for name, share in free.items()})
    return tuple(found)
