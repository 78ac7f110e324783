"""Slurm's own commands, each called with a list of arguments: no shell interprets them."""

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from talkies.config import UserError

PATIENCE_S = 120.0
_ENDED = "BOOT_FAIL CANCELLED COMPLETED DEADLINE FAILED NODE_FAIL OUT_OF_MEMORY PREEMPTED REVOKED TIMEOUT"
ENDED = frozenset(_ENDED.split())


class SlurmError(UserError):
    """Slurm refused, or is not available."""

    exit_code = 69


@dataclass(frozen=True, kw_only=True)
class JobInfo:
    """What Slurm knows about a job, or about one `task` of an array."""

    id: str
    task: str | None
    state: str
    reason: str
    restarts: int

    @property
    def ended(self) -> bool:
        """Whether it will not run again."""
        return self.state in ENDED


def run(*words: str) -> str:
    """The output of one of Slurm's commands. Raises SlurmError with its message."""
    if shutil.which(words[0]) is None:
        raise SlurmError(f"slurm: there is no {words[0]} on PATH: go to a login node of the cluster, or load Slurm")
    try:
        done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        raise SlurmError(f"slurm: {words[0]} did not answer within {PATIENCE_S:g} s: try again later") from None
    if done.returncode:
        message = " ".join((done.stderr or done.stdout).split()).removeprefix(f"{words[0]}: ").removeprefix("error: ")
        raise SlurmError(f"slurm: {words[0]} refused: {message:.400}")
    return done.stdout


def submit(script: Path, *, after: str | None) -> str:
    """Queue a script; returns the job's id. It runs once job `after` has succeeded, and is cancelled if that fails."""
    chain = [f"--dependency=afterok:{after}", "--kill-on-invalid-dep=yes"] if after is not None else []
    output = run("sbatch", "--parsable", *chain, str(script))
    return output.strip().partition(";")[0]


def jobs_of(job: str) -> list[JobInfo]:
    """The job `job`, or the tasks of that array; empty if Slurm no longer knows it."""
    try:
        output = run("scontrol", "-o", "show", "job", job)
    except SlurmError as error:
        if "Invalid job id" in str(error):
            return []
        raise
    return [_job(line) for line in output.splitlines() if line.strip()]


def _job(line: str) -> JobInfo:
    values = dict[str, str](re.findall(r"(?:^|\s)(\w+)=(\S*)", line))
    task = values.get("ArrayTaskId")
    return JobInfo(
        id=values["ArrayJobId"] if task is not None else values["JobId"],
        task=task,
        state=values["JobState"],
        reason=values.get("Reason", "None"),
        restarts=int(values.get("Restarts", 0)),
    )


def cancel(jobs: Sequence[str]) -> None:
    """Cancel jobs, as their owner."""
    run("scancel", *jobs)


def requeue(job: str, *, hold: bool) -> None:
    """Requeue the running job `job`; with `hold` it waits until it is released."""
    run("scontrol", "requeuehold" if hold else "requeue", job)
