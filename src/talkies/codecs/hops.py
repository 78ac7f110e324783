"""Sound in hops: the stretches of equal length from which steps are made."""

import torch
from torch import Tensor
from torch.nn.functional import pad


def whole(samples: Tensor, hop: int) -> Tensor:
    """Samples [B, S] in fp32, padded right with silence to whole hops."""
    return pad(samples.float(), (0, -samples.shape[-1] % hop))


def hops(samples: Tensor, hop: int) -> Tensor:
    """[B, T, hop] of samples [B, S], T = ceil(S / hop)."""
    return torch.unflatten(whole(samples, hop), -1, (-1, hop))


def windows(samples: Tensor, hop: int, length: int) -> Tensor:
    """[B, T, length] around the centre of each hop of samples [B, S], with silence outside."""
    margin = length - hop
    return pad(whole(samples, hop), (margin // 2, margin - margin // 2)).unfold(-1, length, hop)


def rms(samples: Tensor, hop: int) -> Tensor:
    """RMS amplitude [B, T] of each hop of samples [B, S]."""
    return hops(samples, hop).square().mean(-1).sqrt()
