"""A film for a sound of any length: windows that overlap, each with noise of its own, held where they have frames in
common."""

from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from listening import AUDIO, FPS, FRAMES, PER_FRAME, RATE, SIDE, VIDEO, Lit, listener, samples
from lossless import MASK_CHANNELS
from torch import Tensor

from talkies.codecs.config import Wav2Vec2Config
from talkies.codecs.geometry import audio_grid
from talkies.flow.config import SamplingConfig, WindowsConfig
from talkies.flow.draw import gaussian, shuffled
from talkies.generate.clip import generate
from talkies.generate.model import Generator
from talkies.generate.request import Request
from talkies.generate.windows import Windows, generate_long, heard_from, windows_for
from talkies.streams import Grid

OVERLAP = 3
SAMPLING = SamplingConfig(steps=3, windows=WindowsConfig(overlap=OVERLAP / FPS))


def sound(count: int) -> Tensor:
    return torch.rand(count, generator=torch.Generator().manual_seed(0)) - 0.5


def request(count: int) -> Request:
    return Request(prompts={"text": "a face"}, id="clip", given={"audio": sound(count)})


def film(model: Generator, asked: Request, sampling: SamplingConfig = SAMPLING, seed: int = 0) -> list[Tensor]:
    """Its pieces."""
    windows = windows_for(model, asked, sampling)
    assert windows is not None
    return list(generate_long(model, asked, sampling, windows=windows, seed=seed))


def loudest(count: int) -> Tensor:
    """Brightness of each frame of the film for `sound(count)`."""
    frames = count // PER_FRAME
    return sound(count)[: samples(frames)].view(frames, PER_FRAME).abs().amax(1) * 2 - 1


@pytest.mark.parametrize("frames", [5, 9, 25])
@pytest.mark.parametrize("overlap", [0, 1, 3, 4])
@pytest.mark.parametrize("more", [0, 1, 2, 7, 8, 9, 40])
def test_windows_cover_the_film_with_as_few_as_possible(frames: int, overlap: int, more: int) -> None:
    windows = Windows(frames=frames, overlap=overlap, total=frames + more)
    begins = list(windows.begins)
    assert begins[0] == 0
    assert all(after - before == frames - overlap for before, after in pairwise(begins))
    assert begins[-1] + frames >= windows.total
    assert len(begins) == 1 or begins[-2] + frames < windows.total


