"""The features of a track around every frame of a video."""

from fractions import Fraction
from functools import lru_cache

import torch
from torch import Tensor

from talkies.streams import Grid
from talkies.streams.batch import Stream


def frame_count(video: Grid, stride: int) -> int:
    """Frames of a video whose codec makes one latent step of the first frame and one of every `stride` others."""
    return 1 + (video.shape[0] - 1) * stride


def windows(track: Stream, video: Grid, *, stride: int, reach: int) -> Tensor:
    """[B, frames, (2 reach + 1) C] fp32: the features [B, C, T] of `track` at every frame and at the `reach` frames
    before and after it, those before the first and after the last step being that step. They are interpolated linearly
    to the times of frames. A step that is masked counts as features of 0, as in the released code's dropout."""
    features = track.latent.float()
    if track.mask is not None:
        features = features * track.mask[:, None]
    fps, frames = video.rate * stride, frame_count(video, stride)
    low, weight = places(track.grid, fps, frames, reach, features.device)
    high = (low + 1).clamp(max=features.shape[2] - 1)
    found = torch.lerp(features[:, :, low], features[:, :, high], weight)
    return torch.unflatten(found, 2, (frames, -1)).permute(0, 2, 3, 1).flatten(2)


@lru_cache(maxsize=16)
def places(track: Grid, fps: Fraction, frames: int, reach: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The features around every frame, [frames (2 reach + 1)] in order: the step at or before each, int64, and how far
    it lies towards the next one, fp32."""
    last = track.shape[0] - 1
    others = [frame + k for frame in range(frames) for k in range(-reach, reach + 1)]
    found = [min(max(Fraction(other) / fps * track.rate, Fraction(0)), Fraction(last)) for other in others]
    with torch.inference_mode(False):
        steps = torch.tensor([int(place) for place in found], device="cpu")
        parts = [float(place - int(place)) for place in found]
        return steps.to(device), torch.tensor(parts, dtype=torch.float32, device="cpu").to(device)
