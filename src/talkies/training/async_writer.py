"""Checkpoints are written in the background: a step waits only for a copy of the state."""

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
from talkies.signals.answer import protected


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
        """Wait for the previous job, then start `job`; `after` runs in the thread that waits for it."""
        self.wait()
        self._after = after
        self._thread = threading.Thread(target=self._run, args=(job,), name="checkpoint")
        self._thread.start()

    def wait(self) -> None:
        """Wait for the running job, if there is one; raises what it raised."""
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
            with protected():
                job()
        except BaseException as error:
            self._failure = error


class AsyncWriter:
    """Saves copies of the state into `store`, keeps the newest `keep` and those that `protect` names, and calls `saved`
    for every complete checkpoint, in the training thread. Every process of `ranks` has a writer, and makes equal calls.

    If the disk has no room for a checkpoint, there is a warning, and the run continues without it, unless it is
    `needed`, or `may_fail` in a row have failed: then, as for every other error, `wait` and the next `start` raise.
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
        """Whether `wait` will raise: training need not continue."""
        return self._background.failed

    def start(self, step: int, state: Mapping[str, Any], *, needed: bool) -> None:
        """Copy `state` (the keywords of `save_state`), and start writing it once the previous checkpoint is done."""
        self._background.start(
            partial(self._write, step, copied_to_cpu(state), needed=needed), partial(self._report, step)
        )

    def wait(self) -> None:
        """Wait until nothing is being written; raises the error of a failed checkpoint."""
        self._background.wait()

    def _write(self, step: int, state: dict[str, Any], *, needed: bool) -> None:
        state |= {"rank": self._ranks.world.rank, "group": self._ranks.group}
        try:
            self.store.save(step, lambda folder: save_state(folder, **state), self._ranks)
        except Exception as error:  # it fails in all processes, but perhaps for different reasons
            if not all(self._ranks.gather(_no_room(error))) or needed or not self._tolerate(step, error):
                raise
            return
        self._complete, self._failures = step, 0
        self._ranks.agree(self._retain if self._ranks.main else None)

    def _retain(self) -> None:
        self.store.retain(self.keep, self.protect)

    def _tolerate(self, step: int, error: Exception) -> bool:
        """Warn about a failure; False if it was one too many."""
        self._failures += 1
        if self._ranks.main:
            continues = self._failures < self.may_fail
            warnings.warn(
                f"checkpoint: step {step} was not saved, {self._failures} of {self.may_fail} in a row that end a run "
                f"(`survival.failed_saves`); {'the next one is tried' if continues else 'this is the last'}: {error}",
                CheckpointWarning,
                stacklevel=2,
            )
        return self._failures < self.may_fail

    def _report(self, step: int) -> None:
        if self._complete == step and self._ranks.main:
            self.saved(step, self.store.path(step))


def _no_room(error: Exception) -> bool:
    """Whether this process or another could not write because of the disk."""
    return isinstance(error, UserError) and error.exit_code == StorageError.exit_code


def copied_to_cpu(state: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of nested mappings; their tensors are copied to the CPU, and spans stay spans."""
    return {key: _copied_value(value) for key, value in state.items()}


def _copied_value(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, TensorSpan):
        return value.mapped(_copied_value)
    return copied_to_cpu(value) if isinstance(value, Mapping) else value
