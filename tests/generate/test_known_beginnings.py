"""Models that were shown clean latent steps go on from clean beginnings: windows of a film, and a first picture."""

from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lossless import HopAudio, PixelVideo
from torch import Tensor

from talkies.codecs.byte_text import ByteTextEncoder
from talkies.codecs.config import ByteTextConfig
from talkies.flow.config import (
    DdimSampler,
    DpmSdeSampler,
    SamplingConfig,
    UniformGridSchedule,
    WindowsConfig,
    ZeroSnrVPredictionTarget,
)
from talkies.flow.draw import gaussian, shuffled
from talkies.flow.known_config import KnownFrames
from talkies.flow.target import alpha_sigma
from talkies.generate.clip import generate
from talkies.generate.model import Generator
from talkies.generate.request import Request
from talkies.generate.windows import generate_long, windows_for
from talkies.models.mirage.config import MirageConfig
from talkies.models.mirage.phases import StitchConfig
from talkies.models.mirage.system import MirageSystem
from talkies.streams.batch import Condition, Stream
from talkies.streams.codec import Codecs
from talkies.streams.system import Parts, Setup

FPS, FRAMES, SIDE, OVERLAP = 24.0, 49, 4, 5
VIDEO, SOUND = PixelVideo(stride=4, block=2), HopAudio(sample_rate=2400, hop=100)
"""As CogVideoX's: 49 frames are 13 latent steps; a hop of sound is a frame."""
TARGET = ZeroSnrVPredictionTarget()
SAMPLING = SamplingConfig(
    steps=3, schedule=UniformGridSchedule(), sampler=DdimSampler(), windows=WindowsConfig(overlap=OVERLAP / FPS)
)
SAMPLERS = [DdimSampler(), DpmSdeSampler()]


class Shown(MirageSystem):
    """Mirage without a reference, whose video has known frames in training."""

    def parts(self, setup: Setup) -> Parts:
        return replace(super().parts(setup), known={"video": KnownFrames(head=0.2)})


class Loud:
    """The exact v to pictures as bright as their step's sound, each latent step by its own level. `seen` lists the
    videos of every call."""

    def __init__(self) -> None:
        self.seen: list[Stream] = []

    def __call__(self, streams: Mapping[str, Stream], _: Condition) -> dict[str, Tensor]:
        video = streams["video"]
        self.seen.append(video)
        bright = SOUND.decode(streams["sound"].latent).unflatten(1, (FRAMES, -1)).mean(2)
        wanted = VIDEO.encode(bright[:, :, None, None, None].expand(-1, -1, 3, SIDE, SIDE))
        alpha, sigma = alpha_sigma(TARGET, video.time.clamp(min=1e-6), video.latent)
        noise = (video.latent - alpha * wanted) / sigma
        return {"video": alpha * noise - sigma * wanted}


def model(denoiser: Loud, system: MirageSystem | None = None) -> Generator:
    text = ByteTextEncoder(ByteTextConfig(dim=8, length=4))
    codecs = {"video": VIDEO.config, "sound": SOUND.config, "text": text.config}
    return Generator(
        denoiser=denoiser,
        codecs=Codecs(video={"video": VIDEO}, audio={"sound": SOUND}, text={"text": text}),
        system=system or Shown(),
        setup=SimpleNamespace(model=MirageConfig(preset="toy"), phase=StitchConfig(), codecs=codecs),
        grids={"video": VIDEO.grid(FRAMES, SIDE, SIDE, FPS), "sound": SOUND.grid(FRAMES * 100)},
        fps=FPS,
        target=TARGET,
    )


def request(frames: int = FRAMES, **more: Any) -> Request:
    sound = torch.linspace(-0.9, 0.9, frames).repeat_interleave(100)
    return Request(prompts={"text": "a face"}, id=more.pop("id", "a"), given={"sound": sound}, **more)


def test_windows_of_49_frames_go_on_from_5_that_are_2_latent_steps() -> None:
    """44 frames on each time; the first two steps of a window are those of the film so far, clean at every step."""
    denoiser, asked = Loud(), request(120)
    windows = windows_for(model(denoiser), asked, SAMPLING)
    assert windows is not None
    assert (windows.overlap, list(windows.begins)) == (OVERLAP, [0, 44, 88])
    film = torch.cat(list(generate_long(model(denoiser), asked, SAMPLING, windows=windows, seed=0)))
    assert film.shape == (120, 3, SIDE, SIDE)
    expected = asked.given["sound"].view(120, 100).mean(1)
    torch.testing.assert_close(film.mean((1, 2, 3)), expected, rtol=0, atol=1e-4)
    assert len(denoiser.seen) == 3 * SAMPLING.steps
    for number, video in enumerate(denoiser.seen):
        window, level = number // SAMPLING.steps, (1.0, 0.667, 0.334)[number % SAMPLING.steps]
        if not window:
            assert video.time.tolist() == [pytest.approx(level)]
            continue
        assert video.time.tolist() == [pytest.approx([0.0, 0.0] + [level] * 11)]
        before = VIDEO.encode(film[None, 44 * window : 44 * window + OVERLAP])
        assert before.shape[2] == 2
        torch.testing.assert_close(video.latent[:, :, :2], before, rtol=0, atol=1e-4)
    firsts = denoiser.seen[:: SAMPLING.steps]
    noise = [shuffled(0, ["a"], [w], "sample/video", video.grid.latent_shape) for w, video in enumerate(firsts)]
    assert torch.equal(firsts[0].latent, noise[0])
    assert all(torch.equal(firsts[w].latent[:, :, 2:], noise[w][:, :, 2:]) for w in (1, 2))


