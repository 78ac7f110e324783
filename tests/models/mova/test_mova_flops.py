"""FLOPs from the shape against what torch counts while the network runs."""

from math import prod

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from toy_streams import TOY, audio, condition, toy, video

from talkies.models.mova.config import PRESETS
from talkies.models.mova.flops import forward_flops
from talkies.nn.attention import Attention


def written_out(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Attention as two matmuls, which torch's counter sees on the CPU too."""
    assert mask is None
    return torch.softmax(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5, -1) @ v


@pytest.mark.parametrize("modalities", [("video",), ("audio",), ("video", "audio")])
@pytest.mark.parametrize("expert", [0, 1])
def test_flops_are_what_torch_counts(modalities: tuple[str, ...], expert: int) -> None:
    model, batch = toy(), 2
    for module in model.modules():
        if isinstance(module, Attention):
            module.attend = written_out
    streams = {m: {"video": video, "audio": audio}[m](batch) for m in modalities}
    cond = condition(batch, expert=expert)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(streams, cond)
    tokens = {m: s.grid.tokens(getattr(TOY, m).patch) for m, s in streams.items()}
    expected = forward_flops(
        TOY,
        video_tokens=tokens.get("video", 0),
        audio_tokens=tokens.get("audio", 0),
        text_tokens=cond.texts["text"].embedding.shape[1],
        expert=expert,
    )
    assert counter.get_total_flops() == batch * sum(expected.values())
    names = {"video": ("video_high", "video_low")[expert], "audio": "audio"}
    assert expected.keys() == {names[m] for m in modalities} | ({"bridge"} if len(modalities) == 2 else set())


def test_a_720p_clip_costs_what_was_estimated_independently() -> None:
    """About 3.05e16 FLOP per forward, 84 % of it attention (derived from the released shapes)."""
    shape = PRESETS["a14b"]
    video_tokens = prod((49, 45, 80))
    flops = forward_flops(shape, video_tokens=video_tokens, audio_tokens=403, text_tokens=512)
    assert sum(flops.values()) == pytest.approx(3.05e16, rel=0.01)
    attention = 4 * video_tokens**2 * shape.video.dim * shape.video.layers
    assert attention / sum(flops.values()) == pytest.approx(0.84, abs=0.01)


def test_the_bridge_can_be_left_out() -> None:
    flops = forward_flops(TOY, video_tokens=8, audio_tokens=8, text_tokens=4, bridge=False)
    assert flops.keys() == {"video_high", "audio"}
