"""The toy's video codec: principal components of small blocks of pixels, in closed form."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from talkies.codecs.config import LinearVideoConfig
from talkies.codecs.geometry import still_frames, video_grid
from talkies.codecs.identity import identity
from talkies.codecs.principal import Principal, fit_principal
from talkies.streams import Grid


class LinearVideoCodec:
    """Frames [B, F, 3, H, W] in [-1, 1] <-> latents [B, C, T, h, w] of about unit variance per channel.

    One latent pixel holds principal components of a block of `stride` frames x `block` x `block` pixels: first those of
    the block's average over its frames, then `motion` components of the frames' differences from it. The two are fitted
    separately: most blocks are static and would otherwise claim all components.
    Latent step 0 holds the first frame alone, repeated `stride` times (so that the codec is causal and one basis fits
    all steps); step i > 0 holds frames stride * (i - 1) + 1 ... stride * i. Nothing depends on H and W.
    """

    def __init__(self, config: LinearVideoConfig, weights: Mapping[str, Tensor]) -> None:
        self.config = config
        self.components = Principal.from_weights(weights)
        self.identity = identity(config, weights)

    @property
    def weights(self) -> dict[str, Tensor]:
        """What `save_codec` stores."""
        return self.components.to_weights()

    def grid(self, frames: int, height: int, width: int, fps: float) -> Grid:
        """Latent geometry; DataError if the sizes do not fit."""
        return video_grid(self.config, frames=frames, height=height, width=width, fps=fps)

    @property
    def still_frames(self) -> int:
        """Frames of a clip in which an image stands still."""
        return still_frames(self.config)

    def encode(self, frames: Tensor) -> Tensor:
        """Frames [B, F, 3, H, W] fp32 -> latents [B, C, T, h, w] fp32."""
        self.grid(frames.shape[1], frames.shape[3], frames.shape[4], 1.0)
        return self.components.project(_blocks(frames, self.config)).movedim(-1, 1).contiguous()

    def decode(self, latent: Tensor) -> Tensor:
        """Latents [B, C, T, h, w] -> frames [B, F, 3, H, W] fp32 in [-1, 1]."""
        stride, block = self.config.stride, self.config.block
        batch, _, steps, height, width = latent.shape
        pixels = self.components.restore(latent.float().movedim(1, -1))
        pixels = pixels.view(batch, steps, height, width, stride, 3, block, block)
        frames = pixels.permute(0, 1, 4, 5, 2, 6, 3, 7).reshape(batch, steps, stride, 3, height * block, width * block)
        first = frames[:, 0].mean(1, keepdim=True)
        return torch.cat([first, frames[:, 1:].flatten(1, 2)], dim=1).clamp(-1, 1)


def _blocks(frames: Tensor, config: LinearVideoConfig) -> Tensor:
    """Frames [B, F, 3, H, W] -> blocks [B, T, h, w, stride * 3 * block * block]."""
    stride, block = config.stride, config.block
    padded = torch.cat([frames[:, :1].expand(-1, stride - 1, -1, -1, -1), frames], dim=1).float()
    batch, count, _, height, width = padded.shape
    split = padded.reshape(batch, count // stride, stride, 3, height // block, block, width // block, block)
    return split.permute(0, 1, 4, 6, 2, 3, 5, 7).flatten(4)


def fit(config: LinearVideoConfig, clips: Sequence[Tensor]) -> LinearVideoCodec:
    """Fit the codec on one or more clips [F, 3, H, W] fp32 in [-1, 1] of any size that it encodes; each clip has the
    same weight.

    Raises DataError if the clips do not vary in `channels` directions.
    """
    for clip in clips:
        video_grid(config, frames=clip.shape[0], height=clip.shape[2], width=clip.shape[3], fps=1.0)
    still = (_split(clip, config)[0] for clip in clips)
    parts = [fit_principal(still, config.channels - config.motion, "linear video codec (still)")]
    if config.motion:
        moving = (_split(clip, config)[1] for clip in clips)
        parts.append(fit_principal(moving, config.motion, "linear video codec (motion)"))
    return LinearVideoCodec(config, Principal.joined(parts).to_weights())


def _split(clip: Tensor, config: LinearVideoConfig) -> tuple[Tensor, Tensor]:
    """Rows [n, D] of a clip [F, 3, H, W]: each block's average over its frames, and the differences from it."""
    rows = _blocks(clip[None], config).flatten(0, -2)
    frames = torch.unflatten(rows, -1, (config.stride, -1))
    still = frames.mean(1, keepdim=True).expand_as(frames).flatten(1)
    return still, rows - still
