"""The toy's audio codec, in closed form: loudness and principal components of the spectrum per step, without phase.

A code that is linear in the waveform carries loudness only in the spread of coefficients with random signs, which is
hard to learn. This one is linear in perceptual quantities: the loudness of a step and its logarithmic amplitude
spectrum. Phases are dropped; decoding sums sinusoids of fixed phases, so the result sounds similar but is a different
waveform.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import pi

import torch
from torch import Tensor

from talkies.codecs.config import LinearAudioConfig
from talkies.codecs.geometry import audio_grid
from talkies.codecs.hops import rms, windows
from talkies.codecs.identity import identity
from talkies.codecs.principal import Principal, fit_principal
from talkies.config import DataError
from talkies.streams import Grid

FLOOR = 2e-3
"""Amplitude of a partial (1 is full scale) below which the spectrum counts as silent."""


class LinearAudioCodec:
    """Samples [B, S] in [-1, 1] <-> latents [B, C, T], T = ceil(S / hop), of about unit variance per channel.

    Channel 0 of step j is the normalised RMS amplitude of samples [j hop, (j + 1) hop). The other channels are the
    principal components of log(1 + a / FLOOR) over the amplitudes a of the partials k * sample_rate / hop, 1 <= k <
    hop / 2, under a Hann window of two hops around the step's centre. Decoding gives T * hop samples: the partials of
    each step at the step's RMS amplitude, cross-faded into the next step's.
    """

    def __init__(self, config: LinearAudioConfig, weights: Mapping[str, Tensor]) -> None:
        self.config = config
        self.level = weights["level"]
        self.components = Principal.from_weights(weights)
        self.identity = identity(config, weights)
        self._waves = _waves(config.hop)

    @property
    def weights(self) -> dict[str, Tensor]:
        """What `save_codec` stores: the components, and `level` [2], mean and deviation of the RMS amplitude."""
        return {"level": self.level, **self.components.to_weights()}

    @property
    def sample_rate(self) -> int:
        """In Hz."""
        return self.config.sample_rate

    def grid(self, samples: int) -> Grid:
        """Latent geometry of `samples` samples."""
        return audio_grid(self.config, samples=samples)

    def encode(self, samples: Tensor) -> Tensor:
        """Samples [B, S] fp32, padded right with silence to whole hops -> latents [B, C, T] fp32."""
        mean, spread = self.level.to(samples.device)
        loudness = (rms(samples, self.config.hop) - mean) / spread
        shape = self.components.project(_spectrum(samples, self.config.hop))
        return torch.cat([loudness[:, None], shape.transpose(1, 2)], dim=1)

    def decode(self, latent: Tensor) -> Tensor:
        """Latents [B, C, T] -> samples [B, T * hop] fp32 in [-1, 1]."""
        latent = latent.float()
        mean, spread = self.level.to(latent.device)
        loudness = (latent[:, 0] * spread + mean).clamp(min=0)
        amplitudes = FLOOR * torch.expm1(self.components.restore(latent[:, 1:].transpose(1, 2)).clamp(0, 8))
        power = (amplitudes.square().sum(-1) / 2).clamp(min=1e-12)
        amplitudes = amplitudes * (loudness / power.sqrt())[..., None]
        return _fade(amplitudes @ self._waves.to(latent.device), self.config.hop).clamp(-1, 1)


def _spectrum(samples: Tensor, hop: int) -> Tensor:
    """log(1 + a / FLOOR) [B, T, hop / 2 - 1] of the partials around the centre of each hop."""
    window = torch.hann_window(2 * hop, device=samples.device)
    lines = torch.fft.rfft(windows(samples, hop, 2 * hop) * window)
    lines = lines[..., 2:hop:2]  # every other line: periods that divide the hop
    return torch.log1p(lines.abs() * (2 / window.sum()) / FLOOR)


def _waves(hop: int) -> Tensor:
    """One hop of each partial [hop / 2 - 1, hop]. Phases grow with the square of the frequency (Schroeder 1970), so
    peaks do not coincide; every partial is periodic in the hop, so neighbouring steps cross-fade seamlessly."""
    partial = torch.arange(1, hop // 2, dtype=torch.float64)[:, None]
    clock = torch.arange(hop, dtype=torch.float64)[None, :] / hop
    return torch.sin(2 * pi * partial * clock + pi * partial.square() / (hop // 16)).float()


def _fade(waves: Tensor, hop: int) -> Tensor:
    """One period per step [B, T, hop] -> samples [B, T * hop], cross-faded between the centres of the steps."""
    half, steps = hop // 2, waves.shape[1]
    ends = torch.cat([waves[:, :1], waves, waves[:, -1:]], dim=1)
    rising = 0.5 - 0.5 * torch.cos(pi * (torch.arange(hop, device=waves.device) + 0.5) / hop)
    # Between the centres of steps j - 1 and j, a period starts half a hop late.
    period = torch.roll(ends, -half, dims=-1)
    mixed = period[:, :-1] * (1 - rising) + period[:, 1:] * rising
    return mixed.flatten(1)[:, half : half + steps * hop]


def _rows(clips: Sequence[Tensor], hop: int) -> Iterator[Tensor]:
    for clip in clips:
        yield _spectrum(clip[None], hop)[0]


def fit(config: LinearAudioConfig, clips: Sequence[Tensor]) -> LinearAudioCodec:
    """Fit the codec on one or more clips [S] fp32 in [-1, 1] at its sample rate. For the spectrum each clip has the
    same weight, for the loudness each step.

    Raises DataError if the clips are silent or vary too little.
    """
    loudness = torch.cat([rms(clip[None], config.hop)[0] for clip in clips]).double()
    level = torch.stack([loudness.mean(), loudness.std(correction=0)]).float()
    if float(level[1]) < FLOOR / 10:
        raise DataError("linear audio codec: the clips it is fitted on are silent or constant in loudness")
    shape = fit_principal(_rows(clips, config.hop), config.channels - 1, "linear audio codec")
    return LinearAudioCodec(config, {"level": level, **shape.to_weights()})
