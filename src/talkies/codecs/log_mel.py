"""Log-mel features of sound, in closed form: how loud each band is in each step."""

import torch
from torch import Tensor

from talkies.codecs.config import LogMelConfig
from talkies.codecs.geometry import audio_grid
from talkies.codecs.hops import hops
from talkies.codecs.identity import identity
from talkies.config import RecipeError
from talkies.streams import Grid

FLOOR = 2e-3
"""Amplitude (1: a sine of full scale) below which a band counts as silent."""
FINER = 4
"""Lines of the padded spectrum per line of a step's own, so that narrow bands have lines."""
FORM = 1
"""Part of the identity: raise it when the same sound would give other features."""


class LogMelEncoder:
    """Samples [B, S] in [-1, 1] -> features [B, C, T] fp32: log(1 + a / FLOOR) of the amplitudes a of C bands.

    A step depends on its own `hop` samples only (under a Hamming window), so that a window's features are the crop of
    the file's. Bands are triangles of equal width on the mel scale (HTK: 2595 log10(1 + f / 700)) from 0 to half the
    sample rate. Nothing is normalised per clip: silence is 0, and loudness is kept. RecipeError for more bands than
    there are frequencies for.
    """

    def __init__(self, config: LogMelConfig, *, key: str = "codecs.sound") -> None:
        self.config = config
        self.identity = identity(config, {"form": torch.tensor(FORM)})
        self._window = torch.hamming_window(config.hop, periodic=False)
        self._bank = _bank(config)
        if not bool(self._bank.any(0).all()):
            raise RecipeError(
                f"`{key}.channels` is {config.channels}: some mel bands of a step of {config.hop} samples have no "
                "frequency; lower it, or raise `hop`"
            )

    @property
    def sample_rate(self) -> int:
        """In Hz."""
        return self.config.sample_rate

    def grid(self, samples: int) -> Grid:
        """Geometry of the features of `samples` samples; DataError for fewer than a step."""
        return audio_grid(self.config, samples=samples)

    def encode(self, samples: Tensor) -> Tensor:
        """Samples [B, S], padded right with silence to whole hops -> features [B, C, T] fp32."""
        self.grid(samples.shape[-1])
        hop, window, bank = self.config.hop, self._window.to(samples.device), self._bank.to(samples.device)
        lines = torch.fft.rfft(hops(samples, hop) * window, n=FINER * hop).abs().square()
        # By Parseval: a sine of full scale, all in one band, has amplitude 1.
        power = lines @ bank * (4 / (FINER * hop * window.square().sum()))
        return torch.log1p(power.sqrt() / FLOOR).transpose(1, 2).contiguous()


def _bank(config: LogMelConfig) -> Tensor:
    """Weights [lines, C] of the spectrum's lines in each band; they add up to 1 between the outer bands' centres."""
    frequencies = torch.linspace(0, config.sample_rate / 2, FINER * config.hop // 2 + 1, dtype=torch.float64)
    mels = 2595 * torch.log10(1 + frequencies / 700)
    places = mels / mels[-1] * (config.channels + 1)  # band c has its centre at c + 1
    return (1 - (places[:, None] - torch.arange(1, config.channels + 1)).abs()).clamp(min=0).float()
