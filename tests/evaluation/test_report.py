"""Metrics of generated clips against reference clips, on the synthetic world."""

from dataclasses import replace

import pytest
import torch

from talkies.config import DataError
from talkies.evaluation.report import evaluate_clips
from talkies.streams.codec import Media
from talkies.world.config import SyntheticSource
from talkies.world.render import draw_scene

SOURCE = SyntheticSource(clips=8)


def scenes(first: int, last: int) -> list[Media]:
    return [draw_scene(SOURCE, i, seed=0).media for i in range(first, last)]


@pytest.fixture(scope="module")
def real() -> list[Media]:
    return scenes(0, 6)


def test_real_clips_against_themselves(real: list[Media]) -> None:
    metrics = evaluate_clips(real, real)
    assert set(metrics) == {
        "frechet_video", "frechet_audio",
        "sync", "sync_median", "sync_shuffled", "sync_reference", "lag_ms", "lag_ms_mean",
        "motion_sync", "motion_sync_shuffled", "motion_sync_reference",
    }  # fmt: skip
    assert metrics["frechet_video"] == pytest.approx(0, abs=1e-4)
    assert metrics["frechet_audio"] == pytest.approx(0, abs=1e-4)
    assert metrics["sync"] == metrics["sync_reference"] > 0.8
    assert abs(metrics["sync_shuffled"]) < 0.5
    assert abs(metrics["lag_ms"]) < 42


def test_distances_grow_with_the_damage(real: list[Media]) -> None:
    generator = torch.Generator().manual_seed(0)

    def noisy(clip: Media, level: float) -> Media:
        assert clip.frames is not None
        assert clip.samples is not None
        frames = clip.frames + level * torch.randn(clip.frames.shape, generator=generator)
        return replace(
            clip, frames=frames, samples=clip.samples + level * torch.randn(clip.samples.shape, generator=generator)
        )

    others = evaluate_clips(scenes(6, 12), real)
    mild = evaluate_clips([noisy(clip, 0.1) for clip in real], real)
    wild = evaluate_clips([noisy(clip, 0.5) for clip in real], real)
    for key in ("frechet_video", "frechet_audio"):
        assert 0 < others[key] < wild[key]
        assert mild[key] < wild[key]


def test_sound_of_another_clip_loses_synchronisation(real: list[Media]) -> None:
    swapped = [replace(clip, samples=other.samples) for clip, other in zip(real, real[1:] + real[:1], strict=True)]
    metrics = evaluate_clips(swapped, real)
    assert metrics["sync"] < metrics["sync_reference"] - 0.3
    assert metrics["frechet_audio"] == pytest.approx(0, abs=1e-4), "the set of sounds is the same"


def test_still_mouths_score_zero_and_have_no_lag(real: list[Media]) -> None:
    still = [replace(clip, frames=torch.zeros_like(clip.frames)) for clip in real if clip.frames is not None]
    metrics = evaluate_clips(still, real)
    assert metrics["sync"] == 0
    assert "lag_ms" not in metrics
    assert "sync" not in evaluate_clips(real, still), "no sync metrics without faces in the reference"


def test_one_modality_alone(real: list[Media]) -> None:
    sounds = [replace(clip, frames=None) for clip in real]
    assert set(evaluate_clips(sounds, sounds)) == {"frechet_audio"}
    silent = [replace(clip, samples=None) for clip in real]
    assert set(evaluate_clips(silent, silent)) == {"frechet_video"}


def test_misuse_is_refused(real: list[Media]) -> None:
    with pytest.raises(DataError, match="at least 2 generated clips, found 1"):
        evaluate_clips(real[:1], real)
    with pytest.raises(DataError, match="at least 2 reference clips, found 0"):
        evaluate_clips(real, [])
    with pytest.raises(DataError, match="lack a modality"):
        evaluate_clips([replace(real[0], samples=None), *real[1:]], real)
