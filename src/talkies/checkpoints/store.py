"""The checkpoints of a run: step-00000123/ folders that exist completely or not at all.

A folder is filled under a temporary name beside its own; its manifest is written last; then it is renamed, and LATEST
is replaced. Nothing is overwritten in place, and nothing is staged in $TMPDIR.
"""

import re
import shutil
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from talkies.checkpoints.manifest import MANIFEST, Manifest, Table, file_table, find_damage, verify, write_manifest
from talkies.checkpoints.rank_group import Alone, RankGroup
from talkies.config import CheckpointError, RecipeError, StorageError
from talkies.files.durable import fsync_path, fsync_tree, storage_errors, write_text

LATEST = "LATEST"
TORN = ".tmp"
_NAME = re.compile(r"step-(\d{8,})")


class CheckpointWarning(UserWarning):
    """A checkpoint that is damaged, torn or replaced."""


class CheckpointStore:
    """Checkpoints in `folder`, which need not exist yet. Opening and `latest` change nothing on the disk, so that other
    processes may read while a run writes; only one process may save (the run's lock ensures it)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._swept = False
        self._damaged: set[int] = set()
        self._saved: int | None = None

    def steps(self) -> list[int]:
        """Steps that have a folder, rising. They are not verified."""
        matches = [_NAME.fullmatch(path.name) for path in self.folder.glob("step-*") if path.is_dir()]
        return sorted(int(match[1]) for match in matches if match)

    def path(self, step: int) -> Path:
        """The folder of the checkpoint of `step`."""
        return self.folder / f"step-{step:08d}"

    def verify(self, path: Path) -> Manifest:
        """Check a checkpoint against its manifest; CheckpointError names the file and its damage."""
        return verify(path)

    def latest(self, ranks: RankGroup | None = None) -> Path | None:
        """The complete checkpoint of the highest step; None if there is no checkpoint.

        Every process of `ranks` calls it, and hashes its share. A damaged checkpoint is skipped with a
        CheckpointWarning that names file and reason. Raises CheckpointError if all are damaged: starting over would be
        a silent loss.
        """
        ranks = ranks or Alone()
        reasons: list[str] = []
        for step in reversed(ranks.gather(self.steps())[0]):
            wrong = find_damage(self.path(step), ranks)
            if wrong is not None:
                self._damaged.add(step)
                reasons.append(wrong.removeprefix("checkpoint: "))
                continue
            for reason in reasons if ranks.main else ():
                self._warn(f"checkpoint: {reason}; falling back to {self.path(step).name}")
            return self.path(step)
        ranks.agree(self._refuse if reasons and ranks.main else None, reasons)
        return None

    def _refuse(self, reasons: Sequence[str]) -> None:
        raise CheckpointError(
            f"checkpoint: none of the {len(reasons)} checkpoints in {self.folder} is usable; the newest: {reasons[0]}. "
            "Restore one, or start a new run (--new)"
        )

    def save(self, step: int, writer: Callable[[Path], None], ranks: RankGroup | None = None) -> Path:
        """Make the checkpoint of `step`: `writer` fills an empty folder. Returns the finished folder.

        Every process of `ranks` calls it; each writes its part and hashes its share, the main one does the rest.
        An exception is raised in every process, and leaves the store as it was. Raises StorageError if the disk is
        full, CheckpointError if a complete checkpoint of this step exists (a damaged one is replaced, with a warning).
        """
        ranks = ranks or Alone()
        final = self.path(step)
        temporary = final.with_name(final.name + TORN)
        ranks.agree(self._begin if ranks.main else None, final, temporary)
        try:
            ranks.agree(self._fill, writer, temporary)
            hashed: Table = {}
            ranks.agree(lambda: hashed.update(file_table(temporary, share=ranks.place)))
            known = {name: entry for table in ranks.gather(hashed) for name, entry in table.items()}
            ranks.agree(self._complete if ranks.main else None, step, final, temporary, known)
        except BaseException:
            if ranks.main:
                shutil.rmtree(temporary, ignore_errors=True)
            raise
        self._saved = step
        self._damaged.discard(step)
        return final

    def _fill(self, writer: Callable[[Path], None], temporary: Path) -> None:
        with storage_errors(temporary, self.size_of_newest):
            writer(temporary)

    def _begin(self, final: Path, temporary: Path) -> None:
        with storage_errors(temporary, self.size_of_newest):
            if not self._swept:
                self.sweep()
            self._clear(final)
            temporary.mkdir(parents=True)

    def _complete(self, step: int, final: Path, temporary: Path, known: Table) -> None:
        with storage_errors(temporary, self.size_of_newest):
            fsync_tree(temporary)
            write_manifest(temporary, step, known)
        temporary.rename(final)
        fsync_path(self.folder)
        try:
            self._point([step])
        except (OSError, StorageError) as error:
            self._warn(f"checkpoint: {final} is complete, but {self.folder / LATEST} cannot be written: {error}")

    def _point(self, steps: Sequence[int]) -> None:
        """Make LATEST name the last of `steps`, for people and scripts; `latest` itself looks at the folders."""
        if steps:
            write_text(self.folder / LATEST, f"{self.path(steps[-1]).name}\n")
        else:
            (self.folder / LATEST).unlink(missing_ok=True)

    def retain(self, keep: int, protect: Callable[[int], bool] = lambda _: False) -> list[int]:
        """Delete all but the newest `keep` complete checkpoints and the protected ones; returns the deleted steps.
        `protect` is called right before each deletion, because another process may protect a checkpoint meanwhile.

        The newest complete checkpoint and the one just saved always stay; those that `latest` found damaged do not
        count.
        """
        if keep < 1:
            raise RecipeError(f"checkpoint: `steps.keep` is {keep}; at least 1 must stay")
        steps = self.steps()
        complete = [s for s in steps if s not in self._damaged and (self.path(s) / MANIFEST).is_file()]
        kept = {*complete[-keep:], self._saved}
        deleted = []
        for step in steps:
            if complete and step < complete[-1] and step not in kept and not protect(step):
                self._remove(self.path(step))
                self._damaged.discard(step)
                deleted.append(step)
        return deleted

    def drop(self, after: int) -> list[int]:
        """Delete every checkpoint later than step `after`, protected or not, the newest first; returns their steps.

        For a rollback: the later steps will be made again. Only for the process that saves, and not while it saves.
        LATEST names the newest remaining checkpoint before anything is deleted.
        """
        steps = self.steps()
        doomed = [step for step in reversed(steps) if step > after]
        with storage_errors(self.folder):
            self._point([step for step in steps if step <= after])
            for step in doomed:
                self._remove(self.path(step))
        self._damaged -= set(doomed)
        self._saved = None if self._saved in doomed else self._saved
        return sorted(doomed)

    def sweep(self) -> None:
        """Remove what a killed process left incomplete, with a warning. Only for the process that saves."""
        self._swept = True
        for path in sorted(self.folder.glob(f"*{TORN}")) if self.folder.is_dir() else []:
            self._warn(f"checkpoint: removing {path}, left incomplete by a killed process")
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _clear(self, final: Path) -> None:
        """Make room for a checkpoint of the same step: remove a damaged one, refuse to replace a complete one."""
        if not final.exists():
            return
        try:
            verify(final)
        except CheckpointError as error:
            self._warn(f"{error}; it is replaced")
            self._remove(final)
        else:
            raise CheckpointError(f"checkpoint: {final} exists and is complete: checkpoints are never overwritten")

    @staticmethod
    def _remove(path: Path) -> None:
        # Rename first: a deletion that is killed half-way must not leave a folder that looks like a checkpoint.
        doomed = path.with_name(path.name + ".old" + TORN)
        path.rename(doomed)
        shutil.rmtree(doomed) if doomed.is_dir() else doomed.unlink()

    def size_of_newest(self) -> int:
        """Bytes of the newest checkpoint (0 without one): the next one will need as many."""
        steps = self.steps()
        files = self.path(steps[-1]).rglob("*") if steps else []
        return sum(path.stat().st_size for path in files if path.is_file())

    @staticmethod
    def _warn(message: str) -> None:
        warnings.warn(message, CheckpointWarning, stacklevel=3)
