"""The attempts of a run under Slurm, in RUN_FOLDER/attempts.json: how each began, and why the run is held."""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from itertools import takewhile
from pathlib import Path

from talkies.config import CheckpointError
from talkies.config.numbers import Natural
from talkies.config.records import Kind, Name, record
from talkies.files.durable import write_text

FILE = "attempts.json"
REQUEUE_LIMIT = 3
"""Requeues without progress after which a job is held."""


@record
class Attempt:
    """One start of a job: its id and restart number, and the step of the newest checkpoint at that time."""

    job: Name
    restart: Natural
    step: Natural


@record
class Attempts:
    """All attempts of a run, oldest first. `held`: why the job waits to be released by its owner; `since`: how many
    attempts came before the last release, and no longer count."""

    made: tuple[Attempt, ...]
    held: str | None
    since: Natural

    def __post_init__(self) -> None:
        if self.since > len(self.made):
            raise ValueError(f"its `since` is {self.since}, and it has {len(self.made)} attempts")


ATTEMPTS = Kind(
    holds=Attempts,
    about="run",
    remedy="restore it from a copy, or remove it: only the count of requeues is lost",
    error=CheckpointError,
)


def read_attempts(folder: Path) -> Attempts:
    """The attempts recorded in `folder`; CheckpointError if the record is damaged."""
    return ATTEMPTS.find(folder / FILE) or Attempts(made=(), held=None, since=0)


def begin(folder: Path, attempt: Attempt) -> Attempts:
    """Record that `attempt` begins. After REQUEUE_LIMIT requeues without progress the result's `held` gives the reason,
    and the attempt must not continue.

    Restarts are counted, not records: an attempt may be requeued before it could write one.
    """
    attempts = read_attempts(folder)
    if attempts.held is not None:  # the owner has released the job
        attempts = replace(attempts, held=None, since=len(attempts.made))
    attempts = replace(attempts, made=(*attempts.made, attempt))
    recent = [earlier for earlier in attempts.made[attempts.since :] if earlier.job == attempt.job]
    same_step = [*takewhile(lambda earlier: earlier.step == attempt.step, reversed(recent))]
    if attempt.restart - same_step[-1].restart >= REQUEUE_LIMIT:
        attempts = replace(attempts, held=_reason(attempt))
    values: Mapping[str, object] = asdict(attempts)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / FILE, json.dumps(values, indent=2) + "\n")
    return attempts


def _reason(attempt: Attempt) -> str:
    return (
        f"job {attempt.job} is held: {REQUEUE_LIMIT} requeues in a row without a new checkpoint (the newest: "
        f"{f'step {attempt.step}' if attempt.step else 'none'}); read its log, then `scontrol release {attempt.job}`, "
        "or `talkies cancel` it"
    )