def test_the_same_windows_are_noised_for_a_model_that_knows_no_clean_steps() -> None:
    denoiser, asked = Loud(), request(90)
    other = model(denoiser, MirageSystem())
    windows = windows_for(other, asked, SAMPLING)
    assert windows is not None
    film = torch.cat(list(generate_long(other, asked, SAMPLING, windows=windows, seed=0)))
    assert all(video.time.shape == (1,) for video in denoiser.seen)
    before, after = VIDEO.encode(film[None, 44 : 44 + OVERLAP]), denoiser.seen[SAMPLING.steps].latent[:, :, :2]
    assert float((after - before).abs().mean()) > 0.5


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_an_image_is_the_first_latent_step_of_the_clips_that_have_one(sampler: DdimSampler | DpmSdeSampler) -> None:
    denoiser, image = Loud(), torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    sampling = replace(SAMPLING, sampler=sampler)
    both = [request(id="a", image=image), request(id="b")]
    shown, free = generate(model(denoiser), both, sampling, seed=0)
    assert shown.frames is not None
    assert free.frames is not None
    torch.testing.assert_close(shown.frames[0], image, rtol=0, atol=1e-6)
    for video in denoiser.seen:
        assert video.time[0, 0] == 0
        assert bool((video.time[0, 1:] == video.time[1, 0]).all() and (video.time[1] == video.time[1, 0]).all())
        assert torch.equal(video.latent[0, :, 0], VIDEO.encode(image[None, None])[0, :, 0])
    bright = request().given["sound"].view(FRAMES, 100).mean(1)
    torch.testing.assert_close(shown.frames[1:].mean((1, 2, 3)), bright[1:], rtol=0, atol=1e-4)
    torch.testing.assert_close(free.frames.mean((1, 2, 3)), bright, rtol=0, atol=1e-4)
    alone = generate(model(Loud()), both[1:], sampling, seed=0)[0]
    torch.testing.assert_close(alone.frames, free.frames, rtol=0, atol=1e-6)


class Restless(Loud):
    """Predicts nothing, so that the clip is what noise makes it."""

    def __call__(self, streams: Mapping[str, Stream], _: Condition) -> dict[str, Tensor]:
        self.seen.append(streams["video"])
        return {"video": torch.zeros_like(streams["video"].latent)}


@pytest.mark.parametrize("own", [True, False])
def test_a_step_s_noise_is_a_function_of_seed_id_window_stream_and_step(*, own: bool) -> None:
    """Whatever else is made with a clip. Of a window that shares its noise, it is that of the first window, with the
    latent steps in the window's order, which is the same at every step."""
    windows = WindowsConfig(noise="own" if own else "shuffled")
    sampling = replace(SAMPLING, sampler=DpmSdeSampler(), windows=windows)

    def made(*asked: Request) -> tuple[list[Tensor], list[Stream]]:
        denoiser = Restless()
        found = generate(model(denoiser), asked, sampling, seed=5)
        assert all(media.frames is not None for media in found)
        return [media.frames for media in found if media.frames is not None], denoiser.seen

    (alone,), seen = made(request(window=1))
    (first, _), _ = made(request(window=1), request(id="b"))
    torch.testing.assert_close(first, alone, rtol=0, atol=1e-6)
    for other in (request(window=2), request(window=1, id="b"), request(window=1, seed=6)):
        assert not torch.equal(made(other)[0][0], alone)
    shape = seen[0].grid.latent_shape
    now, after = (alpha_sigma(TARGET, video.time, video.latent) for video in seen[:2])
    assert float(now[0]) == 0
    name = "sample/video/step0"
    draw = gaussian(5, ["a"], [1], name, shape)
    if not own:
        order = gaussian(5, ["a"], [1], "sample/video/order", (13,)).argsort(1)[0]
        draw = gaussian(5, ["a"], [0], name, shape)[:, :, order]
        assert torch.equal(seen[0].latent, gaussian(5, ["a"], [0], "sample/video", shape)[:, :, order])
    # From noise alone, the first step keeps nothing of the latent, and the data are predicted to be 0.
    torch.testing.assert_close(seen[1].latent, after[1] * draw, rtol=0, atol=1e-6)


def test_neighbouring_windows_differ_by_their_order_alone() -> None:
    videos = []
    for window in (0, 1):
        denoiser = Restless()
        sampling = replace(SAMPLING, sampler=DpmSdeSampler())
        generate(model(denoiser), [request(window=window)], sampling, seed=5)
        videos.append(denoiser.seen)
    order = gaussian(5, ["a"], [1], "sample/video/order", (13,)).argsort(1)[0]
    for first, second in zip(*videos, strict=True):
        assert torch.equal(first.latent[:, :, order], second.latent)
