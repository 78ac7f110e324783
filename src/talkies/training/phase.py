"""The LightningModule of every phase: denoiser, objective, optimizer and learning rates."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from lightning import LightningModule
from torch import nn

from talkies.checkpoints.spans import StateTensor
from talkies.flow.config import FlowConfig
from talkies.flow.known import known_by
from talkies.flow.noising import dropped, given_by, losses_of, noised
from talkies.flow.tasks import chances
from talkies.resilience.guard import Guard, Micro
from talkies.streams.batch import Batch, Condition, Stream
from talkies.streams.system import Component, Parts
from talkies.training.config import OptimizerConfig, StepsConfig
from talkies.training.degrading import Degrading
from talkies.training.engines import Engine, TorchEngine
from talkies.training.guarded_steps import GuardedSteps
from talkies.training.optimizer import AlternatingAdamW, parameter_groups, rate
from talkies.training.state import ModuleState, TrainingState


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What a phase minimises.

    `parts`: the streams that it trains and reads, their loss weights and dropout, and what the optimizer steps train in
    turn; `inputs` turns the streams of a batch into those of the network; `components` say how their parameters are
    stepped; `degrading` is there if `parts` degrades conditions.
    """

    flow: FlowConfig
    parts: Parts
    inputs: Callable[[Mapping[str, Stream]], dict[str, Stream]]
    components: Mapping[str, Component]
    seed: int
    degrading: Degrading | None = None

    def __post_init__(self) -> None:
        assert self.degrading is not None or not self.parts.degraded, "conditions would not be degraded"
        assert self.parts.known.keys() <= self.parts.targets.keys(), "known steps of a stream that is not trained"

    def degraded(self, batch: Batch) -> Batch:
        """The batch with the conditions that are degraded."""
        return batch if self.degrading is None else self.degrading(batch)


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
        tasks, turns = objective.parts.tasks, len(objective.parts.cycle)
        self._chances = chances(tasks, turns) if tasks else ({},) * turns
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
        if self.objective.degrading is not None:  # what it cannot open it refuses before the first step
            self.objective.degrading.open(self.device)

    def _optimizer(self) -> torch.optim.Optimizer:
        optimizer: torch.optim.Optimizer = self.trainer.optimizers[0]
        return optimizer

    @property
    def turn(self) -> int | None:
        """The turn of the current optimizer step; None if all steps train the same."""
        cycle = self.objective.parts.cycle
        return self.global_step % len(cycle) if len(cycle) > 1 else None

    def training_step(self, batch: Batch, _: int) -> dict[str, object]:
        """Loss of one micro-batch: the weighted sum, over targets, of the mean over samples of the masked mean."""
        objective, parts = self.objective, self.objective.parts
        turn = parts.cycle[self.turn or 0]
        kept = dropped(objective.degraded(batch), parts.dropout, seed=objective.seed, groups=parts.groups)
        given = given_by(batch, parts.tasks, self._chances[self.turn or 0], seed=objective.seed)
        known = known_by(batch, parts.known, seed=objective.seed)
        draw = noised(
            kept, objective.flow, parts.targets, seed=objective.seed, ranges=turn.levels, given=given, known=known
        )
        condition = Condition(texts=kept.texts, inactive=turn.inactive)
        predicted = self.model(objective.inputs(draw.streams), condition)
        losses = losses_of(predicted, draw, objective.flow)
        loss = torch.stack([weight * losses[name].mean() for name, weight in parts.targets.items()]).sum()
        values = {name: x.detach() for name, x in losses.items()}
        self.guard.note(Micro(ids=batch.ids, visits=batch.visits, loss=loss.detach(), losses=values, times=draw.levels))
        return {"loss": loss, "losses": values, "times": draw.levels, "given": draw.given}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW over the trainable parameters; `on_train_batch_start` sets the rate of each step."""
        config = self.optimizer_config
        groups = parameter_groups(self.model, config, self.objective.components)
        return AlternatingAdamW(
            groups, lr=groups[0]["peak"], betas=config.betas, eps=config.eps, fused=self.engine.fused
        )

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Set learning rates and the inactive groups. Both are pure functions of the optimizer step, so that there is
        no scheduler state to restore."""
        del batch
        factor = rate(self.global_step, self.steps.max, self.optimizer_config)
        inactive = self.objective.parts.cycle[self.turn or 0].inactive
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = group["peak"] * factor
            group["inactive"] = group["name"] in inactive
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
        number, turn = self.global_step + 1, self.turn
        self.guarded_steps.before(optimizer, self.state, self.model, number=number, turn=turn, mean=self._mean)

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
