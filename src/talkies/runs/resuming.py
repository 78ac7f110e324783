"""The checkpoint that a run resumes from: the newest usable one, if this run wrote it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from talkies.checkpoints.loop import LOOP, RECORD, read_loop
from talkies.checkpoints.store import CheckpointStore
from talkies.config import CheckpointError
from talkies.data.order import merged_ranges, position_after
from talkies.parallel.ranks import Ranks
from talkies.recipe.config import PhaseRecipe
from talkies.runs.recorded import name_of_run
from talkies.runs.retention import best_of
from talkies.tracking.records import SPOOL, read


def resumed_from(recipe: PhaseRecipe, folder: Path, store: CheckpointStore, ranks: Ranks) -> Path | None:
    """The checkpoint that the run in `folder` resumes from; None if it has not saved one yet.

    Every process calls it. Raises CheckpointError, before anything trains, if a record or every checkpoint is damaged,
    if all checkpoints are gone, or if the newest was written for another recipe.
    """
    ranks.first(lambda: best_of(folder))
    latest = store.latest(ranks)
    check, *arguments = (_never_saved, folder) if latest is None else (_same_run, recipe, folder, latest)
    ranks.agree(check if ranks.main else None, *arguments)
    return latest


def _same_run(recipe: PhaseRecipe, folder: Path, checkpoint: Path) -> None:
    """Raise CheckpointError for a checkpoint of another recipe's run, or one whose counts contradict each other."""
    loop: Mapping[str, Any] = read_loop(checkpoint)
    expected = name_of_run(folder)
    if loop.get("recipe") != expected:
        raise CheckpointError(
            f"resume: {checkpoint} was written by a run of another recipe ({str(loop.get('recipe'))[:12]}, this one is "
            f"{expected[:12]}); put the checkpoint back where it belongs, or start a new run (--new)"
        )
    step, consumed, updates = loop["step"], loop["data"]["consumed"], loop["ema_updates"]
    passed = merged_ranges((start, stop) for start, stop in loop["data"]["passed"])
    if consumed != (found := position_after(step, recipe.steps.global_batch, passed)):
        where = f"step {step} of {recipe.steps.global_batch} clips each ends at {found}"
        raise RECORD.damaged(checkpoint / LOOP, f"its `data.consumed` is {consumed}, but {where}")
    if updates > step:
        raise RECORD.damaged(
            checkpoint / LOOP, f"its `ema_updates` is {updates}, and must be at most its `step` {step}"
        )


def _never_saved(folder: Path) -> None:
    """Raise CheckpointError for a run without a checkpoint whose spool records one: starting over would train on the
    same samples twice in one MLflow run."""
    artifacts = [record["name"] for _, record in read(folder / SPOOL, 0) if record and record["kind"] == "artifact"]
    saved = [name for name in artifacts if name.startswith("checkpoints/")]
    if saved:
        raise CheckpointError(
            f"resume: {folder} has saved {saved[-1]}, but no longer holds any checkpoint: put it back, or start a new "
            "run (--new)"
        )
