"""What clips show of what they were given, on the world's speakers."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from talkies.evaluation.given import given_metrics, shown_shares, speaker_metrics
from talkies.evaluation.report import evaluate_clips
from talkies.streams.codec import Media
from talkies.world.config import SyntheticSource
from talkies.world.render import Scene, draw_scene

SHOT, COUNT = 25, 12
SOURCE = SyntheticSource(domain="speakers", clips=COUNT, frames=2 * SHOT, shot=SHOT)
NAMES = {"kind", "background", "shirt", "identity"}


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [draw_scene(SOURCE, index, seed=0) for index in range(COUNT)]


@pytest.fixture(scope="module")
def real(scenes: list[Scene]) -> list[Media]:
    """The first shots."""
    return [shot(scene, 0) for scene in scenes]


@pytest.fixture(scope="module")
def images(scenes: list[Scene]) -> list[Tensor]:
    """A frame of each speaker's other shot."""
    return [film(shot(scene, 1))[7] for scene in scenes]


def shot(scene: Scene, number: int) -> Media:
    """One shot of a scene."""
    clip, samples = scene.media, scene.media.samples
    assert samples is not None
    length = round(SHOT * clip.sample_rate / clip.fps)
    return replace(
        clip,
        frames=film(clip)[number * SHOT : (number + 1) * SHOT],
        samples=samples[number * length : (number + 1) * length],
    )


def film(clip: Media) -> Tensor:
    assert clip.frames is not None
    return clip.frames


def turned(clips: list[Media]) -> list[Media]:
    """The frames of each clip with the sound of the next one."""
    return [replace(clip, samples=other.samples) for clip, other in zip(clips, clips[1:] + clips[:1], strict=True)]


def late(clip: Media, frames: int) -> Media:
    assert clip.samples is not None
    return replace(clip, samples=clip.samples.roll(round(frames * clip.sample_rate / clip.fps)))


def test_frames_that_follow_what_was_given_score_high_and_others_low(real: list[Media]) -> None:
    following = [
        replace(clip, frames=other.frames) for clip, other in zip(turned(real), real[1:] + real[:1], strict=True)
    ]
    metrics = given_metrics(real, following, real)
    assert metrics["sync"] > 0.98
    assert metrics["sync_swapped"] > 0.98
    assert abs(metrics["sync_original"]) < 0.3
    assert metrics["lag_frames"] == pytest.approx(0, abs=0.1)
    deaf = given_metrics(turned(real), turned(real), real)
    assert abs(deaf["sync"]) < 0.3
    assert abs(deaf["sync_swapped"]) < 0.3
    assert deaf["sync_original"] > 0.98


@pytest.mark.parametrize("lag", [-2, 1])
def test_the_lag_of_a_shifted_clip_is_found(lag: int, real: list[Media]) -> None:
    metrics = given_metrics([late(clip, lag) for clip in real], real, real)
    assert metrics["lag_frames"] == pytest.approx(lag, abs=0.15)


def test_of_given_frames_the_original_ones_are_put_back(real: list[Media]) -> None:
    metrics = given_metrics(real, [*real[1:], *real[:1]], real, fields=("frames",))
    assert metrics["sync_swapped"] > 0.98
    assert abs(metrics["sync_original"]) < 0.3


def test_speakers_show_all_that_they_were_given(scenes: list[Scene], real: list[Media], images: list[Tensor]) -> None:
    captions = [scene.caption for scene in scenes]
    metrics = speaker_metrics(real, real, captions=captions, images=images)
    assert set(metrics) == {f"{name}{part}" for name in NAMES for part in ("", "_reference", "_chance")}
    assert all(metrics[name] == 1 for name in NAMES)
    assert metrics["identity_chance"] == pytest.approx(1 / COUNT)
    assert all(metrics[f"{name}_chance"] < 0.6 for name in NAMES)


def test_what_another_clip_was_given_is_right_by_chance(
    scenes: list[Scene], real: list[Media], images: list[Tensor]
) -> None:
    found = shown_shares(turned(real), captions=[s.caption for s in scenes], images=images[1:] + images[:1])
    assert found["kind"] < 0.7
    assert found["background"] < 0.7
    assert found["shirt"] == 1, "the captions are their own"
    assert found["identity"] == 0
    assert not speaker_metrics(real, turned(real)), "the reference does not show what it was given"


def test_an_evaluation_measures_speakers_where_real_clips_are_some(real: list[Media], scenes: list[Scene]) -> None:
    captions = [scene.caption for scene in scenes]
    measured = evaluate_clips(turned(real), real, captions=captions)
    assert measured["kind_reference"] == measured["shirt"] == 1
    assert measured["kind"] < 0.3
    assert "shirt" not in evaluate_clips(real, real, captions=["a talk", *captions[1:]])
    faces = [draw_scene(SyntheticSource(clips=6), index, seed=0).media for index in range(6)]
    assert not speaker_metrics(faces, faces)
    assert torch.isfinite(torch.tensor(list(measured.values()))).all()
