"""Which parameters of the layers are held in bf16."""

import torch
from cog_toy import ROPE, clip, toy, words

from talkies.nn.lowering import hold_lowered


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
