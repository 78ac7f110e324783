"""Two optimizer steps of the toy on a layout, and the bytes of state that every rank holds."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lightning import Callback, Trainer
from saved_bytes import counted
from torch import Tensor

from talkies.checkpoints.spans import local
from talkies.config.source import load
from talkies.data.module import ClipsData
from talkies.data.shards import ShardSet
from talkies.models.systems import SYSTEMS
from talkies.parallel import strategy
from talkies.parallel.mesh import mesh_of
from talkies.parallel.world import world_of
from talkies.recipe.components import parts
from talkies.recipe.config import PhaseRecipe, decode_phase
from talkies.runs.building import build_model
from talkies.runs.train import make_phase, make_trainer
from talkies.training.config import EmaConfig
from talkies.training.ema import Ema
from talkies.training.zero_state import ZeroState

RECIPES = Path(__file__).parents[2] / "recipes" / "mova" / "toy"


def toy(name: str, *overrides: str) -> PhaseRecipe:
    """A toy phase without parents, of two steps."""
    values = ["steps.max=2", "steps.global_batch=8", "data.root=here", *overrides]
    return decode_phase(load(RECIPES / f"{name}.yaml", values), SYSTEMS)


class Weigh(Callback):
    """Bytes of weights, gradients (of the last step), moments and EMA on this rank."""

    def __init__(self) -> None:
        self.found: dict[str, int] = {}

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: Any) -> None:
        grads = [p.grad for p in pl_module.model.parameters() if p.grad is not None]
        if isinstance(pl_module.state, ZeroState):
            grads += partitioned_gradients(pl_module.state.optimizer)
        self.found["gradients"] = sum(local(grad).nbytes for grad in grads)
        self.found["kept gradients"] = storage(local(grad) for grad in grads)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        held, optimizer = pl_module.state, trainer.optimizers[0]
        state = held.optimizer.optimizer.state if isinstance(held, ZeroState) else optimizer.state
        moments = [local(value) for found in state.values() for value in found.values()]
        weights = [getattr(p, "ds_tensor", local(p)) for p in pl_module.model.parameters()]
        masters = [slot.flat.detach() for slot in held.slots] if isinstance(held, ZeroState) else []
        self.found["weights"] = storage(weights)
        self.found["optimizer"] = storage([*weights, *moments, *masters]) - self.found["weights"]
        self.found["ema"] = sum(local(average).nbytes for average in Ema(held.weights(), EmaConfig()).averages.values())


def storage(tensors: Iterable[Tensor]) -> int:
    """Bytes of the storages of `tensors`; a shared storage counts once."""
    found = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(found.values())


def partitioned_gradients(optimizer: Any) -> list[Tensor]:
    """The gradients that ZeRO has reduced and keeps for its step."""
    if hasattr(optimizer, "grad_partitions_flat_buffer"):
        return [optimizer.grad_partitions_flat_buffer]
    kept = [grad for group in optimizer.averaged_gradients.values() for grad in group or [] if grad is not None]
    offloaded = [flat.grad for flat in optimizer.single_partition_of_fp32_groups if flat.grad is not None]
    return kept + offloaded


def state(shards: str, name: str, overrides: list[str]) -> dict[str, int]:
    """Train on this rank and measure; "sent/..." are bytes per step."""
    recipe, world, watch = toy(name, *overrides), world_of(), Weigh()
    if recipe.parallel.kind == "deepspeed":
        import cpu_zero

        strategy.ZeroStrategy = cpu_zero.OnTheCpuNotTheCudaPath  # type: ignore[misc]
    mesh = mesh_of(recipe.parallel, world)
    phase = make_phase(recipe, lambda: build_model(recipe, {}, mesh))
    data = ClipsData(
        ShardSet.open(Path(shards)), seed=7, global_batch=8, accumulate=recipe.steps.accumulate,
        streams=parts(recipe).streams, rank=mesh.data_rank, data_ranks=mesh.data_world,
    )  # fmt: skip
    trainer = make_trainer(recipe, [watch], world)
    with counted() as sent:
        trainer.fit(phase, datamodule=data)
    return watch.found | {f"sent/{kind}": size // 2 for kind, size in sent.items()}
