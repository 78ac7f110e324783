"""The processes that write or read a checkpoint together."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class RankGroup(Protocol):
    """The processes that share a checkpoint. `main` is true in the first one; `place` is (rank, number of ranks)."""

    @property
    def main(self) -> bool: ...
    @property
    def place(self) -> tuple[int, int]: ...
    def gather(self, value: T) -> list[T]:
        """The values of all processes, by rank."""

    def agree(self, work: Callable[..., None] | None, *args: Any) -> None:
        """Call `work(*args)` (None: nothing) and wait for the others; raises in all processes if it raised in one."""


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
