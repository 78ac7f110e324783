"""Undoing the finished steps of a change that failed in between."""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType

from talkies.tracking.store import FAILURES

_log = logging.getLogger(__name__)


class Undo(AbstractContextManager["Undo"]):
    """Undo steps, carried out in reverse at the end of the block unless they were forgotten. A step that fails (the
    server is gone, too) only warns, so that the original error is the one raised."""

    def __init__(self) -> None:
        self._steps = ExitStack()

    def add(self, step: Callable[..., object], *arguments: object, **options: object) -> None:
        """Call `step(*arguments, **options)` if the block fails."""
        self._steps.callback(_try, step, *arguments, **options)

    def forget(self) -> None:
        """Drop all steps, since the change is complete."""
        self._steps.pop_all()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._steps.close()


def _try(step: Callable[..., object], *arguments: object, **options: object) -> None:
    try:
        step(*arguments, **options)
    except FAILURES as error:
        _log.warning("promote: cannot undo by %s: %.200s", getattr(step, "__name__", step), error)
