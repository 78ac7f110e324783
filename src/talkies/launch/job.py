"""The job of `talkies submit` that this process belongs to: its signal, its requeue, its hold."""

import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field

from talkies.config import RecipeError
from talkies.launch import slurm

PREEMPTED = "SIGUSR1"
"""The signal for preemption and time limit, as requested by `submit`; a SIGTERM is the end of the job, by Slurm or its
owner."""
_log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class SlurmJob:
    """A job of `submit` that may requeue itself; `main` is true in one of its processes."""

    id: str
    restart: int
    main: bool
    requested: bool = field(default=False)

    def preempted(self) -> None:
        """The signal came outside of training, when there is nothing to save: requeue the job at once. (Files that are
        being written are safe, as after a lost node: every file is written aside first.)"""
        silent = not self.main or self.requested
        self.requeue()
        if not silent:
            _log.warning("slurm: %s outside of training: job %s is queued again", PREEMPTED, self.id)

    def requeue(self, *, hold: bool = False) -> None:
        """Ask Slurm, once and only in the main process, to requeue this job. Slurm soon kills this process."""
        if self.main and not self.requested:
            self.requested = True
            slurm.requeue(self.id, hold=hold)

    def requeue_hung(self) -> None:
        """The same from the process that has detected a hang; the caller ensures that only one process calls it."""
        if not self.requested:
            self.requested = True
            slurm.requeue(self.id, hold=False)
            _log.warning("slurm: job %s hangs and is queued again", self.id)  # last: a thread may hold the log's lock


def this_job(*, main: bool, environment: Mapping[str, str] = os.environ) -> SlurmJob | None:
    """The job of `submit` in which this process is a task of srun, if it may requeue itself.

    Raises RecipeError if it could not: in a container without Slurm's commands.
    """
    if environment.get("TALKIES_REQUEUE") != "1" or "SLURM_STEP_ID" not in environment:
        return None
    if main and shutil.which("scontrol") is None:
        raise RecipeError(
            "slurm: there is no scontrol in this job, so that it could not requeue itself: mount Slurm's commands into "
            "the container, or set `slurm.requeue=false`"
        )
    restart = int(environment.get("SLURM_RESTART_COUNT", "0"))
    return SlurmJob(id=environment["SLURM_JOB_ID"], restart=restart, main=main)
