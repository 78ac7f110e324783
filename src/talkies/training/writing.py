"""Checkpoints are written behind training's back: a step only waits for a copy of the state."""

import threading
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from talkies.checkpoints.spans import TensorSpan


class Background:
    """One job at a time in a thread; its error is raised in the thread that waits for it."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._after: Callable[[], None] = lambda: None
        self._failure: BaseException | None = None

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
            job()
        except BaseException as error:
            self._failure = error


def staged(state: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of nested mappings whose tensors (parts stay parts) lie on the CPU and are nobody else's."""
    return {key: _staged(value) for key, value in state.items()}


def _staged(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, TensorSpan):
        return value.mapped(_staged)
    return staged(value) if isinstance(value, Mapping) else value
