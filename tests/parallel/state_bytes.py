"""Two optimizer steps of the toy on a layout, and what every rank holds of the state."""

from pathlib import Path
from typing import Any

from lightning import Callback, Trainer
from saved_bytes import counted

from talkies.config.decode import decode
from talkies.config.source import load
from talkies.data.module import ClipsData
from talkies.data.shards import ShardSet
from talkies.parallel.mesh import mesh_of
from talkies.parallel.sharding import local
from talkies.parallel.world import world_of
from talkies.recipe.building import build_model
from talkies.recipe.components import parts
from talkies.recipe.config import PhaseRecipe
from talkies.recipe.train import make_phase, make_trainer
from talkies.training.config import EmaConfig
from talkies.training.ema import Ema

RECIPES = Path(__file__).parents[2] / "recipes" / "mova" / "toy"


def toy(name: str, *overrides: str) -> PhaseRecipe:
    """A toy phase without parents, of two steps."""
    values = ["steps.max=2", "steps.global_batch=8", "data.root=here", *overrides]
    return decode(PhaseRecipe, load(RECIPES / f"{name}.yaml", values))


class Weigh(Callback):
    """Bytes of weights, gradients (of the last step), moments and averages on this rank."""

    def __init__(self) -> None:
        self.found: dict[str, int] = {}

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: Any) -> None:
        grads = [p.grad for p in pl_module.model.parameters() if p.grad is not None]
        self.found["gradients"] = sum(local(grad).nbytes for grad in grads)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        moments = [value for state in trainer.optimizers[0].state.values() for value in state.values()]
        averages = Ema(pl_module.trainable(), EmaConfig()).averages.values()
        self.found["weights"] = sum(local(p).nbytes for p in pl_module.model.parameters())
        self.found["optimizer"] = sum(local(moment).nbytes for moment in moments)
        self.found["ema"] = sum(local(average).nbytes for average in averages)


def state(shards: str, name: str, overrides: list[str]) -> dict[str, int]:
    """Train on this rank and weigh; "sent/..." are bytes per step."""
    recipe, world, watch = toy(name, *overrides), world_of(), Weigh()
    mesh = mesh_of(recipe.parallel, world)
    phase = make_phase(recipe, lambda: build_model(recipe, {}, mesh))
    data = ClipsData(
        ShardSet.open(Path(shards)), seed=7, global_batch=8, accumulate=recipe.steps.accumulate,
        modalities=tuple(parts(recipe).weights), rank=mesh.data_rank, world=mesh.data_world,
    )  # fmt: skip
    trainer = make_trainer(recipe, [watch], world)
    with counted() as sent:
        trainer.fit(phase, datamodule=data)
    return watch.found | {f"sent/{kind}": size // 2 for kind, size in sent.items()}
