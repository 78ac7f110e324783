"""A toy audio codec in closed form in which pitch is a number: loudness, pitch, periodicity and a smooth spectrum.

As in `linear_audio.py`, a latent is linear in perceptual quantities, and phases are dropped. There the partials are
multiples of the rate of the steps; here they are multiples of a measured pitch, so that steps may be short and pitch
stays exact. What is not periodic comes back as noise.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import pi

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from talkies.codecs.config import SourceFilterConfig
from talkies.codecs.fit_limits import BANDS
from talkies.codecs.geometry import audio_grid
from talkies.codecs.hops import rms, windows
from talkies.codecs.identity import identity
from talkies.codecs.principal import Principal, fit_principal
from talkies.config import DataError
from talkies.streams import Grid

FLOOR = 5e-3
"""RMS amplitude (1 is full scale) around which the loudness turns from linear to logarithmic."""
QUIET = 1e-3
"""RMS amplitude below which the spectrum of a step fades into that of silence."""
FAINT = 0.03
"""Amplitude of a band, relative to the step's, around which the spectrum turns from linear to logarithmic."""
WIDTH = 0.7
"""The deviation of each band in their distance."""
PITCHES = (75.0, 400.0)
"""Range of the pitch in Hz."""
SPREAD = 0.12
"""Seconds over which the pitch is averaged; steps without one have that of the nearest that has."""
FINER = 4
"""Shifts by which a sound is compared with itself, per sample."""
PERIODIC = 0.9
"""A shift is a period if the sound agrees with itself as well as this, relative to the best shift."""


class SourceFilterCodec:
    """Samples [B, S] in [-1, 1] <-> latents [B, C, T], T = ceil(S / hop), of about unit variance per channel.

    Channels of a step, before normalisation: 0 is log(1 + RMS / FLOOR); 1 the logarithm of the pitch; 2 the share of
    the power that is periodic; the others principal components of the smooth spectrum relative to the RMS. Decoding
    gives T * hop samples: harmonics of the pitch and noise, both of the step's spectrum and together of its loudness.
    """

    def __init__(self, config: SourceFilterConfig, weights: Mapping[str, Tensor]) -> None:
        self.config = config
        self.levels = weights["levels"]
        self.components = Principal.from_weights(weights)
        self.identity = identity(config, self.weights)

    @property
    def weights(self) -> dict[str, Tensor]:
        """What `save_codec` stores: the components, and `levels` [2, 3], mean and deviation of channels 0 to 2."""
        return {"levels": self.levels, **self.components.to_weights()}

    @property
    def sample_rate(self) -> int:
        """In Hz."""
        return self.config.sample_rate

    def grid(self, samples: int) -> Grid:
        """Latent geometry of `samples` samples."""
        return audio_grid(self.config, samples=samples)

    def encode(self, samples: Tensor) -> Tensor:
        """Samples [B, S] fp32, padded right with silence to whole hops -> latents [B, C, T] fp32."""
        mean, spread = self.levels.to(samples.device)
        source = (_source(samples, self.config) - mean) / spread
        shape = self.components.project(_shape(samples, self.config))
        return torch.cat([source, shape], dim=2).transpose(1, 2).contiguous()

    def decode(self, latent: Tensor) -> Tensor:
        """Latents [B, C, T] -> samples [B, T * hop] fp32 in [-1, 1]."""
        rows = latent.float().transpose(1, 2)
        mean, spread = self.levels.to(latent.device)
        loudness, pitch, periodic = (rows[..., :3] * spread + mean).unbind(-1)
        level = FLOOR * torch.expm1(loudness.clamp(0, 6))
        low, high = PITCHES
        pitch = pitch.exp().clamp(low, high)
        bands = FAINT * torch.expm1(self.components.restore(rows[..., 3:]).clamp(0, 6))
        share = periodic.clamp(0, 1).sqrt()
        sung = _harmonics(bands, pitch, level * share, self.config)
        return (sung + _noise(bands, level * (1 - share.square()).sqrt(), self.config)).clamp(-1, 1)


def _shape(samples: Tensor, config: SourceFilterConfig) -> Tensor:
    """log(1 + a / FAINT) [B, T, BANDS]: a is the amplitude of a band under a Hann window of two hops, relative to that
    of all bands."""
    length = 2 * config.hop
    window = torch.hann_window(length, device=samples.device)
    lines = torch.fft.rfft(windows(samples, config.hop, length) * window)
    power = lines.abs().square() * (2 / (window.square().sum() * length))
    bands = power @ _filters(power.shape[-1]).to(samples.device).T
    return torch.log1p((bands / (bands.sum(-1, keepdim=True) + QUIET**2)).sqrt() / FAINT)


def _filters(lines: int) -> Tensor:
    """Weights [BANDS, lines] of the lines of a spectrum in each band; those of a line add up to 1."""
    place = torch.arange(lines) * (BANDS / lines)
    weights = torch.exp(-0.5 * ((place - torch.arange(BANDS)[:, None] - 0.5) / WIDTH).square())
    return weights / weights.sum(0)


def _source(samples: Tensor, config: SourceFilterConfig) -> Tensor:
    """[B, T, 3]: loudness, logarithm of the pitch, and periodicity."""
    hop, rate = config.hop, config.sample_rate
    least, most = (round(rate * FINER / pitch) for pitch in reversed(PITCHES))
    agreement = _agreement(samples, config, most + 2)
    steps = torch.arange(agreement.shape[1], device=samples.device)
    near = torch.exp(-(steps[:, None] - steps).abs() * (hop / rate / SPREAD))
    period = _period(torch.einsum("ij,bjl->bil", near, agreement), least)
    total = agreement[..., 0].clamp(min=1e-12)
    found = agreement.gather(2, period.round().long()[..., None])[..., 0]
    periodic = (found / total).clamp(0, 1) * (total / (total + QUIET**2))
    return torch.stack([torch.log1p(rms(samples, hop) / FLOOR), (rate * FINER / period).log(), periodic], dim=-1)


