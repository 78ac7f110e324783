"""Recipe keys of what spoils a reference in training."""

from typing import Annotated

from pydantic import Field

from talkies.config import RecipeError, config
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


HOW = {"noise": ("snr_db",), "reverberation": ("seconds", "wet"), "band": ("cutoff_hz",)}
"""Kind -> the keys that say how it spoils."""


def check_degradation(config: DegradationConfig, *, key: str, sample_rate: int) -> None:
    """RecipeError, which names `key`, if nothing could be drawn, or not what is meant, for sound of this rate."""
    if not any(getattr(config, kind) for kind in HOW):
        raise RecipeError(
            f"recipe: `{key}`: `noise`, `reverberation` and `band` are all 0: raise one of them, or degrade nothing"
        )
    for name in (name for names in HOW.values() for name in names):
        low, high = getattr(config, name)
        if low > high:
            raise RecipeError(f"recipe: `{key}.{name}` is [{low:g}, {high:g}]: the lower end comes first")
    highest = config.cutoff_hz[1]
    if config.band and highest > sample_rate / 2:
        raise RecipeError(
            f"recipe: `{key}.cutoff_hz` ends at {highest:g} Hz, but sound of {sample_rate} samples a second has none "
            f"above {sample_rate / 2:g} Hz: lower it"
        )


def check_unused(config: DegradationConfig, *, key: str) -> None:
    """RecipeError, which names `key`, for a key of a kind that is never drawn, and which is ignored."""
    for kind, name in ((kind, name) for kind, names in HOW.items() for name in names):
        if not getattr(config, kind) and getattr(config, name) != getattr(DegradationConfig(), name):
            raise RecipeError(
                f"recipe: `{key}.{name}` is set, but `{key}.{kind}` is 0, so that it is ignored: raise `{kind}`, or "
                f"drop `{name}`"
            )
