"""What decoding a film needs."""

from typing import Any

import torch
from torch import nn

from talkies.planning.meter import Meter
from talkies.planning.work import FP32
from talkies.streams import Grid


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
