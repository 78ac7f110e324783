"""Clipped sound is found through AAC; sound that only reaches full scale is not."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.signal import resample_poly

from talkies.media.clipping import CROWDED, find_clipping
from talkies.media.sound import read_audio
from talkies.media.write import write_mp4
from talkies.streams.codec import Media
from talkies.world.voices import SAMPLE_RATE, Voice, draw_loudness, sing

SECONDS = 2.0
VOICES = (  # from the synthetic world: a man's middle voice, a girl's high one, a hollow mask
    Voice(pitch=162.5, tilt=0.6, formants=(500.0, 1200.0, 2400.0)),
    Voice(pitch=237.5, tilt=0.9, formants=(850.0, 2100.0, 3200.0)),
    Voice(pitch=137.5, tilt=0.3, formants=(900.0, 3000.0), hollow=True),
)
SOUNDS = ("tone", "whole-period tone", "chord", "voice 0", "voice 1", "voice 2", "real clip")


Sound = Callable[[str, int], torch.Tensor]


@pytest.fixture
def sound(request: pytest.FixtureRequest) -> Sound:
    """(name, rate) -> two seconds that peak at full scale; only the real clip needs the real clip."""
    return lambda name, rate: made(name, rate, request)


def made(name: str, rate: int, request: pytest.FixtureRequest) -> torch.Tensor:
    turns = 2 * np.pi * np.arange(round(SECONDS * rate)) / rate
    if name == "tone":
        values = np.sin(440.7 * turns)
    elif name == "whole-period tone":
        values = np.sin(1000 * turns)
    elif name == "chord":
        values = sum(np.sin(pitch * turns + phase) for phase, pitch in enumerate((261.6, 329.6, 392.0)))
    elif name == "real clip":
        clip = request.getfixturevalue("real_clip")
        values = read_audio(clip, sample_rate=rate, seconds=SECONDS).double().numpy()
    else:
        rng = np.random.default_rng([3, int(name[-1])])
        spoken = sing(VOICES[int(name[-1])], draw_loudness(rng, round(SECONDS * SAMPLE_RATE), 1280), rng)
        values = resample_poly(spoken, rate // SAMPLE_RATE, 1)
    return torch.from_numpy(values / np.abs(values).max()).float()


def coded(samples: torch.Tensor, rate: int, folder: Path) -> torch.Tensor:
    """The sound after the project's writer and reader: AAC at 96 kbps (16 kHz) or 192 kbps (48 kHz)."""
    write_mp4(folder / "a.m4a", Media(frames=None, fps=24.0, samples=samples, sample_rate=rate), tags={})
    return read_audio(folder / "a.m4a", sample_rate=rate, seconds=SECONDS)


@pytest.mark.parametrize("rate", [16000, 48000])
@pytest.mark.parametrize("name", SOUNDS)
def test_sound_that_reaches_full_scale_is_not_clipped(name: str, rate: int, sound: Sound, tmp_path: Path) -> None:
    samples = sound(name, rate)
    assert find_clipping(samples) is None
    assert find_clipping(coded(samples, rate, tmp_path)) is None


@pytest.mark.parametrize("scale", [1.0, 0.6, 0.05])
@pytest.mark.parametrize("decibels", [6, 20])
@pytest.mark.parametrize("rate", [16000, 48000])
@pytest.mark.parametrize("name", SOUNDS)
def test_clipped_sound_is_found_at_its_level(
    *, name: str, rate: int, decibels: int, scale: float, sound: Sound, tmp_path: Path
) -> None:
    """Through the codec, and turned down after it was clipped."""
    samples = (sound(name, rate) * 10 ** (decibels / 20)).clamp(-1, 1) * scale
    for heard in (samples, coded(samples, rate, tmp_path)):
        crowd = find_clipping(heard)
        assert crowd is not None
        assert crowd.ratio > CROWDED
        assert crowd.level == pytest.approx(scale, rel=0.15)


