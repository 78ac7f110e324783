"""Whether a run folder has room for what a phase will write there, before the phase begins."""

import os
from pathlib import Path

from talkies.checkpoints.store import CheckpointStore
from talkies.config import StorageError
from talkies.data.durable import storage_errors, sync
from talkies.planning.cost import Disk, disk
from talkies.planning.parameters import count_parts
from talkies.planning.render import size
from talkies.recipe.components import parts
from talkies.recipe.config import PhaseRecipe

PROBE_BYTES = 1 << 16


def check_room(recipe: PhaseRecipe, folder: Path) -> None:
    """Write, sync and remove a small file beside the checkpoints of the run in `folder`, and compare what is free there
    with what the rest of the run needs. For the process that holds the run: it removes torn checkpoints first.

    Raises StorageError, before anything else is written, where the disk is read-only, over its quota or too small. A
    file system that tells no size is only written to.
    """
    store = CheckpointStore(folder / "checkpoints")
    store.sweep()
    planned = disk(count_parts(recipe.model, recipe.phase, parts(recipe).components), keep=recipe.steps.keep)
    _probe(folder, planned.checkpoint)
    more, one = checkpoints_to_come(recipe, store.steps()), max(planned.checkpoint, store.size_of_newest())
    needed, found = more * one + planned.release, os.statvfs(folder)
    free = found.f_bavail * found.f_frsize
    if found.f_blocks and free < needed:
        raise StorageError(_told(recipe, folder, planned, needed=needed, free=free, more=more, one=one))


def checkpoints_to_come(recipe: PhaseRecipe, steps: list[int]) -> int:
    """How many more there will be at once than those of `steps`, which lie there: the newest `keep`, the best, the two
    that a bad step now or later would go back to, and one that is being written, as far as the rest of the run writes
    that many."""
    last, every = recipe.steps.max, recipe.steps.checkpoint_every
    begun = steps[-1] if steps else 0
    coming = last // every - min(begun, last) // every + (last % every > 0 and begun < last)
    most = recipe.steps.keep + 2 + 2 * recipe.survival.goes_back
    return max(0, min(len(steps) + coming, most) - len(steps))


def _probe(folder: Path, needed: int) -> None:
    path = folder / f".probe.{os.getpid()}.tmp"
    with storage_errors(folder, needed):
        try:
            path.write_bytes(bytes(PROBE_BYTES))
            sync(path)
        finally:
            path.unlink(missing_ok=True)


def _told(recipe: PhaseRecipe, folder: Path, planned: Disk, *, needed: int, free: int, more: int, one: int) -> str:
    back = "two to go back to (`survival.rollback`), " if recipe.survival.goes_back else ""
    return (
        f"storage: {folder} has {free} bytes free ({size(free)}), {needed} are needed ({size(needed)}): {more} "
        f"checkpoints of {size(one)} beside those there (`steps.keep` {recipe.steps.keep}, the best, {back}and one "
        f"while it is written) and a release of {size(planned.release)}. Free space there, lower `steps.keep`, or "
        "choose another --runs"
    )
