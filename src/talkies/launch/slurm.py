"""Slurm's own commands, each as a list of arguments: no shell reads what is passed to them."""

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
    """Slurm refused, or is not here."""

    exit_code = 69


@dataclass(frozen=True, kw_only=True)
class Job:
    """What Slurm knows of a job, or of one task of an array (`task`)."""

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
    """The output of one of Slurm's commands. Raises SlurmError with what it said."""
    if shutil.which(words[0]) is None:
        raise SlurmError(f"slurm: there is no {words[0]} on PATH: go to a login node of the cluster, or load Slurm")
    try:
        done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        raise SlurmError(f"slurm: {words[0]} did not answer within {PATIENCE_S:g} s: try again later") from None
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split()).removeprefix(f"{words[0]}: ").removeprefix("error: ")
        raise SlurmError(f"slurm: {words[0]} refused: {said:.400}")
    return done.stdout


def submit(script: Path, *, after: str | None) -> str:
    """Queue a script, if need be until job `after` has ended well (else it is cancelled); returns the job's id."""
    chain = [f"--dependency=afterok:{after}", "--kill-on-invalid-dep=yes"] if after is not None else []
    said = run("sbatch", "--parsable", *chain, str(script))
    return said.strip().partition(";")[0]


def jobs_of(job: str) -> list[Job]:
    """The job `job`, or the tasks of that array; empty where Slurm has forgotten it."""
    try:
        said = run("scontrol", "-o", "show", "job", job)
    except SlurmError as error:
        if "Invalid job id" in str(error):
            return []
        raise
    return [_job(line) for line in said.splitlines() if line.strip()]


def _job(line: str) -> Job:
    values = dict[str, str](re.findall(r"(?:^|\s)(\w+)=(\S*)", line))
    task = values.get("ArrayTaskId")
    return Job(
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
    """Queue the running job `job` again; with `hold` it waits until somebody releases it."""
    run("scontrol", "requeuehold" if hold else "requeue", job)
