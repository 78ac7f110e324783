"""Checks, before a phase begins, that its disk has space for what the phase will write."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from talkies.checkpoints.store import CheckpointStore
from talkies.config import StorageError
from talkies.config.quoting import shown
from talkies.files.durable import fsync_path, storage_errors
from talkies.planning.cost import Disk, disk
from talkies.planning.parameters import count_parts
from talkies.planning.render import size
from talkies.recipe.components import parts
from talkies.recipe.config import PhaseRecipe

PROBE_BYTES = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Need:
    """What the rest of a run writes: a release, and checkpoints of `size_of_one` bytes. At most `extra` of them are
    added at one time, and `kept_at_end` in the end."""

    planned: Disk
    extra: int
    kept_at_end: int
    size_of_one: int

    @property
    def peak(self) -> int:
        """Bytes in use while the last checkpoint is being written."""
        return self.extra * self.size_of_one + self.planned.release

    @property
    def final(self) -> int:
        """Bytes in use once the run has ended."""
        return self.kept_at_end * self.size_of_one + self.planned.release


def space_needed(recipe: PhaseRecipe, folder: Path) -> Need:
    """What the rest of the run in `folder` (which may not exist yet) needs."""
    store = CheckpointStore(folder / "checkpoints")
    planned = disk(count_parts(recipe.system, recipe, parts(recipe).components, recipe.train), keep=recipe.steps.keep)
    steps, size_of_one = store.steps(), max(planned.checkpoint, store.size_of_newest())
    extra, kept_at_end = (checkpoints_to_come(recipe, steps, writing=writing) for writing in (True, False))
    return Need(planned=planned, extra=extra, kept_at_end=kept_at_end, size_of_one=size_of_one)


def check_disk_space(recipe: PhaseRecipe, folder: Path) -> None:
    """Write, sync and remove a small file beside the checkpoints of the run in `folder`, and compare the free space
    with what the rest of the run needs. Only the process that holds the run's lock may call this: it removes torn
    checkpoints first.

    Raises StorageError, before anything else is written, if the disk is read-only, over its quota or too small. On a
    file system that reports no size, only the small file is tried.
    """
    CheckpointStore(folder / "checkpoints").sweep()
    need = space_needed(recipe, folder)
    _probe(folder, need.planned.checkpoint)
    free = _free(folder)
    if free is not None and free < need.peak:
        raise StorageError(_message(recipe, folder, need, free=free))


def check_disk_space_for_all(runs: Mapping[Path, PhaseRecipe]) -> None:
    """Compare the free space with what the runs (folder -> recipe; one after the other on one disk) write in all.
    Raises StorageError that names the first run for which it is too small. Writes nothing."""
    before = 0
    for folder, recipe in runs.items():
        need, free = space_needed(recipe, folder), _free(folder)
        if free is not None and free < before + need.peak:
            raise StorageError(
                f"phase {shown(recipe.name)}: {_message(recipe, folder, need, free=free, before=before)}"
            )
        before += need.final


def _free(folder: Path) -> int | None:
    """Free bytes on the disk that `folder` is or will be on; None if the file system reports no size."""
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    status = os.statvfs(existing)
    return status.f_bavail * status.f_frsize if status.f_blocks else None


def checkpoints_to_come(recipe: PhaseRecipe, steps: list[int], *, writing: bool = True) -> int:
    """How many checkpoints the run will hold at once beyond those of `steps`, which exist. It holds the newest `keep`,
    the best, two to roll back to after a bad step, and, with `writing`, the one being written; but never more than the
    rest of the run writes."""
    last, every = recipe.steps.max, recipe.steps.checkpoint_every
    begun = steps[-1] if steps else 0
    coming = last // every - min(begun, last) // every + (last % every > 0 and begun < last)
    peak = recipe.steps.keep + 1 + writing + 2 * recipe.survival.goes_back
    return max(0, min(len(steps) + coming, peak) - len(steps))


def _probe(folder: Path, needed: int) -> None:
    path = folder / f".probe.{os.getpid()}.tmp"
    with storage_errors(folder, needed):
        try:
            path.write_bytes(bytes(PROBE_BYTES))
            fsync_path(path)
        finally:
            path.unlink(missing_ok=True)


def _message(recipe: PhaseRecipe, folder: Path, need: Need, *, free: int, before: int = 0) -> str:
    back = "two to roll back to (`survival.rollback`), " if recipe.survival.goes_back else ""
    earlier = f"what the phases before it leave ({size(before)}), " if before else ""
    needed = before + need.peak
    return (
        f"storage: {folder} has {free} bytes free ({size(free)}), {needed} are needed ({size(needed)}): {earlier}"
        f"{need.extra} checkpoints of {size(need.size_of_one)} beside those there (`steps.keep` {recipe.steps.keep}, "
        f"the best, {back}and one while it is written) and a release of {size(need.planned.release)}. Free space "
        "there, lower `steps.keep`, or choose another --runs"
    )
