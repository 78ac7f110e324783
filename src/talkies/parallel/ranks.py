"""Collectives between the processes of a run outside of the training step."""

from collections.abc import Callable, Generator, Iterator
from datetime import timedelta
from functools import cached_property
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import ProcessGroup, Work
from torch.distributed.distributed_c10d import _set_pg_timeout

from talkies.config import Interruption, UserError
from talkies.parallel.world import World

T = TypeVar("T")
MEETING, PATIENCE = timedelta(minutes=30), timedelta(days=1)
"""How long processes wait until all have joined a group, and, in it, for one that prepares data or writes a release."""


class RankError(UserError):
    """Another process failed; `exit_code` is that of its error."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Answer:
    """The pending result of `Ranks.ask`: whether the flag of any process is true."""

    def __init__(self, flag: Tensor, work: Work | None) -> None:
        self._flag, self._work = flag, work

    def wait(self, patience: timedelta = PATIENCE) -> bool:
        """Wait for the result. Raises RuntimeError if it takes longer than `patience`, or if a process is gone."""
        if self._work is not None:
            self._work.wait(patience)
        return bool(self._flag)


class Ranks:
    """All processes of `world`, over a gloo group of their own: nothing here touches a GPU, and a background thread may
    use one object while the training step uses another. Every process must make it, and make equal calls in the same
    order."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.group: ProcessGroup | None = None
        if world.size > 1:
            self.group = dist.new_group(backend="gloo", timeout=MEETING)
            _set_pg_timeout(PATIENCE, self.group)

    @cached_property
    def writers(self) -> "Ranks":
        """The same processes over a second group, for the thread that writes checkpoints; made once."""
        return Ranks(self.world)

    @property
    def main(self) -> bool:
        """Whether this process writes the files of which the run has only one."""
        return self.world.main

    @property
    def place(self) -> tuple[int, int]:
        """(rank, number of ranks)."""
        return self.world.rank, self.world.size

    def agree(self, work: Callable[..., None] | None, *args: Any) -> None:
        """Call `work(*args)` (None: nothing) and wait for the others; raises in all processes if it raised in one."""
        failure: BaseException | None = None
        try:
            if work is not None:
                work(*args)
        except BaseException as error:
            failure = error
        complaints = self.gather(None if failure is None else _complaint(failure))
        if failure is not None:
            failure.reported = True  # type: ignore[attr-defined]
            raise failure
        for rank, complaint in enumerate(complaints):
            if complaint is not None:
                raise RankError(f"rank {rank}: {complaint[0]}", complaint[1])

    def gather(self, value: T) -> list[T]:
        """The values of all processes, in rank order; plain Python values."""
        if self.group is None:
            return [value]
        values: list[Any] = [None] * self.world.size
        dist.all_gather_object(values, value, group=self.group)
        return values

    def broadcast(self, value: T) -> T:
        """The main process's value, in every process."""
        if self.group is None:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self.group)
        return box[0]

    def first(self, work: Callable[[], T]) -> T:
        """Run `work` in the main process and return its result in every process; raises in all if it raised there."""
        box: list[T] = []
        self.agree((lambda: box.append(work())) if self.main else None)
        return cast(T, self.broadcast(box[0] if box else None))

    def after_main(self, work: Callable[[bool], T]) -> T:
        """work(True) in the main process, then work(False) in the others: for files that one verifies and all read."""
        box: list[T] = []
        self.agree((lambda: box.append(work(True))) if self.main else None)
        self.agree(None if self.main else lambda: box.append(work(False)))
        return box[0]

    def in_step(self, pieces: Iterator[T]) -> Generator[T, None, None]:
        """`pieces`, which all processes make at the same time. Closed in one process, they end in all."""
        try:
            for piece in pieces:
                yield piece
                if self.any(False):
                    return
        except GeneratorExit:
            self.any(True)
            raise

    def ask(self, flag: bool) -> Answer:
        """Start to reduce `flag` over all processes (true in any of them?). All must call it; it does not wait."""
        any_flag = torch.tensor(int(flag))
        if self.group is None:
            return Answer(any_flag, None)
        return Answer(any_flag, dist.all_reduce(any_flag, op=dist.ReduceOp.MAX, group=self.group, async_op=True))

    def any(self, flag: bool) -> bool:
        """Whether `flag` is true in any of the processes."""
        return self.ask(flag).wait()


def _complaint(error: BaseException) -> tuple[str, int]:
    return (str(error) or type(error).__name__, error.exit_code if isinstance(error, UserError | Interruption) else 70)
