"""The tokens of an interval steer the latent steps of that interval, and of no other."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from cog_toy import drawn
from mtv_toy import BACKBONES, CONTROL, ROPE, SPACE, condition, toy, video
from torch import Tensor
from torch.testing import assert_close

from talkies.models.cogvideox.positions import rope
from talkies.models.mtv.backbones import children_of
from talkies.models.mtv.config import ControlShape
from talkies.models.mtv.encoder import interval_of, pooled
from talkies.models.mtv.injection import Injection, Places

STEPS = 4
ROTATED = rope(ROPE, (1, 2, 3), torch.device("cpu"))
KEYS: dict[str, dict[str, Any]] = {
    "separate": {"speakers": 2},
    "shared": {"speakers": 2, "injection": "shared"},
    "music by interval": {"music": "interval"},
    "shared, music by interval": {"injection": "shared", "music": "interval"},
}


def injection(**keys: Any) -> Injection:
    made = Injection(ROPE.dim, ROPE.heads, replace(CONTROL, **keys), 3)
    drawn(made)
    return made


def places(*, intervals: int | None = None, first: int = 0) -> Places:
    return Places(interval=interval_of(STEPS, intervals), space=SPACE, first=first, rope=ROTATED)


def tokens(shape: ControlShape, intervals: int = STEPS) -> dict[str, Tensor]:
    return {name: torch.randn(2, intervals, CONTROL.tokens, CONTROL.width) for name in shape.tracks}


@torch.no_grad()
@pytest.mark.parametrize("intervals", [None, 2, 3])
@pytest.mark.parametrize("keys", KEYS)
def test_an_interval_moves_its_own_steps(keys: str, intervals: int | None) -> None:
    """Speech of both speakers, effects, and music that is heard by interval; pooled music moves all."""
    made, count = injection(**KEYS[keys]), intervals or STEPS
    x, given, where = torch.randn(2, STEPS * SPACE, ROPE.dim), tokens(made.shape, count), places(intervals=intervals)
    plain = made(x, given, where)
    for name in made.shape.tracks:
        for index in range(count):
            other = given[name].clone()
            other[:, index] += torch.randn(2, CONTROL.tokens, CONTROL.width)
            moved = (made(x, given | {name: other}, where) - plain).unflatten(1, (STEPS, SPACE)).abs().amax((2, 3))
            everywhere = name == "music" and made.shape.music == "pooled"
            own = torch.tensor([everywhere or interval == index for interval in where.interval])
            assert torch.equal(moved > 1e-4, own.expand(2, -1)), (name, index)


@torch.no_grad()
def test_branches_read_the_same_tokens_and_add_up() -> None:
    """h + speech(h) + speech2(h) + effects(h), times 1 + scale, plus shift."""
    made = injection(speakers=2)
    x, given, where = torch.randn(2, STEPS * SPACE, ROPE.dim), tokens(made.shape), places()
    by_step = x.unflatten(1, (STEPS, SPACE)).flatten(0, 1)
    assert made.effects is not None
    assert made.style is not None
    branches = {"speech": made.speech, "speech2": made.speech, "effects": made.effects}
    found = sum(branch(by_step, given[name].flatten(0, 1), ROTATED) for name, branch in branches.items())
    scale, shift = made.style(given["music"].mean((1, 2)))[:, None].chunk(2, -1)
    steered = (x + torch.as_tensor(found).unflatten(0, (2, STEPS)).flatten(1, 2)) * (1 + scale) + shift
    assert_close(made(x, given, where), steered, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_one_attention_sees_speech_and_effects_together() -> None:
    made = injection(injection="shared", speakers=2)
    x, given = torch.randn(2, STEPS * SPACE, ROPE.dim), tokens(made.shape)
    plain = made(x, given, places())
    swapped = given | {"speech": given["effects"], "effects": given["speech"]}
    assert_close(made(x, swapped, places()), plain, rtol=1e-5, atol=1e-5)
    apart = injection(speakers=2)
    assert not torch.allclose(apart(x, swapped, places()), apart(x, given, places()), atol=1e-2)


@torch.no_grad()
def test_queries_are_rotated_by_their_place_in_the_frame() -> None:
    """Alike in every step; without rotations the place does not matter."""
    made = injection()
    given = {name: x[:, :1].expand(-1, STEPS, -1, -1) for name, x in tokens(made.shape).items()}
    x = torch.randn(2, 1, ROPE.dim).expand(-1, STEPS * SPACE, -1)
    steps = made(x, given, places()).unflatten(1, (STEPS, SPACE))
    assert_close(steps, steps[:, :1].expand_as(steps), rtol=1e-5, atol=1e-5)
    assert ((steps[:, 0] - steps[:, 0, :1]).abs().amax((0, 2))[1:] > 1e-4).all()
    still = made(x, given, Places(interval=interval_of(STEPS, None), space=SPACE, first=0, rope=None))
    assert_close(still, still[:, :1].expand_as(still), rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("intervals", [None, 2])
@pytest.mark.parametrize("size", [1, 5, 6, 9, 14, 23])
def test_slices_of_the_video_are_steered_alike(size: int, intervals: int | None) -> None:
    """They may begin and end within a step; the last one is padded past the end."""
    made = injection()
    x, given = torch.randn(2, STEPS * SPACE, ROPE.dim), tokens(made.shape, intervals or STEPS)
    whole = made(x, given, places(intervals=intervals))
    padded = torch.cat((x, torch.zeros(2, size, ROPE.dim)), 1)
    for first in range(0, STEPS * SPACE + size - 1, size):
        found = made(padded[:, first : first + size], given, places(intervals=intervals, first=first))
        valid = whole[:, first : first + size]
        assert found.shape[1] == padded[:, first : first + size].shape[1]
        assert found.isfinite().all()
        assert_close(found[:, : valid.shape[1]], valid, rtol=1e-5, atol=1e-5)


def test_intervals_divide_the_steps_in_order() -> None:
    assert interval_of(5, None) == (0, 1, 2, 3, 4)
    assert interval_of(5, 5) == (0, 1, 2, 3, 4)
    assert interval_of(13, 4) == (0,) * 4 + (1,) * 3 + (2,) * 3 + (3,) * 3
    for steps in range(1, 20):
        for intervals in range(1, steps + 1):
            assert {*interval_of(steps, intervals)} == {*range(intervals)}


def test_an_interval_has_the_mean_of_its_steps() -> None:
    x = torch.randn(2, 5, 3, 4)
    expected = torch.stack((x[:, :3].mean(1), x[:, 3:].mean(1)), 1)
    assert_close(pooled(x, 2), expected)
    assert pooled(x, None) is x


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_backbone_says_whether_and_how_it_rotates(backbone: str) -> None:
    """As it rotates the tokens of its own first step."""
    model, stream = toy(backbone), video()
    assert children_of(BACKBONES[backbone]).keys() == {"video"} | ({"attention"} if backbone != "wan" else set())
    found = model.backbone.frame_rope(stream.grid, torch.device("cpu"))
    if backbone == "cogvideox-sincos":
        assert found is None
        return
    state = model.backbone.embed(stream, condition().texts["text"])
    assert found is not None
    assert torch.equal(found.rotations, state.rope.rotations[:SPACE])
    assert found.halves == state.rope.halves
