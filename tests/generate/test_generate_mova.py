"""The whole path on the toy: fitted linear codecs, the byte text encoder, and MOVA with random weights."""

from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from talkies.codecs.byte_text import ByteTextEncoder
from talkies.codecs.config import ByteTextConfig, LinearAudioConfig, LinearVideoConfig
from talkies.codecs.linear_audio import fit as fit_audio
from talkies.codecs.linear_video import fit as fit_video
from talkies.flow.config import SamplingConfig
from talkies.flow.schedule import level_grid
from talkies.generate.clip import generate
from talkies.generate.model import Generator
from talkies.generate.request import Request
from talkies.models.build import build
from talkies.models.mova.config import (
    COMPONENTS,
    AudioPretrainingConfig,
    JointConfig,
    MovaConfig,
    VideoPretrainingConfig,
)
from talkies.models.mova.system import MOVA
from talkies.streams import Grid
from talkies.streams.batch import Denoiser
from talkies.streams.codec import Codecs, Media

FPS, FRAMES, SIDE = 12.0, 5, 32
PHASES = {"joint": JointConfig(), "video": VideoPretrainingConfig(), "audio": AudioPretrainingConfig()}
SECTIONS = {"video": LinearVideoConfig(), "audio": LinearAudioConfig(), "text": ByteTextConfig()}
SAMPLING = SamplingConfig(steps=4, scales={"text": 2.0})


def setup(phase: str = "joint") -> SimpleNamespace:
    sections = {name: codec for name, codec in SECTIONS.items() if phase in ("joint", name) or name == "text"}
    return SimpleNamespace(model=MovaConfig(preset="toy"), phase=PHASES[phase], codecs=sections)


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
        video={"video": fit_video(LinearVideoConfig(), frames)},
        audio={"audio": fit_audio(LinearAudioConfig(), samples)},
        text={"text": ByteTextEncoder(ByteTextConfig())},
    )


def grids() -> dict[str, Grid]:
    video = codecs().video["video"].grid(FRAMES, SIDE, SIDE, FPS)
    audio = codecs().audio["audio"].grid(round(16000 * FRAMES / FPS))
    return {"video": video, "audio": audio, "image": video}


@cache
def model(*components: str) -> Denoiser:
    return build(MOVA, setup(), components or COMPONENTS, seed=0).eval()


def generator(network: Denoiser, phase: str = "joint") -> Generator:
    seen, only = setup(phase), {} if phase == "joint" else {"audio" if phase == "video" else "video": {}}
    wanted = {name: grids()[name] for name in MOVA.parts(seen).streams}
    return Generator(denoiser=network, codecs=replace(codecs(), **only), system=MOVA, setup=seen, grids=wanted, fps=FPS)


def requests(*names: str) -> list[Request]:
    return [Request(prompts={"text": f"a {name} face"}, image=clip(len(name))[0][0], id=name) for name in names]


def make(
    network: Denoiser, made: list[Request], sampling: SamplingConfig = SAMPLING, phase: str = "joint"
) -> list[Media]:
    return generate(generator(network, phase), made, sampling, seed=1)


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


@pytest.mark.parametrize("change", ["prompts", "image", "id", "bridge scale", "text scale", "audio", "video"])
def test_everything_that_is_asked_for_reaches_the_clip(change: str) -> None:
    (plain,) = make(model(), requests("red"))
    request, sampling = requests("red")[0], SAMPLING
    if change.endswith("scale"):
        sampling = replace(SAMPLING, scales={**SAMPLING.scales, change.removesuffix(" scale"): 3.0})
    elif change in ("audio", "video"):
        frames, samples = clip(5)
        request = replace(request, given={change: samples[: plain.samples.shape[0]] if change == "audio" else frames})
    else:
        values = {"prompts": {"text": "something else"}, "image": None, "id": "other"}
        request = replace(request, **{change: values[change]})
    (changed,) = make(model(), [request], sampling)
    assert not torch.equal(plain.frames, changed.frames)
    assert not torch.equal(plain.samples, changed.samples)


@pytest.mark.parametrize("modality", ["video", "audio"])
def test_towers_work_alone(modality: str) -> None:
    parts = {"video": ("video_high", "video_low"), "audio": ("audio",)}[modality]
    network = model(*parts)
    made = [replace(r, image=r.image if modality == "video" else None) for r in requests("red")]
    (media,) = make(network, made, SAMPLING, modality)
    assert (media.frames is None, media.samples is None) == (modality == "audio", modality == "video")


def test_both_experts_are_used_and_in_their_turn() -> None:
    """Without the low-noise expert, sampling stops exactly at the boundary."""
    done: list[int] = []
    levels = level_grid(SAMPLING.schedule, "video", SAMPLING.steps)[:-1]
    high = sum(MOVA.parts(setup()).inactive({"video": level}) == {"video_low"} for level in levels)
    with pytest.raises(ValueError, match="video_low"):
        generate(generator(model("video_high"), "video"), requests("red"), SAMPLING, seed=1, progress=done.append)
    assert 0 < high < SAMPLING.steps
    assert len(done) == high
