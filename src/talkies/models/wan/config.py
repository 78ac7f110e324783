"""The sizes of a Wan tower."""

from math import prod

from talkies.config import config


@config
class TowerConfig:
    """A diffusion transformer over one modality (docs/mova.md: Towers). head_dim = dim / heads."""

    dim: int
    ffn_dim: int
    heads: int
    layers: int
    patch: tuple[int, ...]
    in_channels: int
    out_channels: int
    text_dim: int
    freq_dim: int = 256
    eps: float = 1e-6

    @property
    def head_dim(self) -> int:
        """Width of one attention head. Raises ValueError if `heads` does not divide `dim`."""
        if self.dim % self.heads:
            raise ValueError(f"tower: dim {self.dim} is not divisible by {self.heads} heads")
        return self.dim // self.heads

    @property
    def patch_volume(self) -> int:
        """Latent positions in one token."""
        return prod(self.patch)
