"""First-frame conditioning (MOVA section 3)."""

import torch
from torch import Tensor


def image_condition(image_latent: Tensor, mask_channels: int) -> Tensor:
    """[B, C, T, h, w] latent of the first frame and grey ones -> [B, mask_channels + C, T, h, w].

    The mask has one channel per pixel frame that folds into a latent frame; it is 1 on latent frame 0, else 0.
    """
    batch, _, *shape = image_latent.shape
    mask = image_latent.new_zeros(batch, mask_channels, *shape)
    mask[:, :, 0] = 1
    return torch.cat((mask, image_latent), 1)
