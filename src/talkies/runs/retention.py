"""Which checkpoints of a run must stay: the best by held-out loss, those that something registered was made of, and
the one that a run would go back to.

RUN/best.json                 step, metric and value of the best
RUN/registered/*.json         one mark for each release made of a checkpoint; any process leaves one, at any time
RUN/left/                     marked checkpoints of steps that a run has gone back from
"""

import hashlib
import math
import threading
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from talkies.checkpoints.store import CheckpointStore
from talkies.runs.folders import write_json
from talkies.runs.records import BEST as BEST_RECORD
from talkies.runs.records import BestRecord
from talkies.streams import Modality

BEST = "best.json"
REGISTERED = "registered"
LEFT = "left"


class Retention:
    """What retention asks before it deletes a checkpoint of the run in `folder`.

    The best is the step with the lowest sum of `weights` x held-out loss among those that were validated and have a
    complete checkpoint. A validation and its checkpoint may end in any order, in two threads: whichever comes last
    settles it. A best whose checkpoint is gone (the run went back) is none. `back` (None: it never goes back): how many
    steps before a bad one a run goes on from.
    """

    def __init__(self, folder: Path, weights: Mapping[Modality, float], *, back: int | None = None) -> None:
        self.folder, self.weights, self.back = folder, weights, back
        self._store = CheckpointStore(folder / "checkpoints")
        self._measured: dict[int, float] = {}
        self._lock = threading.Lock()

    @property
    def metric(self) -> str:
        """What is compared, by the names of the metrics."""
        return " + ".join(f"{weight:g} * heldout/{modality}" for modality, weight in self.weights.items())

    def measured(self, metrics: Mapping[str, float], step: int) -> None:
        """A validation has ended."""
        with self._lock:
            value = sum(weight * metrics[f"heldout/{modality}"] for modality, weight in self.weights.items())
            self._measured = {known: loss for known, loss in self._measured.items() if known < step}
            if math.isfinite(value):
                self._measured[step] = value
        self.update_best()

    def update_best(self) -> None:
        """Write down a better checkpoint than the best, if there is one now."""
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
        """Whether the checkpoint of `step` must stay. CheckpointError where best.json is damaged."""
        self.update_best()
        known = best_of(self.folder)
        best = known is not None and known.step == step
        return best or step in self._refuges() or any(_marks(self.folder, step))

    def set_aside(self, after: int) -> None:
        """Move the marked checkpoints later than step `after` to RUN/left, with their marks, and forget a best later
        than that: the run goes back, and these steps will come again with other weights."""
        known = best_of(self.folder)
        if known is not None and known.step > after:
            (self.folder / BEST).unlink()
        with self._lock:
            self._measured = {step: loss for step, loss in self._measured.items() if step <= after}
        for step in sorted({int(path.name.split("-")[1]) for path in _marks(self.folder)}):
            if step > after:
                self._set_aside(step)

    def _set_aside(self, step: int) -> None:
        """The checkpoint goes first. Where its marks alone are there, a process has died over it."""
        held = [path for path in (self.folder / LEFT).glob(f"step-{step:08d}-*") if path.is_dir()]
        checkpoint = self._store.path(step)
        target = self.folder / LEFT / f"step-{step:08d}-{len(held) + checkpoint.is_dir()}"
        target.parent.mkdir(exist_ok=True)
        if checkpoint.is_dir():
            checkpoint.rename(target)
        for path in _marks(self.folder, step):
            path.rename(target.with_name(f"{target.name}-{path.name}"))

    def _refuges(self) -> list[int]:
        """The checkpoint that is old enough, whichever step from now on is bad, and the one that will be after it.
        Without the second, none between `keep` and `back` would ever come of age."""
        steps = self._store.steps()
        if self.back is None or not steps:
            return []
        first = next((at for at in reversed(range(len(steps))) if steps[at] <= steps[-1] - self.back), 0)
        return steps[first : first + 2]


def best_of(folder: Path) -> BestRecord | None:
    """best.json of a run, None where it has no best or the best one's checkpoint is gone."""
    found = BEST_RECORD.find(folder / BEST)
    return found if found is not None and found.step in CheckpointStore(folder / "checkpoints").steps() else None


def mark(folder: Path, step: int, name: str) -> Path:
    """Keep the checkpoint of `step` in the run `folder` for what is made of it: `name` says what that is, and where.
    Returns the mark; who removes it gives the checkpoint up."""
    path = folder / REGISTERED / f"step-{step:08d}-{hashlib.sha256(name.encode()).hexdigest()[:12]}.json"
    write_json(path, {"step": step, "name": name})
    return path


def _marks(folder: Path, step: int | None = None) -> list[Path]:
    return [*(folder / REGISTERED).glob("step-*.json" if step is None else f"step-{step:08d}-*.json")]
