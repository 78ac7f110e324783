"""Mirage audio makes sounds of any length, by voices of any length: a real network of random weights."""

from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from talkies.codecs.byte_text import ByteTextEncoder
from talkies.codecs.config import ByteTextConfig, WaveformConfig
from talkies.codecs.waveform import WaveformCodec
from talkies.flow.config import SamplingConfig, UniformSchedule
from talkies.generate.clip import generate
from talkies.generate.model import Generator
from talkies.generate.request import Request
from talkies.models.build import build
from talkies.models.mirage_audio.config import MirageAudioConfig
from talkies.models.mirage_audio.phases import CloningConfig
from talkies.models.mirage_audio.system import MIRAGE_AUDIO
from talkies.streams.batch import Condition, Stream
from talkies.streams.codec import Codecs

RATE, HOP = 16000, 160
SOUND, TEXT = WaveformCodec(WaveformConfig(sample_rate=RATE, hop=HOP)), ByteTextEncoder(ByteTextConfig())
SAMPLING = SamplingConfig(steps=2, schedule=UniformSchedule(), scales={"text": 3.0, "reference": 2.0}, batch=16)


@pytest.fixture(scope="module")
def model() -> Generator:
    codecs = {"sound": SOUND.config, "text": TEXT.config}
    config = MirageAudioConfig(preset="tiny", sound_features=HOP)
    setup = SimpleNamespace(model=config, phase=CloningConfig(), codecs=codecs)
    grid = SOUND.grid(RATE)
    return Generator(
        denoiser=build(MIRAGE_AUDIO, setup, ("sound", "text"), seed=0).eval(),
        codecs=Codecs(audio={"sound": SOUND}, text={"text": TEXT}),
        system=MIRAGE_AUDIO,
        setup=setup,
        grids={"sound": grid, "reference": grid},
        fps=1000.0,
    )


def request(name: str, voice: float | None = None, seconds: float | None = None) -> Request:
    tone = {} if voice is None else {"reference": torch.sin(torch.arange(round(voice * RATE)) / 20)}
    return Request(prompts={"text": f"<script> {name}"}, id=name, given=tone, seconds=seconds)


def made(model: Generator, *requests: Request, sampling: SamplingConfig = SAMPLING) -> list[Tensor]:
    found = [media.samples for media in generate(model, requests, sampling, seed=0)]
    return [samples for samples in found if samples is not None]


def test_voices_of_other_lengths_go_together(model: Generator) -> None:
    requests = [request("a", 0.7), request("b", 0.25), request("c", 1.0)]
    together = made(model, *requests)
    for one, found in zip(requests, together, strict=True):
        torch.testing.assert_close(found, made(model, one)[0], atol=1e-5, rtol=0)


def test_a_longer_voice_is_heard_whole(model: Generator) -> None:
    assert not made(model, request("a", 0.7))[0].equal(made(model, request("a", 0.9))[0])


@pytest.mark.parametrize(("seconds", "samples"), [(None, RATE), (0.5, 8000), (0.501, 8160), (1.0, RATE), (9.0, RATE)])
def test_sounds_last_as_long_as_is_asked_for_in_whole_steps(
    model: Generator, seconds: float | None, samples: int
) -> None:
    assert len(made(model, request("a", 0.7, seconds))[0]) == samples


def test_sounds_of_other_lengths_are_made_apart_and_come_back_in_order(model: Generator) -> None:
    """Equally many latent steps go together."""
    assert {len(found) for found in made(model, request("a", seconds=0.501), request("b", seconds=0.505))} == {8160}
    requests = [request("a", seconds=0.5), request("b", seconds=0.6), request("c", seconds=0.5)]
    together = made(model, *requests)
    assert [len(found) for found in together] == [8000, 9600, 8000]
    for one, found in zip(requests, together, strict=True):
        torch.testing.assert_close(found, made(model, one)[0], atol=1e-5, rtol=0)


def test_without_a_voice_nothing_guides_by_it(model: Generator) -> None:
    """The evaluations with and without one are the same: two are made, and their weights are those of three."""
    calls: list[frozenset[str]] = []

    def spied(streams: Mapping[str, Stream], condition: Condition) -> dict[str, Tensor]:
        calls.append(frozenset(streams))
        return model.denoiser(streams, condition)

    sampling = replace(SAMPLING, batch=1)
    seen = replace(model, denoiser=spied)
    (found,) = made(seen, request("a"), sampling=sampling)
    assert calls == [frozenset({"sound"})] * 2 * sampling.steps
    calls.clear()
    made(seen, request("a", 0.7), sampling=sampling)
    assert len(calls) == 3 * sampling.steps
    (plain,) = made(model, request("a"), sampling=replace(sampling, scales={"text": 3.0}))
    assert torch.equal(found, plain)


def test_of_one_batch_all_have_a_voice_or_none_has(model: Generator) -> None:
    """As a sound, or as latents."""
    latents = {"reference": torch.zeros(HOP, 50)}
    for voiced, what in ((request("a", 0.5), "given streams"), (replace(request("a"), latents=latents), "latents of")):
        for pair in ((voiced, request("b")), (request("b"), voiced)):
            with pytest.raises(ValueError, match=f"requests {pair[1].id} and {pair[0].id} of one batch have .*{what}"):
                made(model, *pair)
