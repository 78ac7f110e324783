"""What each track adds can be read where it passes: the branches' own outputs, and nothing but these."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from talkies.models.build import initialise
from talkies.models.mtv.config import PRESETS
from talkies.models.mtv.injection import Injection, Places

SHAPE = PRESETS["toy"].control
SPACE, STEPS, DIM = 4, 3, 24


def injection(**changes: Any) -> Injection:
    found = Injection(DIM, 2, replace(SHAPE, initial="scaled", **changes), 2)
    initialise(found, 0)
    return found


def places() -> Places:
    return Places(interval=tuple(range(STEPS)), space=SPACE, first=0, rope=None)


@pytest.fixture
def heard() -> dict[str, Tensor]:
    return {}


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({}, ["speech", "effects"]),
        ({"speakers": 2}, ["speech", "speech2", "effects"]),
        ({"music": "interval"}, ["speech", "effects", "music"]),
        ({"injection": "shared", "speakers": 2}, ["shared"]),
    ],
)
def test_the_sum_of_what_is_read_is_what_is_added(
    changes: dict[str, Any], names: list[str], heard: dict[str, Tensor]
) -> None:
    module = injection(**changes)
    assert [*module.added] == names
    for name, one in module.added.items():
        one.register_forward_hook(lambda _, __, found, name=name: heard.__setitem__(name, found))
    x = torch.randn(2, STEPS * SPACE, DIM)
    tracks = {
        name: torch.randn(2, STEPS, SHAPE.tokens, SHAPE.width) for name in ("speech", "speech2", "effects", "music")
    }
    found = module(x, tracks, places())
    assert all(one.shape == (2 * STEPS, SPACE, DIM) for one in heard.values())
    total = sum(heard.values(), torch.zeros(2 * STEPS, SPACE, DIM)).reshape(2, STEPS * SPACE, DIM)
    torch.testing.assert_close(found, x + total)
    other = module(x, {**tracks, "effects": torch.randn_like(tracks["effects"])}, places())
    assert not torch.equal(found, other)


def test_each_speaker_is_read_alone(heard: dict[str, Tensor]) -> None:
    module = injection(speakers=2)
    module.added["speech2"].register_forward_hook(lambda _, __, found: heard.__setitem__("second", found))
    x, tokens = torch.randn(1, STEPS * SPACE, DIM), torch.randn(3, 1, STEPS, SHAPE.tokens, SHAPE.width)
    tracks = dict(zip(("speech", "speech2", "effects"), tokens, strict=True)) | {"music": tokens[0]}
    module(x, tracks, places())
    before = heard["second"]
    module(x, {**tracks, "speech": tracks["effects"]}, places())
    assert torch.equal(heard["second"], before)
    module(x, {**tracks, "speech2": tracks["effects"]}, places())
    assert not torch.equal(heard["second"], before)


def test_reading_adds_no_parameters() -> None:
    assert not [name for name, _ in injection().named_parameters() if "added" in name]
