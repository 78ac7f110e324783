"""The whole path on the toy: fitted linear codecs, the byte text encoder, and MOVA with random weights."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor

from talkies.codecs.byte_text import ByteTextEncoder
from talkies.codecs.config import ByteTextConfig, LinearAudioConfig, LinearVideoConfig
from talkies.codecs.linear_audio import fit as fit_audio
from talkies.codecs.linear_video import fit as fit_video
from talkies.flow.objective import expert_at
from talkies.flow.schedule import sigma_grid
from talkies.generate.clip import Request, generate
from talkies.flow.config import SamplingConfig
from talkies.models.build import build_mova
from talkies.models.mova.config import COMPONENTS, MovaConfig
from talkies.models.mova.network import Mova
from talkies.streams import Grid, Modality
from talkies.streams.codec import Codecs, Media

FPS, FRAMES, SIDE = 12.0, 5, 32
TOY = MovaConfig(preset="toy")
SAMPLING = SamplingConfig(steps=4, text_scale=2.0)


def clip(seed: int) -> tuple[Tensor, Tensor]:
    """Frames and sound of one clip to fit on: noise, and a chord that swells."""
    generator = torch.Generator().manual_seed(seed)
    frames = torch.rand(FRAMES, 3, SIDE, SIDE, generator=generator) * 2 - 1
    clock = torch.arange(round(16000 * FRAMES / FPS)) / 16000
    partials = torch.rand(6, 1, generator=generator) * 3000 + 100
    swell = torch.rand(1, generator=generator) * clock / clock[-1]
    return frames, (torch.sin(6.283 * partials * clock).mean(0) * swell).clamp(-1, 1)


@cache
def codecs() -> Codecs:
    frames, samples = zip(*[clip(seed) for seed in range(12)], strict=True)
    return Codecs(
        video=fit_video(LinearVideoConfig(), frames, 0),
        audio=fit_audio(LinearAudioConfig(), samples, 0),
        text=ByteTextEncoder(ByteTextConfig()),
    )


def grids() -> dict[Modality, Grid]:
    assert codecs().video is not None
    assert codecs().audio is not None
    samples = round(16000 * FRAMES / FPS)
    return {"video": codecs().video.grid(FRAMES, SIDE, SIDE, FPS), "audio": codecs().audio.grid(samples)}


@cache
def model() -> Mova:
    return build_mova(TOY, components=frozenset(COMPONENTS), seed=0).eval()


def requests(*names: str) -> list[Request]:
    return [Request(prompt=f"a {name} face", image=clip(len(name))[0][0], id=name) for name in names]


def make(network: Mova, made: list[Request], sampling: SamplingConfig = SAMPLING, *only: Modality) -> list[Media]:
    wanted = {m: grid for m, grid in grids().items() if m in (only or grids())}
    boundary = TOY.shape.boundary
    return generate(
        network, codecs(), made, sampling, grids=wanted, fps=FPS, boundary=boundary, mask_channels=2, seed=1
    )


def test_the_toy_makes_clips_of_the_right_size() -> None:
    for media in make(model(), requests("red", "green")):
        assert media.frames is not None
        assert media.samples is not None
        assert media.frames.shape == (FRAMES, 3, SIDE, SIDE)
        assert media.samples.shape == (int(16000 * FRAMES / FPS),)
        for values in (media.frames, media.samples):
            assert bool(values.isfinite().all())
            assert float(values.abs().max()) <= 1
        assert float(media.frames.std()) > 0.01


def test_a_clip_hardly_depends_on_its_batch_and_is_reproduced_exactly() -> None:
    batched = make(model(), requests("red", "green"))
    again = make(model(), requests("red", "green"))
    alone = make(model(), requests("green"))[0]
    assert all(torch.equal(a.frames, b.frames) for a, b in zip(batched, again, strict=True))
    torch.testing.assert_close(alone.frames, batched[1].frames, rtol=0, atol=1e-4)
    torch.testing.assert_close(alone.samples, batched[1].samples, rtol=0, atol=1e-4)


@pytest.mark.parametrize("change", ["prompt", "image", "id", "bridge_scale", "text_scale"])
def test_everything_that_is_asked_for_reaches_the_clip(change: str) -> None:
    (plain,) = make(model(), requests("red"))
    request, sampling = requests("red")[0], SAMPLING
    if change.endswith("scale"):
        sampling = replace(SAMPLING, **{change: 3.0})
    else:
        values = {"prompt": "something else", "image": None, "id": "other"}
        request = replace(request, **{change: values[change]})
    (changed,) = make(model(), [request], sampling)
    assert not torch.equal(plain.frames, changed.frames)
    assert not torch.equal(plain.samples, changed.samples)


@pytest.mark.parametrize("modality", ["video", "audio"])
def test_towers_work_alone(modality: Modality) -> None:
    parts = {"video": ("video_high", "video_low"), "audio": ("audio",)}[modality]
    network = build_mova(TOY, components=frozenset(parts), seed=0).eval()
    made = [replace(r, image=r.image if modality == "video" else None) for r in requests("red")]
    (media,) = make(network, made, SAMPLING, modality)
    assert (media.frames is None, media.samples is None) == (modality == "audio", modality == "video")


def test_both_experts_are_used_and_in_their_turn() -> None:
    """Without the low-noise expert, sampling stops exactly at the boundary."""
    network, done = build_mova(TOY, components=frozenset({"video_high"}), seed=0).eval(), []
    high = sum(expert_at(s, TOY.shape.boundary) == 0 for s in sigma_grid(SAMPLING.steps, SAMPLING.video_shift)[:-1])
    with pytest.raises(ValueError, match="video_low"):
        generate(
            network, codecs(), requests("red"), SAMPLING, grids={"video": grids()["video"]}, fps=FPS,
            boundary=TOY.shape.boundary, mask_channels=2, seed=1, progress=done.append,
        )  # fmt: skip
    assert 0 < high < SAMPLING.steps
    assert len(done) == high
