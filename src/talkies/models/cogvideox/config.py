"""The sizes of a CogVideoX transformer (arXiv 2408.06072), and those of the released ones."""

from math import prod
from typing import Literal

from talkies.config import config


@config
class CogVideoXConfig:
    """A diffusion transformer over text and video in one sequence, of `heads` of `head_dim`.

    `in_channels` is more than `out_channels` if a condition is concatenated to the latent. `positions` of video tokens:
    `rope` rotates queries and keys; `sincos` adds sinusoids to the tokens (indices divided by `spatial_scale` and
    `temporal_scale`); `learned` adds a table over `text_length` text tokens and the video tokens of a sample, and has
    `rope` besides. `sample_size` (rows and columns of the latent) and `sample_frames`, of which a codec folds
    `temporal_compression` into one latent step, are the clip on which the positions were trained.
    """

    layers: int
    heads: int
    head_dim: int = 64
    in_channels: int = 16
    out_channels: int = 16
    patch: tuple[int, int, int] = (1, 2, 2)
    text_dim: int = 4096
    text_length: int = 226
    time_dim: int = 512
    positions: Literal["rope", "sincos", "learned"] = "rope"
    spatial_scale: float = 1.875
    temporal_scale: float = 1.0
    sample_size: tuple[int, int] = (60, 90)
    sample_frames: int = 49
    temporal_compression: int = 4
    eps: float = 1e-5

    @property
    def dim(self) -> int:
        """Width of the tokens."""
        return self.heads * self.head_dim

    @property
    def ffn_dim(self) -> int:
        """Width of the feed-forward."""
        return 4 * self.dim

    @property
    def patch_volume(self) -> int:
        """Latent positions in one token."""
        return prod(self.patch)

    @property
    def sample_tokens(self) -> tuple[int, int, int]:
        """(steps, rows, columns) of the tokens of a sample. Raises ValueError if the patch does not divide it."""
        shape = ((self.sample_frames - 1) // self.temporal_compression + 1, *self.sample_size)
        if any(size % p for size, p in zip(shape, self.patch, strict=True)):
            raise ValueError(f"cogvideox: the sample's latent shape {shape} is not divisible by the patch {self.patch}")
        steps, rows, columns = (size // p for size, p in zip(shape, self.patch, strict=True))
        return steps, rows, columns


PRESETS: dict[str, CogVideoXConfig] = {
    "2b": CogVideoXConfig(layers=30, heads=30, positions="sincos"),
    "5b": CogVideoXConfig(layers=42, heads=48),
    "5b-i2v": CogVideoXConfig(layers=42, heads=48, in_channels=32, positions="learned"),
}
"""As released; MTV begins from `5b-i2v`. Its table, of 226 + 13 x 30 x 45 = 17,776 tokens, is a parameter here, as in
the original code; diffusers holds it as a buffer."""
