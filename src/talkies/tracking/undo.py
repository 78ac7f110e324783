"""What is taken back where something that belongs together was done only in part."""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType

from talkies.tracking.store import FAILURES

_log = logging.getLogger(__name__)


class Undo(AbstractContextManager["Undo"]):
    """Steps back, made at the end of the block in reverse, unless they were forgotten by then. One that fails (the
    server is gone, too) is a warning: the error that led to it is the one to be told."""

    def __init__(self) -> None:
        self._steps = ExitStack()

    def add(self, step: Callable[..., object], *arguments: object, **options: object) -> None:
        """Make `step(*arguments, **options)` where the block does not end well."""
        self._steps.callback(_try, step, *arguments, **options)

    def forget(self) -> None:
        """All is done: take nothing back."""
        self._steps.pop_all()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._steps.close()


def _try(step: Callable[..., object], *arguments: object, **options: object) -> None:
    try:
        step(*arguments, **options)
    except FAILURES as error:
        _log.warning("promote: cannot take back %s: %.200s", getattr(step, "__name__", step), error)
