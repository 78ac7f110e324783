"""Encoders and interactions: who influences whom, at whose noise level."""

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from cog_toy import drawn
from mtv_toy import BACKBONES, CONTROL, STEPS, condition, toy, track, video
from torch import Tensor
from torch.testing import assert_close

from talkies.models.mtv.control import Control
from talkies.models.mtv.interaction import Interaction
from talkies.streams.batch import Stream

GRID = video().grid
KINDS = {"speech": "speech", "speech2": "speech", "effects": "effects"}


def control(**keys: Any) -> Control:
    made = Control(replace(CONTROL, **keys), dim=96, heads=6, layers=1, time_dim=24)
    drawn(made)
    return made


def tracks(made: Control) -> dict[str, Stream]:
    """At a feature per frame."""
    return {name: track(steps=9, rate=Fraction(24)) for name in made.shape.tracks}


def moved(found: dict[str, Tensor], plain: dict[str, Tensor]) -> dict[str, list[int]]:
    """Track -> the intervals whose tokens differ in every sample."""
    differ = {name: (x - plain[name]).abs().amax((2, 3)) > 1e-4 for name, x in found.items()}
    assert all(torch.equal(x[0], x[1]) for x in differ.values())
    return {name: x[0].nonzero().flatten().tolist() for name, x in differ.items()}


@torch.no_grad()
@pytest.mark.parametrize("speakers", [1, 2])
def test_speech_and_effects_of_an_interval_see_each_other_and_music_is_alone(speakers: int) -> None:
    made, time = control(speakers=speakers, reach=0), torch.randn(2, 24)
    given = tracks(made)
    plain = made(given, GRID, time)
    assert {x.shape for x in plain.values()} == {(2, STEPS, CONTROL.tokens, CONTROL.width)}
    for name, stream in given.items():
        latent = stream.latent.clone()
        latent[:, :, 2] += torch.randn(2, 6)  # a frame of step 1
        found = moved(made(given | {name: replace(stream, latent=latent)}, GRID, time), plain)
        seen = {"music"} if name == "music" else {*made.shape.tracks} - {"music"}
        assert found == {other: [1] if other in seen else [] for other in made.shape.tracks}, name


@torch.no_grad()
def test_windows_reach_into_the_next_interval() -> None:
    """Frame 4, the last of step 1, is in the window of frame 5, the first of step 2."""
    made, time = control(reach=1), torch.randn(2, 24)
    given = tracks(made)
    latent = given["music"].latent.clone()
    latent[:, :, 4] += 1
    found = made(given | {"music": replace(given["music"], latent=latent)}, GRID, time)
    assert moved(found, made(given, GRID, time))["music"] == [1, 2]


@torch.no_grad()
def test_each_sample_has_its_own_level() -> None:
    made, time = control(), torch.randn(2, 24)
    given = tracks(made)
    plain, other = made(given, GRID, time), made(given, GRID, torch.stack((time[0], -time[1])))
    for name in ("speech", "effects"):
        assert torch.equal(other[name][0], plain[name][0])
        assert (other[name][1] - plain[name][1]).abs().amax() > 1e-3
    assert torch.equal(other["music"], plain["music"])


@torch.no_grad()
def test_an_interaction_is_attention_and_feed_forward_of_modulated_norms() -> None:
    """By torch's own: norms before attention and modulations by kind, the rest shared; of one interval."""
    made, time = Interaction(CONTROL, 24), torch.randn(2, 24)
    drawn(made)
    given = {name: torch.randn(2, 1, CONTROL.tokens, CONTROL.width) for name in KINDS}
    vectors = dict(zip(("speech", "effects"), made.time(time)[:, None, None].chunk(2, -1), strict=True))
    parts = {name: vectors[kind].chunk(6, -1) for name, kind in KINDS.items()}
    normed = [made.norm1[KINDS[name]](x) * (1 + parts[name][1]) + parts[name][0] for name, x in given.items()]
    joined = torch.cat(normed, 2)[:, 0]
    weights = (made.qkv.weight, made.qkv.bias, None, None, False, 0.0, made.o.weight, made.o.bias)
    found = F.multi_head_attention_forward(*3 * (joined.transpose(0, 1),), CONTROL.width, CONTROL.heads, *weights)[0]
    pieces = found.transpose(0, 1)[:, None].split(CONTROL.tokens, 2)
    for (name, x), attended in zip(given.items(), pieces, strict=True):
        _, _, gate, shift, scale, last = parts[name]
        seen = x + gate * attended
        expected = seen + last * made.mlp(made.norm2(seen) * (1 + scale) + shift)
        assert_close(made(given, KINDS, time)[name], expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("backbone", BACKBONES)
def test_interactions_are_modulated_by_what_modulates_the_backbone(backbone: str) -> None:
    """Its embedded noise level after one SiLU; with levels by step, the highest, which is the sample's own."""
    model, stream, text = toy(backbone), video(), condition().texts["text"]
    level = model.backbone.level(model.backbone.embed(stream, text))
    assert level.shape == (2, model.shape.time_dim)
    seen: list[Tensor] = []
    layer = model.video.time_projection[1] if backbone == "wan" else model.video.blocks[0].norm.modulation
    layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model({"video": stream}, replace(condition(), texts={"text": text}))
    assert torch.equal(seen[0] if backbone == "wan" else seen[0][:, 0], level)
    if backbone != "wan":
        levels = torch.stack((torch.zeros(2), stream.time, stream.time), 1)
        stepwise = model.backbone.embed(replace(stream, time=levels), text)
        assert_close(model.backbone.level(stepwise), level)


def test_a_new_speaker_begins_at_zero_and_is_shared_by_all_else() -> None:
    made = Control(replace(CONTROL, speakers=2), dim=96, heads=6, layers=1, time_dim=24)
    assert made.speakers is not None
    assert not made.speakers.vectors.any()
    assert made.encoders.keys() == {"speech", "effects", "music"}
    one = {name for name, _ in control().named_parameters()}
    assert {name for name, _ in made.named_parameters()} - one == {"speakers.vectors"}
    given, time = tracks(made), torch.randn(2, 24)
    same = made(given | {"speech2": given["speech"]}, GRID, time)
    assert_close(same["speech"], same["speech2"], rtol=1e-5, atol=1e-5)
