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
    piece = torch.empty(grid.channels, vae.config.piece or grid.shape[0], *_sides(vae, grid, tile), device="meta")
    meter = _meter(vae)
    with meter.running():
        for made in vae.pictures(piece):
            del made
    return meter.tally.peak(without=meter.weights)


@torch.no_grad()
def encoding(vae: "VideoVae", grid: Grid, tile: int | None) -> int:
    """The most bytes in use while a clip of `grid` is encoded, in tiles if its network permits; the pixels that are
    encoded at once are among them."""
    frames = frames_of(vae.config, vae.config.piece or grid.shape[0])
    height, width = (vae.config.block * side for side in _sides(vae, grid, tile if vae.encodes_tiles else None))
    meter = _meter(vae)
    clip = torch.empty(1, 3, frames, height, width, device="meta")
    with meter.running():
        vae.network.encode(clip)
    return meter.tally.peak(without=meter.weights) + FP32 * clip.numel()


def _sides(vae: "VideoVae", grid: Grid, tile: int | None) -> tuple[int, int]:
    """Height and width of what is coded at once, in latent pixels."""
    _, height, width = grid.shape
    largest = max(height, width) if tile is None else tile // vae.config.block
    return min(height, largest), min(width, largest)


def _meter(vae: "VideoVae") -> Meter:
    meter = Meter(vae.network)
    meter.passing = "backward"  # in which it follows memory
    return meter
