"""MOVA as a Denoiser."""

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from toy_streams import TOY, audio, condition, setup, toy, video

from talkies.models.build import build
from talkies.models.mova.config import COMPONENTS, PRESETS
from talkies.models.mova.network import Mova
from talkies.models.mova.system import MOVA
from talkies.streams import Grid
from talkies.streams.batch import Condition, Stream, Text


@pytest.fixture(scope="module")
def model() -> Mova:
    return toy()


def picked(streams: dict[str, Stream], cond: Condition, index: slice) -> tuple[dict[str, Stream], Condition]:
    """Some samples of a batch."""
    part = {
        m: replace(
            s,
            latent=s.latent[index],
            time=s.time[index],
            condition=None if s.condition is None else s.condition[index],
            mask=None if s.mask is None else s.mask[index],
        )
        for m, s in streams.items()
    }
    text = cond.texts["text"]
    return part, replace(cond, texts={"text": Text(embedding=text.embedding[index], length=text.length[index])})


def coupled(cond: Condition) -> Condition:
    return replace(cond, without=frozenset())


def test_velocities_are_fp32_and_shaped_like_the_latents(model: Mova) -> None:
    streams = {"video": video(), "audio": audio()}
    out = model(streams, condition())
    assert {m: (v.shape, v.dtype) for m, v in out.items()} == {
        m: (s.latent.shape, torch.float32) for m, s in streams.items()
    }


def test_the_toy_preset_runs_and_learns() -> None:
    shape = PRESETS["toy"]
    model = build(MOVA, setup(), COMPONENTS, seed=0)
    streams = {"video": video(shape=shape), "audio": audio(shape=shape)}
    out = model(streams, condition(shape=shape))
    assert all(out[m].shape == s.latent.shape for m, s in streams.items())
    (out["video"].square().mean() + out["audio"].square().mean()).backward()
    assert all(p.grad is not None for name, p in model.named_parameters() if not name.startswith("video_low"))


def test_forward_is_bridge_then_blocks_layer_by_layer(model: Mova) -> None:
    streams, cond = {"video": video(), "audio": audio()}, condition(expert=1)
    text, bridge = cond.texts["text"].embedding, model.bridge
    states = {
        "video": model.video_low.embed(streams["video"], text),
        "audio": model.audio.embed(streams["audio"], text),
    }
    v, a = states["video"], states["audio"]
    tokens = {"video": v.tokens, "audio": a.tokens}
    ropes = bridge.ropes({m: s.grid for m, s in streams.items()}, torch.device("cpu"))
    for i in range(max(TOY.video.layers, TOY.audio.layers)):
        if i < TOY.bridge.layers:
            tokens = bridge(i, tokens, ropes, {"video": None, "audio": None})
        if i < TOY.video.layers:
            tokens["video"] = model.video_low.blocks[i](tokens["video"], v.text, v.modulation, v.rope)
        if i < TOY.audio.layers:
            tokens["audio"] = model.audio.blocks[i](tokens["audio"], a.text, a.modulation, a.rope)
    out = model(streams, cond)
    assert torch.equal(out["video"], model.video_low.velocity(tokens["video"], v))
    assert torch.equal(out["audio"], model.audio.velocity(tokens["audio"], a))


def test_uncoupled_equals_the_towers_alone_bitwise(model: Mova) -> None:
    streams, cond = {"video": video(), "audio": audio()}, condition(coupled=False)
    out = model(streams, cond)
    assert torch.equal(out["video"], model.video_high(streams["video"], cond.texts["text"].embedding))
    assert torch.equal(out["audio"], model.audio(streams["audio"], cond.texts["text"].embedding))
    for m in ("video", "audio"):
        assert torch.equal(out[m], model({m: streams[m]}, cond)[m])
        assert torch.equal(out[m], model({m: streams[m]}, coupled(cond))[m])
    together = model(streams, coupled(cond))
    assert not any(torch.allclose(out[m], together[m], atol=1e-4) for m in streams)