def test_a_few_clipped_peaks_are_not_clipped_sound(sound: Sound) -> None:
    samples = sound("voice 0", 16000)
    limit = float(samples.abs().sort().values[-len(samples) // 1000])
    assert find_clipping(samples.clamp(-limit, limit) / limit) is None


@pytest.mark.parametrize("name", ["voice 0", "real clip"])
def test_coarse_samples_are_not_clipped(name: str, sound: Sound) -> None:
    """8-bit and mu-law samples crowd at the few amplitudes that they have."""
    samples = sound(name, 16000)
    for peak in (1.0, 0.5, 0.2, 0.1):
        assert find_clipping((samples * peak * 127).round() / 128) is None
    steps = (samples.sign() * (255 * samples.abs()).log1p() / np.log(256) * 127).round() / 127
    for peak in (1.0, 0.1):
        assert find_clipping(peak * steps.sign() * ((steps.abs() * np.log(256)).expm1() / 255)) is None


def repeating(rate: int, period: float, *, lasting: float, noise: float, level: float = 0.5) -> torch.Tensor:
    """A second of a tone of `period` samples, in noise."""
    time = np.arange(rate) / rate
    hiss = noise * (2 * np.random.default_rng(2).random(rate) - 1)
    return torch.from_numpy(level * np.sin(2 * np.pi * time * rate / period) * (time < lasting) + hiss).float()


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.05])
@pytest.mark.parametrize("lasting", [1.0, 0.1])
@pytest.mark.parametrize("rate", [16000, 44100, 48000])
def test_tones_that_repeat_their_samples_are_not_clipped(*, rate: int, lasting: float, noise: float) -> None:
    """Periods of a whole number of samples, and 440, 997 and 1000 Hz."""
    for period in (*range(3, 49, 3), 50, 64, 75, 80, 96, 100, 120, 160, 240, 480, rate / 440, rate / 997, rate / 1000):
        assert find_clipping(repeating(rate, period, lasting=lasting, noise=noise)) is None, period


@pytest.mark.parametrize("level", [1.0, 0.25, 0.05])
def test_two_tones_that_repeat_together_are_not_clipped(level: float) -> None:
    for first, second in ((48, 16), (48, 32), (24, 36), (12, 8), (40, 50)):
        both = sum(repeating(48000, period, lasting=1.0, noise=0.01, level=0.5) for period in (first, second))
        assert isinstance(both, torch.Tensor)
        assert find_clipping(both * level) is None, (first, second)


def sawtooth(rate: int, pitch: float) -> torch.Tensor:
    """A second with all overtones below the Nyquist frequency, and some noise. It peaks at 1."""
    turns = 2 * np.pi * np.arange(rate) / rate
    values = sum(np.sin(number * pitch * turns) / number for number in range(1, int(rate / 2.2 / pitch) + 1))
    return torch.from_numpy(values / np.abs(values).max()).float() + repeating(rate, 48, lasting=0, noise=0.005)


PITCHES = (261.63, 440.0, 500.0, 750.0, 997.0, 1000.0)


@pytest.mark.parametrize("level", [0.95, 0.3, 0.05])
@pytest.mark.parametrize("rate", [16000, 44100, 48000])
def test_bright_tones_are_not_clipped_at_the_rungs_of_their_overtones(rate: int, level: float) -> None:
    for pitch in PITCHES:
        assert find_clipping(sawtooth(rate, pitch) * level) is None, pitch


@pytest.mark.parametrize("rate", [16000, 44100, 48000])
@pytest.mark.parametrize("decibels", [6, 12])
def test_clipped_bright_tones_are_found(rate: int, decibels: int) -> None:
    for pitch in PITCHES:
        crowd = find_clipping((sawtooth(rate, pitch) * 10 ** (decibels / 20)).clamp(-1, 1) * 0.5)
        assert crowd is not None, pitch
        assert crowd.level == pytest.approx(0.5, rel=0.1)


@pytest.mark.parametrize("level", [1.0, 0.4, 0.05])
@pytest.mark.parametrize("decibels", [3, 6, 12])
@pytest.mark.parametrize("period", [24, 48, 48.144, 109.1])
def test_clipped_tones_are_found_though_they_repeat(period: float, decibels: int, level: float) -> None:
    tone = repeating(48000, period, lasting=0.5, noise=0.01, level=10 ** (decibels / 20))
    crowd = find_clipping(tone.clamp(-1, 1) * level)
    assert crowd is not None
    assert crowd.level == pytest.approx(level, rel=0.1)


def test_next_to_no_sound_is_not_judged() -> None:
    click = torch.zeros(16000)
    click[5] = 1.0
    for samples in (torch.zeros(0), torch.ones(10), torch.zeros(16000), click, torch.full((16000,), 0.01)):
        assert find_clipping(samples) is None
