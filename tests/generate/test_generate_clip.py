from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from lossless import (
    AUDIO,
    FPS,
    FRAMES,
    GRIDS,
    HEIGHT,
    MASK_CHANNELS,
    SAMPLES,
    TEXT,
    VIDEO,
    WIDTH,
    Obedient,
    Recorder,
    Still,
    generator,
)
from torch import Tensor, nn

from talkies.config import CheckpointError, DataError
from talkies.flow.config import SamplingConfig, ShiftedSchedule
from talkies.flow.draw import gaussian
from talkies.flow.schedule import level_grid
from talkies.generate.clip import generate
from talkies.generate.request import Request
from talkies.streams.batch import Denoiser
from talkies.streams.codec import Media

SAMPLING = SamplingConfig(steps=5)


def picture(seed: int = 0) -> Tensor:
    return torch.rand(3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed)) * 2 - 1


REQUESTS = [
    Request(prompts={"text": "a red face"}, image=picture(), id="a"),
    Request(prompts={"text": "a blue mask"}, id="b"),
]


def make(
    denoiser: Denoiser,
    requests: list[Request] = REQUESTS,
    phase: str = "joint",
    *,
    sampling: SamplingConfig = SAMPLING,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
    **changes: Any,
) -> list[Media]:
    """`changes` to the generator."""
    return generate(generator(denoiser, phase, **changes), requests, sampling, seed=seed, progress=progress)


def level(prompt: str, coupled: bool = True) -> float:
    return float(TEXT.encode([prompt]).embedding.mean()) / 4 + 0.125 * coupled


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
        expected = torch.full((SAMPLES,), level(request.prompts["text"]))
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
    expected = TEXT.encode([r.prompts["text"] for r in REQUESTS])
    assert torch.equal(condition.texts["text"].embedding, expected.embedding)


def test_the_initial_noise_is_the_seed_s_and_the_id_s() -> None:
    denoiser = Still()
    media = make(denoiser, seed=3)
    assert denoiser.calls[0][0].keys() == {"video", "audio"}
    for m in ("video", "audio"):
        grid = GRIDS[m]
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
def test_one_stream_alone_equals_that_of_joint_generation(modality: str) -> None:
    """The Still denoiser does not mix streams; audio alone has the grid's whole length."""
    requests = [replace(r, image=None) for r in REQUESTS]
    batched, media = make(Still(), requests), make(Still(), requests, modality)
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
    sampling = SamplingConfig(steps=50, schedule=ShiftedSchedule(shifts={"video": 5.0, "audio": 1.0}))
    make(denoiser, sampling=sampling, progress=done.append)
    assert done == list(range(1, 51))
    assert [set(condition.inactive) for _, condition in denoiser.calls] == [{"video_low"}] * 18 + [{"video_high"}] * 32
    times = [(float(s["video"].time[0]), float(s["audio"].time[0])) for s, _ in denoiser.calls]
    assert times[1] == pytest.approx((0.99593, 0.98), abs=1e-5)


@pytest.mark.parametrize(("text", "bridge", "evaluations"), [(1, 1, 1), (4, 1, 2), (4, 4, 2), (1, 2, 3), (4, 2, 3)])
def test_guidance_reaches_the_sound(text: float, bridge: float, evaluations: int) -> None:
    denoiser = Obedient()
    media = make(denoiser, sampling=replace(SAMPLING, scales={"text": text, "bridge": bridge}))
    assert len(denoiser.calls) == 5 * evaluations
    for clip, request in zip(media, REQUESTS, strict=True):
        apart, null, full = level("", coupled=False), level(""), level(request.prompts["text"])
        expected = apart + bridge * (null - apart) + text * (full - null)
        assert abs(expected) < 1
        assert clip.samples is not None
        torch.testing.assert_close(clip.samples, torch.full((SAMPLES,), expected), rtol=0, atol=2e-5)


def test_one_stream_refuses_a_bridge_scale() -> None:
    denoiser = Still()
    with pytest.raises(ValueError, match=r"sampling\.scales\.bridge is 2\.0, but there is nothing here to guide"):
        make(
            denoiser,
            [Request(prompts={"text": "a"}, id="a")],
            "audio",
            sampling=replace(SAMPLING, scales={"bridge": 2.0}),
        )
    assert not denoiser.calls


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
        make(denoiser, [Request(prompts={"text": "a"}, image=image, id="x")])
    assert not denoiser.calls


