"""The exact audio codec: a latent step is its samples."""

from torch import Tensor

from talkies.codecs.config import WaveformConfig
from talkies.codecs.geometry import audio_grid
from talkies.codecs.hops import hops
from talkies.codecs.identity import identity
from talkies.streams import Grid


class WaveformCodec:
    """Samples [B, S] fp32 <-> latents [B, hop, T]: channel c of step j is sample j * hop + c, bit for bit."""

    def __init__(self, config: WaveformConfig) -> None:
        self.config = config
        self.identity = identity(config, {})

    @property
    def sample_rate(self) -> int:
        """In Hz."""
        return self.config.sample_rate

    def grid(self, samples: int) -> Grid:
        """Latent geometry of `samples` samples."""
        return audio_grid(self.config, samples=samples)

    def encode(self, samples: Tensor) -> Tensor:
        """Samples [B, S] fp32, padded right with silence to whole hops -> latents [B, hop, T] fp32."""
        return hops(samples, self.config.hop).transpose(1, 2).contiguous()

    def decode(self, latent: Tensor) -> Tensor:
        """Latents [B, hop, T] -> samples [B, T * hop] fp32."""
        return latent.float().transpose(1, 2).flatten(1)
