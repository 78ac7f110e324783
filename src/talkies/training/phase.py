"""The LightningModule of every phase: a Denoiser, a Flow, and what trains at which rate."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from lightning import LightningModule
from torch import nn

from talkies.checkpoints.spans import Held
from talkies.flow.config import FlowConfig
from talkies.flow.noising import dropped_text, noised
from talkies.flow.objective import per_sample_loss
from talkies.models.streams import as_streams
from talkies.parallel.zero import ZeroStrategy
from talkies.resilience.guard import Guard, Micro
from talkies.streams import Modality
from talkies.streams.batch import Batch, Condition
from talkies.training.config import OptimizerConfig, StepsConfig
from talkies.training.held import HeldState, OwnState
from talkies.training.optimizer import AlternatingAdamW, parameter_groups, rate
from talkies.training.stepping import Stepping
from talkies.training.zero_state import ZeroState


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What a phase minimises.

    `weights[m]` is the loss weight of a modality that trains; `boundary` the video noise level between the experts;
    `alternate` whether the video experts take turns (even optimizer steps train the high-noise expert, odd ones the
    low-noise one: MOVA section 8); `mask_channels` the first-frame mask's channels.
    """

    flow: FlowConfig
    weights: Mapping[Modality, float]
    text_dropout: float
    boundary: float
    alternate: bool
    mask_channels: int
    seed: int


class Phase(LightningModule):
    """Trains `build()`'s denoiser; `build` is called once, in `configure_model`. `guard` judges every step."""

    model: nn.Module

    def __init__(
        self,
        build: Callable[[], nn.Module],
        objective: Objective,
        optimizer: OptimizerConfig,
        steps: StepsConfig,
        guard: Guard | None = None,
    ) -> None:
        super().__init__()
        self.objective, self.optimizer_config, self.steps = objective, optimizer, steps
        self.guard = guard or Guard()
        self.stepping = Stepping(self.guard, clip=optimizer.clip, accumulate=steps.accumulate)
        self._build = build
        self.held: HeldState = OwnState(lambda: self.model, self._optimizer)
        self._built = False

    def configure_model(self) -> None:
        """Build the denoiser; a second call does nothing."""
        if not self._built:
            self.model = self._build()
            self._built = True

    def on_fit_start(self) -> None:
        """The strategy has made its engine: look where it keeps the state."""
        strategy = self.trainer.strategy
        if isinstance(strategy, ZeroStrategy):
            self.held = ZeroState(strategy.model, self.model)

    def _optimizer(self) -> torch.optim.Optimizer:
        optimizer: torch.optim.Optimizer = self.trainer.optimizers[0]
        return optimizer

    @property
    def expert(self) -> int | None:
        """The video expert of the current optimizer step, None where no video trains."""
        return self.global_step % 2 if self.objective.alternate else None

    def training_step(self, batch: Batch, _: int) -> dict[str, object]:
        """Loss of one micro-batch: the weighted sum over modalities of the mean of per-sample masked means."""
        objective, expert = self.objective, self.expert
        draw = noised(batch, objective.flow, seed=objective.seed, boundary=objective.boundary, expert=expert)
        text = dropped_text(batch, seed=objective.seed, rate=objective.text_dropout)
        streams = as_streams(batch, draw.noisy, draw.times, mask_channels=objective.mask_channels)
        predicted = self.model(streams, Condition(text=text, expert=expert or 0))
        losses = {m: per_sample_loss(predicted[m], draw.targets[m], batch.masks[m]) for m in objective.weights}
        loss = torch.stack([weight * losses[m].mean() for m, weight in objective.weights.items()]).sum()
        found = {m: x.detach() for m, x in losses.items()}
        self.guard.note(Micro(ids=batch.ids, visits=batch.visits, loss=loss.detach(), losses=found, times=draw.times))
        return {"loss": loss, "losses": found, "times": draw.times}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW over what trains; the rate of a step is set in `on_train_batch_start`."""
        config = self.optimizer_config
        groups = parameter_groups(self.model, config)
        strategy = self.trainer.strategy
        away = isinstance(strategy, ZeroStrategy) and strategy.layout.offload  # one pass over main memory
        fused = True if away else None
        return AlternatingAdamW(groups, lr=config.lr.towers, betas=config.betas, eps=config.eps, fused=fused)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """The learning rate and which expert rests are pure functions of the optimizer step: there is no scheduler
        state to restore."""
        del batch
        factor = rate(self.global_step, self.steps.max, self.optimizer_config)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = group["peak"] * factor
            group["inactive"] = None not in (group["expert"], self.expert) and group["expert"] != self.expert
        if batch_idx % self.steps.accumulate == 0:
            self.stepping.begin(self.held)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Judge the step and clip its gradients before they reach the weights."""
        del gradient_clip_val, gradient_clip_algorithm
        number, expert = self.global_step + 1, self.expert
        self.stepping.before(optimizer, self.held, self.model, number=number, expert=expert, mean=self._mean)

    def _mean(self, loss: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self.trainer.strategy.reduce(loss, reduce_op="mean"))

    def ends_step(self, batch_idx: int) -> bool:
        """Whether micro-batch `batch_idx` is the last of an optimizer step."""
        return (batch_idx + 1) % self.steps.accumulate == 0

    def optimizer_step(self, epoch: int, batch_idx: int, *args: Any, **kwargs: Any) -> None:
        """A step, after which an engine is asked whether it made one."""
        number = self.global_step + 1
        super().optimizer_step(epoch, batch_idx, *args, **kwargs)
        if self.ends_step(batch_idx):
            self.stepping.after(self.held, number)

    def trainable(self) -> dict[str, Held]:
        """Name -> what this rank holds of what trains: the state that a checkpoint holds."""
        return self.held.weights()
