"""Decides whether an optimizer step may happen, and what happens instead.

A step is bad if its gradient norm is not finite, or if its loss or norm is a spike. Every process reaches the same
verdict, because it follows from numbers that are equal on all of them. The skipped steps, and the losses by which
spikes are measured, are part of a checkpoint: a resumed run judges like an uninterrupted one.
"""

import math
import statistics
import warnings
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from talkies.config import UserError
from talkies.parallel.ranks import Ranks
from talkies.parallel.world import ALONE
from talkies.resilience.bad_steps import described, record
from talkies.resilience.config import SurvivalConfig

BadStepKind = Literal["non_finite", "spike"]
ENOUGH = 16
"""Good steps needed before a spike can be distinguished from noise."""
MAD = 1.4826
"""Standard deviation of a normal distribution, in units of its median absolute deviation."""


class BadStepError(UserError):
    """An optimizer step that must not happen. Every process raises it, before the weights change; one reports it."""

    exit_code = 70
    shared = True


class NonFiniteError(BadStepError):
    """A loss or a gradient that is not a finite number."""


class SpikeError(BadStepError):
    """A loss or a gradient norm far above those of the previous steps."""


class SurvivalWarning(UserWarning):
    """Something went wrong, and training continues."""


class RollbackError(Exception):
    """Training must continue from an earlier step, see `resilience.rollback`; `step` is the number of the bad step."""

    def __init__(self, step: int, reason: str) -> None:
        super().__init__(reason)
        self.step, self.reason = step, reason


@dataclass(frozen=True, kw_only=True)
class Micro:
    """One micro-batch of the step: the ids and visits of its samples, its loss, per-sample losses [B] and times [B]."""

    ids: tuple[str, ...]
    visits: tuple[int, ...]
    loss: Tensor
    losses: Mapping[str, Tensor]
    times: Mapping[str, Tensor]

    def as_record(self) -> dict[str, Any]:
        """Plain JSON. With the run's seed, ids and visits reproduce what was drawn and degraded."""
        values = {"losses": self.losses, "times": self.times}
        plain = {key: {m: [str(v) for v in x.tolist()] for m, x in by_m.items()} for key, by_m in values.items()}
        return {"ids": list(self.ids), "visits": list(self.visits), **plain}


class Guard:
    """Judges the optimizer steps of a phase. The main process writes a record of every bad step to `folder` (None: no
    record), and calls `on_skip` with every skipped one."""

    def __init__(
        self,
        config: SurvivalConfig | None = None,
        *,
        ranks: Ranks | None = None,
        folder: Path | None = None,
        on_skip: Callable[[Mapping[str, Any]], None] = lambda _: None,
    ) -> None:
        self.config, self.ranks = config or SurvivalConfig(), ranks or Ranks(ALONE)
        self.folder, self.on_skip = folder, on_skip
        self.skipped: list[dict[str, Any]] = []
        self._good: dict[str, deque[tuple[float, float]]] = {}
        self._micros: list[Micro] = []
        self.skip = False

    @property
    def watches_losses(self) -> bool:
        """Whether every step's loss is judged, too, and not the gradient norm alone."""
        return self.config.spike.action != "ignore"

    def begin(self) -> None:
        """An optimizer step begins."""
        self._micros, self.skip = [], False

    def note(self, micro: Micro) -> None:
        """Add a micro-batch of the step, without waiting for its values."""
        self._micros.append(micro)

    @property
    def seen(self) -> int:
        """Micro-batches of the step so far."""
        return len(self._micros)

    def loss(self, mean: Callable[[Tensor], Tensor]) -> float:
        """The loss of the step; `mean` averages it over all processes."""
        return float(mean(torch.stack([micro.loss for micro in self._micros]).mean()))

    def judge(self, step: int, turn: int | None, loss: float, norm: float, worst: Callable[[], str]) -> None:
        """Judge a step before it is made; `skip` is true afterwards if it must be skipped. `step` counts from 1, as in
        the metrics; spikes are measured among the steps of the same `turn` (steps may train parameter groups in turn).

        `loss` is 0 if it is not watched (`watches_losses`), `norm` is 0 if it is not known yet. `worst` names the
        parameter whose gradient is not finite; every process calls it. Raises NonFiniteError, SpikeError or
        RollbackError if the recipe says so.
        """
        if not math.isfinite(norm):
            self.refuse("non_finite", step, f"the gradient norm is {norm}, first parameter concerned: {worst()}")
        elif not math.isfinite(loss):
            self.refuse("non_finite", step, f"the loss is {loss}")
        elif self.watches_losses:
            window = self._good.setdefault(str(turn), deque(maxlen=self.config.spike.window))
            what = self._spike(window, {"loss": loss, "gradient norm": norm})
            if what is None:
                window.append((loss, norm))
            else:
                self.refuse("spike", step, what)

    def refuse(self, kind: BadStepKind, step: int, what: str) -> None:
        """Handle a bad step as the recipe says."""
        action = self.config.non_finite if kind == "non_finite" else self.config.spike.action
        micros = self.ranks.gather([micro.as_record() for micro in self._micros])
        reason = f"optimizer step {step}: {what}{described(micros)}"
        if self.folder is not None and self.ranks.main:
            reason += record(self.folder, step=step, kind=kind, what=what, ranks=micros)
        if action == "rollback":
            raise RollbackError(step, reason)
        if action == "skip" and len(self.skipped) < self.config.skips:
            self.skip = True
            self.skipped.append({"step": step, "kind": kind, "what": what})
            if self.ranks.main:
                self.on_skip(self.skipped[-1])
                warnings.warn(f"training: skipped {reason}", SurvivalWarning, stacklevel=2)
            return
        limit = f"; {len(self.skipped)} steps were skipped before (`survival.skips`)" if action == "skip" else ""
        key = "survival.non_finite" if kind == "non_finite" else "survival.spike.action"
        raise (NonFiniteError if kind == "non_finite" else SpikeError)(
            f"training: {reason}{limit}. The weights are those of the previous step; lower `optimizer.lr` or "
            f"`optimizer.clip`, or set `{key}` to {'rollback' if action == 'skip' else 'skip or rollback'}"
        )

    def state_dict(self) -> dict[str, Any]:
        """Plain JSON; equal on all ranks."""
        return {"skipped": self.skipped, "good": {key: [list(pair) for pair in v] for key, v in self._good.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue judging like the run that saved `state`."""
        self.skipped = [dict(entry) for entry in state["skipped"]]
        size = self.config.spike.window
        self._good = {key: deque(((a, b) for a, b in pairs), maxlen=size) for key, pairs in state["good"].items()}

    def _spike(self, window: deque[tuple[float, float]], values: Mapping[str, float]) -> str | None:
        if len(window) < ENOUGH:
            return None
        for (name, value), earlier in zip(values.items(), zip(*window, strict=True), strict=True):
            middle = statistics.median(earlier)  # one early spike in the window must not hide those that follow
            sigma = MAD * statistics.median(abs(entry - middle) for entry in earlier)
            if value > middle + self.config.spike.sigma * sigma:
                sigmas = (value - middle) / sigma if sigma else math.inf
                return f"the {name} is {value:.4g}, {sigmas:.1f} sigma above {middle:.4g} +- {sigma:.2g}"
        return None
