"""A few steps of the toy's adapter, over frozen weights that are held in fp32 or bf16."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning import Callback
from state_bytes import toy

from talkies.checkpoints.loop import read_loop
from talkies.checkpoints.spans import local, whole
from talkies.checkpoints.store import CheckpointStore
from talkies.data.module import ClipsData
from talkies.data.shards import ShardSet
from talkies.parallel import strategy
from talkies.parallel.config import DeepspeedConfig
from talkies.parallel.mesh import mesh_of
from talkies.parallel.ranks import Ranks
from talkies.parallel.world import ALONE, world_of
from talkies.recipe.components import parts
from talkies.runs.building import build_model
from talkies.runs.train import make_phase, make_trainer
from talkies.training.after_step import after_step
from talkies.training.checkpoint_callback import rewind

STEPS = 3
"""The first moves only the adapters' B, which start at 0; the others move A, too."""


class Watch(Callback):
    """The loss of every micro-batch, and the gradients of the last step."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.grads: dict[str, torch.Tensor] = {}

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        found = {name: p.grad for name, p in pl_module.model.named_parameters() if p.grad is not None}
        self.grads = {name: whole(grad.detach()).clone() for name, grad in found.items()}

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.losses.append(float(outputs["loss"].detach()))


def trained(
    shards: str,
    masters: str,
    layout: str,
    overrides: Sequence[str] = (),
    *,
    folder: Path | None = None,
    stop_at: int | None = None,
) -> dict[str, Any]:
    """Train on this rank, or (with `folder`) continue there: losses, the gradients of the last step, the whole adapter
    and its moments; `base`: the dtypes of the frozen weights by name."""
    recipe = toy("lora", "precision=bf16", f"compute.masters={masters}", f"parallel={layout}", *overrides)
    recipe = replace(recipe, steps=replace(recipe.steps, max=STEPS))
    if isinstance(recipe.parallel, DeepspeedConfig):
        import cpu_zero

        strategy.ZeroStrategy = cpu_zero.OnTheCpuNotTheCudaPath  # type: ignore[misc]
    world, watch = world_of() if recipe.parallel.ranks > 1 else ALONE, Watch()
    mesh = mesh_of(recipe.parallel, world)
    phase = make_phase(recipe, lambda: build_model(recipe, {}, mesh))
    data = ClipsData(
        ShardSet.open(Path(shards)), seed=7, global_batch=8, accumulate=recipe.steps.accumulate,
        streams=parts(recipe).streams, rank=mesh.data_rank, data_ranks=mesh.data_world,
    )  # fmt: skip
    callbacks, latest = list[Callback]([watch]), None
    if folder is not None:
        store = CheckpointStore(folder)
        latest = store.latest()
        after = after_step(store, recipe.steps, recipe.ema, data, resume=latest, stop_at=stop_at, ranks=Ranks(world))
        callbacks += after.callbacks
    trainer = make_trainer(recipe, callbacks, world)
    if latest is not None:
        rewind(trainer, data, read_loop(latest))
    trainer.fit(phase, datamodule=data)
    moments = phase.state.moments()
    frozen = {name: p for name, p in phase.model.named_parameters() if not p.requires_grad}
    return {
        "losses": watch.losses,
        "grads": watch.grads,
        "weights": {name: whole(p).detach().clone() for name, p in phase.trainable().items()},
        "moments": {name: whole(value).detach().clone() for name, value in moments.items()},
        "base": {name: str(local(getattr(p, "ds_tensor", p)).dtype) for name, p in frozen.items()},
    }
