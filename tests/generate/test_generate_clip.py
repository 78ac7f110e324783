from dataclasses import replace
from typing import Any

import pytest
import torch
from lossless import CODECS, FPS, FRAMES, GRIDS, HEIGHT, MASK_CHANNELS, SAMPLES, WIDTH, Obedient, Recorder, Still
from torch import Tensor, nn

from talkies.config import CheckpointError, DataError
from talkies.flow.draw import gaussian
from talkies.generate.clip import Request, generate
from talkies.flow.config import SamplingConfig
from talkies.streams.batch import Denoiser
from talkies.streams.codec import Media

SAMPLING = SamplingConfig(steps=5)


def picture(seed: int = 0) -> Tensor:
    return torch.rand(3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed)) * 2 - 1


REQUESTS = [Request(prompt="a red face", image=picture(), id="a"), Request(prompt="a blue mask", id="b")]


def make(denoiser: Denoiser, requests: list[Request] = REQUESTS, **changes: Any) -> list[Media]:
    arguments = {
        "codecs": CODECS,
        "sampling": SAMPLING,
        "grids": GRIDS,
        "fps": FPS,
        "boundary": 0.9,
        "mask_channels": MASK_CHANNELS,
        "seed": 0,
    }
    return generate(denoiser, request=requests, **(arguments | changes))


def alone(modality: str) -> dict:
    return {"grids": {modality: GRIDS[modality]}, "codecs": replace(CODECS, **{_other(modality): None})}


def _other(modality: str) -> str:
    return "audio" if modality == "video" else "video"


def level(prompt: str, coupled: bool = True) -> float:
    return float(CODECS.text.encode([prompt]).embedding.mean()) / 4 + 0.125 * coupled


def test_a_clip_starts_with_its_image_and_sounds_as_long_as_it_lasts() -> None:
    media = make(Obedient())
    for clip, request in zip(media, REQUESTS, strict=True):
        assert clip.frames is not None
        assert clip.samples is not None
        assert clip.frames.shape == (FRAMES, 3, HEIGHT, WIDTH)
        assert clip.samples.shape == (SAMPLES,)
        assert (clip.fps, clip.sample_rate) == (FPS, 1000)
        first = torch.ones(3, HEIGHT, WIDTH) if request.image is None else request.image
        torch.testing.assert_close(clip.frames[0], first, rtol=0, atol=1e-5)
        torch.testing.assert_close(clip.frames[1:], torch.zeros(FRAMES - 1, 3, HEIGHT, WIDTH), rtol=0, atol=1e-5)
        expected = torch.full((SAMPLES,), level(request.prompt))
        torch.testing.assert_close(clip.samples, expected, rtol=0, atol=1e-5)


def test_the_network_gets_the_first_frame_and_its_mask() -> None:
    denoiser = Obedient()
    make(denoiser)
    streams, condition = denoiser.calls[0]
    image = streams["video"].condition
    assert image is not None
    assert image.shape == (2, MASK_CHANNELS + GRIDS["video"].channels, *GRIDS["video"].shape)
    assert bool((image[:, :MASK_CHANNELS, 0] == 1).all())
    assert not bool(image[:, :MASK_CHANNELS, 1:].any())
    assert streams["audio"].condition is None
    assert torch.equal(condition.text.embedding, CODECS.text.encode([r.prompt for r in REQUESTS]).embedding)


def test_the_initial_noise_is_the_seed_s_and_the_id_s() -> None:
    denoiser = Still()
    media = make(denoiser, seed=3)
    for m, grid in GRIDS.items():
        expected = gaussian(3, ["a", "b"], [0, 0], f"sample/{m}", grid.latent_shape)
        assert torch.equal(denoiser.calls[0][0][m].latent, expected)
    assert all(x is not None and float(x.abs().max()) == 1 for clip in media for x in (clip.frames, clip.samples))


@pytest.mark.parametrize("denoiser", [Still, Obedient])
def test_a_clip_does_not_depend_on_its_batch(denoiser: type[Recorder]) -> None:
    batched = make(denoiser())
    for clip, request in zip(batched, REQUESTS, strict=True):
        (single,) = make(denoiser(), [request])
        assert single.frames is not None
        assert single.samples is not None
        assert torch.equal(single.frames, clip.frames)
        assert torch.equal(single.samples, clip.samples)


def test_seed_and_id_change_the_clip() -> None:
    (first,) = make(Still(), REQUESTS[:1])
    for (other,) in (make(Still(), REQUESTS[:1], seed=1), make(Still(), [replace(REQUESTS[0], id="c")])):
        assert not torch.equal(first.frames, other.frames)
        assert not torch.equal(first.samples, other.samples)


