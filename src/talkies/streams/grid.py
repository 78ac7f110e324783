"""The geometry of one latent. Pure Python: planning reads it without torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import prod


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Shape of a latent and where its steps lie in time.

    `shape` is (T, H, W) for video and (T,) for sound, `channels` the latent channels, `rate` latent steps per second
    (MOVA: video 24/4 = 6, audio 48000/960 = 50). `chunk`: the codec encodes pieces on their own, of so many latent
    steps and seconds each (None: it encodes the clip as a whole). A codec derives the Grid from its configuration;
    shards store it; RoPE, bucketing and planning read it.
    """

    channels: int
    shape: tuple[int, ...]
    rate: Fraction
    chunk: tuple[int, Fraction] | None = None

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
        if self.chunk is None:
            return Fraction(step) / self.rate
        steps, duration = self.chunk
        return step // steps * duration + Fraction(step % steps) / self.rate


def tokens_of(grids: Mapping[str, Grid], patches: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """The tokens of the streams that have a patch. ValueError, with the stream's name, for a patch that does not divide
    its Grid."""
    found = {}
    for name in (name for name in grids if name in patches):
        try:
            found[name] = grids[name].tokens(patches[name])
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return found
