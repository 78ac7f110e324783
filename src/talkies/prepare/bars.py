"""Progress bars."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Bars = Callable[[str, int], Callable[[int], None]]
"""(description, total) -> a function that takes the number of units done."""


@contextmanager
def bars(show: bool) -> Iterator[Bars]:
    """Progress bars on the terminal, one per kind of work; with `show` False, none."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, disable=not show) as progress:

        def bar(description: str, total: int) -> Callable[[int], None]:
            task = progress.add_task(description, total=total)
            return lambda done: progress.update(task, completed=done)

        yield bar
