"""The job that this process belongs to, where `talkies submit` made it: its signal, its requeue, its hold."""

import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field

from talkies.config import RecipeError
from talkies.launch import slurm

PREEMPTED = "SIGUSR1"
"""The signal of a preemption and of the time limit, as `submit` asks for it; a SIGTERM is Slurm's or the owner's own
end of the job."""
_log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class SlurmJob:
    """A job of `submit` that may queue itself again; `main` in one of its processes."""

    id: str
    restart: int
    main: bool
    asked: bool = field(default=False)

    def preempted(self) -> None:
        """The signal came where nobody trains, and there is nothing to save: the job is queued again at once. (What is
        half written then is as after a lost node: every file is written aside first.)"""
        told = not self.main or self.asked
        self.requeue()
        if not told:
            _log.warning("slurm: %s outside of training: job %s is queued again", PREEMPTED, self.id)

    def requeue(self, *, hold: bool = False) -> None:
        """Ask Slurm, once and in the main process only, to queue this job again. It kills this process soon."""
        if self.main and not self.asked:
            self.asked = True
            slurm.requeue(self.id, hold=hold)

    def requeue_hung(self) -> None:
        """The same from whichever process has found that the run hangs; who calls it sees to it that one does."""
        if not self.asked:
            self.asked = True
            slurm.requeue(self.id, hold=False)
            _log.warning("slurm: job %s hangs and is queued again", self.id)  # last: a thread may hold its lock


def this_job(*, main: bool, environment: Mapping[str, str] = os.environ) -> SlurmJob | None:
    """The job of `submit` in which this process runs as a task of srun, if it may queue itself again.

    Raises RecipeError where it could not: inside a container without Slurm's commands.
    """
    if environment.get("TALKIES_REQUEUE") != "1" or "SLURM_STEP_ID" not in environment:
        return None
    if main and shutil.which("scontrol") is None:
        raise RecipeError(
            "slurm: there is no scontrol in this job, so that it could not queue itself again: mount Slurm's commands "
            "into the container, or set `slurm.requeue=false`"
        )
    restart = int(environment.get("SLURM_RESTART_COUNT", "0"))
    return SlurmJob(id=environment["SLURM_JOB_ID"], restart=restart, main=main)
