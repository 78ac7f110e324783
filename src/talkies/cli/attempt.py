"""The start of an attempt in a job of `submit`: it is recorded, or the job is held if attempts make no progress."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from talkies.launch.job import SlurmJob
    from talkies.recipe.config import PhaseRecipe

PREDECESSOR_S = 120.0
"""How long an attempt waits for the run's lock, which processes of a lost node may hold until they end."""


def may_begin(job: "SlurmJob | None", recipe: "PhaseRecipe", folder: Path) -> bool:
    """Record the attempt in the run's folder, in the main process of a job.

    Returns False if three requeues brought no checkpoint. Then the job is held, the run's status is FAILED, and the
    reason is in attempts.json, in MLflow and on stderr.
    """
    import sys

    from talkies.checkpoints.store import CheckpointStore
    from talkies.launch.attempts import Attempt, begin
    from talkies.runs.folders import wait_unlocked

    if job is None or not job.main:
        return True
    if job.restart:
        wait_unlocked(folder, PREDECESSOR_S)
    steps = CheckpointStore(folder / "checkpoints").steps()
    attempt = Attempt(job=job.id, restart=job.restart, step=steps[-1] if steps else 0)
    reason = begin(folder, attempt).held
    if reason is None:
        return True
    print(f"talkies: slurm: {reason}", file=sys.stderr, flush=True)
    _report_held(recipe, folder, reason)
    job.requeue(hold=True)
    return False


def _report_held(recipe: "PhaseRecipe", folder: Path, reason: str) -> None:
    """Set the run's status in MLflow to FAILED, with the reason; a run that never began training has no MLflow run."""
    from talkies.runs.place import place_of
    from talkies.runs.run_phase import UPLOAD_S, open_tracker

    if not (folder / "place.json").is_file():
        return
    tracker = open_tracker(recipe, place_of(folder))
    tracker.start_uploader()
    tracker.tags({"held": reason})
    tracker.status("FAILED")
    tracker.close(deadline_s=UPLOAD_S)
