"""The exact synchronisation metric of the synthetic world: a mouth's movement against the loudness of its voice.

Both signals are measured on decoded media, never on latents. The opening is how much darker the mouth's region is than
the cheeks beside it, frame by frame (the inside of every mouth is dark, whatever the face's colours); the loudness is
the RMS amplitude over the interval of each frame. The score is their Pearson correlation over a clip: close to 1 for
real clips, close to 0 with the sound of another clip, and independent of gain, size and colour.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor

from talkies.streams.codec import Media
from talkies.world.faces import CHEEKS, MOUTH, UNITS, Box

MAX_LAG = 4
STILL = 1e-3
"""A signal with a smaller standard deviation counts as constant: no movement, or no change of loudness."""
LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True, kw_only=True)
class SyncScore:
    """The score of one clip: `correlation` in [-1, 1] without lag (0 if a signal is constant), and `lag_ms`, the best
    shift of the sound within MAX_LAG frames (positive: the sound is late; None if a signal is constant)."""

    correlation: float
    lag_ms: float | None


def region(luma: Tensor, box: Box) -> Tensor:
    """Mean [F] of luma [F, H, W] in a box in 32nds of the frame; pixels are weighted by their share inside it."""
    height, width = luma.shape[-2:]
    left, top, right, bottom = box
    across = _coverage(width, left / UNITS * width, right / UNITS * width)
    down = _coverage(height, top / UNITS * height, bottom / UNITS * height)
    weight = down[:, None] * across[None, :]
    return (luma * weight).sum((-2, -1)) / weight.sum()


def _coverage(size: int, low: float, high: float) -> Tensor:
    """Share [size] of each unit interval that lies in [low, high]."""
    start = torch.arange(size, dtype=torch.float64)
    return (torch.clamp(start + 1, max=high) - torch.clamp(start, min=low)).clamp(min=0)


def mouth_opening(frames: Tensor) -> Tensor:
    """Opening [F] fp64 of the mouth in frames [F, 3, H, W] in [-1, 1]: luma of the cheeks minus luma of the mouth."""
    luma = torch.einsum("fchw,c->fhw", frames.double(), torch.tensor(LUMA, dtype=torch.float64))
    cheeks = sum((region(luma, box) for box in CHEEKS), torch.zeros(len(frames), dtype=torch.float64)) / len(CHEEKS)
    return cheeks - region(luma, MOUTH)


def loudness_envelope(samples: Tensor, sample_rate: int, fps: float, frames: int) -> Tensor:
    """RMS [frames] fp64 of mono samples [S] over each frame's interval; silence after the end of the sound."""
    needed = ceil(frames * sample_rate / fps)
    power = torch.nn.functional.pad(samples.double()[:needed], (0, max(0, needed - len(samples)))).square()
    edges = (torch.arange(frames + 1, dtype=torch.float64) * sample_rate / fps).round().long().clamp(max=needed)
    total = torch.cat([torch.zeros(1, dtype=torch.float64), power.cumsum(0)])
    mean = (total[edges[1:]] - total[edges[:-1]]) / (edges[1:] - edges[:-1])
    return mean.clamp(min=0).sqrt()


def correlation(a: Tensor, b: Tensor) -> float:
    """Pearson correlation of two signals [F]; 0 if one of them is constant."""
    a, b = a - a.mean(), b - b.mean()
    if min(float(a.std(correction=0)), float(b.std(correction=0))) < STILL:
        return 0.0
    return float((a * b).sum() / (a.norm() * b.norm()))


def _lag(opening: Tensor, loudness: Tensor) -> float | None:
    """Frames by which the loudness is late: the best integer lag, refined by a parabola through its neighbours."""
    frames = len(opening)
    reach = min(MAX_LAG, frames - 3)
    if reach < 0 or correlation(opening, loudness) == 0.0:
        return None
    scores = []
    for lag in range(-reach, reach + 1):
        first, last = max(0, -lag), min(frames, frames - lag)
        scores.append(correlation(opening[first:last], loudness[first + lag : last + lag]))
    best = max(range(len(scores)), key=scores.__getitem__)
    if best in (0, len(scores) - 1):
        return float(best - reach)
    before, peak, after = scores[best - 1 : best + 2]
    bend = before - 2 * peak + after
    return best - reach + (0.5 * (before - after) / bend if bend < 0 else 0.0)


def _signals(media: Media) -> tuple[Tensor, Tensor]:
    """Opening and loudness [F] of a clip."""
    if media.frames is None or media.samples is None:
        raise ValueError("synchronisation needs frames and sound; this clip lacks one of them")
    if len(media.frames) < 3:
        raise ValueError(f"synchronisation needs at least 3 frames, found {len(media.frames)}")
    loudness = loudness_envelope(media.samples, media.sample_rate, media.fps, len(media.frames))
    return mouth_opening(media.frames), loudness


def sync(media: Media) -> SyncScore:
    """Score a clip that has frames and sound.

    Raises ValueError if one of them is missing, or if there are fewer than 3 frames.
    """
    opening, loudness = _signals(media)
    lag = _lag(opening, loudness)
    return SyncScore(correlation=correlation(opening, loudness), lag_ms=None if lag is None else 1000 * lag / media.fps)


def shuffled(clips: list[Media]) -> float:
    """Chance level of `sync`: the mean correlation of each clip's frames with the sound of every other clip.

    Raises ValueError for fewer than two clips.
    """
    if len(clips) < 2:
        raise ValueError(f"shuffled pairs need at least 2 clips, found {len(clips)}")
    return crossed([_signals(clip) for clip in clips])


def crossed(signals: Sequence[tuple[Tensor, Tensor]]) -> float:
    """Mean correlation of the first signal of each of two or more clips with the second one of every other clip."""
    scores = [
        correlation(seen, heard)
        for i, (seen, _) in enumerate(signals)
        for j, (_, heard) in enumerate(signals)
        if i != j
    ]
    return sum(scores) / len(scores)
