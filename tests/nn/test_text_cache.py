"""What layers compute of a text alone, they compute once for all steps of a sampler, and bitwise the same."""

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from talkies.flow.config import EulerSampler, SkipLayerConfig
from talkies.flow.guidance import guided
from talkies.flow.sampler import sample
from talkies.streams.batch import Condition, Memory, Stream, Text
from talkies.streams.system import Rung

sys.path.append(str(Path(__file__).parents[1] / "models"))
sys.path.append(str(Path(__file__).parents[1] / "models" / "mochi"))
import joint_toy
import toy_streams

STEPS = 4
LADDER = (Rung(without=frozenset({"text"})), Rung(without=frozenset(), scale="text"))
Case = tuple[nn.Module, dict[str, Stream], Condition, list[str]]


def mova() -> Case:
    model = toy_streams.toy("video_low", "audio", "bridge")
    streams = {"video": toy_streams.video(), "audio": toy_streams.audio()}
    layers = [f"{tower}.blocks.0.cross_attn.{part}" for tower in ("video_low", "audio") for part in "kv"]
    embeddings = ["video_low.text_embedding", "audio.text_embedding"]
    return (
        model,
        streams,
        toy_streams.condition(expert=1),
        [*layers, *embeddings],
    )


def mirage() -> Case:
    streams, condition = joint_toy.streams(), joint_toy.prompt(4, 2)
    return joint_toy.toy(), streams, condition, ["text.projection", "text.pool"]


def sampled(case: Case, *, remembered: bool) -> tuple[dict[str, Tensor], Counter[str]]:
    """The latents, and how often each module was called."""
    model, streams, condition, _ = case
    calls: Counter[str] = Counter()
    hooks = [
        module.register_forward_hook(lambda *_, name=name: calls.update([name]))
        for name, module in model.named_modules()
    ]
    text = condition.texts["text"]
    null = Text(embedding=torch.zeros_like(text.embedding), length=torch.zeros_like(text.length))
    prompt, empty = (replace(t, cache=Memory()) if remembered else t for t in (text, null))
    levels = {name: [1 - i / STEPS for i in range(STEPS + 1)] for name, s in streams.items() if s.role == "target"}
    denoiser = guided(
        model,
        LADDER,
        {"text": 3.0},
        {"text": empty},
        steps=STEPS,
        skip_layer=SkipLayerConfig(layers=(1,)),
    )
    with torch.no_grad():
        inactive = condition.inactive
        found = sample(
            EulerSampler(),
            denoiser,
            streams,
            replace(condition, texts={"text": prompt}),
            levels,
            inactive=lambda _: inactive,
        )
    for hook in hooks:
        hook.remove()
    return found, calls


@pytest.mark.parametrize("case", [mova, mirage])
def test_they_are_computed_once_per_text(case: Callable[[], Case]) -> None:
    torch.manual_seed(0)
    of = case()
    exact, often = sampled(of, remembered=False)
    found, once = sampled(of, remembered=True)
    assert all(torch.equal(exact[name], found[name]) for name in exact)
    evaluations = 3 * STEPS  # without the text, with it, and with a layer less
    assert {name: often[name] for name in of[3]} == dict.fromkeys(of[3], evaluations)
    assert {name: once[name] for name in of[3]} == dict.fromkeys(of[3], 2)
    others = often.keys() - {name for name in often if often[name] != once[name]}
    assert any(".self_attn" in name or ".enter" in name for name in others)


def test_a_text_of_another_batch_is_another_text() -> None:
    text = Text(embedding=torch.ones(1, 2, 3), length=torch.ones(1).long(), cache=Memory())
    assert text.expand(1) is text
    assert text.expand(2).cache is not text.cache
    assert text.to("cpu").cache is not text.cache
