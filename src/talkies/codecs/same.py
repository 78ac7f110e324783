"""The sound autoencoder of Stable Audio 3: patches of the waveform and transformers, 256 channels at 10.8 Hz."""

from math import prod
from typing import Any

from diffusers import AutoencoderSAME
from diffusers.models.autoencoders.autoencoder_same import RotaryEmbedding
from torch import Tensor

from talkies.codecs.sound_vae import SoundVae


class SameAudioCodec(SoundVae):
    """The latent is what the bottleneck gives (arXiv 2605.17991, section 2.1): there is no posterior."""

    model = AutoencoderSAME
    release = "vae/ of a released Stable Audio 3"

    @staticmethod
    def sizes(config: Any) -> dict[str, int]:
        """As diffusers names them."""
        hop = config.patch_size * prod(config.encoder_strides)
        return {"channels": config.latent_dim, "sample_rate": config.sampling_rate, "hop": hop}

    @staticmethod
    def reach(config: Any) -> int:
        """In every layer `sliding_window` segments, which at a level of several are shorter than a step."""
        depths, strides = config.encoder_transformer_depths, config.encoder_strides
        segments = sum(depth * prod(strides[: level + 1]) for level, depth in enumerate(depths))
        reached: int = -(-config.sliding_window * segments // prod(strides))
        return reached

    @staticmethod
    def completed(network: Any) -> Any:
        """With the frequencies of its position embeddings, which are no part of its file."""
        for module in network.modules():
            if isinstance(module, RotaryEmbedding):
                module.inv_freq = RotaryEmbedding(2 * len(module.inv_freq)).inv_freq
        return network

    def latent(self, sound: Tensor) -> Tensor:
        """As encoded."""
        latents: Tensor = self.network.encode(sound).latents
        return latents