def test_settings_that_would_be_ignored_are_refused() -> None:
    with pytest.raises(ValueError, match="request a has an image, but no video"):
        make(Still(), REQUESTS, "audio")
    with pytest.warns(UserWarning, match="prompt of request long is too long: its last 2 units"):
        make(Still(), [Request(prompts={"text": "one two three four five six"}, id="long")])


def test_numbers_that_are_not_finite_never_become_a_clip() -> None:
    class Broken(Recorder):
        def velocity(self, name, stream, condition):  # noqa: ANN001, ANN202
            return stream.latent * (torch.nan if name == "audio" else 1.0)

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


def sound(seed: int) -> Tensor:
    return torch.rand(SAMPLES, generator=torch.Generator().manual_seed(seed)) - 0.5


def film(seed: int) -> Tensor:
    return torch.rand(FRAMES, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_a_given_sound_is_clean_and_returned_as_it_was() -> None:
    """Only the video is made, and exactly as many evaluations as steps."""
    denoiser = Obedient()
    requests = [replace(r, given={"audio": sound(i)}) for i, r in enumerate(REQUESTS)]
    media = make(denoiser, requests)
    assert len(denoiser.calls) == SAMPLING.steps
    for streams, _ in denoiser.calls:
        assert torch.equal(AUDIO.decode(streams["audio"].latent)[:, :SAMPLES], torch.stack([sound(0), sound(1)]))
        assert (streams["audio"].role, streams["audio"].time.tolist()) == ("condition", [0.0, 0.0])
        assert streams["video"].role == "target"
    for i, (clip, request) in enumerate(zip(media, requests, strict=True)):
        assert clip.samples is not None
        assert clip.frames is not None
        assert torch.equal(clip.samples, sound(i))
        first = torch.ones(3, HEIGHT, WIDTH) if request.image is None else request.image
        torch.testing.assert_close(clip.frames[0], first, rtol=0, atol=1e-5)
    times = [float(streams["video"].time[0]) for streams, _ in denoiser.calls]
    assert times == pytest.approx(level_grid(SAMPLING.schedule, "video", SAMPLING.steps)[:-1])


def test_a_given_film_is_clean_brings_its_first_frame_and_belongs_to_the_expert_of_low_noise() -> None:
    denoiser = Obedient()
    requests = [replace(r, image=None, given={"video": film(i)}) for i, r in enumerate(REQUESTS)]
    media = make(denoiser, requests)
    for streams, condition in denoiser.calls:
        torch.testing.assert_close(VIDEO.decode(streams["video"].latent), torch.stack([film(0), film(1)]))
        assert streams["video"].condition is not None
        frames = VIDEO.decode(streams["video"].condition[:, MASK_CHANNELS:])
        torch.testing.assert_close(frames[:, 0], torch.stack([film(0)[0], film(1)[0]]))
        assert (float(streams["video"].time.max()), set(condition.inactive)) == (0.0, {"video_high"})
    for i, clip in enumerate(media):
        assert torch.equal(clip.frames, film(i))
        expected = torch.full((SAMPLES,), level(requests[i].prompts["text"]))
        torch.testing.assert_close(clip.samples, expected, rtol=0, atol=1e-5)


def test_what_is_given_must_be_the_same_of_all_and_leave_something_to_make() -> None:
    with pytest.raises(ValueError, match="requests b and a of one batch have other given streams"):
        make(Still(), [REQUESTS[0], replace(REQUESTS[1], given={"audio": sound(0)})])
    with pytest.raises(ValueError, match="request a gives depth, which this model does not have"):
        make(Still(), [replace(REQUESTS[0], given={"depth": sound(0)})])
    with pytest.raises(ValueError, match="request b gives audio, which this model does not have"):
        make(Still(), [replace(REQUESTS[1], given={"audio": sound(0)})], "video")
    with pytest.raises(ValueError, match="every stream is given"):
        make(Still(), [replace(REQUESTS[1], given={"audio": sound(0), "video": film(0)})])
