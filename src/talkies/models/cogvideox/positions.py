"""Where video tokens lie: rotations (5b), sinusoids that are added to the tokens (2b), or a learned table besides
rotations (5b-I2V).

Positions are indices of tokens, whatever the frame rate. Angles are computed in fp64.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import prod

import torch
from torch import Tensor, nn

from talkies.models.cogvideox.config import CogVideoXConfig
from talkies.nn.precision import widened
from talkies.nn.rope import Rope, angles, rope_of

Shape = tuple[int, ...]
"""(steps, rows, columns), in tokens."""


def crop_region(shape: Sequence[int], sample: Sequence[int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """(first, end) of the rows and of the columns that a frame of `shape` (rows, columns) covers of the `sample`'s:
    scaled to fit into it, and centred. Source: get_resize_crop_region_for_grid of the released pipeline."""
    (rows, columns), (most_rows, most_columns) = shape, sample
    if rows / columns > most_rows / most_columns:
        covered = most_rows, round(most_rows / rows * columns)
    else:
        covered = round(most_columns / columns * rows), most_columns
    top, left = (round((most - size) / 2) for most, size in zip(sample, covered, strict=True))
    return (top, top + covered[0]), (left, left + covered[1])


@lru_cache(maxsize=32)
def rope(config: CogVideoXConfig, shape: Shape, device: torch.device) -> Rope:
    """Rotations of the video tokens, interleaved: a quarter of a head's dimensions by the step, the rest by row and
    column of the sample's frame, on which a frame of another size is spread.

    Raises ValueError if the head's dimensions do not divide that way.
    """
    if config.head_dim % 16:
        raise ValueError(
            f"cogvideox: RoPE over three axes needs a head_dim that 16 divides, but it is {config.head_dim}"
        )
    with torch.inference_mode(False):
        places = [torch.arange(shape[0], dtype=torch.float64, device="cpu")]
        for (first, end), count in zip(crop_region(shape[1:], config.sample_tokens[1:]), shape[1:], strict=True):
            last = end * (count - 1) / count
            places.append(torch.linspace(first, last, count, dtype=torch.float64, device="cpu"))
        dims = (config.head_dim // 4, config.head_dim // 8 * 3, config.head_dim // 8 * 3)
        turned = [angles(place, dim) for place, dim in zip(places, dims, strict=True)]
        return rope_of(torch.cat(_spread(turned), -1), halves=False).to(device)


def sincos(config: CogVideoXConfig, shape: Shape, device: torch.device) -> Tensor:
    """[T, dim] fp32 of the video tokens: a quarter of the dimensions by the step, the rest by column and row.

    Raises ValueError if the dimensions do not divide that way.
    """
    steps, rows, columns = _spread(_sinusoids(config, shape, device))
    return torch.cat((steps, columns, rows), -1)


@lru_cache(maxsize=32)
def _sinusoids(config: CogVideoXConfig, shape: Shape, device: torch.device) -> list[Tensor]:
    """Sines, then cosines, along every axis: [steps, dim / 4], [rows, 3 dim / 8], [columns, 3 dim / 8] fp32."""
    if config.dim % 16:
        raise ValueError(f"cogvideox: sinusoids over three axes need a width that 16 divides, but it is {config.dim}")
    scales = (config.temporal_scale, config.spatial_scale, config.spatial_scale)
    dims = (config.dim // 4, config.dim // 8 * 3, config.dim // 8 * 3)
    with torch.inference_mode(False):
        places = (torch.arange(count, dtype=torch.float64, device="cpu") for count in shape)
        found = [angles(place / scale, dim) for place, scale, dim in zip(places, scales, dims, strict=True)]
        return [torch.cat((angle.sin(), angle.cos()), -1).float().to(device) for angle in found]


def _spread(axes: Sequence[Tensor]) -> list[Tensor]:
    """[n, d] along every axis -> [T, d] of all tokens, row-major."""
    shape = [axis.shape[0] for axis in axes]
    found = []
    for index, axis in enumerate(axes):
        own = axis.view(*(n if index == i else 1 for i, n in enumerate(shape)), -1)
        found.append(own.expand(*shape, -1).flatten(0, -2))
    return found


class PositionTable(nn.Module):
    """A `table` [1, text_length + tokens of a sample, dim] that is added to the tokens; at first 0 for text, and for
    video the sinusoids (diffusers does the same, and the original code begins at 0)."""

    def __init__(self, config: CogVideoXConfig) -> None:
        super().__init__()
        self.config = config
        self.table = nn.Parameter(torch.empty(1, config.text_length + prod(config.sample_tokens), config.dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Back to the sinusoids."""
        with torch.no_grad():
            text, video = self._parts()
            text.zero_()
            video.copy_(sincos(self.config, self.config.sample_tokens, video.device))

    def forward(self, video: Tensor, text: Tensor, shape: Shape) -> tuple[Tensor, Tensor]:
        """video [B, T, dim] of `shape` in tokens and text [B, L, dim], with their positions, fp32.

        A clip of fewer steps has the first ones, as in the original code (diffusers gives it sinusoids). Raises
        ValueError for more steps, another frame, and a longer text.
        """
        most = self.config.sample_tokens
        if shape[1:] != most[1:] or shape[0] > most[0]:
            raise ValueError(
                f"cogvideox: the learned positions are of {most[0]} steps of {most[1]} x {most[2]} tokens, but the "
                f"video has {shape[0]} of {shape[1]} x {shape[2]}: use clips of the sample's size"
            )
        if text.shape[1] > self.config.text_length:
            raise ValueError(
                f"cogvideox: the learned positions are of {self.config.text_length} text tokens, but the text has "
                f"{text.shape[1]}: set the text codec's length to that"
            )
        of_text, of_video = (widened(part) for part in self._parts())
        return video + of_video[:, : video.shape[1]], text + of_text[:, : text.shape[1]]

    def _parts(self) -> tuple[Tensor, Tensor]:
        """Those of text and of video."""
        length = self.config.text_length
        return self.table[:, :length], self.table[:, length:]
