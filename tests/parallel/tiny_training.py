"""A few steps of the toy on a layout: what every rank saw, and its final state."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, Trainer
from tiny_shards import network, objective
from torch import Tensor

from talkies.checkpoints.loop import read_loop
from talkies.checkpoints.spans import whole
from talkies.checkpoints.store import CheckpointStore
from talkies.data.module import ClipsData
from talkies.data.shards import ShardSet
from talkies.data.substitutes import open_to_train
from talkies.models.mova.system import MOVA
from talkies.parallel.arrange import arrange
from talkies.parallel.config import ComputeConfig, Layout
from talkies.parallel.mesh import mesh_of
from talkies.parallel.ranks import Ranks
from talkies.parallel.strategy import strategy_of
from talkies.parallel.world import ALONE, world_of
from talkies.resilience.config import SurvivalConfig
from talkies.resilience.guard import Guard, NonFiniteError, SurvivalWarning
from talkies.resilience.quarantine import Quarantine
from talkies.training.after_step import after_step
from talkies.training.checkpoint_callback import rewind
from talkies.training.config import EmaConfig, LoraConfig, OptimizerConfig, StepsConfig
from talkies.training.engines import engine_of
from talkies.training.lora import add_lora
from talkies.training.metrics import TrainingMetrics
from talkies.training.optimizer import Alternating, parameter_groups
from talkies.training.phase import Phase
from talkies.training.zero_state import ZeroState


class AlternatingSgd(Alternating, torch.optim.SGD):
    """AdamW normalises gradients, and so magnifies fp32's rounding of those that are almost 0."""


class SgdPhase(Phase):
    """A phase that is trained by SGD."""

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return AlternatingSgd(parameter_groups(self.model, self.optimizer_config, MOVA.group), lr=1.0)


class BrokenPhase(Phase):
    """A phase whose second step has an infinite gradient on the last rank only."""

    made: "BrokenPhase"
    before: dict[str, Tensor]

    def training_step(self, batch: Any, number: int) -> dict[str, object]:
        found = super().training_step(batch, number)
        if self.global_step == 1:
            BrokenPhase.made, BrokenPhase.before = self, whole_weights(self)
            if self.trainer.global_rank == self.trainer.world_size - 1:
                found["loss"] = found["loss"] * float("inf")  # type: ignore[operator]
        return found


class Watch(Callback):
    """Losses and sample ids of this rank's micro-batches; the gradients and the norm of the first step."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.ids: list[list[str]] = []
        self.grads: dict[str, Tensor] = {}
        self.norm = torch.zeros(())

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: Any) -> None:
        held = pl_module.state
        zero = isinstance(held, ZeroState)
        if trainer.global_step == 0 and not (zero and not held.engine.is_gradient_accumulation_boundary()):
            read = zero_gradient if zero else own_gradient
            found = {name: read(p) for name, p in pl_module.model.named_parameters()}
            self.grads = {name: grad for name, grad in found.items() if grad is not None}

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.losses.append(float(outputs["loss"]))
        self.ids.append([f"{name}/{visit}" for name, visit in zip(batch.ids, batch.visits, strict=True)])
        if trainer.global_step == 1:
            self.norm = pl_module.guarded_steps.grad_norm


def own_gradient(parameter: Tensor) -> Tensor | None:
    return None if parameter.grad is None else whole(parameter.grad.detach()).clone()


def zero_gradient(parameter: Tensor) -> Tensor | None:
    """The gradients that DeepSpeed has reduced; zeros for an inactive expert."""
    from deepspeed.utils import safe_get_full_grad

    grad = safe_get_full_grad(parameter).clone()
    return grad if bool(grad.any()) else None


def whole_weights(phase: Phase) -> dict[str, Tensor]:
    return {name: whole(p).detach().clone() for name, p in phase.state.weights().items()}


def refused(shards: str, layout: Layout) -> dict[str, Any]:
    """The error for a gradient that is not finite, and the weights before and after."""
    with pytest.raises(NonFiniteError) as error:
        train(shards, layout, dtype=torch.float32, kind=BrokenPhase)
    return {"error": str(error.value), "before": BrokenPhase.before, "after": whole_weights(BrokenPhase.made)}


class WatchedPhase(BrokenPhase):
    """The weights and the optimizer's moments after every step."""

    each: list[dict[str, Tensor]]

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        moments = {name: whole(held).detach().clone() for name, held in self.state.moments().items()}
        WatchedPhase.each.append(whole_weights(self) | moments)