@pytest.mark.parametrize("count", [samples(10), samples(15), samples(31) + 100, samples(33)])
@pytest.mark.parametrize("overlap", [0.0, 1.0, 3.0, 7.0])
def test_every_frame_follows_its_own_sound(count: int, overlap: float) -> None:
    """Also in the overlaps and across seams; less than a frame's sound at the end has no frame."""
    sampling = replace(SAMPLING, windows=WindowsConfig(overlap=overlap / FPS))
    frames = torch.cat(film(listener(Lit()), request(count), sampling))
    assert frames.shape == (count // PER_FRAME, 3, SIDE, SIDE)
    torch.testing.assert_close(frames, loudest(count)[:, None, None, None].expand_as(frames), rtol=0, atol=1e-4)


def test_a_sound_of_one_clip_needs_no_windows_and_is_made_as_ever() -> None:
    """And so does any sound, without the key."""
    model = listener(Lit())
    for count in (1000, samples(FRAMES) - 1, samples(FRAMES)):
        assert windows_for(model, request(count), SAMPLING) is None
    assert windows_for(model, request(samples(40)), replace(SAMPLING, windows=None)) is None
    assert windows_for(model, Request(prompts={"text": "a"}, id="x"), SAMPLING) is None
    asked = request(samples(FRAMES) + 1)
    (piece,) = film(model, asked)
    media = generate(model, [heard_from(model, asked, 0)], SAMPLING, seed=0)[0]
    assert torch.equal(piece, media.frames)
    short = heard_from(model, request(samples(FRAMES)), 0)
    assert torch.equal(short.given["audio"], sound(samples(FRAMES)))


@pytest.mark.parametrize("own", [True, False])
def test_a_window_s_noise_is_a_function_of_seed_id_and_window(own: bool) -> None:
    """Its own, or that of the first window, which is a clip's, in another order of latent steps."""
    denoiser = Lit()
    windows = replace(SAMPLING.windows, noise="own") if own else SAMPLING.windows
    film(listener(denoiser), request(samples(40)), replace(SAMPLING, windows=windows), seed=5)
    firsts = [streams["video"] for streams in denoiser.seen[:: SAMPLING.steps]]
    assert len(firsts) == 7
    draw = gaussian if own else shuffled
    for window, video in enumerate(firsts):
        assert torch.equal(video.latent, draw(5, ["clip"], [window], "sample/video", video.grid.latent_shape))
    assert torch.equal(firsts[0].latent, gaussian(5, ["clip"], [0], "sample/video", firsts[0].grid.latent_shape))
    assert len({tuple(video.latent.flatten().tolist()) for video in firsts}) == len(firsts)


def test_a_window_begins_where_the_one_before_ended() -> None:
    """The network is shown the frames before, noised, and the first of them as its image."""

    class Stubborn(Lit):
        """Makes another picture in every window, whatever it hears."""

        def forward(self, streams, condition):  # noqa: ANN001, ANN202
            self.seen.append(dict(streams))
            drawn = streams["video"].latent[:, :, -1:].mean((1, 2, 3, 4))
            return {"video": drawn.view(-1, 1, 1, 1, 1).expand_as(streams["video"].latent)}

    denoiser, step = Stubborn(), FRAMES - OVERLAP
    frames = torch.cat(film(listener(denoiser), request(samples(21))))
    for window in (1, 2):
        calls = [streams["video"] for streams in denoiser.seen[window * SAMPLING.steps :][: SAMPLING.steps]]
        known = VIDEO.encode(frames[None, window * step : window * step + OVERLAP])
        noise = shuffled(0, ["clip"], [window], "sample/video", calls[0].grid.latent_shape)
        for video in calls:
            assert video.condition is not None
            image = VIDEO.decode(video.condition[:, MASK_CHANNELS:])[0, 0]
            torch.testing.assert_close(image, frames[window * step], rtol=0, atol=1e-5)
            level, steps = float(video.time[0]), known.shape[2]
            path = (1 - level) * known + level * noise[:, :, :steps]
            torch.testing.assert_close(video.latent[:, :, :steps], path, rtol=0, atol=1e-4)


def test_windows_without_overlap_know_nothing_of_each_other() -> None:
    denoiser = Lit()
    sampling = replace(SAMPLING, windows=WindowsConfig(overlap=0.0))
    assert [len(piece) for piece in film(listener(denoiser), request(samples(20)), sampling)] == [9, 9, 2]


def test_the_film_is_made_while_it_is_taken() -> None:
    """One window at a time: taking a piece makes one window, and no more."""
    denoiser = Lit()
    model, asked = listener(denoiser), request(samples(40))
    windows = windows_for(model, asked, SAMPLING)
    assert windows is not None
    pieces = generate_long(model, asked, SAMPLING, windows=windows, seed=0)
    for taken in range(1, 4):
        assert len(next(pieces)) == FRAMES - OVERLAP
        assert len(denoiser.seen) == taken * SAMPLING.steps
    assert all(streams["video"].latent.shape[0] == 1 for streams in denoiser.seen)


@pytest.mark.parametrize(("wanted", "frames"), [(0.0, 0), (0.01, 1), (1.0, 1), (1.9, 1), (2.1, 3), (3.9, 3), (8.0, 7)])
def test_an_overlap_is_what_the_codec_can_encode_alone(wanted: float, frames: int) -> None:
    """Here 1 + 2 k frames, and a window must have something left to make."""
    sampling = replace(SAMPLING, windows=WindowsConfig(overlap=wanted / FPS))
    windows = windows_for(listener(Lit()), request(samples(20)), sampling)
    assert windows is not None
    assert windows.overlap == frames


def test_an_overlap_as_long_as_a_clip_is_refused() -> None:
    sampling = replace(SAMPLING, windows=WindowsConfig(overlap=0.72))
    with pytest.raises(ValueError, match=r"sampling\.windows\.overlap is 0\.72 s of 0\.72 s: lower it"):
        windows_for(listener(Lit()), request(samples(20)), sampling)


class Echo:
    """An encoder whose features are the means of a step's samples, and those 5 steps earlier and later."""

    identity, sample_rate = "echo", RATE
    config = Wav2Vec2Config(channels=3, piece=1, context=1)

    def grid(self, samples: int) -> Grid:
        return audio_grid(self.config, samples=samples)

    def encode(self, samples: Tensor) -> Tensor:
        means = AUDIO.encode(samples).mean(1)
        padded = torch.nn.functional.pad(means, (5, 5))
        return torch.stack([means, padded[:, :-10], padded[:, 10:]], 1)


class Hearing:
    """What `heard_from` asks of a model whose sound is such features."""

    hearing, fps, device = ("sound",), FPS, "cpu"
    codecs, setup = SimpleNamespace(audio={"sound": Echo()}), SimpleNamespace(codecs={"sound": Echo.config})
    grids: ClassVar = {"sound": Echo().grid(samples(FRAMES))}

    def codec_of(self, stream: str) -> str:
        return stream

    def samples_of(self, stream: str) -> int:
        return samples(FRAMES)


@pytest.mark.parametrize("frames", [30, 100])
@pytest.mark.parametrize("begin", [0, 1, 6, 28])
def test_a_window_is_heard_with_the_sound_around_it(begin: int, frames: int) -> None:
    """Its features are the crop of the film's, 25 a second, also of one that is encoded in pieces (beyond 3 s)."""
    model: Any = Hearing()
    film_sound, silence = sound(samples(frames)), torch.zeros(samples(FRAMES))
    found = heard_from(model, Request(prompts={}, id="a", given={"sound": film_sound}), begin)
    whole = Echo().encode(torch.cat([film_sound, silence])[None])[0]
    assert not found.given
    assert torch.equal(found.latents["sound"], whole[:, 2 * begin : 2 * (begin + FRAMES)])


class Thirds(Echo):
    """The means of steps of 2000 / 3 samples, and those a second earlier and later."""

    identity = "thirds"
    config = Wav2Vec2Config(channels=3, rate=24, piece=1, context=1)

    def encode(self, samples: Tensor) -> Tensor:
        edges = [round(step * self.config.hop) for step in range(self.grid(samples.shape[1]).shape[0] + 1)]
        padded = torch.nn.functional.pad(samples, (0, edges[-1] - samples.shape[1]))
        means = torch.stack([padded[:, a:b].mean(1) for a, b in pairwise(edges)], 1)
        padded = torch.nn.functional.pad(means, (24, 24))
        return torch.stack([means, padded[:, :-48], padded[:, 48:]], 1)


@pytest.mark.parametrize("frames", [30, 100])
@pytest.mark.parametrize("begin", [0, 1, 2, 5, 28])
def test_a_window_is_heard_a_step_a_frame_at_24_a_second(begin: int, frames: int) -> None:
    model: Any = Hearing()
    count = int(FRAMES * Thirds.config.hop)
    model.fps, model.grids, model.samples_of = 24.0, {"sound": Thirds().grid(count)}, lambda _: count
    model.codecs = SimpleNamespace(audio={"sound": Thirds()})
    model.setup = SimpleNamespace(codecs={"sound": Thirds.config})
    film_sound, silence = sound(int(frames * Thirds.config.hop)), torch.zeros(16000)
    found = heard_from(model, Request(prompts={}, id="a", given={"sound": film_sound}), begin)
    whole = Thirds().encode(torch.cat([film_sound, silence])[None])[0]
    assert found.latents["sound"].shape == (3, FRAMES)
    torch.testing.assert_close(found.latents["sound"], whole[:, begin : begin + FRAMES], atol=1e-7, rtol=0)


def test_a_clip_may_begin_with_known_latents() -> None:
    """Also as a batch, each with its own; what does not fit is refused before anything is computed."""
    model = listener(Lit())
    data = torch.randn(2, *VIDEO.encode(torch.zeros(1, 5, 3, SIDE, SIDE))[0].shape)
    requests = [
        replace(heard_from(model, request(samples(FRAMES)), 0), id=name, begins={"video": one})
        for name, one in zip("ab", data, strict=True)
    ]
    media = generate(model, requests, SAMPLING, seed=0)
    for clip, one in zip(media, data, strict=True):
        assert clip.frames is not None
        torch.testing.assert_close(clip.frames[:5], VIDEO.decode(one[None])[0].clamp(-1, 1), rtol=0, atol=1e-5)
    for begins, message in (
        ({"audio": data[0]}, "begins with audio, which is not made"),
        ({"video": data[0][:, :0]}, r"begins with video latents \(96, 0, 4, 4\): needed \(96, '1 to 4', 4, 4\)"),
        ({"video": data[0].repeat(1, 2, 1, 1)}, r"video latents \(96, 6, 4, 4\): needed"),
        ({"video": data[0][:1]}, r"video latents \(1, 3, 4, 4\): needed"),
    ):
        with pytest.raises(ValueError, match=message):
            generate(model, [replace(requests[0], begins=begins)], SAMPLING, seed=0)
    with pytest.raises(ValueError, match="requests b and a of one batch begin with other streams"):
        generate(model, [requests[0], replace(requests[1], begins={})], SAMPLING, seed=0)
