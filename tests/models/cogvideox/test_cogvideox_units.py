"""The units of the layers: what is sharded, recomputed, compiled and lowered as one."""

from dataclasses import replace
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


def units(model: CogVideoX) -> list[nn.Module]:
    """Modulation, attention and feed-forward of every layer."""
    layers = zip(model.video.blocks, model.attention, strict=True)
    return [unit for block, attention in layers for unit in (block.norm, attention, block.feed)]


def step(model: CogVideoX, *, stepwise: bool) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss and gradients of one backward pass, always of the same streams; `stepwise`: at a noise level for every
    latent step."""
    torch.manual_seed(1)
    model.zero_grad()
    stream = clip()
    stream = replace(stream, time=torch.rand(2, 3)) if stepwise else stream
    loss = model(stream, words()).square().mean()
    loss.backward()
    return loss.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def test_units_hold_every_parameter_of_the_layers_once() -> None:
    model = toy("learned")
    held = [id(p) for unit in units(model) for p in unit.parameters()]
    outside = ("patch_embedding", "text_embedding", "positions", "time_embedding", "final")
    layers = {
        id(p) for name, p in model.named_parameters() if not name.startswith(tuple(f"video.{x}" for x in outside))
    }
    assert len(held) == len({*held})
    assert {*held} == layers


KINDS = 3
"""Modulation, attention, feed-forward: the layers share what was compiled."""


@pytest.mark.parametrize("stepwise", [False, True], ids=["one level", "a level per step"])
@pytest.mark.parametrize(
    "compute",
    [ComputeConfig(checkpointing=True), ComputeConfig(compile=True), ComputeConfig(checkpointing=True, compile=True)],
    ids=str,
)
def test_recomputed_and_compiled_units_do_the_same(
    compute: ComputeConfig, stepwise: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    expected, model = step(toy(), stepwise=stepwise), toy()
    arrange(model, units(model), None, compute, bf16=False)
    counters.clear()
    for _ in range(2):
        loss, grads = step(model, stepwise=stepwise)
        torch.testing.assert_close(loss, expected[0])
        assert grads.keys() == expected[1].keys()
        for name, grad in grads.items():
            torch.testing.assert_close(grad, expected[1][name], msg=name)
    assert not counters["graph_break"]
    assert counters["stats"]["unique_graphs"] <= KINDS


@torch.no_grad()
def test_layers_in_bf16_compute_what_autocast_makes_of_fp32_ones() -> None:
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
    layers = range(ROPE.layers)
    feeds = {f"video.blocks.{index}.feed.ffn.{layer}" for index in layers for layer in (0, 2)}
    attentions = {f"attention.{index}.projection.{part}" for index in layers for part in "qkvo"}
    assert lowered == {"video.patch_embedding", "video.text_embedding", *feeds, *attentions}
