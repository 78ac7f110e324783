"""Checkpoints are written behind training's back: a step only waits for a copy of the state."""

import threading
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from talkies.checkpoints.spans import TensorSpan
from talkies.checkpoints.state import save_state
from talkies.checkpoints.store import CheckpointStore, CheckpointWarning
from talkies.config import StorageError, UserError
from talkies.parallel.ranks import Ranks
from talkies.signals.answer import kept


class Background:
    """One job at a time in a thread; its error is raised in the thread that waits for it."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._after: Callable[[], None] = lambda: None
        self._failure: BaseException | None = None

    @property
    def failed(self) -> bool:
        """Whether `wait` will raise."""
        return self._failure is not None

    def start(self, job: Callable[[], None], after: Callable[[], None]) -> None:
        """Wait for the job before, then begin `job`; `after` runs in the thread that waits for it."""
        self.wait()
        self._after = after
        self._thread = threading.Thread(target=self._run, args=(job,), name="checkpoint")
        self._thread.start()

    def wait(self) -> None:
        """End the running job, if there is one; raises what it raised."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        thread.join()
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        self._after()

    def _run(self, job: Callable[[], None]) -> None:
        try:
            with kept():
                job()
        except BaseException as error:
            self._failure = error


class Writer:
    """Saves copies of the state into `store`, keeps the newest `keep` and what `protect` says, and tells `saved` of
    every complete checkpoint, in the training thread. Every process of `ranks` has one, and calls the same.

    A checkpoint that the disk has no room for is a warning, and the run goes on without it, unless it is `needed` or
    `may_fail` in a row have failed: then, and for every other error, `wait` and the next `start` raise.
    """

    def __init__(
        self,
        store: CheckpointStore,
        ranks: Ranks,
        *,
        keep: int,
        may_fail: int,
        protect: Callable[[int], bool],
        saved: Callable[[int, Path], None],
    ) -> None:
        self.store, self.keep, self.may_fail = store, keep, may_fail
        self.protect, self.saved = protect, saved
        self._ranks = ranks.writers
        self._background = Background()
        self._complete: int | None = None
        self._failures = 0

    @property
    def failed(self) -> bool:
        """Whether `wait` will raise: training need not go on until then."""
        return self._background.failed

    def start(self, step: int, state: Mapping[str, Any], *, needed: bool) -> None:
        """Copy `state` (the keywords of `save_state`), and begin to write it once the checkpoint before is done."""
        self._background.start(partial(self._write, step, staged(state), needed=needed), partial(self._tell, step))

    def wait(self) -> None:
        """Until nothing is being written; raises what ended it."""
        self._background.wait()

    def _write(self, step: int, state: dict[str, Any], *, needed: bool) -> None:
        state |= {"rank": self._ranks.world.rank, "group": self._ranks.group}
        try:
            self.store.save(step, lambda folder: save_state(folder, **state), self._ranks)
        except Exception as error:  # it fails in all processes, but perhaps not of the same cause
            if not all(self._ranks.gather(_no_room(error))) or needed or not self._bear(step, error):
                raise
            return
        self._complete, self._failures = step, 0
        self._ranks.agree(self._retain if self._ranks.main else None)

    def _retain(self) -> None:
        self.store.retain(self.keep, self.protect)

    def _bear(self, step: int, error: Exception) -> bool:
        """Tell of a failure; False where it was one too many."""
        self._failures += 1
        if self._ranks.main:
            goes_on = self._failures < self.may_fail
            warnings.warn(
                f"checkpoint: step {step} was not saved, {self._failures} of {self.may_fail} in a row that end a run "
                f"(`survival.failed_saves`); {'the next one is tried' if goes_on else 'this is the last'}: {error}",
                CheckpointWarning,
                stacklevel=2,
            )
        return self._failures < self.may_fail

    def _tell(self, step: int) -> None:
        if self._complete == step and self._ranks.main:
            self.saved(step, self.store.path(step))


def _no_room(error: Exception) -> bool:
    """Whether this process or another could not write because of the disk."""
    return isinstance(error, UserError) and error.exit_code == StorageError.exit_code


def staged(state: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of nested mappings whose tensors (parts stay parts) lie on the CPU and are nobody else's."""
    return {key: _staged(value) for key, value in state.items()}


def _staged(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, TensorSpan):
        return value.mapped(_staged)
    return staged(value) if isinstance(value, Mapping) else value
