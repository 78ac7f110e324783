"""Whether a picture moves when its sound changes: a measure of synchronisation that needs no face of the world.

Everything that moves counts, the camera too. So it says less than `sync`, and only beside real clips of the same kind.
"""

from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean

import torch
from torch import Tensor

from talkies.streams.codec import Media
from talkies.world.sync import correlation, crossed, loudness_envelope

SHORTEST = 4
"""Frames that are needed: three differences."""


def motion_signals(media: Media) -> tuple[Tensor, Tensor]:
    """By how much, RMS, each frame of a clip [F, 3, H, W] in [-1, 1] differs from the one before, and by how much its
    loudness does: [F - 1] fp64. ValueError if the clip lacks frames or sound, or has fewer than SHORTEST frames."""
    if media.frames is None or media.samples is None or len(media.frames) < SHORTEST:
        raise ValueError(f"the motion of a clip needs a sound and at least {SHORTEST} frames; this clip lacks them")
    moved = torch.stack([(b - a).square().mean().sqrt() for a, b in pairwise(media.frames)]).double()
    loudness = loudness_envelope(media.samples, media.sample_rate, media.fps, len(media.frames))
    return moved, loudness.diff().abs()


def motion_metrics(media: Sequence[Media], reference: Sequence[Media]) -> dict[str, float]:
    """`motion_sync`, the mean correlation of the `motion_signals` of `media`, `motion_sync_shuffled`, that with the
    sounds of the other clips, and `motion_sync_reference`, that of the reference. A clip of which a signal is constant
    counts as 0; nothing is measured if the reference has no other."""
    ceilings = [correlation(*motion_signals(clip)) for clip in reference]
    if not any(ceilings):
        return {}
    signals = [motion_signals(clip) for clip in media]
    return {
        "motion_sync": fmean(correlation(moved, changed) for moved, changed in signals),
        "motion_sync_shuffled": crossed(signals),
        "motion_sync_reference": fmean(ceilings),
    }
