"""The LightningModule of every phase: denoiser, objective, optimizer and learning rates."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from lightning import LightningModule
from torch import nn

from talkies.checkpoints.spans import StateTensor
from talkies.flow.config import FlowConfig
from talkies.flow.noising import dropped_text, noised
from talkies.flow.objective import per_sample_loss
from talkies.models.streams import as_streams
from talkies.resilience.guard import Guard, Micro
from talkies.streams import Modality
from talkies.streams.batch import Batch, Condition
from talkies.training.config import OptimizerConfig, StepsConfig
from talkies.training.engines import Engine, TorchEngine
from talkies.training.guarded_steps import GuardedSteps
from talkies.training.optimizer import AlternatingAdamW, parameter_groups, rate
from talkies.training.state import ModuleState, TrainingState


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What a phase minimises.

    `weights[m]` is the loss weight of a trained modality; `boundary` is the video noise level between the experts;
    `alternate`: the video experts alternate (even optimizer steps, from 0, train the high-noise expert, odd steps the
    low-noise one: MOVA, section 4.5); `mask_channels`: channels of the first-frame mask.
    """

    flow: FlowConfig
    weights: Mapping[Modality, float]
    text_dropout: float
    boundary: float
    alternate: bool
    mask_channels: int
    seed: int


class Phase(LightningModule):
    """Trains `build()`'s denoiser; `build` is called once, in `configure_model`. `guard` judges every step, which
    `engine` makes."""

    model: nn.Module

    def __init__(
        self,
        build: Callable[[], nn.Module],
        objective: Objective,
        optimizer: OptimizerConfig,
        steps: StepsConfig,
        guard: Guard | None = None,
        *,
        engine: Engine = TorchEngine(),  # noqa: B008 (frozen)
    ) -> None:
        super().__init__()
        self.objective, self.optimizer_config, self.steps = objective, optimizer, steps
        self.guard = guard or Guard()
        self.guarded_steps = GuardedSteps(self.guard, clip=optimizer.clip, accumulate=steps.accumulate)
        self._build, self.engine = build, engine
        self.state: TrainingState = ModuleState(lambda: self.model, self._optimizer)
        self._built = False

    def configure_model(self) -> None:
        """Build the denoiser; a second call does nothing."""
        if not self._built:
            self.model = self._build()
            self._built = True

    def on_fit_start(self) -> None:
        """The strategy is set up now: find where it keeps the state."""
        self.state = self.engine.state(self.trainer.strategy, self.model, self._optimizer)

    def _optimizer(self) -> torch.optim.Optimizer:
        optimizer: torch.optim.Optimizer = self.trainer.optimizers[0]
        return optimizer

    @property
    def expert(self) -> int | None:
        """The video expert of the current optimizer step; None without alternation."""
        return self.global_step % 2 if self.objective.alternate else None

    def training_step(self, batch: Batch, _: int) -> dict[str, object]:
        """Loss of one micro-batch: the weighted sum, over modalities, of the mean over samples of the masked mean."""
        objective, expert = self.objective, self.expert
        draw = noised(batch, objective.flow, seed=objective.seed, boundary=objective.boundary, expert=expert)
        text = dropped_text(batch, seed=objective.seed, rate=objective.text_dropout)
        streams = as_streams(batch, draw.noisy, draw.times, mask_channels=objective.mask_channels)
        predicted = self.model(streams, Condition(text=text, expert=expert or 0))
        losses = {m: per_sample_loss(predicted[m], draw.targets[m], batch.masks[m]) for m in objective.weights}
        loss = torch.stack([weight * losses[m].mean() for m, weight in objective.weights.items()]).sum()
        values = {m: x.detach() for m, x in losses.items()}
        self.guard.note(Micro(ids=batch.ids, visits=batch.visits, loss=loss.detach(), losses=values, times=draw.times))
        return {"loss": loss, "losses": values, "times": draw.times}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW over the trainable parameters; `on_train_batch_start` sets the rate of each step."""
        config = self.optimizer_config
        groups = parameter_groups(self.model, config)
        return AlternatingAdamW(
            groups, lr=config.lr.towers, betas=config.betas, eps=config.eps, fused=self.engine.fused
        )

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Set learning rates and the inactive expert. Both are pure functions of the optimizer step, so that there is
        no scheduler state to restore."""
        del batch
        factor = rate(self.global_step, self.steps.max, self.optimizer_config)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = group["peak"] * factor
            group["inactive"] = None not in (group["expert"], self.expert) and group["expert"] != self.expert
        if batch_idx % self.steps.accumulate == 0:
            self.guarded_steps.begin(self.state)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Judge the step and clip its gradients before they reach the weights."""
        del gradient_clip_val, gradient_clip_algorithm
        number, expert = self.global_step + 1, self.expert
        self.guarded_steps.before(optimizer, self.state, self.model, number=number, expert=expert, mean=self._mean)

    def _mean(self, loss: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self.trainer.strategy.reduce(loss, reduce_op="mean"))

    def ends_step(self, batch_idx: int) -> bool:
        """Whether micro-batch `batch_idx` is the last of an optimizer step."""
        return (batch_idx + 1) % self.steps.accumulate == 0

    def optimizer_step(self, epoch: int, batch_idx: int, *args: Any, **kwargs: Any) -> None:
        """Step; then check whether DeepSpeed has refused the step."""
        number = self.global_step + 1
        super().optimizer_step(epoch, batch_idx, *args, **kwargs)
        if self.ends_step(batch_idx):
            self.guarded_steps.after(self.state, number)

    def trainable(self) -> dict[str, StateTensor]:
        """Name -> this rank's part of each trainable parameter, as checkpoints store it."""
        return self.state.weights()
