"""The attempts of a run under Slurm, in RUN_FOLDER/attempts.json: what each began with, and why the run is held."""

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
IN_VAIN = 3
"""Requeues without progress after which a job is held."""


@record
class Attempt:
    """One start of a job: its id and restart number, and the step of the newest checkpoint at that time."""

    job: Name
    restart: Natural
    step: Natural


@record
class Attempts:
    """All attempts of a run, oldest first. `held`: why the job waits for somebody to release it; `since`: the number
    of attempts that a release has forgiven."""

    made: tuple[Attempt, ...]
    held: str | None
    since: Natural

    def __post_init__(self) -> None:
        if self.since > len(self.made):
            raise ValueError(f"its `since` is {self.since}, and it has {len(self.made)} attempts")


ATTEMPTS = Kind(
    holds=Attempts,
    about="run",
    remedy="restore it from a copy, or remove it: only the count of requeues goes",
    error=CheckpointError,
)


def read_attempts(folder: Path) -> Attempts:
    """What is recorded in `folder`; CheckpointError where the record is damaged."""
    return ATTEMPTS.find(folder / FILE) or Attempts(made=(), held=None, since=0)


def begin(folder: Path, attempt: Attempt) -> Attempts:
    """Record that `attempt` begins; its `held` says why it must not: as many requeues before it were in vain.

    Restarts are counted and not records, for an attempt may be requeued before it could write one.
    """
    known = read_attempts(folder)
    if known.held is not None:  # somebody has released the job
        known = replace(known, held=None, since=len(known.made))
    known = replace(known, made=(*known.made, attempt))
    recent = [made for made in known.made[known.since :] if made.job == attempt.job]
    same = [*takewhile(lambda made: made.step == attempt.step, reversed(recent))]
    if attempt.restart - same[-1].restart >= IN_VAIN:
        known = replace(known, held=_reason(attempt))
    values: Mapping[str, object] = asdict(known)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / FILE, json.dumps(values, indent=2) + "\n")
    return known


def _reason(attempt: Attempt) -> str:
    return (
        f"job {attempt.job} is held: {IN_VAIN} requeues in a row without a new checkpoint (the newest: "
        f"{f'step {attempt.step}' if attempt.step else 'none'}); read its log, then `scontrol release {attempt.job}`, "
        "or `talkies cancel` it"
    )
