"""What a run goes on from: its newest usable checkpoint, where that is its own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from talkies.checkpoints.loop import LOOP, RECORD, read_loop
from talkies.checkpoints.store import CheckpointStore
from talkies.config import CheckpointError
from talkies.data.order import joined, reached
from talkies.parallel.ranks import Ranks
from talkies.recipe.config import PhaseRecipe
from talkies.runs.recorded import name_of_run
from talkies.runs.retention import best_of
from talkies.tracking.records import SPOOL, read


def resumed_from(recipe: PhaseRecipe, folder: Path, store: CheckpointStore, ranks: Ranks) -> Path | None:
    """The checkpoint that the run in `folder` goes on from, None for one that has not saved yet.

    Every process calls it. Raises CheckpointError, before anything trains, where a record or every checkpoint is
    damaged, all are gone, or the newest is another recipe's.
    """
    ranks.first(lambda: best_of(folder))
    latest = store.latest(ranks)
    check, *told = (_never_saved, folder) if latest is None else (_same_run, recipe, folder, latest)
    ranks.agree(check if ranks.main else None, *told)
    return latest


def _same_run(recipe: PhaseRecipe, folder: Path, checkpoint: Path) -> None:
    """Raise CheckpointError for a checkpoint that another recipe's run has written, or no run."""
    loop: Mapping[str, Any] = read_loop(checkpoint)
    own = name_of_run(folder)
    if loop.get("recipe") != own:
        raise CheckpointError(
            f"resume: {checkpoint} was written by a run of another recipe ({str(loop.get('recipe'))[:12]}, this one is "
            f"{own[:12]}); put the checkpoint back where it belongs, or start anew with --new"
        )
    step, consumed, updates = loop["step"], loop["data"]["consumed"], loop["ema_updates"]
    passed = joined((start, stop) for start, stop in loop["data"]["passed"])
    if consumed != (found := reached(step, recipe.steps.global_batch, passed)):
        where = f"step {step} of {recipe.steps.global_batch} clips each ends at {found}"
        raise RECORD.damaged(checkpoint / LOOP, f"its `data.consumed` is {consumed}, but {where}")
    if updates > step:
        raise RECORD.damaged(
            checkpoint / LOOP, f"its `ema_updates` is {updates}, and must be at most its `step` {step}"
        )


def _never_saved(folder: Path) -> None:
    """Raise CheckpointError for a run without a checkpoint that has told the tracker of one: to begin it again would
    train on the same samples twice, in the same MLflow run."""
    told = [record["name"] for _, record in read(folder / SPOOL, 0) if record and record["kind"] == "artifact"]
    made = [name for name in told if name.startswith("checkpoints/")]
    if made:
        raise CheckpointError(
            f"resume: {folder} has saved {made[-1]}, but holds no checkpoint any more: put it back, or start anew with "
            "--new"
        )
