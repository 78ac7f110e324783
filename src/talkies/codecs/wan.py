"""The Wan2.1 video VAE: 16 channels, 4 x 8 x 8, causal (docs/mova.md: Codecs)."""

from collections.abc import Iterator
from typing import Any

from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d, unpatchify
from torch import Tensor

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

    def pictures(self, piece: Tensor) -> Iterator[Tensor]:
        """The frames of each latent step, as `AutoencoderKLWan.decode` makes them one after another and joins them: the
        decoder is causal, and its convolutions keep what they need of earlier steps."""
        network, patch = self.network, self.network.config.patch_size
        kept: list[Any] = [None] * sum(isinstance(module, WanCausalConv3d) for module in network.decoder.modules())
        for index, step in enumerate(network.post_quant_conv(piece[None]).split(1, dim=2)):
            pixels: Tensor = network.decoder(step, feat_cache=kept, feat_idx=[0], first_chunk=index == 0)
            yield pixels if patch is None else unpatchify(pixels, patch_size=patch)
