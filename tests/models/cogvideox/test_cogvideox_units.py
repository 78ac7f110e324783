"""The blocks: what is sharded, recomputed, compiled and lowered as one."""

from collections.abc import Sequence
from functools import partial

import pytest
import torch
from cog_toy import ROPE, clip, toy, words
from torch import Tensor, nn
from torch._dynamo.utils import counters

from talkies.models.cogvideox.tower import CogVideoX
from talkies.nn.lowering import hold_lowered
from talkies.parallel.arrange import arrange
from talkies.parallel.config import ComputeConfig

# torch hides it with its own showwarning, which is not called if warnings are errors.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")


class Steering(nn.Module):
    """A layer, of a network beside the backbone, for one of its blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(ROPE.dim, ROPE.dim)

    def forward(self, told: Tensor, tokens: Tensor) -> Tensor:
        return tokens + self.linear(tokens) * told


def step(model: CogVideoX, steering: Sequence[Steering] | None) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss and gradients of one backward pass, always of the same streams."""
    torch.manual_seed(1)
    model.zero_grad()
    told, state = torch.rand(2, 1, 1), model.embed(clip(), words())
    for index in range(ROPE.layers):
        state = model.layer(index, state, steer=None if steering is None else partial(steering[index], told))
    loss = model.predicted(state).square().mean()
    loss.backward()
    return loss.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("steered", [False, True], ids=["plain", "steered"])
@pytest.mark.parametrize(
    "compute",
    [ComputeConfig(checkpointing=True), ComputeConfig(compile=True), ComputeConfig(checkpointing=True, compile=True)],
    ids=str,
)
def test_recomputed_and_compiled_blocks_do_the_same(
    compute: ComputeConfig, steered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    steering = [Steering() for _ in range(ROPE.layers)] if steered else None
    expected, model = step(toy(), steering), toy()
    arrange(model, [*model.blocks], None, compute, bf16=False)
    counters.clear()
    for _ in range(2):
        loss, grads = step(model, steering)
        torch.testing.assert_close(loss, expected[0])
        assert grads.keys() == expected[1].keys()
        for name, grad in grads.items():
            torch.testing.assert_close(grad, expected[1][name], msg=name)
    assert not counters["graph_break"]
    assert counters["stats"]["unique_graphs"] <= 1


@torch.no_grad()
def test_blocks_in_bf16_compute_what_autocast_makes_of_fp32_ones() -> None:
    """Modulation, norms, time and the last layer stay fp32."""
    wide, held = toy("learned"), toy("learned")
    hold_lowered(held)
    stream, text = clip(), words()
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        assert torch.equal(held(stream, text), wide(stream, text))
    lowered = {
        name.partition(".weight")[0].partition(".bias")[0]
        for name, p in held.named_parameters()
        if p.dtype is torch.bfloat16
    }
    parts = {"attn.q", "attn.k", "attn.v", "attn.o", "ffn.0", "ffn.2"}
    blocks = {f"blocks.{index}.{part}" for index in range(ROPE.layers) for part in parts}
    assert lowered == {"patch_embedding", "text_embedding", *blocks}
