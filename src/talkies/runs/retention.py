"""Retention: which checkpoints of a run must be kept. These are the best by held-out loss, those that a registered
release was made from, and those that a rollback needs.

RUN/best.json                 step, metric and value of the best
RUN/registered/*.json         one mark per release made from a checkpoint; any process may write one at any time
RUN/left/                     marked checkpoints of steps that the run rolled back
"""

import hashlib
import math
import threading
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from talkies.checkpoints.store import CheckpointStore
from talkies.files.durable import write_json
from talkies.runs.records import BEST as BEST_RECORD
from talkies.runs.records import BestRecord

BEST = "best.json"
REGISTERED = "registered"
LEFT = "left"


class Retention:
    """Decides which checkpoints of the run in `folder` must be kept.

    The best is the step with the lowest sum of `weights` x held-out loss among those that were validated and have a
    complete checkpoint. A validation and its checkpoint may end in any order, in two threads; the later of them updates
    the best. A best whose checkpoint is gone (after a rollback) does not count. `back`: how many steps before a bad one
    a rollback resumes; None for a run without rollback.
    """

    def __init__(self, folder: Path, weights: Mapping[str, float], *, back: int | None = None) -> None:
        self.folder, self.weights, self.back = folder, weights, back
        self._store = CheckpointStore(folder / "checkpoints")
        self._measured: dict[int, float] = {}
        self._lock = threading.Lock()

    @property
    def metric(self) -> str:
        """The compared quantity, as a formula of metric names."""
        return " + ".join(f"{weight:g} * heldout/{modality}" for modality, weight in self.weights.items())

    def measured(self, metrics: Mapping[str, float], step: int) -> None:
        """Take the metrics of a validation that has ended."""
        with self._lock:
            value = sum(weight * metrics[f"heldout/{modality}"] for modality, weight in self.weights.items())
            self._measured = {known: loss for known, loss in self._measured.items() if known < step}
            if math.isfinite(value):
                self._measured[step] = value
        self.update_best()

    def update_best(self) -> None:
        """Write best.json if there is now a better checkpoint."""
        with self._lock:
            complete = set(self._store.steps())
            ready = {step: value for step, value in self._measured.items() if step in complete}
            known = best_of(self.folder)
            if known is not None and known.step not in ready:
                ready[known.step] = known.value
            if not ready:
                return
            step = min(ready, key=lambda step: (ready[step], step))
            found = BestRecord(step=step, metric=self.metric, value=ready[step])
            if found != known:
                write_json(self.folder / BEST, asdict(found))
            self._measured = {later: loss for later, loss in self._measured.items() if later not in complete}

    def protects(self, step: int) -> bool:
        """Whether the checkpoint of `step` must stay. CheckpointError if best.json is damaged."""
        self.update_best()
        known = best_of(self.folder)
        best = known is not None and known.step == step
        return best or step in self._rollback_steps() or any(_marks(self.folder, step))

    def set_aside(self, after: int) -> None:
        """Move the marked checkpoints later than step `after` to RUN/left, with their marks, and forget a best later
        than that. For a rollback: these steps will be trained again with other weights."""
        known = best_of(self.folder)
        if known is not None and known.step > after:
            (self.folder / BEST).unlink()
        with self._lock:
            self._measured = {step: loss for step, loss in self._measured.items() if step <= after}
        for step in sorted({int(path.name.split("-")[1]) for path in _marks(self.folder)}):
            if step > after:
                self._set_aside(step)

    def _set_aside(self, step: int) -> None:
        """Move the checkpoint, then its marks. If only the marks are left, a process died between the two."""
        earlier = [path for path in (self.folder / LEFT).glob(f"step-{step:08d}-*") if path.is_dir()]
        checkpoint = self._store.path(step)
        target = self.folder / LEFT / f"step-{step:08d}-{len(earlier) + checkpoint.is_dir()}"
        target.parent.mkdir(exist_ok=True)
        if checkpoint.is_dir():
            checkpoint.rename(target)
        for path in _marks(self.folder, step):
            path.rename(target.with_name(f"{target.name}-{path.name}"))

    def _rollback_steps(self) -> list[int]:
        """The newest checkpoint that is old enough to roll back to from any later step, and the one after it. Without
        the second, checkpoints would be deleted before they are old enough."""
        steps = self._store.steps()
        if self.back is None or not steps:
            return []
        first = next((at for at in reversed(range(len(steps))) if steps[at] <= steps[-1] - self.back), 0)
        return steps[first : first + 2]


def best_of(folder: Path) -> BestRecord | None:
    """best.json of a run; None if there is none, or its checkpoint is gone."""
    found = BEST_RECORD.find(folder / BEST)
    return found if found is not None and found.step in CheckpointStore(folder / "checkpoints").steps() else None


def mark(folder: Path, step: int, name: str) -> Path:
    """Mark the checkpoint of `step` in the run `folder` to be kept for the release `name` made from it. Returns the
    mark's file; without it the checkpoint may be deleted."""
    path = folder / REGISTERED / f"step-{step:08d}-{hashlib.sha256(name.encode()).hexdigest()[:12]}.json"
    write_json(path, {"step": step, "name": name})
    return path


def _marks(folder: Path, step: int | None = None) -> list[Path]:
    return [*(folder / REGISTERED).glob("step-*.json" if step is None else f"step-{step:08d}-*.json")]