def skipped(shards: str, layout: Layout, record: str, accumulate: int = 1) -> dict[str, Any]:
    """Four steps, the second of which is skipped: weights and moments after each, and the guard's warnings."""
    WatchedPhase.each = []
    guard = Guard(SurvivalConfig(non_finite="skip"), ranks=Ranks(world_of()), folder=Path(record))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SurvivalWarning)
        train(shards, layout, accumulate, dtype=torch.float32, kind=WatchedPhase, guard=guard)
    said = [str(entry.message) for entry in caught if entry.category is SurvivalWarning]
    return {"each": WatchedPhase.each[accumulate - 1 :: accumulate], "skipped": guard.skipped, "said": said}


def train(
    shards: str,
    layout: Layout,
    accumulate: int = 1,
    *,
    folder: str | None = None,
    count: int = 4,
    stop_at: int | None = None,
    workers: int = 0,
    dtype: torch.dtype = torch.float64,
    compute: ComputeConfig | None = None,
    kind: type[Phase] = Phase,
    lora: LoraConfig | None = None,
    guard: Guard | None = None,
    share: float | None = None,
) -> dict[str, Any]:
    """Train `count` steps on `layout`, or (with `folder`) continue there; every rank's record and the whole weights.
    With `share`, bad clips are replaced and recorded in the folder, and only the main process verifies."""
    world = world_of() if layout.ranks > 1 else ALONE
    if layout.kind == "deepspeed":
        from cpu_zero import OnTheCpuNotTheCudaPath  # before anything of DeepSpeed starts
    mesh = mesh_of(layout, world)

    def build() -> torch.nn.Module:
        model = network().to(dtype)
        if lora is not None:
            add_lora(model, lora, seed=1)
        arrange(model, [*MOVA.network().units(model)], mesh, compute or ComputeConfig(), bf16=False)
        for parameter in model.parameters() if mesh.partitions is not None else ():
            mesh.partitions.cut(parameter)
        return model

    steps = StepsConfig(max=count, global_batch=8, accumulate=accumulate, checkpoint_every=100)
    optimizer = OptimizerConfig(lr={"towers": 1e-3, "bridge": 2e-3}, warmup=2, clip=0.5)
    phase, watch = kind(build, objective(), optimizer, steps, guard, engine=engine_of(layout)), Watch()
    if share is None:
        opened = ShardSet.open(Path(shards))
    else:
        opened = open_to_train(Path(shards), ("video", "audio", "image"), share=share, verify=world.main)
    data = ClipsData(
        opened, seed=7, global_batch=8, accumulate=accumulate, workers=workers,
        rank=mesh.data_rank, data_ranks=mesh.data_world,
    )  # fmt: skip
    callbacks: list[Callback] = [watch]
    latest = None
    counts, points = list[tuple[int, int]](), list[tuple[int, str, float]]()
    if folder is not None:
        store, ranks = CheckpointStore(Path(folder)), Ranks(world)
        latest, quarantine = store.latest(), None
        metrics = TrainingMetrics(
            every=3, bins=2, sink=lambda found, step: points.extend((step, *x) for x in sorted(found.items())),
            ranks=ranks, share=layout.sequence,
        )  # fmt: skip
        callbacks.append(metrics)
        if share is not None:
            quarantine = Quarantine(
                data, Path(folder) / "quarantine.jsonl", share=share, every=3, last=count,
                sink=lambda bad, step: counts.append((bad, step)), ranks=ranks,
            )  # fmt: skip
            callbacks.append(quarantine)
        books = {"quarantine": quarantine, "metrics": metrics}
        after = after_step(store, steps, EmaConfig(), data, resume=latest, stop_at=stop_at, ranks=ranks, **books)
        callbacks += after.callbacks
    options = strategy_of(layout, world, alternate=True, clip=optimizer.clip)
    if layout.kind == "deepspeed":
        options["strategy"] = OnTheCpuNotTheCudaPath(layout, world, clip=optimizer.clip)
    trainer = Trainer(
        **options, max_epochs=-1, max_steps=count, callbacks=callbacks,
        accumulate_grad_batches=accumulate, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, limit_val_batches=0, num_sanity_val_steps=0, use_distributed_sampler=False,
    )  # fmt: skip
    if latest is not None:
        rewind(trainer, data, read_loop(latest))
    torch.manual_seed(11 + world.rank)  # what the entry point does
    trainer.fit(phase, datamodule=data)
    found = {"losses": watch.losses, "ids": watch.ids, "grads": watch.grads, "norm": watch.norm}
    # Last: where this rank's generator is.
    found |= {"weights": whole_weights(phase), "drawn": torch.rand(4)}
    points = [point for point in points if point[1] != "train/clips_per_second"]
    found |= {"points": points, "counts": counts, "quarantined": sorted(data.quarantined)}
    if folder is not None:
        found["ema"] = {name: whole(average) for name, average in after.ema_callback.ema.averages.items()}
    return found
