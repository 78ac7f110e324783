"""The closed-form codecs of the toy, on clips of the synthetic shapes drawn here."""

import math

import pytest
import torch

from talkies.codecs import linear_audio, linear_video
from talkies.codecs.config import LinearAudioConfig, LinearVideoConfig
from talkies.config import DataError

VIDEO = LinearVideoConfig(channels=6, motion=2)
AUDIO = LinearAudioConfig(channels=6, hop=1280)
RATE = 16000


def film(seed: int, frames: int = 9, size: int = 32) -> torch.Tensor:
    """Bars of a random colour and width, the middle of which brightens and darkens."""
    draw = torch.Generator().manual_seed(seed)
    colour, width = torch.rand(3, generator=draw) * 2 - 1, int(torch.randint(2, 6, (), generator=draw))
    bars = ((torch.arange(size) * 32 // size) % (2 * width) < width).float()
    clip = (colour[:, None, None] * bars).expand(frames, 3, size, size).clone()
    blink = torch.rand(frames, generator=draw)[:, None, None, None]
    clip[:, :, size // 2 : size // 2 + size // 4, size // 2 : size // 2 + size // 4] -= blink
    return clip.clamp(-1, 1)


def sound(seed: int, seconds: float = 2.0) -> torch.Tensor:
    """A harmonic tone of random pitch with a random smooth envelope."""
    draw = torch.Generator().manual_seed(seed)
    clock = torch.arange(int(seconds * RATE)) / RATE
    pitch = (112.5, 162.5, 237.5)[int(torch.randint(0, 3, (), generator=draw))]
    slow, phase = 1 + 2 * torch.rand(2, generator=draw)
    envelope = (0.5 + 0.5 * torch.sin(2 * torch.pi * slow * clock + phase)).square()
    tone = sum(torch.sin(2 * torch.pi * pitch * h * clock + h * h) / h for h in range(1, 9))
    return 0.15 * envelope * torch.as_tensor(tone)


@pytest.fixture(scope="module")
def video() -> linear_video.LinearVideoCodec:
    return linear_video.fit(VIDEO, [film(i) for i in range(12)] + [film(i, size=64) for i in range(4)])


@pytest.fixture(scope="module")
def audio() -> linear_audio.LinearAudioCodec:
    return linear_audio.fit(AUDIO, [sound(i) for i in range(24)])


@pytest.mark.parametrize(("size", "frames"), [(32, 9), (64, 9), (32, 1)])
def test_video_latents_follow_the_grid_at_every_size(
    video: linear_video.LinearVideoCodec, size: int, frames: int
) -> None:
    latent = video.encode(film(99, frames, size)[None])
    assert latent.shape[1:] == video.grid(frames, size, size, 12.5).latent_shape
    assert latent.dtype == torch.float32
    assert video.decode(latent).shape == (1, frames, 3, size, size)


def test_video_comes_back_better_with_more_components(video: linear_video.LinearVideoCodec) -> None:
    def error(codec: linear_video.LinearVideoCodec) -> float:
        clips = torch.stack([film(i) for i in range(100, 108)])
        return float((codec.decode(codec.encode(clips)) - clips).square().mean() / clips.var())

    rich = linear_video.fit(LinearVideoConfig(channels=16, motion=2), [film(i) for i in range(12)])
    assert error(video) < 0.5
    assert error(rich) < 0.5 * error(video)


def test_video_with_all_components_is_lossless() -> None:
    config = LinearVideoConfig(channels=24, motion=12, stride=2, block=2)
    draw = torch.Generator().manual_seed(0)
    clips = [torch.rand(5, 3, 8, 8, generator=draw) * 2 - 1 for _ in range(40)]
    codec = linear_video.fit(config, clips)
    assert torch.allclose(codec.decode(codec.encode(torch.stack(clips))), torch.stack(clips), atol=1e-4)


def test_video_latents_have_about_unit_variance(video: linear_video.LinearVideoCodec) -> None:
    latent = video.encode(torch.stack([film(i) for i in range(12)]))
    assert (latent.mean((0, 2, 3, 4)).abs() < 0.6).all()
    assert ((latent.std((0, 2, 3, 4)) > 0.4) & (latent.std((0, 2, 3, 4)) < 2.5)).all()


def test_video_is_causal(video: linear_video.LinearVideoCodec) -> None:
    one, other = film(1), film(1)
    other[5:] = film(2)[5:]
    a, b = video.encode(one[None]), video.encode(other[None])
    assert torch.equal(a[:, :, :3], b[:, :, :3])
    assert not torch.allclose(a[:, :, 3], b[:, :, 3])


def test_motion_within_a_latent_step_survives(video: linear_video.LinearVideoCodec) -> None:
    clips = torch.stack([film(i) for i in range(100, 108)])
    spot = (slice(None), slice(None), 0, slice(17, 23), slice(17, 23))
    truth, back = (x[spot].mean((-2, -1)) for x in (clips, video.decode(video.encode(clips))))
    # Frames 1 and 2 share latent step 1: their difference must come back, not just their mean.
    assert torch.corrcoef(torch.stack([(truth[:, 2] - truth[:, 1]), (back[:, 2] - back[:, 1])]))[0, 1] > 0.8


def test_video_refuses_what_does_not_fit(video: linear_video.LinearVideoCodec) -> None:
    with pytest.raises(DataError, match="1 mod 2"):
        video.encode(torch.zeros(1, 8, 3, 32, 32))
    with pytest.raises(DataError, match="fewer than"):
        linear_video.fit(VIDEO, [torch.zeros(9, 3, 32, 32)])


def test_audio_latents_follow_the_grid(audio: linear_audio.LinearAudioCodec) -> None:
    for samples in (1, 1280, 1281, 31999, 32000):
        latent = audio.encode(torch.zeros(2, samples))
        assert latent.shape[1:] == audio.grid(samples).latent_shape
        assert audio.decode(latent).shape == (2, math.ceil(samples / 1280) * 1280)


def test_channel_0_is_the_loudness_and_is_restored(audio: linear_audio.LinearAudioCodec) -> None:
    def rms(samples: torch.Tensor) -> torch.Tensor:
        return samples.unflatten(-1, (-1, 1280)).square().mean(-1).sqrt()

    clips = torch.stack([sound(i) for i in range(100, 116)])
    latent = audio.encode(clips)
    mean, spread = audio.level
    assert torch.allclose(latent[:, 0] * spread + mean, rms(clips), atol=1e-5)
    heard = rms(audio.decode(latent))
    for truth, back in zip(rms(clips), heard, strict=True):
        assert torch.corrcoef(torch.stack([truth, back]))[0, 1] > 0.97
    assert float(heard.mean()) == pytest.approx(float(rms(clips).mean()), rel=0.1)


def test_the_pitch_comes_back(audio: linear_audio.LinearAudioCodec) -> None:
    clips = torch.stack([sound(i) for i in range(100, 116)])
    spectra = [torch.fft.rfft(x).abs()[..., :2000].argmax(-1) / 2 for x in (clips, audio.decode(audio.encode(clips)))]
    assert ((spectra[0] - spectra[1]).abs() < 13).float().mean() > 0.8


def test_decoding_is_smooth_and_silence_is_silent(audio: linear_audio.LinearAudioCodec) -> None:
    back = audio.decode(audio.encode(torch.stack([sound(i) for i in range(4)])))
    steps = (back[:, 1:] - back[:, :-1]).abs()
    # Periods meet at the centres of the steps: the waveform must be as smooth there as one sample before and after.
    before, seam, after = (steps[:, 640 - 1 + offset :: 1280].mean() for offset in (-1, 0, 1))
    assert float(seam) == pytest.approx(float(before + after) / 2, rel=0.1)
    assert audio.decode(audio.encode(torch.zeros(1, 12800))).abs().max() < 1e-3


def test_audio_latents_have_about_unit_variance(audio: linear_audio.LinearAudioCodec) -> None:
    spread = audio.encode(torch.stack([sound(i) for i in range(24)])).std((0, 2))
    assert spread == pytest.approx(torch.ones(6), abs=0.05)


def test_audio_refuses_silence() -> None:
    with pytest.raises(DataError, match="silent"):
        linear_audio.fit(AUDIO, [torch.zeros(32000)])


def test_fitting_is_deterministic_and_the_identity_distinguishes_codecs(
    video: linear_video.LinearVideoCodec, audio: linear_audio.LinearAudioCodec
) -> None:
    again = linear_audio.fit(AUDIO, [sound(i) for i in range(24)])
    assert again.identity == audio.identity
    assert linear_audio.fit(AUDIO, [sound(i) for i in range(23)]).identity != audio.identity
    rebuilt = linear_video.LinearVideoCodec(VIDEO, video.weights)
    assert rebuilt.identity == video.identity
    assert torch.equal(rebuilt.encode(film(5)[None]), video.encode(film(5)[None]))
