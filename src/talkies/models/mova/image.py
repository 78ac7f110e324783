"""First-frame conditioning (docs/mova.md: First frame)."""

import torch
from torch import Tensor


def image_condition(image_latent: Tensor, mask_channels: int) -> Tensor:
    """Latent [B, C, T, h, w] of (first frame, then grey frames) -> [B, mask_channels + C, T, h, w].

    The mask has one channel per pixel frame of a latent frame; it is 1 on latent frame 0, else 0.
    """
    batch, _, *shape = image_latent.shape
    mask = image_latent.new_zeros(batch, mask_channels, *shape)
    mask[:, :, 0] = 1
    return torch.cat((mask, image_latent), 1)
