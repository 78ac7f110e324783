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
    assert gain_to(samples, 16000, -23.0) is None
    assert torch.equal(normalise(samples, 16000, -23.0), samples)


def near_its_level(samples: torch.Tensor, rate: int) -> bool:
    """The change that the weighting makes to noise is bounded."""
    return -6 < loudness(samples, rate) - 10 * float(samples.double().square().mean().log10()) < 6


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000, 96000])
def test_every_length_below_a_block_is_measured(rate: int) -> None:
    """pyloudnorm rounds the block of 1,396 of the 19,199 lengths at 48 kHz to more samples than there are; 7 is one."""
    noise = torch.randn(int(0.41 * rate), generator=torch.Generator().manual_seed(3))
    lengths = {*range(1, 24), *range(24, len(noise), 4999), *range(round(0.4 * rate) - 3, round(0.4 * rate) + 4)}
    for length in lengths:
        assert near_its_level(noise[:length], rate), length


@pytest.mark.slow
def test_every_single_length_is_measured() -> None:
    noise = torch.randn(19_200, generator=torch.Generator().manual_seed(3))
    for length in range(1, len(noise) + 1):
        assert near_its_level(noise[:length], 48000), length


def test_a_block_of_its_own_length_meets_the_usual_one() -> None:
    """No step at the length of a whole block."""
    samples = tone(0.1, 0.5)
    levels = [loudness(samples[:length], 48000) for length in (19_000, 19_199, 19_200, 19_201)]
    assert max(levels) - min(levels) < 0.05


def quiet(level: float, rate: int = 16000) -> torch.Tensor:
    """A word in two seconds of noise at `level` LUFS, both far below any target."""
    noise = torch.randn(2 * rate, generator=torch.Generator().manual_seed(5))
    noise *= 10 ** ((level - loudness(noise, rate)) / 20)
    noise[rate // 2 : rate] += tone(2e-3, 0.5, rate=rate)
    return noise


@pytest.mark.parametrize("level", [-80.0, -75.0, -71.0, -66.0])
@pytest.mark.parametrize("target", [-60.0, -50.0, -23.0])
def test_quiet_clips_reach_the_target_though_louder_blocks_pass_the_gate(level: float, target: float) -> None:
    samples = quiet(level)
    assert loudness(normalise(samples, 16000, target), 16000) == pytest.approx(target, abs=0.1)


def test_one_step_would_miss() -> None:
    """Otherwise the test above would prove nothing."""
    samples = quiet(-71.0)
    once = samples * 10 ** ((-23.0 - loudness(samples, 16000)) / 20)
    assert abs(loudness(once, 16000) + 23) > 0.3


def test_samples_above_the_peak_are_attenuated() -> None:
    samples = tone(1.2, rate=16000)
    assert gain_to(samples, 16000, -1.0) is not None
    assert float(normalise(samples, 16000, -1.0).abs().max()) == pytest.approx(PEAK, rel=1e-5)


@pytest.mark.parametrize("target", [-30.0, -23.0, -16.0])
def test_the_target_is_reached(target: float) -> None:
    samples = tone(0.05, rate=16000)
    gain = gain_to(samples, 16000, target)
    assert gain is not None
    assert not gain.limited
    assert loudness(normalise(samples, 16000, target), 16000) == pytest.approx(target, abs=0.05)


def test_the_peak_limits_the_gain() -> None:
    samples = tone(0.02, rate=16000)
    samples[8000] = 0.5
    gain = gain_to(samples, 16000, -10.0)
    assert gain is not None
    assert gain.limited
    louder = normalise(samples, 16000, -10.0)
    assert float(louder.abs().max()) == pytest.approx(PEAK, rel=1e-5)
    assert loudness(louder, 16000) < -10


@pytest.mark.parametrize("samples", [torch.zeros(0), torch.zeros(2, 100)])
def test_what_is_not_mono_sound_is_refused(samples: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="mono samples"):
        loudness(samples, 16000)
