"""Sequence parallel = not: forward, loss and gradients of the whole model, on real processes."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import on_ranks
from torch import Tensor

from talkies.models.build import build_mova
from talkies.models.config import COMPONENTS, PRESETS, MovaConfig
from talkies.models.mova import Mova
from talkies.parallel.sequence import SequenceGroups, split_sequence
from talkies.streams import Grid, Modality
from talkies.streams.batch import Condition, Stream, Text

TOY = PRESETS["toy"]
TOKENS = {"video": 3 * 2 * 3, "audio": 7}  # 7 divides by nothing, 18 not by 4


def streams(batch: int, *, padded: bool, dtype: torch.dtype) -> dict[Modality, Stream]:
    made: dict[Modality, Stream] = {}
    generator = torch.Generator().manual_seed(3)
    grids = {
        "video": Grid(channels=TOY.video.out_channels, shape=(3, 4, 6), rate=Fraction(6)),
        "audio": Grid(channels=TOY.audio.out_channels, shape=(7,), rate=Fraction(25, 2)),
    }
    for m, grid in grids.items():
        mask = torch.ones(batch, grid.shape[0], dtype=torch.bool)
        mask[-1, -1] = not padded
        extra = TOY.video.in_channels - TOY.video.out_channels
        shape = (batch, extra, *grid.shape)
        made[m] = Stream(
            latent=torch.randn(batch, *grid.latent_shape, generator=generator, dtype=dtype),
            time=torch.rand(batch, generator=generator),
            grid=grid,
            condition=torch.randn(shape, generator=generator, dtype=dtype) if m == "video" else None,
            mask=mask if padded else None,
        )
    return made


def step(model: Mova, padded: bool, dtype: torch.dtype) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss and gradients of one backward pass."""
    text = torch.randn(2, 5, TOY.video.text_dim, generator=torch.Generator().manual_seed(4), dtype=dtype)
    condition = Condition(text=Text(embedding=text, length=torch.tensor([5, 5])))
    out = model(streams(2, padded=padded, dtype=dtype), condition)
    loss = torch.stack([x.square().mean() for x in out.values()]).sum()
    loss.backward()
    grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return loss.detach(), grads


def made(dtype: torch.dtype) -> Mova:
    return build_mova(MovaConfig(preset="toy"), components=frozenset(COMPONENTS), seed=1).to(dtype)


def sequence_rank(degree: int, padded: bool) -> dict[str, Any]:
    import torch.distributed as dist

    world = dist.get_world_size()
    model = made(torch.float32)
    split_sequence(model, SequenceGroups("cpu", world, degree))
    loss, grads = step(model, padded, torch.float32)
    for grad in grads.values():  # what DDP and FSDP do
        dist.all_reduce(grad)
    return {"loss": loss, "grads": {name: grad / world for name, grad in grads.items()}}


@pytest.mark.parametrize(("world", "degree", "padded"), [(2, 2, False), (4, 4, True), (4, 2, False)])
def test_loss_and_gradients_are_those_of_one_process(tmp_path: Path, world: int, degree: int, padded: bool) -> None:
    """The toy has 2 heads: degree 4 needs the hybrid. Token counts do not divide."""
    loss, grads = step(made(torch.float32), padded, torch.float32)
    norm = torch.linalg.vector_norm(torch.stack([g.norm() for g in grads.values()]))
    for answer in on_ranks(tmp_path, world, sequence_rank, degree, padded):
        torch.testing.assert_close(answer["loss"], loss, rtol=1e-5, atol=0)
        assert answer["grads"].keys() == grads.keys()
        worst = max(float((answer["grads"][name] - grads[name]).abs().max()) for name in grads)
        assert worst <= 1e-5 * float(norm)
