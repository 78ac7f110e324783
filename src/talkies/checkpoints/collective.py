"""The processes that make or read one checkpoint."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Collective(Protocol):
    """The processes that share a checkpoint: `main` is true in one of them, the first; `place`: which of how many this
    is."""

    @property
    def main(self) -> bool: ...
    @property
    def place(self) -> tuple[int, int]: ...
    def gather(self, value: T) -> list[T]:
        """The values of all, in their order."""

    def agree(self, work: Callable[..., None] | None, *args: Any) -> None:
        """Do `work(*args)` (None: nothing) and wait for the others; raises in all where it raised in one."""


class Alone:
    """A single process."""

    main = True
    place = (0, 1)

    def gather(self, value: T) -> list[T]:
        """[value]"""
        return [value]

    def agree(self, work: Callable[..., None] | None, *args: Any) -> None:
        """work(*args)"""
        if work is not None:
            work(*args)