def _agreement(samples: Tensor, config: SourceFilterConfig, shifts: int) -> Tensor:
    """[B, T, shifts]: how much the sound around each step agrees with itself after a shift by so many fractions of a
    sample; the power without a shift."""
    length = 4 * round(config.sample_rate / PITCHES[0])
    window = torch.hann_window(length, device=samples.device)
    # Completed with as much silence, so that no shift wraps around.
    power = torch.fft.rfft(windows(samples, config.hop, length) * window, 2 * length).abs().square()
    power[..., : round(PITCHES[0] * length / config.sample_rate)] = 0
    fading = torch.fft.irfft(torch.fft.rfft(window, 2 * length).abs().square(), 2 * length * FINER)
    agreement: Tensor = torch.fft.irfft(power, 2 * length * FINER)[..., :shifts] / fading[:shifts]
    return agreement


def _period(agreement: Tensor, least: int) -> Tensor:
    """Shift [B, T], the shortest one of `least` or more at which agreement [B, T, L] has a peak nearly as high as
    its highest one, refined by a parabola."""
    before, here, after = (agreement[..., least + i : agreement.shape[-1] - 2 + i] for i in (0, 1, 2))
    highest = here.amax(-1, keepdim=True)
    peaks = (here >= before) & (here >= after) & (here >= PERIODIC * highest)
    first = peaks.double().argmax(-1, keepdim=True)
    low, top, high = (part.gather(-1, first)[..., 0] for part in (before, here, after))
    bend = (low - 2 * top + high).clamp(max=-1e-12)
    return first[..., 0] + least + 1 + (0.5 * (low - high) / bend).clamp(-0.5, 0.5)


def _smooth(steps: Tensor, hop: int) -> Tensor:
    """Values [B, T] at the centres of steps -> [B, T * hop], interpolated between them."""
    return interpolate(steps[:, None], scale_factor=hop, mode="linear", align_corners=False)[:, 0]


def _harmonics(bands: Tensor, pitch: Tensor, level: Tensor, config: SourceFilterConfig) -> Tensor:
    """Harmonics [B, T * hop] of a pitch [B, T] in Hz with amplitudes bands [B, T, BANDS], of RMS `level` [B, T]."""
    hop, half = config.hop, config.sample_rate / 2
    count = int(half / float(pitch.min()))
    number = torch.arange(1, count + 1, device=pitch.device)
    place = pitch[..., None] * number * (BANDS / half) - 0.5
    audible = (place < BANDS - 0.5).float()
    place = place.clamp(0, BANDS - 1.001)
    below = place.long()
    amplitudes = torch.lerp(bands.gather(2, below), bands.gather(2, below + 1), place - below) * audible
    amplitudes = amplitudes * (level / (amplitudes.square().sum(-1) / 2).clamp(min=1e-12).sqrt())[..., None]
    phase = 2 * pi * (_smooth(pitch, hop).double() / config.sample_rate).cumsum(-1)
    sound = torch.zeros_like(phase, dtype=torch.float32)
    for h in range(1, count + 1):
        # Phases grow with the square of the number (Schroeder 1970), so that peaks do not coincide.
        sound += _smooth(amplitudes[..., h - 1], hop) * torch.sin((h * phase + pi * h * h / 32) % (2 * pi)).float()
    return sound


def _noise(bands: Tensor, level: Tensor, config: SourceFilterConfig) -> Tensor:
    """Noise [B, T * hop] with amplitudes bands [B, T, BANDS], of RMS `level` [B, T]: the same draw for every sound."""
    hop, steps = config.hop, bands.shape[1]
    draw = torch.Generator().manual_seed(0)
    white = torch.randn(steps * hop, generator=draw).to(bands.device)
    window = torch.hann_window(2 * hop, device=bands.device).sqrt()
    lines = torch.fft.rfft(windows(white[None], hop, 2 * hop) * window)
    gains = interpolate(bands.flatten(0, 1)[:, None], size=hop + 1, mode="linear", align_corners=False)[:, 0]
    gains = gains / gains.square().mean(-1, keepdim=True).clamp(min=1e-12).sqrt()
    waves = torch.fft.irfft(lines * gains.view(*bands.shape[:2], -1), 2 * hop) * window * level[..., None]
    early, late = waves[..., :hop], waves[..., hop:]
    sums = pad(early, (0, 0, 0, 1)) + pad(late, (0, 0, 1, 0))
    return sums.flatten(1)[:, hop // 2 : hop // 2 + steps * hop]


def _rows(clips: Sequence[Tensor], config: SourceFilterConfig) -> Iterator[Tensor]:
    for clip in clips:
        yield _shape(clip[None], config)[0]


def fit(config: SourceFilterConfig, clips: Sequence[Tensor]) -> SourceFilterCodec:
    """Fit the codec on one or more clips [S] fp32 in [-1, 1] at its sample rate. For the spectrum each clip has the
    same weight, for the other channels each step.

    Raises DataError if the clips are silent or vary too little.
    """
    source = torch.cat([_source(clip[None], config)[0] for clip in clips]).double()
    levels = torch.stack([source.mean(0), source.std(0, correction=0)]).float()
    if float(levels[1, 0]) < 0.1:
        raise DataError("source-filter codec: the clips it is fitted on are silent or constant in loudness")
    levels[1] = levels[1].clamp(min=0.02)
    shape = fit_principal(_rows(clips, config), config.channels - 3, "source-filter codec")
    return SourceFilterCodec(config, {"levels": levels, **shape.to_weights()})
