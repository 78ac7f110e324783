"""What the frozen codecs hold, and what decoding needs."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from talkies.models.build import count_parameters
from talkies.planning.meter import Meter
from talkies.streams import Grid

FP32 = 4
RELEASED = {"umt5": 11_361_820_672, "mova_dac": FP32 * 371_539_137, "t5": 9_524_621_312}
"""Bytes of the released networks of codecs whose size no recipe tells: UMT5-XXL's and T5 v1.1 XXL's encoders in bf16;
MOVA's audio VAE, which computes in fp32."""


def network_of(config: Any) -> nn.Module | None:
    """The VAE of a video codec on the meta device; None for other codecs."""
    if config.kind not in ("wan", "mochi"):
        return None
    from diffusers import AutoencoderKLMochi, AutoencoderKLWan  # noqa: PLC0415 - seconds

    with torch.device("meta"):
        network: nn.Module = (AutoencoderKLWan if config.kind == "wan" else AutoencoderKLMochi)()
    return network.eval().requires_grad_(False)


def held(config: Any, network: nn.Module | None) -> int:
    """Bytes of a codec's network: of `network`, of the files that its `weights` names, or of the released one."""
    if network is not None:
        return FP32 * count_parameters(network)
    folder = None if getattr(config, "weights", None) is None else Path(config.weights) / "text_encoder"
    if config.medium == "text" and folder is not None and folder.is_dir():
        return sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    return RELEASED.get(config.kind, 0)


@torch.no_grad()
def decoding(config: Any, network: nn.Module | None, grid: Grid, clips: int) -> int:
    """The most bytes in use while a video of these latents is decoded, its pixels among them."""
    steps, height, width = grid.shape
    frames = (steps - 1) * config.stride + 1
    pixels: int = FP32 * clips * 3 * frames * height * width * config.block**2
    if network is None:
        return 2 * pixels
    meter = Meter(network)
    meter.passing = "backward"  # in which it follows memory
    piece = torch.empty(1, grid.channels, config.piece or steps, height, width, device="meta")
    with meter.running():
        network.decode(piece)  # type: ignore[operator]
    return meter.tally.peak(without=meter.weights) + (pixels if clips > 1 or config.piece else 0)
