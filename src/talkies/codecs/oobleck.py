"""The sound VAE of Stable Audio Open: waveform in, 64 channels at 21.5 Hz out, all of convolutions."""

from itertools import accumulate, pairwise
from math import prod
from operator import mul
from typing import Any

from diffusers import AutoencoderOobleck
from torch import Tensor

from talkies.codecs.sound_vae import SoundVae


class OobleckAudioCodec(SoundVae):
    """The latent is the posterior's mean (arXiv 2407.14358, section 3.1)."""

    model = AutoencoderOobleck
    release = "vae/ of a released Stable Audio Open"

    @staticmethod
    def sizes(config: Any) -> dict[str, int]:
        """As diffusers names them. An odd stride loses a sample on the way back."""
        ratios, halves = config.downsampling_ratios, config.decoder_input_channels
        if odd := [ratio for ratio in ratios if ratio % 2]:
            raise ValueError(f"`downsampling_ratios` has {odd[0]}: needed are even ones, which its decoder undoes")
        if config.encoder_hidden_size != 2 * halves:
            raise ValueError(
                f"`encoder_hidden_size` is {config.encoder_hidden_size}, needed is twice `decoder_input_channels`, "
                f"{2 * halves}: mean and deviation of each channel"
            )
        return {"channels": halves, "sample_rate": config.sampling_rate, "hop": prod(ratios)}

    @staticmethod
    def reach(config: Any) -> int:
        """Of the decoder, which hears further: 3 steps in its first convolution, and in every stage one step of the
        coarser rate and 3 (1 + 3 + 9) of the finer one."""
        strides: list[int] = [1, *accumulate(config.downsampling_ratios, mul)]
        samples = 3 + sum(39 * fine + coarse for fine, coarse in pairwise(strides))
        return 3 + -(-samples // strides[-1])

    def latent(self, sound: Tensor) -> Tensor:
        """The posterior's mean."""
        mean: Tensor = self.network.encode(sound).latent_dist.mode()
        return mean