def test_uncoupled_equals_a_model_without_the_bridge_bitwise(model: Mova) -> None:
    without = toy("video_high", "audio")
    streams, cond = {"video": video(), "audio": audio()}, condition()
    out, expected = without(streams, cond), model(streams, replace(cond, without=frozenset({"bridge"})))
    assert all(torch.equal(out[m], expected[m]) for m in streams)


def test_experts_are_different_weights(model: Mova) -> None:
    streams, cond = {"video": video(), "audio": audio()}, condition(coupled=False)
    high, low = model(streams, cond), model(streams, replace(cond, inactive=frozenset({"video_high"})))
    assert not torch.allclose(high["video"], low["video"], atol=1e-3)
    assert torch.equal(high["audio"], low["audio"])


@pytest.mark.parametrize("expert", [0, 1])
def test_gradient_reaches_every_parameter_in_use_and_no_other(expert: int) -> None:
    model = toy()
    out = model({"video": video(), "audio": audio()}, condition(expert=expert))
    (out["video"].square().mean() + out["audio"].square().mean()).backward()
    unused = ("video_low", "video_high")[expert]
    for name, parameter in model.named_parameters():
        if name.startswith(unused):
            assert parameter.grad is None, name
        else:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.any(), name


def test_samples_do_not_see_each_other_and_have_their_own_times(model: Mova) -> None:
    streams, cond = {"video": video(3), "audio": audio(3)}, condition(3)
    batched = model(streams, cond)
    for i in range(3):
        alone = model(*picked(streams, cond, slice(i, i + 1)))
        for m in streams:
            assert_close(batched[m][i : i + 1], alone[m], atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("modality", ["video", "audio"])
def test_each_stream_has_its_own_time(model: Mova, modality: str) -> None:
    streams, cond = {"video": video(), "audio": audio()}, condition()
    later = streams | {modality: replace(streams[modality], time=streams[modality].time + torch.tensor([0.0, 0.2]))}
    before, after = model(streams, cond), model(later, cond)
    for m in streams:  # the other tower sees the change through the Bridge; the other sample does not
        assert torch.equal(before[m][0], after[m][0])
        assert not torch.allclose(before[m][1], after[m][1], atol=1e-4)


def padded(stream: Stream, extra: int, junk: float) -> Stream:
    """`stream` with `extra` steps of garbage that its mask declares padding."""
    steps = stream.grid.shape[0]
    shape = (steps + extra, *stream.grid.shape[1:])
    grid = Grid(channels=stream.grid.channels, shape=shape, rate=stream.grid.rate)
    mask = torch.arange(steps + extra).expand(stream.latent.shape[0], -1) < steps

    def wide(x: Tensor) -> Tensor:
        return torch.cat((x, junk * torch.randn(*x.shape[:2], extra, *x.shape[3:])), 2)

    cond = None if stream.condition is None else wide(stream.condition)
    return replace(stream, latent=wide(stream.latent), condition=cond, grid=grid, mask=mask)


@pytest.mark.parametrize("modality", ["video", "audio"])
def test_padding_changes_nothing(model: Mova, modality: str) -> None:
    streams, cond = {"video": video(), "audio": audio()}, condition()
    extra = 4 * getattr(TOY, modality).patch[0]
    wide = streams | {modality: padded(streams[modality], extra, junk=10.0)}
    before, after = model(streams, cond), model(wide, cond)
    unmasked = model(wide | {modality: replace(wide[modality], mask=None)}, cond)
    steps = streams[modality].grid.shape[0]
    for m in streams:
        keep = steps if m == modality else before[m].shape[2]
        assert_close(after[m][:, :, :keep], before[m], atol=1e-5, rtol=1e-5)
        assert not torch.allclose(unmasked[m][:, :, :keep], before[m], atol=1e-3)


def test_a_sample_without_any_audio_gives_finite_velocities_and_gradients() -> None:
    model, cond = toy(), condition()
    sound = audio()
    sound = replace(sound, mask=torch.stack((torch.ones(sound.grid.shape[0]), torch.zeros(sound.grid.shape[0]))).bool())
    out = model({"video": video(), "audio": sound}, cond)
    (out["video"].sum() + out["audio"][0].sum()).backward()
    assert out["video"].isfinite().all()
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("lowered_by", ["autocast", "weights"])
def test_bf16_stays_close_and_answers_in_fp32(model: Mova, lowered_by: str) -> None:
    streams, cond = {"video": video(), "audio": audio()}, condition()
    exact = model(streams, cond)
    low_model = copy.deepcopy(model).bfloat16() if lowered_by == "weights" else model
    with torch.autocast("cpu", torch.bfloat16, enabled=lowered_by == "autocast"):
        low = low_model(streams, cond)
    for m in streams:
        assert low[m].dtype == torch.float32
        assert 0 < (low[m] - exact[m]).norm() < 0.02 * exact[m].norm()


def test_time_embedding_is_exact_under_autocast(model: Mova) -> None:
    stream, text = audio(), condition().texts["text"].embedding
    exact = model.audio.embed(stream, text)
    with torch.autocast("cpu", torch.bfloat16):
        low = model.audio.embed(stream, text)
    assert torch.equal(low.time, exact.time)
    assert torch.equal(low.modulation, exact.modulation)
    assert low.tokens.dtype == torch.float32


def test_meta_forward_needs_no_values() -> None:
    with torch.device("meta"):
        streams, cond = {"video": video(), "audio": audio()}, condition()
        out = Mova(TOY, components=frozenset({"video_high", "audio", "bridge"}))(streams, cond)
    assert out["video"].shape == streams["video"].latent.shape


def test_a_stream_without_its_tower_is_refused() -> None:
    with pytest.raises(ValueError, match="needs the component 'video_low'"):
        toy("video_high")({"video": video()}, condition(expert=1))
    with pytest.raises(ValueError, match="needs the component 'audio'"):
        toy("video_high")({"audio": audio()}, condition())


def test_wrong_channels_and_batches_are_refused(model: Mova) -> None:
    with pytest.raises(ValueError, match="first-frame condition belongs to another model"):
        model({"video": replace(video(), condition=None)}, condition())
    with pytest.raises(ValueError, match="2 latents need text"):
        model({"audio": audio(2)}, condition(1))
    with pytest.raises(ValueError, match="one time each"):
        model({"audio": replace(audio(2), time=torch.tensor(0.5))}, condition(2))


def test_a_skipped_layer_is_passed_through(model: Mova) -> None:
    """Its blocks and its Bridge: as if the network had been built without them."""
    streams, cond = {"video": video(), "audio": audio()}, coupled(condition())
    shorter: Any = copy.deepcopy(model)
    for layers in (
        shorter.video_high.blocks,
        shorter.audio.blocks,
        shorter.bridge.audio_to_video_conditioners,
        shorter.bridge.video_to_audio_conditioners,
    ):
        del layers[1]
    expected, full = shorter(streams, cond), model(streams, cond)
    found = model(streams, replace(cond, skipped=frozenset({1})))
    assert all(torch.equal(found[m], expected[m]) and not torch.equal(found[m], full[m]) for m in full)


def test_attention_may_be_recalled_by_layer_and_stream(model: Mova) -> None:
    """Computed once and given again, it changes nothing for the same input; and it is given for another one."""
    streams, cond = {"video": video(), "audio": audio()}, coupled(condition())
    kept: dict[object, Tensor] = {}

    def cache(key: object, compute):  # noqa: ANN001, ANN202
        if key not in kept:
            kept[key] = compute()
        return kept[key]

    plain, recalling = model(streams, cond), replace(cond, cache=cache)
    first = model(streams, recalling)
    assert set(kept) == {*(("video", layer) for layer in range(4)), *(("audio", layer) for layer in range(3))}
    again = model(streams, recalling)
    assert all(torch.equal(plain[m], first[m]) and torch.equal(plain[m], again[m]) for m in plain)
    other = {"video": video(), "audio": audio()}
    assert all(not torch.equal(model(other, cond)[m], model(other, recalling)[m]) for m in plain)
