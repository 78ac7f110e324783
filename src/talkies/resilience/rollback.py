"""Going back: training goes on from an earlier checkpoint and passes over the batches that led to a bad step.

The record, RUN/rollbacks.json, is written before anything is deleted, and every checkpoint names what was passed over
until then: whoever starts next knows what a process that died in between had in mind.
"""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from talkies.checkpoints.loop import read_loop
from talkies.checkpoints.store import CheckpointStore
from talkies.config import CheckpointError
from talkies.config.numbers import Natural
from talkies.config.records import Kind, record
from talkies.data.order import Passed, joined
from talkies.files.durable import write_text
from talkies.resilience.config import RollbackConfig
from talkies.resilience.guard import BadStepError

FILE = "rollbacks.json"


@record
class Rollback:
    """From the bad step `at` (counted from 1) back to the checkpoint of step `to` (0: the beginning, of a run without
    one); positions [start, stop) of the stream of samples are passed over."""

    at: Natural
    to: Natural
    start: Natural
    stop: Natural
    reason: str

    def __post_init__(self) -> None:
        if self.to >= self.at:
            raise ValueError(f"its `to` is {self.to}, and must be less than its `at` {self.at}")
        if self.start >= self.stop:
            raise ValueError(f"its `start` is {self.start}, and must be less than its `stop` {self.stop}")


ROLLBACKS = Kind(
    holds=tuple[Rollback, ...],
    about="run",
    remedy=(
        "restore it from a copy, or train anew with --new; without it the batches that made trouble would be trained on"
    ),
    error=CheckpointError,
)


def read_rollbacks(folder: Path) -> tuple[Rollback, ...]:
    """Those of the run in `folder`, oldest first; CheckpointError where the record is damaged."""
    return ROLLBACKS.find(folder / FILE) or ()


def go_back(
    folder: Path,
    store: CheckpointStore,
    config: RollbackConfig,
    *,
    at: int,
    position: int,
    global_batch: int,
    reason: str,
    leave: Callable[[Rollback], object],
) -> Rollback:
    """Record that the run goes back from its bad step `at`, whose samples begin at `position`, and delete the
    checkpoints after the one that it goes back to, once `leave` has told of it and moved those of them that must stay.
    Only for the main process, when no checkpoint is being written.

    Raises BadStepError where the run has gone back `config.times` already, CheckpointError where it has checkpoints and
    none is usable.
    """
    past = read_rollbacks(folder)
    if len(past) >= config.times:
        raise BadStepError(
            f"training: {reason}. The run has gone back {len(past)} times in its life (`survival.rollback.times`): see "
            f"{folder / FILE}; raise that, or begin anew with a lower `optimizer.lr`"
        )
    to, start = _target(store, at - 1 - config.back)
    stop = position + (1 + config.ahead) * global_batch
    made = Rollback(at=at, to=to, start=start, stop=stop, reason=reason)
    write_text(folder / FILE, json.dumps([asdict(entry) for entry in (*past, made)], indent=2) + "\n")
    leave(made)
    store.drop(after=to)
    return made


def finish_interrupted(folder: Path, store: CheckpointStore, leave: Callable[[Rollback], object]) -> Passed:
    """What the run passes over; finishes a going back whose process died before it had deleted what it left.

    Raises CheckpointError where the newest checkpoint knows of one that the record does not hold.
    """
    past = read_rollbacks(folder)
    held = joined((made.start, made.stop) for made in past)
    for step in store.steps()[-1:]:
        known = _passed(store.path(step)) or ()
        if any(not any(a <= start and stop <= b for a, b in held) for start, stop in known):
            raise ROLLBACKS.damaged(folder / FILE, f"it lacks what {store.path(step).name} has passed over")
    for made in past[-1:]:
        newer = [step for step in store.steps() if step > made.to]
        if any(not _knows(store.path(step), made) for step in newer):
            leave(made)
            store.drop(after=made.to)
    return held


def _target(store: CheckpointStore, limit: int) -> tuple[int, int]:
    """The newest complete checkpoint until step `limit`, else the oldest there is, and the position in the stream at
    which it stands; the beginning for a run that has never had one."""
    steps = store.steps()
    early = [step for step in steps if step <= limit]
    for step in (*reversed(early), *steps[len(early) :]):
        try:
            store.verify(store.path(step))
            return step, int(read_loop(store.path(step))["data"]["consumed"])
        except CheckpointError as error:
            damaged = error
    if steps:
        raise CheckpointError(f"{damaged}; the run would go back, but none of its {len(steps)} checkpoints is usable")
    return 0, 0


def _knows(checkpoint: Path, made: Rollback) -> bool:
    """Whether a checkpoint was written after the run had gone back (a damaged one is left to `latest`)."""
    passed = _passed(checkpoint)
    return passed is None or any(start <= made.start and made.stop <= stop for start, stop in passed)


def _passed(checkpoint: Path) -> Passed | None:
    """What a checkpoint's run had passed over; None of a damaged one."""
    try:
        return joined((start, stop) for start, stop in read_loop(checkpoint)["data"]["passed"])
    except CheckpointError:
        return None
