"""What the processes of a run exchange outside of a training step."""

from collections.abc import Callable
from datetime import timedelta
from functools import cached_property
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import ProcessGroup, Work

from talkies.config import Interruption, UserError
from talkies.parallel.world import World

T = TypeVar("T")
PATIENCE = timedelta(days=1)
"""How long the others wait for one that prepares data or writes a release."""


class RankError(UserError):
    """Another process failed; `exit_code` is that of its error."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Answer:
    """What will be known when all have been asked: whether one of them said yes."""

    def __init__(self, found: Tensor, work: Work | None) -> None:
        self._found, self._work = found, work

    def wait(self, patience: timedelta = PATIENCE) -> bool:
        """It, once it is there. Raises RuntimeError where it is not within `patience`, or a process is gone."""
        if self._work is not None:
            self._work.wait(patience)
        return bool(self._found)


class Ranks:
    """All processes of `world`, over their own gloo group: nothing here touches a GPU, and a background thread may use
    one object while the training step uses another. Every process must make it, and call the same in the same order."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.group: ProcessGroup | None = None
        if world.size > 1:
            self.group = dist.new_group(backend="gloo", timeout=PATIENCE)

    @cached_property
    def writers(self) -> "Ranks":
        """The same processes over a group of their own, for the thread that writes checkpoints; made once."""
        return Ranks(self.world)

    @property
    def main(self) -> bool:
        """Whether this process writes the files of which there is one."""
        return self.world.main

    @property
    def place(self) -> tuple[int, int]:
        """Which of how many processes this is."""
        return self.world.rank, self.world.size

    def agree(self, work: Callable[..., None] | None, *args: Any) -> None:
        """Do `work(*args)` (None: nothing) and wait for the others; raises in all where it raised in one."""
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
        found: list[Any] = [None] * self.world.size
        dist.all_gather_object(found, value, group=self.group)
        return found

    def broadcast(self, value: T) -> T:
        """The main process's value, everywhere."""
        if self.group is None:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self.group)
        return box[0]

    def first(self, work: Callable[[], T]) -> T:
        """What `work` returns in the main process, everywhere; raises in all where it raised there."""
        box: list[T] = []
        self.agree((lambda: box.append(work())) if self.main else None)
        return cast(T, self.broadcast(box[0] if box else None))

    def after_main(self, work: Callable[[bool], T]) -> T:
        """work(True) in the main process, then work(False) in the others: for what one must verify and all read."""
        box: list[T] = []
        self.agree((lambda: box.append(work(True))) if self.main else None)
        self.agree(None if self.main else lambda: box.append(work(False)))
        return box[0]

    def ask(self, flag: bool) -> Answer:
        """Begin to find out whether `flag` is true in one of the processes. All must ask; nobody waits here."""
        found = torch.tensor(int(flag))
        if self.group is None:
            return Answer(found, None)
        return Answer(found, dist.all_reduce(found, op=dist.ReduceOp.MAX, group=self.group, async_op=True))

    def any(self, flag: bool) -> bool:
        """Whether `flag` is true in one of the processes."""
        return self.ask(flag).wait()


def _complaint(error: BaseException) -> tuple[str, int]:
    return (str(error) or type(error).__name__, error.exit_code if isinstance(error, UserError | Interruption) else 70)
