"""Mochi 1's video VAE: 12 channels, 6 x 8 x 8, in pieces of 25 frames."""

from math import prod
from typing import Any

from diffusers import AutoencoderKLMochi

from talkies.codecs.video_vae import VideoVae


class MochiVideoCodec(VideoVae):
    """T = F / 5 latent steps of F frames, in pieces of 25 frames (Mirage, arXiv 2506.08279, section 3.1); of a shorter
    still (F - 1) / 6 + 1."""

    model = AutoencoderKLMochi
    release = "vae/ of a released Mochi 1"
    encodes_tiles = False  # every layer normalises over the picture (docs/performance.md: Decoding)

    @staticmethod
    def sizes(config: Any) -> dict[str, int]:
        """As diffusers names them; its strides are by stage."""
        return {
            "channels": config.latent_channels,
            "stride": prod(config.temporal_expansions),
            "block": prod(config.spatial_expansions),
        }
