"""Whether an optimizer step may happen, and what is done instead where it may not.

A step is bad where its gradient's norm is not finite, or where its loss or its norm is a spike. Every process comes to
the same verdict, for it is made of numbers that are equal on all of them. What was skipped, and the losses that a spike
is measured by, are part of a checkpoint: a run that is resumed judges as one that was left alone.
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
from talkies.streams import Modality

BadStepKind = Literal["non_finite", "spike"]
ENOUGH = 16
"""Good steps before a spike can be told from the noise."""
MAD = 1.4826
"""Standard deviations of a normal distribution in its median absolute deviation."""


class BadStepError(UserError):
    """An optimizer step that must not happen; raised before the weights change, by every process: one reports it."""

    exit_code = 70
    shared = True


class NonFiniteError(BadStepError):
    """A loss or a gradient that is not a finite number."""


class SpikeError(BadStepError):
    """A loss or a gradient far above those of the steps before."""


class SurvivalWarning(UserWarning):
    """Something went wrong, and training goes on."""


class BackError(Exception):
    """Training must go on from an earlier step: see `training.rollback`. `step` is the number of the bad one."""

    def __init__(self, step: int, reason: str) -> None:
        super().__init__(reason)
        self.step, self.reason = step, reason


@dataclass(frozen=True, kw_only=True)
class Micro:
    """One micro-batch of the step: what names its samples, its loss, and per-sample losses [B] and noise levels [B]."""

    ids: tuple[str, ...]
    visits: tuple[int, ...]
    loss: Tensor
    losses: Mapping[Modality, Tensor]
    times: Mapping[Modality, Tensor]

    def as_record(self) -> dict[str, Any]:
        """Plain JSON. With the run's seed the ids and visits reproduce its noise, times and dropout."""
        values = {"losses": self.losses, "times": self.times}
        plain = {key: {m: [str(v) for v in x.tolist()] for m, x in found.items()} for key, found in values.items()}
        return {"ids": list(self.ids), "visits": list(self.visits), **plain}


class Guard:
    """Judges the optimizer steps of a phase. `folder` (None: nowhere) gets a record of every bad one, and `on_skip` is
    called with each that is skipped, in the main process."""

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
        """Whether the loss is looked at in every step, and not only the gradient's norm."""
        return self.config.spike.action != "ignore"

    def begin(self) -> None:
        """An optimizer step begins."""
        self._micros, self.skip = [], False

    def note(self, micro: Micro) -> None:
        """One more micro-batch of the step; nothing waits for its values."""
        self._micros.append(micro)

    @property
    def seen(self) -> int:
        """Micro-batches of the step until now."""
        return len(self._micros)

    def loss(self, mean: Callable[[Tensor], Tensor]) -> float:
        """The loss of the step, of which `mean` makes that of all processes."""
        return float(mean(torch.stack([micro.loss for micro in self._micros]).mean()))

    def judge(self, step: int, expert: int | None, loss: float, norm: float, worst: Callable[[], str]) -> None:
        """Look at a step before it is made: `skip` is true afterwards where it must not be. `step` counts from 1, as
        the metrics of a step do.

        `loss` is 0 where nobody asked for it (`watches_losses`), `norm` where nobody knows it yet. `worst` names the
        parameter whose gradient is not finite; every process calls it. Raises NonFiniteError, SpikeError or BackError
        where the recipe says so.
        """
        if not math.isfinite(norm):
            self.refuse("non_finite", step, f"the gradient norm is {norm}, first parameter concerned: {worst()}")
        elif not math.isfinite(loss):
            self.refuse("non_finite", step, f"the loss is {loss}")
        elif self.watches_losses:
            window = self._good.setdefault(str(expert), deque(maxlen=self.config.spike.window))
            what = self._spike(window, {"loss": loss, "gradient norm": norm})
            if what is None:
                window.append((loss, norm))
            else:
                self.refuse("spike", step, what)

    def refuse(self, kind: BadStepKind, step: int, what: str) -> None:
        """Do what the recipe says of a bad step."""
        action = self.config.non_finite if kind == "non_finite" else self.config.spike.action
        micros = self.ranks.gather([micro.as_record() for micro in self._micros])
        reason = f"optimizer step {step}: {what}{described(micros)}"
        if self.folder is not None and self.ranks.main:
            reason += record(self.folder, step=step, kind=kind, what=what, ranks=micros)
        if action == "rollback":
            raise BackError(step, reason)
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
            f"training: {reason}{limit}. The weights are as the step before left them; lower `optimizer.lr` or "
            f"`optimizer.clip`, or go on with `{key}` {'rollback' if action == 'skip' else 'skip or rollback'}"
        )

    def state_dict(self) -> dict[str, Any]:
        """Plain JSON; equal on all ranks."""
        return {"skipped": self.skipped, "good": {key: [list(pair) for pair in v] for key, v in self._good.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Judge as the run that made `state`."""
        self.skipped = [dict(entry) for entry in state["skipped"]]
        size = self.config.spike.window
        self._good = {key: deque(((a, b) for a, b in pairs), maxlen=size) for key, pairs in state["good"].items()}

    def _spike(self, window: deque[tuple[float, float]], found: Mapping[str, float]) -> str | None:
        if len(window) < ENOUGH:
            return None
        for (name, value), past in zip(found.items(), zip(*window, strict=True), strict=True):
            middle = statistics.median(past)  # one early spike in the window must not hide those that follow
            sigma = MAD * statistics.median(abs(entry - middle) for entry in past)
            if value > middle + self.config.spike.sigma * sigma:
                sigmas = (value - middle) / sigma if sigma else math.inf
                return f"the {name} is {value:.4g}, {sigmas:.1f} sigma above {middle:.4g} +- {sigma:.2g}"
        return None
