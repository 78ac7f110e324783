"""Progress bars."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Bars = Callable[[str, int], Callable[[int], None]]
"""(what is done, how many times) -> a function that is told how many are done."""


@contextmanager
def bars(show: bool) -> Iterator[Bars]:
    """Bars on the terminal, one per kind of work, or none."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, disable=not show) as progress:

        def bar(words: str, total: int) -> Callable[[int], None]:
            task = progress.add_task(words, total=total)
            return lambda done: progress.update(task, completed=done)

        yield bar
