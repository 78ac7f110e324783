"""Frechet distances and the features under them."""

import math

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from talkies.evaluation.frechet import audio_features, frechet_distance, standardised_distance, video_features

RATE = 16000


def rows(count: int, dim: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, dim, generator=generator) @ torch.randn(dim, dim, generator=generator) + seed


def tone(frequency: float, level: float = 0.3, seconds: float = 1.0) -> torch.Tensor:
    return level * torch.sin(2 * math.pi * frequency * torch.arange(round(RATE * seconds)) / RATE)


def test_equals_the_textbook_formula() -> None:
    a, b = rows(60, 5, 1), rows(40, 5, 2)
    first, second = np.cov(a.double().numpy().T), np.cov(b.double().numpy().T)
    gap = (a.double().mean(0) - b.double().mean(0)).square().sum()
    expected = float(gap) + np.trace(first + second - 2 * sqrtm(first @ second).real)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)


def test_is_symmetric_zero_on_itself_and_moves_by_the_squared_shift() -> None:
    a, b = rows(30, 4, 1), rows(30, 4, 2)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-9)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, a + 2) == pytest.approx(4 * 4, rel=1e-6)


def test_fewer_clips_than_features_are_no_problem() -> None:
    a, b = rows(3, 24, 1), rows(4, 24, 2)
    assert math.isfinite(frechet_distance(a, b))
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-9)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6 * float(a.square().sum()))


def test_standardising_makes_units_irrelevant_and_survives_constants() -> None:
    a, b = rows(20, 3, 1), rows(20, 3, 2)
    scale = torch.tensor([1.0, 100.0, 0.1])
    assert standardised_distance(a * scale, b * scale) == pytest.approx(standardised_distance(a, b), rel=1e-5)
    b[:, 0] = 5
    assert math.isfinite(standardised_distance(a, b))


def test_misuse_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 clips per set, found 1"):
        frechet_distance(rows(1, 3, 1), rows(5, 3, 2))
    with pytest.raises(ValueError, match="NaN"):
        frechet_distance(rows(5, 3, 1) * math.nan, rows(5, 3, 2))
    with pytest.raises(ValueError, match="at least 4 x 4"):
        video_features(torch.zeros(2, 3, 2, 8))
    with pytest.raises(ValueError, match="at least 1 sample"):
        audio_features(torch.zeros(0), RATE)


def test_video_features_distinguish_colour_motion_and_detail() -> None:
    still = torch.zeros(5, 3, 16, 16)
    red = still.clone()
    red[:, 0] = 0.5
    moving = torch.linspace(-0.5, 0.5, 5)[:, None, None, None].expand(5, 3, 16, 16)
    fine = still.clone()
    fine[..., ::2] = 0.5
    base = video_features(still)
    assert base.shape == (24,)
    assert base.isfinite().all()
    changed = {name: set((video_features(x) != base).nonzero().flatten().tolist()) for name, x in
               (("red", red), ("moving", moving), ("fine", fine))}  # fmt: skip
    assert changed["red"] == {0, 1, 2, 3}, "the four quarters' red"
    assert {15, 16, 17, 23} <= changed["moving"]
    assert not changed["moving"] & {19, 20, 21, 22}
    assert 19 in changed["fine"]
    assert not changed["fine"] & {15, 16, 17, 18, 23}


def test_one_frame_is_a_video() -> None:
    assert video_features(torch.rand(1, 3, 8, 8)).isfinite().all()


def test_audio_features_distinguish_pitch_level_and_rhythm() -> None:
    low, high = audio_features(tone(100), RATE), audio_features(tone(3000), RATE)
    assert low.shape == (24,)
    assert int(low[:8].argmax()) < int(high[:8].argmax())
    assert high[22] > low[22], "zero crossings"
    quiet = audio_features(tone(100, 0.03), RATE)
    assert float(low[16] - quiet[16]) == pytest.approx(1, abs=0.01), "a factor of ten is one unit"
    gate = (torch.arange(RATE) // 2000 % 2).float()
    beating = audio_features(tone(100) * gate, RATE)
    assert beating[17] > low[17] + 0.5
    assert beating[23] > 0.3 > low[23]


def test_silence_and_short_sounds_are_finite() -> None:
    for samples in (torch.zeros(RATE), torch.zeros(3), tone(100, seconds=0.01)):
        assert audio_features(samples, RATE).isfinite().all()


def test_features_hardly_depend_on_the_sample_rate() -> None:
    twice = 0.3 * torch.sin(2 * math.pi * 500 * torch.arange(2 * RATE) / (2 * RATE))
    given, other = audio_features(tone(500), RATE), audio_features(twice, 2 * RATE)
    assert int(given[:8].argmax()) == int(other[:8].argmax())
    assert float((given - other)[16:22].abs().max()) < 0.01
