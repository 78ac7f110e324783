"""The codec in which pitch is a number, on sounds drawn here: steady and gliding tones, noise, and both."""

import math
from pathlib import Path

import pytest
import torch

from talkies.codecs import source_filter
from talkies.codecs.config import SourceFilterConfig
from talkies.codecs.load import load_codec, save_codec
from talkies.config import DataError

CONFIG = SourceFilterConfig(channels=10)
RATE, HOP = 16000, 640


def tone(seed: int, *, noise: float = 0.0, seconds: float = 1.6, glide: float = 0.0) -> tuple[torch.Tensor, float]:
    """A harmonic tone of random pitch and slope with pauses, and its pitch in Hz; `glide` in octaves per second."""
    draw = torch.Generator().manual_seed(seed)
    place, slope, phase = torch.rand(3, generator=draw).tolist()
    pitch = 90 * (330 / 90) ** place
    clock = torch.arange(int(seconds * RATE)) / RATE
    turns = 2 * torch.pi * (pitch * 2 ** (glide * (clock - seconds / 2))).double().cumsum(0) / RATE
    envelope = (0.2 + torch.sin(2 * torch.pi * (2 * clock + phase))).clamp(min=0)
    parts = [torch.sin(h * turns + h * h) * h ** -(0.5 + slope) for h in range(1, int(3500 / pitch))]
    sound = 0.05 * envelope * torch.stack(parts).sum(0).float()
    return sound + noise * torch.randn(len(clock), generator=draw), pitch


def heard_pitch(samples: torch.Tensor) -> float:
    """Of a steady tone: the frequency whose harmonics collect the most power per harmonic's number."""
    power = torch.fft.rfft(samples * torch.hann_window(len(samples)), 8 * len(samples)).abs()
    candidates = torch.exp(torch.linspace(math.log(80), math.log(360), 600))
    lines = (candidates[:, None] * torch.arange(1, 9) * 8 * len(samples) / RATE).round().long()
    between = (candidates[:, None] * (torch.arange(1, 9) - 0.5) * 8 * len(samples) / RATE).round().long()
    return float(candidates[(power[lines] - power[between]).sum(1).argmax()])


@pytest.fixture(scope="module")
def codec() -> source_filter.SourceFilterCodec:
    return source_filter.fit(CONFIG, [tone(i, noise=0.01 * (i % 2))[0] for i in range(24)])


def test_latents_follow_the_grid(codec: source_filter.SourceFilterCodec) -> None:
    for samples in (1, HOP, HOP + 1, 31999, 32000):
        latent = codec.encode(torch.zeros(2, samples))
        assert latent.shape[1:] == codec.grid(samples).latent_shape
        assert latent.isfinite().all()
        assert codec.decode(latent).shape == (2, math.ceil(samples / HOP) * HOP)


def test_the_pitch_comes_back_alone_and_in_noise(codec: source_filter.SourceFilterCodec) -> None:
    for noise in (0.0, 0.01):
        for seed in range(100, 112):
            sound, pitch = tone(seed, noise=noise)
            back = codec.decode(codec.encode(sound[None]))[0]
            assert heard_pitch(back) == pytest.approx(pitch, rel=0.02)


def test_channel_1_is_the_pitch_in_pauses_too_and_follows_a_glide(codec: source_filter.SourceFilterCodec) -> None:
    mean, spread = codec.levels[:, 1]
    for seed in range(100, 106):
        sound, pitch = tone(seed)
        steps = (codec.encode(sound[None])[0, 1] * spread + mean).exp()
        assert steps == pytest.approx(torch.full_like(steps, pitch), rel=0.02)
        sound, pitch = tone(seed, glide=0.5)
        steps = (codec.encode(sound[None])[0, 1] * spread + mean).exp().log2()
        assert float(steps[30] - steps[10]) == pytest.approx(0.5 * 0.8, abs=0.15)


