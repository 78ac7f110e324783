"""What MTV's network predicts: the backbone's video at first, then one that its tracks steer."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from cog_toy import drawn
from mtv_toy import BACKBONES, STEPS, TRACKS, VARIANTS, ZERO, condition, shape, streams, toy, track, video
from torch import Tensor, nn
from torch.testing import assert_close

from talkies.models.cogvideox.tower import CogVideoX
from talkies.models.mtv.network import Mtv, MtvNetwork
from talkies.models.wan.tower import Tower
from talkies.nn.attention import attend
from talkies.nn.lowering import hold_lowered
from talkies.streams.batch import Condition, Memory, Stream

PLAIN = ("cogvideox", "wan")
STEPWISE = torch.tensor([[0.0, 0.7, 0.7], [0.2, 0.4, 0.6]])
"""Noise levels of latent steps, one of them clean."""


@pytest.fixture(scope="module", params=PLAIN)
def model(request: pytest.FixtureRequest) -> Mtv:
    """Of two speakers."""
    return toy(request.param, speakers=2)


def predicted(model: nn.Module, given: Mapping[str, Stream], to: Condition) -> Tensor:
    out: Tensor = model(given, to)["video"]
    return out


def differ(found: Tensor, other: Tensor) -> None:
    """In every sample."""
    assert ((found - other).abs().amax((1, 2, 3, 4)) > 1e-4).all()


@torch.no_grad()
@pytest.mark.parametrize("backbone", BACKBONES)
def test_without_control_it_is_the_backbone(backbone: str) -> None:
    model, given, to = toy(backbone, components=("video", "attention")), {"video": video()}, condition()
    config = BACKBONES[backbone]
    plain: Any = Tower(config) if backbone == "wan" else CogVideoX(config)
    drawn(plain)
    assert torch.equal(predicted(model, given, to), plain(given["video"], to.texts["text"].embedding))


@torch.no_grad()
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_at_first_it_is_the_backbone_bitwise(backbone: str, variant: str) -> None:
    """Whatever the tracks and all other parameters are."""
    found = shape(backbone, **VARIANTS[variant])
    model, alone = (Mtv(found, components=components) for components in (("video", "control"), ("video",)))
    drawn(model, kept=ZERO)
    alone.load_state_dict({name: x for name, x in model.state_dict().items() if not name.startswith("control.")})
    given, to = streams(model), condition()
    expected = predicted(alone, {"video": given["video"]}, to)
    assert torch.equal(predicted(model, given, to), expected)
    drawn(model)
    differ(predicted(model, given, to), expected)


@torch.no_grad()
@pytest.mark.parametrize("backbone", PLAIN)
def test_scaled_injections_change_it_at_once(backbone: str) -> None:
    """As the released code does; the music is injected by 0 there, too."""
    model = Mtv(shape(backbone, initial="scaled"), components=("video", "control"))
    assert model.control is not None
    given, to = streams(model), condition()
    outputs = [
        one.attention.o for injection in model.control.injections for one in (injection.speech, injection.effects)
    ]
    assert not any(one.bias.any() for one in outputs)
    spread = torch.cat([one.weight.flatten() for one in outputs]).std()
    assert float(spread) == pytest.approx(0.02 / (2 * 3) ** 0.5, rel=0.05)
    assert not any(parameter.any() for one in model.control.injections for parameter in one.style.parameters())
    moved = predicted(model, given, to)
    for output in outputs:
        nn.init.zeros_(output.weight)
    assert not torch.equal(moved, predicted(model, given, to))


def alone(streams: Mapping[str, Stream], to: Condition, index: int) -> tuple[dict[str, Stream], Condition]:
    """One sample of a batch."""

    def of(x: Tensor | None) -> Tensor | None:
        return None if x is None else x[index : index + 1]

    cut = {
        name: replace(s, latent=s.latent[index : index + 1], time=s.time[index : index + 1], mask=of(s.mask))
        for name, s in streams.items()
    }
    text = to.texts["text"]
    one = replace(text, embedding=text.embedding[index : index + 1], length=text.length[index : index + 1])
    return cut, replace(to, texts={"text": one})


@torch.no_grad()
@pytest.mark.parametrize(("backbone", "levels"), [("cogvideox", None), ("cogvideox", STEPWISE), ("wan", None)])
@pytest.mark.parametrize("variant", ["two speakers", "one attention, music by interval", "two intervals"])
def test_samples_do_not_see_each_other(backbone: str, levels: Tensor | None, variant: str) -> None:
    """Each is modulated by its own noise level, also the interactions (which in the released code are not)."""
    model = toy(backbone, **VARIANTS[variant])
    given, to = streams(model, levels=levels), condition()
    given["effects"] = replace(given["effects"], mask=torch.arange(19) < torch.tensor([[19], [11]]))
    batched = predicted(model, given, to)
    for index in range(2):
        assert_close(batched[index : index + 1], predicted(model, *alone(given, to, index)), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_dropped_absent_and_silent_tracks_are_the_same(model: Mtv) -> None:
    """And other than those that are there, and every one is heard."""
    given, to = streams(model), condition()
    heard = predicted(model, given, to)
    for name in TRACKS:
        dropped = replace(given[name], mask=torch.zeros(2, 19, dtype=torch.bool))
        silent = replace(given[name], latent=torch.zeros_like(given[name].latent))
        absent = {other: stream for other, stream in given.items() if other != name}
        expected = predicted(model, absent, to)
        differ(heard, expected)
        for found in (given | {name: dropped}, given | {name: silent}):
            assert torch.equal(predicted(model, found, to), expected), name
        assert torch.equal(predicted(model, given, replace(to, without=frozenset({name}))), expected), name


@torch.no_grad()
def test_a_track_is_dropped_for_the_samples_that_its_mask_names(model: Mtv) -> None:
    given, to = streams(model), condition()
    mask = torch.tensor([[True], [False]]).expand(2, 19)
    found = predicted(model, given | {"speech": replace(given["speech"], mask=mask)}, to)
    heard, unheard = predicted(model, given, to), predicted(model, given, replace(to, without=frozenset({"speech"})))
    assert_close(found[0], heard[0], rtol=1e-6, atol=1e-6)
    assert_close(found[1], unheard[1], rtol=1e-6, atol=1e-6)


@torch.no_grad()
def test_speakers_are_told_apart(model: Mtv) -> None:
    """By their vectors alone: what encodes and injects speech is shared."""
    given, to = streams(model), condition()
    swapped = given | {"speech": given["speech2"], "speech2": given["speech"]}
    differ(predicted(model, given, to), predicted(model, swapped, to))
    same = toy("wan", speakers=2)
    assert same.control is not None
    assert same.control.speakers is not None
    nn.init.zeros_(same.control.speakers.vectors)
    assert_close(predicted(same, given, to), predicted(same, swapped, to), rtol=1e-5, atol=1e-5)


def test_unknown_streams_are_refused(model: Mtv) -> None:
    given, to = streams(model), condition()
    for found in (given | {"voice": track()}, {name: given[name] for name in TRACKS}):
        with pytest.raises(ValueError, match="takes video, and besides only speech, speech2, effects, music; got "):
            model(found, to)
    one, none = toy(), toy(components=("video", "attention"))
    with pytest.raises(ValueError, match=r"besides only speech, effects, music; got .*speech2"):
        one(given, to)
    with pytest.raises(ValueError, match="besides only nothing; got effects, video"):
        none({"video": given["video"], "effects": given["effects"]}, to)


@torch.no_grad()
@pytest.mark.parametrize("backbone", PLAIN)
def test_a_skipped_layer_is_passed_through(backbone: str) -> None:
    """Its injection, too: the rest is a shorter network."""
    model, given, to = toy(backbone), streams(toy(backbone)), condition()
    found = predicted(model, given, replace(to, skipped=frozenset({1})))
    short = toy(backbone)
    short.shape = replace(short.shape, backbone=replace(short.shape.backbone, layers=2))
    assert short.control is not None
    lists = (short.video.blocks, short.control.injections, *((short.attention,) if backbone == "cogvideox" else ()))
    for layers in lists:
        del layers[1]
    assert torch.equal(found, predicted(short, given, to))
    with pytest.raises(ValueError, match=r"layers 0 to 2 can be skipped, got \[1, 3\]"):
        model(given, replace(to, skipped=frozenset({1, 3})))


@torch.no_grad()
@pytest.mark.parametrize("backbone", PLAIN)
def test_attention_is_recalled_by_layer_and_injections_are_not(backbone: str) -> None:
    model, calls = toy(backbone), []

    def counting(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, whole: int = 0) -> Tensor:
        calls.append(q.shape)
        return attend(q, k, v, mask)

    layers = model.video.blocks if backbone == "wan" else model.attention
    for layer in layers:
        (layer.self_attn if backbone == "wan" else layer.joint).attend = counting
    given, to = streams(model), condition()
    plain, kept = predicted(model, given, to), replace(to, cache=Memory())
    calls.clear()
    assert torch.equal(predicted(model, given, kept), plain)
    assert torch.equal(predicted(model, given, kept), plain)
    assert len(calls) == 3
    other = given | {"effects": track(), "music": track()}
    moved = predicted(model, other, kept)
    assert len(calls) == 3
    differ(moved, plain)
    differ(moved, predicted(model, other, to))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("backbone", PLAIN)
def test_gradients_reach_every_parameter(backbone: str, variant: str) -> None:
    model = toy(backbone, **VARIANTS[variant])
    levels = STEPWISE if backbone == "cogvideox" else None
    predicted(model, streams(model, levels=levels), condition()).square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def test_at_first_the_outputs_of_injections_learn() -> None:
    """They are 0, and get gradients; so at the next step all else of the control does."""
    model = Mtv(shape(), components=("video", "control"))
    drawn(model, kept=ZERO)
    predicted(model, streams(model), condition()).square().mean().backward()
    for name, parameter in model.named_parameters():
        last = "attention.o." in name or ".style." in name
        assert parameter.grad is not None, name
        assert bool(parameter.grad.any()) == (last or not name.startswith("control.")), name


@torch.no_grad()
@pytest.mark.parametrize("lowered_by", ["autocast", "weights"])
def test_bf16_stays_close_and_answers_in_fp32(model: Mtv, lowered_by: str) -> None:
    """Lowered weights compute what autocast makes of fp32 ones."""
    given, to = streams(model), condition()
    exact = predicted(model, given, to)
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        low = predicted(model, given, to)
        if lowered_by == "weights":
            held = toy("wan" if not model.shape.cogvideox else "cogvideox", speakers=2)
            hold_lowered(held)
            assert torch.equal(predicted(held, given, to), low)
    assert low.dtype == torch.float32
    assert 0 < (low - exact).norm() < 0.03 * exact.norm()


@torch.no_grad()
def test_a_clip_may_be_longer_and_features_may_have_any_rate(model: Mtv) -> None:
    given, to = streams(model) | {"video": video(steps=STEPS + 2)}, condition()
    assert predicted(model, given, to).shape == (2, 5, STEPS + 2, 4, 6)


def test_the_network_reads_the_video_and_its_tracks() -> None:
    names: Any = dict.fromkeys(("video", "audio", *TRACKS), torch.zeros(1))
    assert MtvNetwork().inputs(None, names).keys() == {"video", *TRACKS}  # type: ignore[arg-type]
