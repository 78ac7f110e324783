"""Going back: training goes on from an earlier checkpoint and passes over the batches that led to a bad step.

The record, RUN/rollbacks.json, is written before anything is deleted, and every checkpoint names what was passed over
until then: whoever starts next knows what a process that died in between had in mind.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from talkies.checkpoints.state import read_loop
from talkies.checkpoints.store import CheckpointStore
from talkies.config import CheckpointError
from talkies.data.durable import write_text
from talkies.data.order import Passed, joined
from talkies.training.config import RollbackConfig
from talkies.training.guard import BadStepError

FILE = "rollbacks.json"


@dataclass(frozen=True, kw_only=True)
class Rollback:
    """From the bad step `at` (counted from 1) back to the checkpoint of step `to` (0: the beginning, of a run without
    one); positions [start, stop) of the stream of samples are passed over."""

    at: int
    to: int
    start: int
    stop: int
    reason: str


def read_rollbacks(folder: Path) -> tuple[Rollback, ...]:
    """Those of the run in `folder`, oldest first; CheckpointError where the record is damaged."""
    path = folder / FILE
    try:
        return tuple(_rollback(entry) for entry in json.loads(path.read_text()))
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise _damaged(path, f"cannot be read ({error.strerror})") from None
    except (ValueError, TypeError):
        raise _damaged(path, "is damaged") from None


def _rollback(entry: Any) -> Rollback:
    """ValueError or TypeError for what is none."""
    made = Rollback(**entry)
    numbers = (made.to, made.at, made.start, made.stop)
    if not all(type(number) is int for number in numbers) or not isinstance(made.reason, str):
        raise TypeError
    if not (0 <= made.to < made.at and 0 <= made.start < made.stop):
        raise ValueError
    return made


def _damaged(path: Path, how: str) -> CheckpointError:
    return CheckpointError(
        f"run: {path} {how}: restore it, or train anew with --new; without it the batches that made trouble would be "
        "trained on"
    )


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


def settle(folder: Path, store: CheckpointStore, leave: Callable[[Rollback], object]) -> Passed:
    """What the run passes over; finishes a going back whose process died before it had deleted what it left.

    Raises CheckpointError where the newest checkpoint knows of one that the record does not hold.
    """
    past = read_rollbacks(folder)
    held = joined((made.start, made.stop) for made in past)
    for step in store.steps()[-1:]:
        known = _passed(store.path(step)) or ()
        if any(not any(a <= start and stop <= b for a, b in held) for start, stop in known):
            raise _damaged(folder / FILE, f"lacks what {store.path(step).name} has passed over")
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
