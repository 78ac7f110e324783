"""What spoils the recording of a voice: a room, noise, a narrow band.

What is drawn is a function of (seed, sample id, visit) and the name of the draw. One sound is computed at a time, so
that it does not depend on its batch, and nothing is read back from the device.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, log, pi

import torch
from torch import Tensor

from talkies.flow.degradation_config import DegradationConfig
from talkies.flow.draw import gaussian, uniform

BROWN = 2.0
"""The steepest noise: its power falls with this power of the frequency; white noise's with power 0."""
LOWEST = 20.0
"""Hz below which noise is flat: what nobody hears must not take its power."""
SILENT = 1e-12
"""Energy of what counts as silence."""
ROLL_OFF = 0.5
"""Octaves below the cutoff in which a band ends."""
RINGING = 0.25
"""Seconds that a band's filter may answer before it would be heard at the other end."""
DECAY = log(1000.0)
"""60 dB."""


@dataclass(frozen=True, kw_only=True)
class Draws:
    """The numbers of one sample: functions of the four values and of what is drawn."""

    seed: int
    id: str
    visit: int
    name: str

    def between(self, what: str, low: float, high: float) -> float:
        """Uniform in [low, high)."""
        drawn = uniform(self.seed, [self.id], [self.visit], f"{self.name}/{what}")
        return low + (high - low) * float(drawn)

    def noise(self, what: str, count: int, device: torch.device) -> Tensor:
        """White noise [count] on `device`."""
        return gaussian(self.seed, [self.id], [self.visit], f"{self.name}/{what}", (count,))[0].to(device)


def chosen(share: float, *, seed: int, ids: Sequence[str], visits: Sequence[int], name: str) -> list[int]:
    """The indices of the samples that are degraded, each with the probability `share`; known on the host."""
    drawn = (uniform(seed, ids, visits, name) < share).tolist()
    return [i for i, taken in enumerate(drawn) if taken]


def degraded(
    samples: Tensor,
    valid: Tensor,
    config: DegradationConfig,
    *,
    sample_rate: int,
    seed: int,
    ids: Sequence[str],
    visits: Sequence[int],
    name: str,
) -> Tensor:
    """Every sound of `samples` [B, S] fp32 in [-1, 1], spoilt in its own way; still in [-1, 1], and silent where
    `valid` [B, S] bool is False."""
    rows = zip(samples, valid, ids, visits, strict=True)
    return torch.stack(
        [
            _degraded(sound, mask, config, sample_rate, Draws(seed=seed, id=sample, visit=visit, name=name))
            for sound, mask, sample, visit in rows
        ]
    )


def _degraded(sound: Tensor, valid: Tensor, config: DegradationConfig, rate: int, draws: Draws) -> Tensor:
    """In the order in which a recording is made: the room, what is heard besides, the channel."""
    taken, sound = kinds(config, draws), sound.float() * valid
    if "reverberation" in taken:
        seconds, wet = draws.between("seconds", *config.seconds), draws.between("wet", *config.wet)
        count = min(len(sound), ceil(seconds * rate))
        room = decaying(draws.noise("room", count, sound.device), seconds * rate)
        sound = sound + wet * as_loud(convolved(sound, room), sound, valid)
    if "noise" in taken:
        snr_db, slope = draws.between("snr_db", *config.snr_db), draws.between("slope", 0.0, BROWN)
        white = draws.noise("noise", len(sound), sound.device)
        sound = sound + 10 ** (-snr_db / 20) * as_loud(coloured(white, slope, rate), sound, valid)
    if "band" in taken:
        low, high = config.cutoff_hz
        sound = band_limited(sound, low * (high / low) ** draws.between("cutoff_hz", 0.0, 1.0), rate) * valid
    return sound / sound.abs().amax().clamp(min=1.0)


def kinds(config: DegradationConfig, draws: Draws) -> frozenset[str]:
    """What is done to a sound: each kind with its own probability, and if that is none, the one that was nearest."""
    shares = {"noise": config.noise, "reverberation": config.reverberation, "band": config.band}
    drawn = {kind: draws.between(kind, 0.0, 1.0) / share for kind, share in shares.items() if share}
    return frozenset(kind for kind, u in drawn.items() if u < 1 or u == min(drawn.values()))


def decaying(white: Tensor, steps: float) -> Tensor:
    """Noise [..., L] as a room answers: it falls by 60 dB in so many samples."""
    clock = torch.arange(white.shape[-1], device=white.device)
    return white * torch.exp(clock * (-DECAY / steps))


def convolved(sound: Tensor, response: Tensor) -> Tensor:
    """[..., S] * [..., L] -> the first S samples; nothing wraps around."""
    count = sound.shape[-1]
    size = _size(count + response.shape[-1])
    answer: Tensor = torch.fft.irfft(torch.fft.rfft(sound, size) * torch.fft.rfft(response, size), size)
    return answer[..., :count]


def coloured(white: Tensor, slope: float, sample_rate: int) -> Tensor:
    """Noise [..., S] without a constant part, whose power falls with the power `slope` of the frequency."""
    lines = torch.fft.rfft(white)
    hertz = torch.fft.rfftfreq(white.shape[-1], 1 / sample_rate, device=white.device)
    made: Tensor = torch.fft.irfft(lines * hertz.clamp(min=LOWEST) ** (-slope / 2) * (hertz > 0), white.shape[-1])
    return made


def band_limited(sound: Tensor, cutoff_hz: float, sample_rate: int) -> Tensor:
    """[..., S] without what lies above a frequency; just below it a half cosine leads down."""
    count = sound.shape[-1]
    size = _size(count + int(RINGING * sample_rate))
    hertz = torch.fft.rfftfreq(size, 1 / sample_rate, device=sound.device)
    below = -torch.log2((hertz / cutoff_hz).clamp(min=SILENT)) / ROLL_OFF
    gain = 0.5 - 0.5 * torch.cos(pi * below.clamp(0, 1))
    made: Tensor = torch.fft.irfft(torch.fft.rfft(sound, size) * gain, size)
    return made[..., :count]


def as_loud(other: Tensor, sound: Tensor, valid: Tensor) -> Tensor:
    """`other` [..., S] where the sound is, with its energy; silent if one of them is."""
    other = other * valid
    energy, own = (x.square().sum(-1, keepdim=True) for x in (other, sound))
    return other * (own / energy.clamp(min=SILENT)).sqrt()


def _size(count: int) -> int:
    """The smallest fast length from `count` on: a power of 2, or 3/4 or 5/8 of one. There are few of them."""
    power = 1 << max(3, (count - 1).bit_length())
    return min(size for size in (power, 3 * power // 4, 5 * power // 8) if size >= count)
