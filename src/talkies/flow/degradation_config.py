"""Recipe keys of what spoils a reference in training."""

from typing import Annotated

from pydantic import Field

from talkies.config import config
from talkies.config.numbers import Positive, Share

Decibel = Annotated[float, Field(ge=-60, le=100)]


@config
class DegradationConfig:
    """Each kind is drawn apart, with the probability `noise`, `reverberation` and `band`; at least one is taken.

    Noise: white to brown, at `snr_db` [low, high] below the sound. Reverberation: noise that decays by 60 dB in
    `seconds` [low, high], as loud as `wet` [low, high] times the sound. Band: nothing is left above a frequency that is
    drawn, uniformly in its logarithm, from `cutoff_hz` [low, high].
    """

    noise: Share = 0.5
    snr_db: tuple[Decibel, Decibel] = (0.0, 20.0)
    reverberation: Share = 0.5
    seconds: tuple[Positive, Positive] = (0.2, 1.2)
    wet: tuple[Positive, Positive] = (0.3, 1.0)
    band: Share = 0.3
    cutoff_hz: tuple[Positive, Positive] = (1500.0, 6000.0)
