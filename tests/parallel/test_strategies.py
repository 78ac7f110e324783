"""Every layout trains as one process does: gradients of the first step, weights after a few, in real processes."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, Trainer
from ranks import on_ranks
from tiny_shards import TOY, tiny_shards
from torch import Tensor
from torch.distributed.tensor import DTensor

from talkies.data.module import ClipsData
from talkies.data.shards import ShardSet
from talkies.flow.config import FlowConfig
from talkies.models.build import build_mova
from talkies.models.config import COMPONENTS, MovaConfig
from talkies.parallel.config import DdpConfig, Fsdp2Config
from talkies.parallel.mesh import Mesh, mesh_of
from talkies.parallel.sequence import split_sequence
from talkies.parallel.sharding import shard_model
from talkies.parallel.strategy import strategy_of
from talkies.parallel.world import World, world_of
from talkies.training.config import OptimizerConfig, RatesConfig, StepsConfig
from talkies.training.phase import Objective, Phase

STEPS = 4


class Watch(Callback):
    """The loss of every step (of this rank's clips), and the gradients and the norm of the first."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.grads: dict[str, Tensor] = {}
        self.norm = torch.zeros(())

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: Any) -> None:
        if trainer.global_step == 0:
            named = pl_module.model.named_parameters()
            self.grads = {name: whole(p.grad).clone() for name, p in named if p.grad is not None}

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.losses.append(float(outputs["loss"]))
        if len(self.losses) == 1:
            self.norm = pl_module.grad_norm


def whole(tensor: Tensor) -> Tensor:
    tensor = tensor.detach()
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def train(folder: str, layout: DdpConfig | Fsdp2Config, accumulate: int) -> dict[str, Any]:
    """Losses, first gradients and final weights of a few fp64 steps."""
    world = world_of() if layout.ranks > 1 else World()
    mesh = mesh_of(layout, world)

    def build() -> torch.nn.Module:
        model = build_mova(MovaConfig(preset="toy"), components=frozenset(COMPONENTS), seed=3).double()
        return arrange(model, mesh)

    objective = Objective(
        flow=FlowConfig(), weights={"video": 1.0, "audio": 0.2}, text_dropout=0.5, boundary=TOY.boundary,
        alternate=True, mask_channels=TOY.video.in_channels - 2 * TOY.video.out_channels, seed=5,
    )  # fmt: skip
    steps = StepsConfig(max=STEPS, global_batch=8, accumulate=accumulate, checkpoint_every=100)
    optimizer = OptimizerConfig(lr=RatesConfig(towers=1e-3, bridge=2e-3), warmup=2, clip=0.5)
    phase, watch = Phase(build, objective, optimizer, steps), Watch()
    data = ClipsData(
        ShardSet.open(Path(folder)), seed=7, global_batch=8, accumulate=accumulate, rank=mesh.data_rank,
        world=mesh.data_world,
    )  # fmt: skip
    trainer = Trainer(
        **strategy_of(layout, world, alternate=True), max_epochs=-1, max_steps=STEPS, callbacks=[watch],
        accumulate_grad_batches=accumulate, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, limit_val_batches=0, num_sanity_val_steps=0, use_distributed_sampler=False,
    )  # fmt: skip
    trainer.fit(phase, datamodule=data)
    weights = {name: whole(p) for name, p in phase.model.named_parameters()}
    return {"losses": watch.losses, "grads": watch.grads, "weights": weights, "norm": whole(watch.norm)}


def arrange(model: torch.nn.Module, mesh: Mesh) -> torch.nn.Module:
    if mesh.sequence is not None:
        split_sequence(model, mesh.sequence)
    if mesh.weights is not None:
        shard_model(model, mesh.weights, bf16=False)
    return model


LAYOUTS = [
    DdpConfig(replicate=2),
    Fsdp2Config(shard=2),
    Fsdp2Config(shard=2, sequence=2),
    Fsdp2Config(replicate=2, shard=2),
    Fsdp2Config(replicate=2, shard=2, sequence=2),
    Fsdp2Config(shard=4, sequence=2),
    Fsdp2Config(shard=4, sequence=4),
]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_shards(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def alone(shards: Path) -> dict[int, dict[str, Any]]:
    return {accumulate: train(str(shards), DdpConfig(), accumulate) for accumulate in (1, 2)}


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda c: "-".join(map(str, asdict(c).values())))
def test_every_layout_trains_as_one_process(
    layout: DdpConfig | Fsdp2Config, shards: Path, alone: dict[int, dict[str, Any]], tmp_path: Path
) -> None:
    accumulate = 2 if layout.ranks == 2 else 1
    expected = alone[accumulate]
    norm = torch.linalg.vector_norm(torch.stack([g.norm() for g in expected["grads"].values()]))
    answers = on_ranks(tmp_path, layout.ranks, train, str(shards), layout, accumulate)
    for answer in answers:
        assert answer["grads"].keys() == expected["grads"].keys(), "the resting expert has no gradient"
        for name, grad in expected["grads"].items():
            assert float((answer["grads"][name] - grad).abs().max()) <= 1e-5 * float(norm), name
        torch.testing.assert_close(answer["norm"], expected["norm"], rtol=1e-9, atol=0)
        for name, weight in expected["weights"].items():
            assert float((answer["weights"][name] - weight).abs().max()) <= 1e-9, name
    each = [torch.tensor(answer["losses"]) for answer in answers]
    means = torch.stack(each).mean(0)
    torch.testing.assert_close(means, torch.tensor(expected["losses"]).view(-1), rtol=1e-5, atol=0)
