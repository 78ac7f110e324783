"""The geometry of one latent. Pure Python: planning reads it without torch."""

from dataclasses import dataclass
from fractions import Fraction
from math import prod
from typing import Literal

Modality = Literal["video", "audio"]
MODALITIES: tuple[Modality, ...] = ("video", "audio")


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Shape of a latent and where its steps lie in time.

    `shape` is (T, H, W) for video and (T,) for audio, `channels` the latent channels, `rate` latent steps per second
    (MOVA: video 24/4 = 6, audio 48000/960 = 50). A codec derives it from its configuration; shards store it; RoPE,
    bucketing and planning read it.
    """

    channels: int
    shape: tuple[int, ...]
    rate: Fraction

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """(C, *shape)."""
        return (self.channels, *self.shape)

    def token_shape(self, patch: tuple[int, ...]) -> tuple[int, ...]:
        """Shape in tokens of a network that folds `patch` latent steps into one token.

        Raises ValueError if `patch` does not divide the shape.
        """
        if len(patch) != len(self.shape) or any(n % p for n, p in zip(self.shape, patch, strict=True)):
            raise ValueError(f"latent shape {self.shape} is not divisible by the patch {patch}")
        return tuple(n // p for n, p in zip(self.shape, patch, strict=True))

    def tokens(self, patch: tuple[int, ...]) -> int:
        """Number of tokens under `patch`."""
        return prod(self.token_shape(patch))

    def seconds(self, step: int) -> Fraction:
        """Start time of latent step `step`, exact."""
        return Fraction(step) / self.rate

    def to_json(self) -> dict[str, object]:
        """Plain JSON: {"channels", "shape", "rate": "25/2"}."""
        return {"channels": self.channels, "shape": list(self.shape), "rate": str(self.rate)}

    @classmethod
    def from_json(cls, value: dict[str, object]) -> "Grid":
        """The inverse of `to_json`."""
        shape, channels = value["shape"], value["channels"]
        assert isinstance(shape, list)
        assert isinstance(channels, int)
        return cls(channels=channels, shape=tuple(shape), rate=Fraction(str(value["rate"])))
