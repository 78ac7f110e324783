"""Loudness against BS.1770's own calibration, and gains that never clip."""

from math import inf

import pytest
import torch

from talkies.media.loudness import PEAK, gain_to, loudness, normalise


def tone(amplitude: float, seconds: float = 2.0, rate: int = 48000, hertz: float = 997.0) -> torch.Tensor:
    return amplitude * torch.sin(2 * torch.pi * hertz * torch.arange(int(seconds * rate)) / rate)


def test_a_full_scale_sine_is_minus_three(capsys: pytest.CaptureFixture[str]) -> None:
    """BS.1770-4: a 997 Hz sine at 0 dBFS in one channel reads -3.01 LUFS."""
    assert loudness(tone(1.0), 48000) == pytest.approx(-3.01, abs=0.05)
    assert loudness(tone(0.1), 48000) == pytest.approx(-23.01, abs=0.05)


@pytest.mark.parametrize("seconds", [0.02, 0.1, 0.39, 0.4, 0.41, 2.083])
def test_short_clips_are_measured(seconds: float) -> None:
    assert loudness(tone(0.1, seconds, rate=16000, hertz=1000.0), 16000) == pytest.approx(-23, abs=1.5)


@pytest.mark.parametrize("level", [0.0, 1e-5])
def test_silence_is_minus_infinity_and_stays(level: float) -> None:
    samples = torch.full((16000,), level) * torch.tensor([1.0, -1.0]).repeat(8000)
    assert loudness(samples, 16000) == -inf
    assert torch.equal(normalise(samples, 16000, -23.0), samples)


@pytest.mark.parametrize("target", [-30.0, -23.0, -16.0])
def test_the_target_is_reached(target: float) -> None:
    samples = tone(0.05, rate=16000)
    assert not gain_to(samples, 16000, target).limited
    assert loudness(normalise(samples, 16000, target), 16000) == pytest.approx(target, abs=0.05)


def test_the_peak_limits_the_gain() -> None:
    samples = tone(0.02, rate=16000)
    samples[8000] = 0.5
    assert gain_to(samples, 16000, -10.0).limited
    louder = normalise(samples, 16000, -10.0)
    assert float(louder.abs().max()) == pytest.approx(PEAK, rel=1e-5)
    assert loudness(louder, 16000) < -10


@pytest.mark.parametrize("samples", [torch.zeros(0), torch.zeros(2, 100)])
def test_what_is_no_mono_sound_is_refused(samples: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="mono samples"):
        loudness(samples, 16000)
