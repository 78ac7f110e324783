"""The synchronisation metric on signals with known scores."""

import pytest
import torch

from talkies.streams.codec import Media
from talkies.world.config import SyntheticSource
from talkies.world.render import draw_scene
from talkies.world.sync import (
    MAX_LAG,
    correlation,
    loudness_envelope,
    mouth_opening,
    shuffled,
    sync,
)

RATE, FPS, FRAMES = 16000, 12.5, 25
HOP = int(RATE / FPS)


def clip(openings: torch.Tensor, loudness: torch.Tensor, size: int = 32) -> Media:
    """A grey face whose mouth darkens with `openings`, and a tone at `loudness` per frame."""
    frames = torch.full((len(openings), 3, size, size), 0.6)
    mouth = slice(size * 17 // 32, size * 23 // 32)
    frames[:, :, mouth, size * 12 // 32 : size * 20 // 32] -= openings[:, None, None, None]
    tone = torch.sin(torch.arange(FRAMES * HOP) * 2 * torch.pi * 200 / RATE)
    return Media(frames=frames, fps=FPS, samples=tone * loudness.repeat_interleave(HOP), sample_rate=RATE)


def signal(seed: int = 0) -> torch.Tensor:
    noise = torch.rand(1, 1, FRAMES + 4, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.avg_pool1d(noise, 5, stride=1).flatten()


@pytest.mark.parametrize("size", [32, 64])
def test_the_same_signal_scores_one_without_lag(size: int) -> None:
    score = sync(clip(signal(), signal(), size))
    assert score.correlation == pytest.approx(1, abs=1e-4)
    assert score.lag_ms == pytest.approx(0, abs=2)


def test_gains_and_brightness_do_not_matter() -> None:
    media = clip(signal(), 0.3 * signal())
    assert media.frames is not None
    assert media.samples is not None
    flicker = torch.rand(FRAMES, generator=torch.Generator().manual_seed(1))[:, None, None, None] * 0.3
    other = Media(frames=media.frames * 0.5 + flicker, fps=FPS, samples=media.samples * 0.2, sample_rate=RATE)
    assert sync(other).correlation == pytest.approx(sync(media).correlation, abs=1e-4)


def test_opposite_and_constant_signals() -> None:
    assert sync(clip(signal(), 1 - signal())).correlation == pytest.approx(-1, abs=1e-3)
    for still in (clip(torch.full((FRAMES,), 0.4), signal()), clip(signal(), torch.zeros(FRAMES))):
        assert sync(still).correlation == 0.0
        assert sync(still).lag_ms is None


@pytest.mark.parametrize("lag", [-3, -1, 1, 2])
def test_whole_frame_lags_are_found(lag: int) -> None:
    score = sync(clip(signal(2), signal(2).roll(lag)))
    assert score.lag_ms == pytest.approx(1000 * lag / FPS, abs=8)


def test_a_lag_within_a_frame_is_found() -> None:
    time = torch.arange(FRAMES * HOP) / HOP
    smooth = 0.5 + 0.4 * torch.sin(time * 0.9)
    late = 0.5 + 0.4 * torch.sin((time - 0.4) * 0.9)
    media = clip(smooth.view(FRAMES, HOP).mean(1), torch.ones(FRAMES))
    assert media.samples is not None
    shifted = Media(frames=media.frames, fps=FPS, samples=media.samples * late, sample_rate=RATE)
    assert sync(shifted).lag_ms == pytest.approx(0.4 * 1000 / FPS, abs=4)


def test_the_lag_search_is_bounded() -> None:
    lag = sync(clip(signal(3), signal(3).roll(9))).lag_ms
    assert lag is not None
    assert abs(lag) <= MAX_LAG * 1000 / FPS


def test_sound_that_ends_early_is_silent_and_odd_rates_keep_the_grid() -> None:
    envelope = loudness_envelope(torch.ones(3 * HOP), RATE, FPS, FRAMES)
    assert torch.equal(envelope > 0.5, torch.arange(FRAMES) < 3)
    assert loudness_envelope(torch.ones(44100), 44100, 24.0, 24) == pytest.approx(torch.ones(24).double())


def test_the_opening_is_seen_in_any_face() -> None:
    for domain in ("faces", "masks"):
        for size in (32, 64):
            source = SyntheticSource(domain=domain, clips=1, size=size, fps=FPS)  # type: ignore[arg-type]
            for index in range(6):
                scene = draw_scene(source, index, seed=0)
                assert scene.media.frames is not None
                assert correlation(mouth_opening(scene.media.frames), scene.openings.double()) > 0.99


def test_shuffled_is_the_mean_over_all_other_sounds() -> None:
    clips = [clip(signal(i), signal(i)) for i in range(3)]
    pairs = [(i, j) for i in range(3) for j in range(3) if i != j]
    expected = sum(
        sync(Media(frames=clips[i].frames, fps=FPS, samples=clips[j].samples, sample_rate=RATE)).correlation
        for i, j in pairs
    ) / len(pairs)
    assert shuffled(clips) == pytest.approx(expected)


def test_what_cannot_be_scored_is_refused() -> None:
    media = clip(signal(), signal())
    assert media.frames is not None
    with pytest.raises(ValueError, match="lacks one"):
        sync(Media(frames=None, fps=FPS, samples=media.samples, sample_rate=RATE))
    with pytest.raises(ValueError, match="at least 3 frames"):
        sync(Media(frames=media.frames[:2], fps=FPS, samples=media.samples, sample_rate=RATE))
    with pytest.raises(ValueError, match="at least 2 clips"):
        shuffled([media])
