"""From the features of a track to a few tokens for every interval of a video (MTV, arXiv 2506.08003; released code)."""

from math import log2

import torch
from torch import Tensor, nn

from talkies.models.mtv.config import ControlShape
from talkies.nn.precision import LayerNorm32, lowered


class TrackEncoder(nn.Module):
    """Three linear layers frame by frame, then strided convolutions over time, all with the same weights, until there
    is one interval per latent step. An odd first frame passes unchanged, as the first latent step is of one frame."""

    def __init__(self, shape: ControlShape) -> None:
        super().__init__()
        self.shape = shape
        wide = shape.tokens * shape.width
        self.frame = nn.Sequential(
            nn.Linear((2 * shape.reach + 1) * shape.features, shape.hidden),
            nn.ReLU(),
            nn.Linear(shape.hidden, shape.hidden),
            nn.ReLU(),
            nn.Linear(shape.hidden, wide),
        )
        folded = wide if shape.convolution == "dense" else shape.width
        self.pair = nn.Linear(2 * folded, folded)
        self.norm = LayerNorm32(shape.width)

    def forward(self, windows: Tensor) -> Tensor:
        """[B, frames, (2 reach + 1) features] -> [B, intervals, tokens, width] fp32."""
        first = self.frame[0]
        assert isinstance(first, nn.Linear)
        x = torch.unflatten(self.frame(lowered(windows, first)), -1, (self.shape.tokens, self.shape.width))
        for _ in range(int(log2(self.shape.stride))):
            x = self._halved(x)
        out: Tensor = self.norm(pooled(x, self.shape.intervals))
        return out

    def _halved(self, x: Tensor) -> Tensor:
        """[B, T, tokens, width] -> [B, ceil(T / 2), tokens, width]: a convolution with kernel and stride 2 from the
        second step on if T is odd."""
        alone, paired = x.tensor_split([x.shape[1] % 2], 1)
        pairs = torch.unflatten(paired, 1, (-1, 2))
        if self.shape.convolution == "dense":
            folded = self.pair(pairs.flatten(2))
        else:
            folded = self.pair(pairs.transpose(2, 3).flatten(3)).flatten(2)
        return torch.cat((alone, torch.unflatten(folded, -1, x.shape[2:])), 1)


def interval_of(steps: int, intervals: int | None) -> tuple[int, ...]:
    """The interval that each of so many latent steps belongs to (None: its own), in order."""
    return tuple(step if intervals is None else step * intervals // steps for step in range(steps))


def pooled(x: Tensor, intervals: int | None) -> Tensor:
    """[B, T, tokens, width] of latent steps -> [B, intervals, tokens, width]: the mean over the steps of each."""
    if intervals is None:
        return x
    places = interval_of(x.shape[1], intervals)
    counts = [places.count(interval) for interval in range(intervals)]
    return torch.stack([steps.mean(1) for steps in torch.split(x, counts, 1)], 1)