def test_the_loudness_comes_back_at_every_level(codec: source_filter.SourceFilterCodec) -> None:
    def rms(samples: torch.Tensor) -> torch.Tensor:
        return samples.unflatten(-1, (-1, HOP)).square().mean(-1).sqrt()

    clips = torch.stack([tone(seed, noise=0.005 * (seed % 2))[0] for seed in range(100, 108)])
    for level in (1.0, 0.1, 0.01):
        back = codec.decode(codec.encode(level * clips))
        for truth, found in zip(rms(level * clips), rms(back), strict=True):
            assert torch.corrcoef(torch.stack([truth, found]))[0, 1] > 0.95
            assert float(found.mean()) == pytest.approx(float(truth.mean()), rel=0.1)


def test_noise_stays_noise_and_tones_stay_tones(codec: source_filter.SourceFilterCodec) -> None:
    mean, spread = codec.levels[:, 2]
    noise = 0.1 * torch.randn(32000, generator=torch.Generator().manual_seed(0))
    again = codec.encode(codec.decode(codec.encode(noise[None])))
    assert (again[0, 2] * spread + mean).mean() < 0.5
    sound, _ = tone(3)
    loud = sound.unflatten(0, (-1, HOP)).square().mean(1) > 1e-3
    again = codec.encode(codec.decode(codec.encode(sound[None])))
    assert (again[0, 2, loud] * spread + mean).mean() > 0.9


def test_the_spectrum_comes_back(codec: source_filter.SourceFilterCodec) -> None:
    clips = torch.stack([tone(seed)[0] for seed in range(100, 108)])
    spectra = [
        torch.fft.rfft(x).abs().square()[:, :6400].unflatten(-1, (16, 400)).sum(-1).clamp(min=1e-3).log10()
        for x in (clips, codec.decode(codec.encode(clips)))
    ]
    assert (spectra[0] - spectra[1])[:, :7].abs().mean() < 0.3, "within 3 dB in bands of 500 Hz"


def test_silence_is_silent_and_sounds_are_bounded(codec: source_filter.SourceFilterCodec) -> None:
    assert codec.decode(codec.encode(torch.zeros(1, 12800))).abs().max() < 1e-3
    wild = 30 * torch.randn(2, CONFIG.channels, 25, generator=torch.Generator().manual_seed(1))
    back = codec.decode(wild)
    assert back.isfinite().all()
    assert back.abs().max() <= 1


def test_a_clip_is_coded_the_same_in_any_batch(codec: source_filter.SourceFilterCodec) -> None:
    clips = torch.stack([tone(seed)[0] for seed in range(3)])
    latents = codec.encode(clips)
    assert torch.allclose(latents[1:2], codec.encode(clips[1:2]), atol=1e-4)
    assert torch.allclose(codec.decode(latents)[1:2], codec.decode(latents[1:2]), atol=1e-4)


def test_latents_have_about_unit_variance(codec: source_filter.SourceFilterCodec) -> None:
    clips = torch.stack([tone(i, noise=0.01 * (i % 2))[0] for i in range(24)])
    assert codec.encode(clips).std((0, 2)) == pytest.approx(torch.ones(10), abs=0.1)


def test_it_is_stored_and_its_identity_tells_codecs_apart(
    codec: source_filter.SourceFilterCodec, tmp_path: Path
) -> None:
    save_codec(codec, tmp_path / "voice")
    loaded = load_codec("voice", CONFIG, tmp_path)
    sound, _ = tone(5)
    assert torch.equal(loaded.encode(sound[None]), codec.encode(sound[None]))  # type: ignore[union-attr, arg-type]
    fewer = source_filter.fit(CONFIG, [tone(i)[0] for i in range(23)])
    assert loaded.identity == codec.identity != fewer.identity


def test_silence_makes_no_codec() -> None:
    with pytest.raises(DataError, match="silent"):
        source_filter.fit(CONFIG, [torch.zeros(32000)])