@pytest.mark.parametrize("modality", ["video", "audio"])
def test_one_modality_alone_equals_that_of_joint_generation(modality: str) -> None:
    """The Still denoiser does not mix modalities; audio alone has the grid's whole length."""
    requests = [replace(r, image=None) for r in REQUESTS]
    batched, media = make(Still(), requests), make(Still(), requests, **alone(modality))
    for clip, joint in zip(media, batched, strict=True):
        if modality == "video":
            assert clip.samples is None
            assert torch.equal(clip.frames, joint.frames)
        else:
            assert clip.frames is None
            assert clip.samples.shape == (11 * 40,)
            assert torch.equal(clip.samples[:SAMPLES], joint.samples)


def test_steps_levels_experts_and_progress() -> None:
    denoiser, done = Obedient(), []
    sampling = SamplingConfig(steps=50, video_shift=5.0, audio_shift=1.0)
    make(denoiser, sampling=sampling, progress=done.append)
    assert done == list(range(1, 51))
    assert [condition.expert for _, condition in denoiser.calls] == [0] * 18 + [1] * 32
    times = [(float(s["video"].time[0]), float(s["audio"].time[0])) for s, _ in denoiser.calls]
    assert times[1] == pytest.approx((0.99593, 0.98), abs=1e-5)


@pytest.mark.parametrize(("text", "bridge", "evaluations"), [(1, 1, 1), (4, 1, 2), (4, 4, 2), (1, 2, 3), (4, 2, 3)])
def test_guidance_reaches_the_sound(text: float, bridge: float, evaluations: int) -> None:
    denoiser = Obedient()
    media = make(denoiser, sampling=replace(SAMPLING, text_scale=float(text), bridge_scale=float(bridge)))
    assert len(denoiser.calls) == 5 * evaluations
    for clip, request in zip(media, REQUESTS, strict=True):
        apart, null, full = level("", coupled=False), level(""), level(request.prompt)
        expected = apart + bridge * (null - apart) + text * (full - null)
        assert abs(expected) < 1
        assert clip.samples is not None
        torch.testing.assert_close(clip.samples, torch.full((SAMPLES,), expected), rtol=0, atol=2e-5)


def test_one_modality_refuses_a_bridge_scale() -> None:
    requests = [Request(prompt="a", id="a")]
    with pytest.raises(ValueError, match=r"bridge_scale is 2\.0, but only audio"):
        make(Still(), requests, sampling=replace(SAMPLING, bridge_scale=2.0), **alone("audio"))


def test_a_network_still_trains_after_sampling() -> None:
    """A network that caches a table in its first call, as RoPE does, must be able to train afterwards."""

    class Tabled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gain, self.table = nn.Parameter(torch.ones(())), None

        def forward(self, streams, condition):  # noqa: ANN001, ANN202
            if self.table is None:
                self.table = streams["audio"].latent.new_full((), 0.5).cos()
            return {m: s.latent * (self.gain * self.table) for m, s in streams.items()}

    model = Tabled()
    media = make(model)
    assert not any(clip.samples is None or clip.samples.requires_grad for clip in media)
    (model.gain * model.table).backward()
    assert model.gain.grad == model.table


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.zeros(3, HEIGHT, WIDTH + 4), r"image of request x .* needs \(3, 8, 12\).*load_image"),
        (torch.zeros(1, HEIGHT, WIDTH), r"shape \(1, 8, 12\)"),
        (torch.full((3, HEIGHT, WIDTH), 255.0), r"outside \[-1, 1\]"),
        (torch.full((3, HEIGHT, WIDTH), torch.nan), r"outside \[-1, 1\]"),
    ],
)
def test_images_that_do_not_fit_are_refused_before_sampling(image: Tensor, message: str) -> None:
    denoiser = Still()
    with pytest.raises(DataError, match=message):
        make(denoiser, [Request(prompt="a", image=image, id="x")])
    assert not denoiser.calls


def test_settings_that_would_be_ignored_are_refused() -> None:
    with pytest.raises(ValueError, match="request a has an image, but no video"):
        make(Still(), REQUESTS, **alone("audio"))
    with pytest.raises(DataError, match="needs a video codec"):
        make(Still(), codecs=replace(CODECS, video=None))
    with pytest.warns(UserWarning, match="prompt of request long is too long: its last 2 units"):
        make(Still(), [Request(prompt="one two three four five six", id="long")])


def test_numbers_that_are_not_finite_never_become_a_clip() -> None:
    class Broken(Recorder):
        def velocity(self, modality, stream, condition):  # noqa: ANN001, ANN202
            return stream.latent * (torch.nan if modality == "audio" else 1.0)

    with pytest.raises(CheckpointError, match="sampled audio latents are not finite"):
        make(Broken())


def test_grids_of_another_codec_or_rate_are_refused() -> None:
    denoiser = Still()
    with pytest.raises(DataError, match="video grid"):
        make(denoiser, fps=24.0)
    short = {**GRIDS, "audio": replace(GRIDS["audio"], shape=(10,))}
    with pytest.raises(DataError, match="holds 400 samples, but 5 frames at 12 fps need 416"):
        make(denoiser, grids=short)
    assert not denoiser.calls
