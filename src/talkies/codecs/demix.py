"""Demixers without weights: tracks that are files, and tracks in frequency bands of their own."""

import math

import torch
from scipy.fft import next_fast_len
from torch import Tensor

from talkies.codecs.demix_config import BandsConfig, TracksConfig
from talkies.codecs.identity import identity
from talkies.config import DataError

FORM = 2
"""Part of the identity: raise it when the same sound would give other tracks."""


class TrackFiles:
    """Tracks that are files beside the media. `prepare` reads them; there is nothing to make others with."""

    sample_rate = 44100
    """A demixer has a rate; files of tracks may have any."""

    def __init__(self, config: TracksConfig, *, key: str = "codecs.demix") -> None:
        self.config, self.key = config, key
        self.identity = identity(config, {})

    @property
    def tracks(self) -> tuple[str, ...]:
        """Their names."""
        return self.config.all_tracks

    def demix(self, samples: Tensor) -> dict[str, Tensor]:
        """Raises DataError."""
        raise DataError(
            f"a sound of {len(samples)} samples must be demixed, but `{self.key}.kind` tracks only reads files of "
            "tracks: give the tracks as files, or choose another kind"
        )


class BandDemixer:
    """Samples [S] -> tracks [S] fp32: what lies in each band, as linear-phase filters leave it.

    A band's gain is 1 inside, and cos^2(pi/2 * d / edge) at d < `edge` Hz outside, so that bands which lie `edge` apart
    add up to the mix. The whole sound is filtered at once. It is continued at both ends by its point reflection, since
    a tone that is cut there would click in every band.
    """

    def __init__(self, config: BandsConfig) -> None:
        self.config = config
        self.identity = identity(config, {"form": torch.tensor(FORM)})

    @property
    def tracks(self) -> tuple[str, ...]:
        """Their names."""
        return self.config.all_tracks

    @property
    def sample_rate(self) -> int:
        """In Hz."""
        return self.config.sample_rate

    def demix(self, samples: Tensor) -> dict[str, Tensor]:
        """Every track of a sound."""
        margin = min(math.ceil(self.sample_rate * 2 / self.config.edge), len(samples) - 1)
        sound = _continued(samples.float(), margin)
        length = next_fast_len(len(sound) + margin, real=True)
        spectrum = torch.fft.rfft(sound, n=length)
        frequencies = torch.fft.rfftfreq(length, 1 / self.sample_rate, device=samples.device)
        here = slice(margin, margin + len(samples))
        return {
            track: torch.fft.irfft(spectrum * _gain(frequencies, band, self.config.edge), n=length)[here]
            for track, band in self.config.bands.items()
        }


def _continued(samples: Tensor, margin: int) -> Tensor:
    """[S] -> [S + 2 margin]: reflected in its first and its last value, in which it goes on smoothly, and faded out to
    silence."""
    fade = torch.linspace(0, math.pi / 2, margin + 2, device=samples.device)[1:-1].sin().square()
    before = (2 * samples[0] - samples[1 : margin + 1].flip(0)) * fade
    after = (2 * samples[-1] - samples[-margin - 1 : -1].flip(0)) * fade.flip(0)
    return torch.cat((before, samples, after)) if margin else samples


def _gain(frequencies: Tensor, band: tuple[float, float], edge: float) -> Tensor:
    """The gain at each of the frequencies."""
    low, high = band
    outside = torch.maximum(low - frequencies, frequencies - high).clamp(0, edge)
    return (math.pi / 2 * outside / edge).cos().square()
