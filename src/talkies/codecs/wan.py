"""The Wan2.1 video VAE: 16 channels, 4 x 8 x 8, causal (docs/mova.md: Codecs)."""

from typing import Any

from diffusers import AutoencoderKLWan

from talkies.codecs.video_vae import VideoVae


class WanVideoCodec(VideoVae):
    """T = (F - 1) / 4 + 1 latent steps of F frames."""

    model = AutoencoderKLWan
    release = "video_vae/ of a released MOVA"

    @staticmethod
    def sizes(config: Any) -> dict[str, int]:
        """As diffusers names them."""
        return {
            "channels": config.z_dim,
            "stride": config.scale_factor_temporal,
            "block": config.scale_factor_spatial,
        }
