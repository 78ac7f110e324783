"""What a rank is doing now, recorded as Lightning begins and ends each action: no file, no lock, no wait."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.profilers import Profiler

from talkies.resilience.straggler import RankClock

LOADING, FORWARD, BACKWARD, OPTIMIZER = "loading data", "the forward pass", "the backward pass", "the optimizer"
RESTORING, CHECKPOINT, VALIDATION, REPORTING = "restoring", "the checkpoint", "validation", "reporting"
BUILDING, START, BETWEEN = "building the model", "the start", "the exchange between batches"
_HOOKS = {
    ("Strategy", "training_step"): FORWARD,
    ("Strategy", "backward"): BACKWARD,
    ("LightningModule", "optimizer_step"): OPTIMIZER,
    ("LightningModule", "configure_model"): BUILDING,
}


class Active(Protocol):
    """A callback that declares which activity each of its hooks is: {"on_train_end": CHECKPOINT}."""

    activities: Mapping[str, str]


@dataclass(frozen=True)
class Moment:
    """In `activity` since `since` (time.monotonic), after `step` optimizer steps; `moves`: actions begun or ended."""

    moves: int
    activity: str
    since: float
    step: int


class Activity(Profiler):
    """Follows one fit after another. Only the training thread replaces `now`, always as a whole, so that another thread
    may read it at any time. `stepped`: an optimizer step of this attempt has ended."""

    def __init__(self) -> None:
        super().__init__()
        self.own = RankClock()
        self.now = Moment(0, START, time.monotonic(), 0)
        self.stepped = False
        self._declared: dict[str, str] = {}
        self._known: dict[str, str | None] = {}
        self._within: list[str] = [START]

    def follow(self, callbacks: Iterable[Callback]) -> None:
        """Register the callbacks of the fit: their hooks are the activities that they declare (`Active`)."""
        self._declared = {
            f"{callback.state_key}.{hook}": activity
            for callback in callbacks
            for hook, activity in getattr(callback, "activities", {}).items()
        }
        self._known = {}

    def begin(self) -> None:
        """A fit begins."""
        self.stepped = False
        self.own.clear()
        self._within = [START]
        self._move(START)

    def start(self, action_name: str) -> None:
        """Lightning begins an action."""
        activity = self._activity_of(action_name)
        if activity is not None:
            self._within.append(activity)
            self._move(activity)
            if activity is LOADING:
                self.own.loading()

    def stop(self, action_name: str) -> None:
        """Lightning ends an action; the one around it continues."""
        activity = self._activity_of(action_name)
        if activity is not None:
            self._within.pop()
            self._move(self._within[-1])
            if activity is LOADING:
                self.own.loaded()
            elif activity is FORWARD:
                self.own.computed()

    def at(self, step: int, *, stepped: bool) -> None:
        """`step` optimizer steps are done; `stepped`: the last of them has just ended."""
        self.stepped = self.stepped or stepped
        self._within = [BETWEEN]
        self._move(BETWEEN, step)

    def _activity_of(self, action: str) -> str | None:
        try:
            return self._known[action]
        except KeyError:
            return self._known.setdefault(action, self._classify(action))

    def _classify(self, action: str) -> str | None:
        """The activity of Lightning's action; None if it is not one that is followed."""
        kind, _, name = action.removeprefix("[").partition("]")
        if name == ".train_dataloader_next":
            return LOADING
        if kind == "Callback":
            return self._declared.get(name)
        return _HOOKS.get((kind, name.rpartition(".")[2]))

    def _move(self, activity: str, step: int | None = None) -> None:
        last = self.now
        self.now = Moment(last.moves + 1, activity, time.monotonic(), last.step if step is None else step)


class Steps(Callback):
    """Reports to `activity` every optimizer step and what the callbacks declare; put it before all others."""

    def __init__(self, activity: Activity) -> None:
        self.activity = activity

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """All callbacks are known: register them."""
        del pl_module, stage
        self.activity.follow(trainer.callbacks)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the step at which the fit begins."""
        del pl_module
        self.activity.at(trainer.global_step, stepped=False)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Report the end of a micro-batch; the last one of a step ends the step."""
        del pl_module, outputs, batch
        self.activity.at(trainer.global_step, stepped=(batch_idx + 1) % trainer.accumulate_grad_batches == 0)
