"""Whether a run folder has room for what a phase will write there, before the phase begins."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from talkies.checkpoints.store import CheckpointStore
from talkies.config import StorageError
from talkies.config.shown import shown
from talkies.files.durable import storage_errors, sync
from talkies.planning.cost import Disk, disk
from talkies.planning.parameters import count_parts
from talkies.planning.render import size
from talkies.recipe.components import parts
from talkies.recipe.config import PhaseRecipe

PROBE_BYTES = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Need:
    """What the rest of a run writes: `more` checkpoints of `one` bytes at once, `stay` of which stay, and a release."""

    planned: Disk
    more: int
    stay: int
    one: int

    @property
    def most(self) -> int:
        """Bytes while the last checkpoint is written."""
        return self.more * self.one + self.planned.release

    @property
    def left(self) -> int:
        """Bytes that it leaves when it has ended."""
        return self.stay * self.one + self.planned.release


def need_of(recipe: PhaseRecipe, folder: Path) -> Need:
    """What the rest of the run in `folder` (which may not be there yet) needs."""
    store = CheckpointStore(folder / "checkpoints")
    planned = disk(count_parts(recipe.model, recipe.phase, parts(recipe).components), keep=recipe.steps.keep)
    steps, one = store.steps(), max(planned.checkpoint, store.size_of_newest())
    more, stay = (checkpoints_to_come(recipe, steps, writing=writing) for writing in (True, False))
    return Need(planned=planned, more=more, stay=stay, one=one)


def check_room(recipe: PhaseRecipe, folder: Path) -> None:
    """Write, sync and remove a small file beside the checkpoints of the run in `folder`, and compare what is free there
    with what the rest of the run needs. For the process that holds the run: it removes torn checkpoints first.

    Raises StorageError, before anything else is written, where the disk is read-only, over its quota or too small. A
    file system that tells no size is only written to.
    """
    CheckpointStore(folder / "checkpoints").sweep()
    need = need_of(recipe, folder)
    _probe(folder, need.planned.checkpoint)
    free = _free(folder)
    if free is not None and free < need.most:
        raise StorageError(_told(recipe, folder, need, free=free))


def check_room_for_all(runs: Mapping[Path, PhaseRecipe]) -> None:
    """Compare what is free with what the runs (folder -> recipe; one after the other on the same disk) write until the
    last has ended. Raises StorageError that names the first for which it is too little. Writes nothing."""
    before = 0
    for folder, recipe in runs.items():
        need, free = need_of(recipe, folder), _free(folder)
        if free is not None and free < before + need.most:
            raise StorageError(f"phase {shown(recipe.name)}: {_told(recipe, folder, need, free=free, before=before)}")
        before += need.left


def _free(folder: Path) -> int | None:
    """Bytes that are free where `folder` is or will be; None where the file system tells no size."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    found = os.statvfs(there)
    return found.f_bavail * found.f_frsize if found.f_blocks else None


def checkpoints_to_come(recipe: PhaseRecipe, steps: list[int], *, writing: bool = True) -> int:
    """How many more there will be at once than those of `steps`, which lie there: the newest `keep`, the best, the two
    that a bad step now or later would go back to, and one that is being written (not in the end: `writing` False), as
    far as the rest of the run writes that many."""
    last, every = recipe.steps.max, recipe.steps.checkpoint_every
    begun = steps[-1] if steps else 0
    coming = last // every - min(begun, last) // every + (last % every > 0 and begun < last)
    most = recipe.steps.keep + 1 + writing + 2 * recipe.survival.goes_back
    return max(0, min(len(steps) + coming, most) - len(steps))


def _probe(folder: Path, needed: int) -> None:
    path = folder / f".probe.{os.getpid()}.tmp"
    with storage_errors(folder, needed):
        try:
            path.write_bytes(bytes(PROBE_BYTES))
            sync(path)
        finally:
            path.unlink(missing_ok=True)


def _told(recipe: PhaseRecipe, folder: Path, need: Need, *, free: int, before: int = 0) -> str:
    back = "two to go back to (`survival.rollback`), " if recipe.survival.goes_back else ""
    earlier = f"what the phases before it leave ({size(before)}), " if before else ""
    needed = before + need.most
    return (
        f"storage: {folder} has {free} bytes free ({size(free)}), {needed} are needed ({size(needed)}): {earlier}"
        f"{need.more} checkpoints of {size(need.one)} beside those there (`steps.keep` {recipe.steps.keep}, the best, "
        f"{back}and one while it is written) and a release of {size(need.planned.release)}. Free space there, lower "
        "`steps.keep`, or choose another --runs"
    )
