"""Rollback: training continues from an earlier checkpoint and skips the batches that led to a bad step.

RUN/rollbacks.json is written before anything is deleted, and every checkpoint names the batches skipped until then:
if the process dies in between, the next one can finish its rollback.
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
from talkies.data.order import Skipped, merged_ranges
from talkies.files.durable import write_text
from talkies.resilience.config import RollbackConfig
from talkies.resilience.guard import BadStepError

FILE = "rollbacks.json"


@record
class Rollback:
    """From the bad step `at` (counted from 1) back to the checkpoint of step `to` (0: the beginning, of a run without
    one); positions [start, stop) of the stream of samples are skipped."""

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
    remedy=("restore it from a copy, or start a new run (--new); without it the skipped batches would be trained on"),
    error=CheckpointError,
)


def read_rollbacks(folder: Path) -> tuple[Rollback, ...]:
    """The rollbacks of the run in `folder`, oldest first; CheckpointError if the record is damaged."""
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
    before_rollback: Callable[[Rollback], object],
) -> Rollback:
    """Record the rollback from the bad step `at`, whose samples begin at `position`, call `before_rollback` (it reports
    the rollback and moves checkpoints that must stay), and delete the checkpoints after the one to which the run
    returns. Only for the main process, when no checkpoint is being written.

    Raises BadStepError after `config.times` rollbacks, CheckpointError if none of the run's checkpoints is usable.
    """
    earlier = read_rollbacks(folder)
    if len(earlier) >= config.times:
        raise BadStepError(
            f"training: {reason}. The run has rolled back {len(earlier)} times (`survival.rollback.times`): "
            f"see {folder / FILE}; raise that, or start a new run with a lower `optimizer.lr`"
        )
    to, start = _target(store, at - 1 - config.back)
    stop = position + (1 + config.ahead) * global_batch
    rollback = Rollback(at=at, to=to, start=start, stop=stop, reason=reason)
    write_text(folder / FILE, json.dumps([asdict(entry) for entry in (*earlier, rollback)], indent=2) + "\n")
    before_rollback(rollback)
    store.drop(after=to)
    return rollback


def finish_interrupted(folder: Path, store: CheckpointStore, before_rollback: Callable[[Rollback], object]) -> Skipped:
    """Complete an interrupted rollback and return the skipped ranges.

    Raises CheckpointError if the record lacks a rollback that the newest checkpoint names.
    """
    rollbacks = read_rollbacks(folder)
    recorded = merged_ranges((rollback.start, rollback.stop) for rollback in rollbacks)
    for step in store.steps()[-1:]:
        known = _passed(store.path(step)) or ()
        if any(not any(a <= start and stop <= b for a, b in recorded) for start, stop in known):
            raise ROLLBACKS.damaged(folder / FILE, f"it lacks what {store.path(step).name} has skipped")
    for last in rollbacks[-1:]:
        newer = [step for step in store.steps() if step > last.to]
        if any(not _knows(store.path(step), last) for step in newer):
            before_rollback(last)
            store.drop(after=last.to)
    return recorded


def _target(store: CheckpointStore, limit: int) -> tuple[int, int]:
    """The step of the newest usable checkpoint up to step `limit` (else of the oldest one after it), and its position
    in the stream of samples; (0, 0) without checkpoints."""
    steps = store.steps()
    early = [step for step in steps if step <= limit]
    for step in (*reversed(early), *steps[len(early) :]):
        try:
            store.verify(store.path(step))
            return step, int(read_loop(store.path(step))["data"]["consumed"])
        except CheckpointError as error:
            damaged = error
    if steps:
        raise CheckpointError(f"{damaged}; the run must roll back, but none of its {len(steps)} checkpoints is usable")
    return 0, 0


def _knows(checkpoint: Path, rollback: Rollback) -> bool:
    """Whether a checkpoint was written after the rollback (a damaged one is left to `latest`)."""
    passed = _passed(checkpoint)
    return passed is None or any(start <= rollback.start and rollback.stop <= stop for start, stop in passed)


def _passed(checkpoint: Path) -> Skipped | None:
    """What the run had skipped when it wrote the checkpoint; None if the checkpoint is damaged."""
    try:
        return merged_ranges((start, stop) for start, stop in read_loop(checkpoint)["data"]["passed"])
    except CheckpointError:
        return None
