"""`sampling.batch`: clips and branches that go through real networks together are those that are made one by one."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
import test_generate_mirage as mirage
import test_generate_mova as mova
import torch
from torch import Tensor

from talkies.flow.config import ReuseConfig, SamplingConfig, SkipLayerConfig
from talkies.generate.clip import generate
from talkies.generate.model import Generator
from talkies.generate.request import Request
from talkies.streams.batch import Condition, Stream
from talkies.streams.codec import Media

THREE = SamplingConfig(steps=4, scales={"text": 3.0, "bridge": 2.0})
ALL = replace(
    mirage.SAMPLING,
    windows=None,
    steps=6,
    reuse=ReuseConfig(after=0.3, attention_every=2, branches_every=3),
)
model = mirage.model


def asked(negatives: tuple[str | None, ...]) -> list[Request]:
    """Of MOVA: with an image and without."""
    made = mova.requests(*("red", "green", "yellow", "blue")[: len(negatives)])
    return [
        replace(r, seed=7 + i, image=r.image if i % 2 else None, negative={} if text is None else {"text": text})
        for i, (r, text) in enumerate(zip(made, negatives, strict=True))
    ]


def counted(plain: Generator) -> tuple[Generator, list[int]]:
    """The model, and the rows of its calls."""
    rows: list[int] = []

    def call(streams: Mapping[str, Stream], condition: Condition) -> dict[str, Tensor]:
        rows.append(len(streams["video"].latent))
        return plain.denoiser(streams, condition)

    return replace(plain, denoiser=call), rows


def close(found: list[Media], wanted: list[Media]) -> None:
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a.frames, b.frames, rtol=0, atol=1e-5)
        if b.samples is not None:  # the toy's decoder takes the logarithm of a spectrum
            torch.testing.assert_close(a.samples, b.samples, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("batch", "rows"), [(1, [1] * 3 * 3), (2, [2, 2, 2, 1, 2]), (3, [3, 3, 3]), (6, [3, 6]), (99, [3, 6])]
)
def test_mova_with_a_negative_prompt_and_three_rungs(batch: int, rows: list[int]) -> None:
    requests = asked(("blur", None, "noise"))
    alone = [clip for r in requests for clip in generate(mova.generator(mova.model()), [r], THREE, seed=0)]
    plain, seen = counted(mova.generator(mova.model()))
    if batch == 1:
        found = [clip for r in requests for clip in generate(plain, [r], THREE, seed=0)]
        assert all(torch.equal(a.frames, b.frames) for a, b in zip(found, alone, strict=True))
    else:
        found = generate(plain, requests, replace(THREE, batch=batch), seed=0)
        close(found, alone)
    assert sum(seen) == sum(rows) * THREE.steps
    assert seen[: len(rows)] == rows if batch > 2 else set(seen) == set(rows)


@pytest.mark.parametrize("sampling", [replace(ALL, reuse=None), ALL, replace(ALL, skip_layer=None)])
def test_mirage_with_every_key(model: Generator, sampling: SamplingConfig) -> None:
    sound = torch.rand(2, model.samples_of("sound"), generator=torch.Generator().manual_seed(0)) - 0.5
    requests = [
        Request(prompts={"text": "a face"}, id="a", given={"sound": sound[0]}, negative={"text": "blurred"}),
        Request(prompts={"text": "a mask"}, id="b", given={"sound": sound[1]}, seed=3),
    ]
    alone = [clip for r in requests for clip in generate(model, [r], sampling, seed=0)]
    plain, seen = counted(model)
    close(generate(plain, requests, replace(sampling, batch=8), seed=0), alone)
    assert max(seen) == 4


def test_the_noise_of_a_clip_depends_on_its_seed_and_name_alone() -> None:
    plain, one = mova.generator(mova.model()), replace(THREE, steps=1, scales={})
    requests = asked((None, None))
    both = generate(plain, requests, one, seed=0)
    other = generate(plain, [replace(requests[0], id="else"), requests[1]], replace(one, batch=2), seed=5)
    close(other[1:], both[1:])
    assert not torch.allclose(other[0].frames, both[0].frames, atol=1e-3)
    reseeded = generate(plain, [replace(requests[1], seed=9)], one, seed=0)
    assert not torch.allclose(reseeded[0].frames, both[1].frames, atol=1e-3)


def test_skipped_blocks_are_evaluated_apart() -> None:
    plain, seen = counted(mova.generator(mova.model()))
    sampling = replace(THREE, steps=1, skip_layer=SkipLayerConfig(layers=(1,)), batch=8)
    generate(plain, asked(("blur",)), sampling, seed=0)
    assert seen == [1, 2, 1]
