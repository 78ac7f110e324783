"""The same value for several places in a row."""

from collections.abc import Sequence

import torch
from torch import Tensor


def repeated(x: Tensor, counts: Sequence[int]) -> Tensor:
    """x [B, N, ...] -> [B, sum of counts, ...]: each of the N values as often as `counts` says, 0 times too. (An index
    would say the same, but compiled for a GPU its gradient adds up in any order.)"""
    if all(count == 1 for count in counts):
        return x
    parts = zip(torch.split(x, 1, 1), counts, strict=True)
    return torch.cat([part.expand(-1, count, *[-1] * (x.ndim - 2)) for part, count in parts if count], 1)
