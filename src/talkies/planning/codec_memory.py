"""What the networks of video codecs need beside their weights."""

from typing import TYPE_CHECKING

import torch

from talkies.codecs.geometry import frames_of
from talkies.planning.meter import Meter
from talkies.planning.work import FP32
from talkies.streams import Grid

if TYPE_CHECKING:
    from talkies.codecs.video_vae import VideoVae


@torch.no_grad()
def decoding(vae: "VideoVae", grid: Grid, tile: int | None) -> int:
    """The most bytes in use on the device while latents of `grid` are decoded: as a whole, or in tiles of `tile`
    pixels. Pictures leave it as they are made."""
    config = vae.config
    largest = max(grid.shape[1:]) if tile is None else tile // config.block
    height, width = (min(side, largest) for side in grid.shape[1:])
    piece = torch.empty(grid.channels, config.piece or grid.shape[0], height, width, device="meta")
    meter = _meter(vae)
    with meter.running():
        for made in vae.pictures(piece):
            del made
    return meter.tally.peak(without=meter.weights)


@torch.no_grad()
def encoding(vae: "VideoVae", grid: Grid) -> int:
    """The most bytes in use while a clip of `grid` is encoded, its pixels among them."""
    frames = frames_of(vae.config, vae.config.piece or grid.shape[0])
    height, width = (vae.config.block * side for side in grid.shape[1:])
    meter = _meter(vae)
    clip = torch.empty(1, 3, frames, height, width, device="meta")
    with meter.running():
        vae.network.encode(clip)
    return meter.tally.peak(without=meter.weights) + FP32 * clip.numel()


def _meter(vae: "VideoVae") -> Meter:
    meter = Meter(vae.network)
    meter.passing = "backward"  # in which it follows memory
    return meter
