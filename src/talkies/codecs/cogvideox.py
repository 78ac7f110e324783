"""CogVideoX's video VAE (arXiv 2408.06072, section 2.1): 16 channels, 4 x 8 x 8, causal."""

from collections.abc import Iterator
from typing import Any

import torch
from diffusers import AutoencoderKLCogVideoX
from torch import Tensor

from talkies.codecs.geometry import frames_of
from talkies.codecs.video_vae import VideoVae

FIRST, NEXT = 3, 2
"""Latent steps that are decoded at once, as by `AutoencoderKLCogVideoX.decode`. Its group norms see what is decoded at
once, so that other numbers would change pictures."""


class CogVideoXVideoCodec(VideoVae):
    """T = (F - 1) / 4 + 1 latent steps of F frames. Latents are the posterior's mode times the network's
    `scaling_factor`. The convolutions are causal; the group norms see all 8 frames (at first 8 and a rest) that
    are encoded at once."""

    model = AutoencoderKLCogVideoX
    release = "vae/ of a released CogVideoX"
    encodes_tiles = False  # every layer normalises over the picture (docs/performance.md: Decoding)

    @staticmethod
    def sizes(config: Any) -> dict[str, int]:
        """Each block but the last halves the sides of a picture."""
        return {
            "channels": config.latent_channels,
            "stride": int(config.temporal_compression_ratio),
            "block": 2 ** (len(config.block_out_channels) - 1),
        }

    @staticmethod
    def statistics(network: Any) -> Tensor:
        """Mean 0, and one std for all channels."""
        config = network.config
        std = torch.full((config.latent_channels,), 1 / config.scaling_factor)
        return torch.stack([torch.zeros_like(std), std]).view(2, 1, -1, 1, 1, 1)

    def pictures(self, piece: Tensor) -> Iterator[Tensor]:
        """The frames of each part, as `AutoencoderKLCogVideoX.decode` makes and joins them, of an odd number of steps.
        Of an even one, which that class decodes to 4 T frames, the last step is decoded twice, and what the second time
        makes is left out: 4 T - 3 frames."""
        network, left, kept = self.network, frames_of(self.config, piece.shape[1]), None
        odd = piece if piece.shape[1] % 2 else torch.cat([piece, piece[:, -1:]], dim=1)
        steps = odd.shape[1]
        for part in torch.split(odd[None], [min(steps, FIRST), *[NEXT] * ((steps - FIRST) // NEXT)], dim=2):
            given = part if network.post_quant_conv is None else network.post_quant_conv(part)
            pixels, kept = network.decoder(given, conv_cache=kept)
            yield pixels[:, :, :left]
            left -= pixels.shape[2]
