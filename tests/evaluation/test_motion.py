"""Motion against changes of loudness."""

from dataclasses import replace

import pytest
import torch

from talkies.evaluation.motion import motion_metrics, motion_signals
from talkies.streams.codec import Media

RATE, FPS, FRAMES = 8000, 10.0, 24


def clip(seed: int, *, follows: bool = True) -> Media:
    """A noise picture that fades by as much as the loudness of a tone changes, or else by something of its own."""
    generator = torch.Generator().manual_seed(seed)
    loudness, other = torch.rand(2, FRAMES, generator=generator)
    picture = torch.rand(3, 8, 8, generator=generator)
    frames = picture * (loudness if follows else other)[:, None, None, None]
    tone = torch.sin(torch.arange(FRAMES * 800) * 2 * torch.pi * 200 / RATE)
    return Media(frames=frames, fps=FPS, samples=tone * loudness.repeat_interleave(800), sample_rate=RATE)


def test_a_picture_that_moves_with_the_changes_of_its_sound_scores_one() -> None:
    clips = [clip(seed) for seed in range(8)]
    metrics = motion_metrics(clips, clips)
    assert metrics["motion_sync"] == metrics["motion_sync_reference"] == pytest.approx(1, abs=1e-4)
    assert abs(metrics["motion_sync_shuffled"]) < 0.15
    loud = [replace(one, samples=one.samples * 0.1) for one in clips if one.samples is not None]
    assert motion_metrics(loud, clips)["motion_sync"] == pytest.approx(1, abs=1e-3)


def test_a_picture_that_moves_on_its_own_scores_near_zero() -> None:
    clips = [clip(seed) for seed in range(8)]
    assert abs(motion_metrics([clip(seed, follows=False) for seed in range(8)], clips)["motion_sync"]) < 0.25


def test_a_still_picture_counts_as_nothing_and_still_references_measure_nothing() -> None:
    clips = [clip(seed) for seed in range(2)]
    still = [replace(one, frames=torch.zeros(FRAMES, 3, 8, 8)) for one in clips]
    assert motion_metrics(still, clips)["motion_sync"] == 0
    assert motion_metrics(clips, still) == {}


def test_too_few_frames_are_refused() -> None:
    one = clip(0)
    assert one.frames is not None
    with pytest.raises(ValueError, match="at least 4 frames"):
        motion_signals(replace(one, frames=one.frames[:3]))
