"""Mirage makes films for sounds of any length: a real network of random weights, and features of the whole sound."""

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace

import pytest
import torch
from lossless import PixelVideo

from talkies.codecs.byte_text import ByteTextEncoder
from talkies.codecs.config import ByteTextConfig, LogMelConfig
from talkies.codecs.log_mel import LogMelEncoder
from talkies.flow.config import ReuseConfig, SamplingConfig, SkipLayerConfig, UniformSchedule, WindowsConfig
from talkies.generate.clip import generate
from talkies.generate.model import Generator
from talkies.generate.request import Request
from talkies.generate.windows import generate_long, windows_for
from talkies.models.build import build
from talkies.models.mirage.config import MirageConfig
from talkies.models.mirage.phases import ReferenceConfig, StitchConfig
from talkies.models.mirage.system import MIRAGE
from talkies.streams.batch import Condition, Stream
from talkies.streams.codec import Codecs

FPS, RATE, FRAMES, SIDE = 12.5, 16000, 7, 8
VIDEO = PixelVideo(stride=1, block=2)
SOUND = LogMelEncoder(LogMelConfig(channels=32))
TEXT = ByteTextEncoder(ByteTextConfig())
SAMPLING = SamplingConfig(
    steps=4,
    schedule=UniformSchedule(),
    scales={"text": 3.0, "sound": 2.0},
    skip_layer=SkipLayerConfig(layers=(1,), rescale=0.7),
    reuse=ReuseConfig(after=0.25, attention_every=2, branches_every=2),
    windows=WindowsConfig(overlap=2 / FPS),
)


@pytest.fixture(scope="module")
def model() -> Generator:
    codecs = {"video": VIDEO.config, "sound": SOUND.config, "text": TEXT.config}
    setup = SimpleNamespace(model=MirageConfig(preset="toy"), phase=StitchConfig(), codecs=codecs)
    network = build(MIRAGE, setup, ("video", "text", "sound"), seed=0).eval()
    return Generator(
        denoiser=network,
        codecs=Codecs(video={"video": VIDEO}, audio={"sound": SOUND}, text={"text": TEXT}),
        system=MIRAGE,
        setup=setup,
        grids={"video": VIDEO.grid(FRAMES, SIDE, SIDE, FPS), "sound": SOUND.grid(int(FRAMES / FPS * RATE))},
        fps=float(Fraction(FPS)),
    )


def test_a_film_for_a_long_sound_with_every_key_of_sampling(model: Generator) -> None:
    """Its pieces are continuous with the frames before, and every window hears its own part of the sound."""
    heard: list[torch.Tensor] = []

    def spied(streams: Mapping[str, Stream], condition: Condition) -> dict[str, torch.Tensor]:
        heard.append(streams["sound"].latent)
        return model.denoiser(streams, condition)

    spied_model = replace(model, denoiser=spied)
    sound = torch.rand(int(20 / FPS * RATE), generator=torch.Generator().manual_seed(0)) - 0.5
    request = Request(prompts={"text": "a face"}, id="a", given={"sound": sound}, negative={"text": "blurred"})
    windows = windows_for(spied_model, request, SAMPLING)
    assert windows is not None
    assert (windows.overlap, list(windows.begins)) == (2, [0, 5, 10, 15])
    frames = torch.cat(list(generate_long(spied_model, request, SAMPLING, windows=windows, seed=0)))
    assert frames.shape == (20, 3, SIDE, SIDE)
    assert bool(frames.isfinite().all())
    whole = SOUND.encode(torch.nn.functional.pad(sound, (0, RATE))[None])
    calls = len(heard) // len(windows.begins)
    for window, begin in enumerate(windows.begins):
        assert torch.equal(heard[window * calls], whole[:, :, 2 * begin : 2 * (begin + FRAMES)])
    assert calls == 4 + 4 + 1 + 4, "full, without sound, without both, perturbed; the third step reuses three of them"


def test_a_negative_prompt_is_heeded(model: Generator) -> None:
    """A network that leaves a dropped text out must not leave out what stands for it."""
    sound = torch.rand(int(FRAMES / FPS * RATE), generator=torch.Generator().manual_seed(0)) - 0.5
    request = Request(prompts={"text": "a face"}, id="a", given={"sound": sound})
    sampling = SamplingConfig(steps=2, scales={"text": 3.0})
    plain, same, other = (
        generate(model, [replace(request, negative=texts)], sampling, seed=0)[0].frames
        for texts in ({}, {"text": ""}, {"text": "blurred"})
    )
    assert plain is not None
    assert other is not None
    assert torch.equal(plain, same)
    assert not torch.equal(plain, other)


def test_of_one_batch_all_have_a_reference_or_none_has(model: Generator) -> None:
    setup = SimpleNamespace(model=model.setup.model, phase=ReferenceConfig(), codecs=model.setup.codecs)
    refers = replace(
        model, setup=setup, grids={**model.grids, "reference": VIDEO.grid(VIDEO.still_frames, SIDE, SIDE, FPS)}
    )
    sound = torch.zeros(int(FRAMES / FPS * RATE))
    plain = Request(prompts={"text": "a face"}, id="plain", given={"sound": sound})
    pictured = replace(plain, id="pictured", image=torch.zeros(3, SIDE, SIDE))
    sampling = SamplingConfig(steps=2)
    assert len(generate(refers, [pictured, pictured], sampling, seed=0)) == 2
    for pair in ((plain, pictured), (pictured, plain)):
        with pytest.raises(ValueError, match="request plain has no image, but others of the batch have one"):
            generate(refers, pair, sampling, seed=0)
