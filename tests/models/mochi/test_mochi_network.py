"""Mirage as a Denoiser of video, given sound, a reference and a text."""

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from joint_toy import TEXT, TOY, only, prompt, reference, sound, streams, toy, video, without
from torch import Tensor
from torch.testing import assert_close

from talkies.models.build import build
from talkies.models.mirage.config import COMPONENTS, MirageConfig
from talkies.models.mochi.network import JointDiT, JointNetwork
from talkies.nn.attention import attend
from talkies.streams.batch import Condition, Stream


@pytest.fixture(scope="module")
def model() -> JointDiT:
    return toy()


def close(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert_close(found["video"], expected["video"], rtol=1e-5, atol=1e-5)


def differ(found: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> None:
    """In every sample."""
    assert ((found["video"] - other["video"]).abs().amax((1, 2, 3, 4)) > 1e-3).all()


def test_every_stream_is_projected_apart_and_attends_to_all(model: JointDiT) -> None:
    """Widths 48, 48, 24 and 36; the velocity is the video's."""
    given, seen = streams(), []

    def spy(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, whole: int = 0) -> Tensor:
        seen.append((q.shape, k.shape, v.shape, None if mask is None else mask.shape, whole))
        return attend(q, k, v, mask)

    spied = copy.deepcopy(model)
    spied.video.attention.attend = spy
    found = spied(given, prompt(TEXT, 2))
    heads = torch.Size((2, TOY.heads, 18 + 12 + TEXT + 7, TOY.head_dim))
    assert seen == [(heads, heads, heads, (2, 1, 1, heads[2]), TEXT + 7)] * TOY.layers
    assert (found["video"].shape, found["video"].dtype) == (given["video"].latent.shape, torch.float32)


@pytest.mark.parametrize("name", ["text", "sound", "reference"])
def test_the_video_depends_on_every_condition(model: JointDiT, name: str) -> None:
    given, condition = streams(), prompt(TEXT, TEXT)
    differ(model(given, condition), model(given, without(condition, name)))


def absent(given: dict[str, Stream], condition: Condition, name: str) -> tuple[dict[str, Stream], Condition]:
    """The second of two samples has no `name`."""
    if name == "text":
        text = condition.texts["text"]
        return given, replace(condition, texts={"text": replace(text, length=torch.tensor([TEXT, 0]))})
    mask = torch.tensor([[True], [False]]).expand(2, given[name].grid.shape[0])
    return given | {name: replace(given[name], mask=mask)}, condition


@pytest.mark.parametrize("name", ["text", "sound", "reference"])
def test_a_condition_dropped_by_its_mask_is_left_out(model: JointDiT, name: str) -> None:
    given, condition = streams(), prompt(TEXT, TEXT)
    whole, none = model(given, condition)["video"], model(given, without(condition, name))["video"]
    found = model(*absent(given, condition, name))["video"]
    assert_close(found, torch.stack((whole[0], none[1])), rtol=1e-5, atol=1e-5)


def test_all_conditions_may_be_dropped(model: JointDiT) -> None:
    given, condition = streams(), prompt(TEXT, TEXT)
    dropped = given, condition
    for name in ("text", "sound", "reference"):
        dropped = absent(*dropped, name)
    alone = model(only(given, ["video"]), Condition(texts={}))["video"]
    assert_close(model(*dropped)["video"][1], alone[1], rtol=1e-5, atol=1e-5)


def longer(stream: Stream, extra: int) -> Stream:
    """`stream` with `extra` steps of garbage that its mask declares padding."""
    steps, batch = stream.grid.shape[0], stream.latent.shape[0]
    grid = replace(stream.grid, shape=(steps + extra, *stream.grid.shape[1:]))
    junk = 10 * torch.randn(batch, stream.width, extra, *grid.shape[1:])
    mask = (torch.arange(steps + extra) < steps).expand(batch, -1)
    return replace(stream, latent=torch.cat((stream.latent, junk), 2), grid=grid, mask=mask)


@pytest.mark.parametrize("name", ["sound", "reference"])
def test_padding_changes_nothing(model: JointDiT, name: str) -> None:
    given, condition = streams(), prompt(TEXT, 2)
    padded = given | {name: longer(given[name], 3)}
    close(model(padded, condition), expected := model(given, condition))
    differ(model(padded | {name: replace(padded[name], mask=None)}, condition), expected)


def test_samples_do_not_see_each_other(model: JointDiT) -> None:
    given, condition = streams(), prompt(TEXT, 2)
    batched = model(given, condition)["video"]
    for i in range(2):
        part = {
            name: replace(
                s,
                latent=s.latent[i : i + 1],
                time=s.time[i : i + 1],
                start=None if s.start is None else s.start[i : i + 1],
            )
            for name, s in given.items()
        }
        text = condition.texts["text"]
        one = replace(text, embedding=text.embedding[i : i + 1], length=text.length[i : i + 1])
        assert_close(batched[i : i + 1], model(part, Condition(texts={"text": one}))["video"], rtol=1e-5, atol=1e-5)


def test_the_reference_has_a_time_of_its_own_before_the_clip(model: JointDiT) -> None:
    given, condition = streams(), prompt(TEXT, 2)
    found = [
        model(given | {"reference": replace(given["reference"], start=start)}, condition)
        for start in (
            torch.tensor([-1.0, -1.0]),
            torch.tensor([-3.0, -3.0]),
            torch.tensor([1.0, -1.0]),
            torch.zeros(2),
            None,
        )
    ]
    differ(found[0], found[1])
    assert torch.equal(found[0]["video"][1], found[2]["video"][1])
    assert (found[0]["video"][0] - found[2]["video"][0]).abs().max() > 1e-3
    assert torch.equal(found[3]["video"], found[4]["video"])


def test_a_clean_reference_is_modulated_as_clean() -> None:
    given, condition = streams(), prompt(TEXT, 2)
    other = given | {"reference": replace(given["reference"], time=torch.full((2,), 0.5))}
    clean, shared = toy(), toy(reference_time="shared")
    differ(clean(given, condition), clean(other, condition))
    assert torch.equal(shared(given, condition)["video"], shared(other, condition)["video"])
    differ(clean(given, condition), shared(given, condition))


CHOICES: list[dict[str, Any]] = [
    {"given_positions": "relative"},
    {"text_positions": "learned"},
    {"given_pooled": True},
    {"given_bias": -2.0},
]


@pytest.mark.parametrize("keys", CHOICES, ids=str)
def test_every_choice_changes_what_is_computed(model: JointDiT, keys: dict[str, Any]) -> None:
    given, condition = streams(), prompt(TEXT, 2)
    changed = toy(**keys)
    changed.load_state_dict(model.state_dict(), strict=False)
    differ(model(given, condition), changed(given, condition))


def test_times_in_seconds_differ_for_a_codec_that_encodes_in_chunks() -> None:
    from fractions import Fraction

    clip, condition = video(), prompt(TEXT, 2)
    chunked = replace(clip, grid=replace(clip.grid, rate=Fraction(25, 6), chunk=(3, Fraction(3, 5))))
    index, seconds = toy(), toy(target_time="seconds")
    assert torch.equal(*(index({"video": x}, condition)["video"] for x in (clip, chunked)))
    close(*(model({"video": clip}, condition) for model in (index, seconds)))
    differ(*(seconds({"video": x}, condition) for x in (clip, chunked)))


@pytest.mark.parametrize("keys", [{}, {"given_positions": "relative", "text_positions": "learned"}], ids=str)
def test_rotary_tables_do_not_start_at_zero(keys: dict[str, Any]) -> None:
    """That of a relative sound is the difference from the video's."""
    model, given, condition = toy(**keys), streams(), prompt(TEXT, 2)
    state = model.embed(given, condition)
    for name, rope in state.ropes.items():
        if rope is not None:  # Mochi's text has no positions
            assert not torch.equal(rope.rotations[..., 1:, :, :, :], rope.rotations[..., :-1, :, :, :]), name
    assert (state.ropes["text"] is None) == (not keys)
    assert float(model.video.rope.frequencies.detach().norm(dim=0).min()) > 0.005


def test_a_sound_that_is_given_no_weight_is_as_if_absent() -> None:
    """With a bias of -1000, and whatever the sound, the output is that of a model without the stream."""
    neutral, silent = toy(given_bias=-1000.0), toy("video", "text")
    given, condition = streams(), prompt(TEXT, 2)
    expected = silent(only(given, ["video", "reference"]), condition)
    close(neutral(given, condition), expected)
    assert torch.equal(neutral(only(given, ["video", "reference"]), condition)["video"], expected["video"])


def test_a_bias_of_zero_changes_nothing_and_learns(model: JointDiT) -> None:
    zero, given, condition = toy(given_bias=0.0), streams(), prompt(TEXT, 2)
    found = zero(given, condition)
    close(found, model(given, condition))
    found["video"].square().mean().backward()
    assert all(layer.enter.key_bias.bias.grad.all() for layer in zero.sound.blocks)


def test_a_skipped_layer_passes_its_inputs_through(model: JointDiT) -> None:
    given, condition = streams(), prompt(TEXT, 2)
    shallow = toy(layers=2)
    state = {
        name.replace(".blocks.2.", ".blocks.1."): value
        for name, value in model.state_dict().items()
        if ".blocks.1." not in name
    }
    shallow.load_state_dict(state)
    found = model(given, replace(condition, skipped=frozenset({1})))
    assert torch.equal(found["video"], shallow(given, condition)["video"])
    whole = model(given, replace(condition, skipped=frozenset()))
    assert torch.equal(whole["video"], model(given, condition)["video"])
    differ(whole, found)
    differ(whole, model(given, replace(condition, skipped=frozenset({TOY.layers - 1}))))


UNREAD = tuple(f"{name}.blocks.2.enter.attn.{part}" for name in ("text", "sound") for part in ("q", "norm_q"))
"""Of the last layer only what the video's queries find is read."""


def test_gradients_reach_every_parameter_that_matters() -> None:
    model = toy(given_bias=-1.0, given_positions="relative", text_positions="learned")
    model(streams(), prompt(TEXT, 2))["video"].square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert bool(parameter.grad.any()) != name.startswith(UNREAD), name


def test_a_sample_without_any_condition_gives_finite_gradients() -> None:
    model, given = toy(given_bias=-1.0), streams()
    given = {
        name: s if name == "video" else replace(s, mask=torch.zeros(2, s.grid.shape[0]).bool())
        for name, s in given.items()
    }
    model(given, prompt(0, 0))["video"].square().mean().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())


def test_the_toy_preset_runs_and_learns() -> None:
    from types import SimpleNamespace

    setup = SimpleNamespace(model=MirageConfig(preset="toy"), phase=None, codecs={})
    system = SimpleNamespace(network=JointNetwork)
    model = build(system, setup, COMPONENTS, seed=0)
    shape = setup.model.shape
    words = prompt(3).texts["text"]
    text = replace(words, embedding=torch.randn(1, 3, shape.modalities["text"].channels))
    heard = replace(sound(1), latent=torch.randn(1, shape.modalities["sound"].channels, 7))
    model({"video": video(1), "sound": heard}, Condition(texts={"text": text}))["video"].square().mean().backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("lowered_by", ["autocast", "weights"])
def test_bf16_stays_close_and_answers_in_fp32(model: JointDiT, lowered_by: str) -> None:
    given, condition = streams(), prompt(TEXT, 2)
    exact = model(given, condition)["video"]
    low_model = copy.deepcopy(model).bfloat16() if lowered_by == "weights" else model
    with torch.autocast("cpu", torch.bfloat16, enabled=lowered_by == "autocast"):
        low = low_model(given, condition)["video"]
    assert low.dtype == torch.float32
    assert 0 < (low - exact).norm() < 0.02 * exact.norm()


def test_modulation_and_rotations_are_exact_under_autocast(model: JointDiT) -> None:
    given, condition = streams(), prompt(TEXT, 2)
    exact = model.embed(given, condition)
    with torch.autocast("cpu", torch.bfloat16):
        low = model.embed(given, condition)
    for name, tokens in low.tokens.items():
        assert tokens.dtype == torch.float32
        assert torch.equal(low.conditions[name], exact.conditions[name])
    assert torch.equal(low.ropes["video"].rotations, exact.ropes["video"].rotations)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`-wrapped function")
def test_it_compiles_as_a_whole() -> None:
    model, given, condition = toy(layers=2, given_bias=-1.0), streams(), prompt(TEXT, 2)
    compiled = torch.compile(model, fullgraph=True, dynamic=False, backend="eager")
    close(compiled(given, condition), model(given, condition))


def test_meta_forward_needs_no_values() -> None:
    with torch.device("meta"):
        given, condition = streams(), prompt(TEXT, 2)
        out = JointDiT(TOY)(given, condition)
    assert out["video"].shape == given["video"].latent.shape


BAD: list[tuple[dict[str, Any], str]] = [
    ({"video": None}, "takes video, and besides only reference, sound; got reference, sound"),
    ({"voice": sound()}, "got reference, sound, video, voice"),
    ({"video": replace(video(), time=torch.rand(2, 3))}, r"video: 2 latents need one noise level each, .* \(2, 3\)"),
    ({"sound": sound(3)}, r"sound: .* \(2, 10, 7\), but got \(3, 10, 7\)"),
    ({"reference": replace(reference(), grid=video().grid)}, r"reference: .* \(2, 12, 3, 4, 6\), but got \(2, 12, 2,"),
    ({"video": video(shape=(3, 4, 5))}, r"latent shape \(3, 4, 5\) is not divisible by the patch \(1, 2, 2\)"),
]


@pytest.mark.parametrize(("changes", "message"), BAD, ids=[message[:20] for _, message in BAD])
def test_bad_streams_are_refused(model: JointDiT, changes: dict[str, Stream | None], message: str) -> None:
    given = {name: stream for name, stream in (streams() | changes).items() if stream is not None}
    with pytest.raises(ValueError, match=message):
        model(given, prompt(TEXT, 2))


def test_bad_texts_and_layers_are_refused(model: JointDiT) -> None:
    with pytest.raises(
        ValueError, match=r"2 latents need a text \[2, L, 40\] with a length each, but got \(3, 4, 40\)"
    ):
        model(streams(), prompt(1, 2, 3))
    with pytest.raises(ValueError, match=r"layers 0 to 2 can be skipped, got \[1, 3\]"):
        model(streams(), replace(prompt(1, 2), skipped=frozenset({1, 3})))


def test_what_was_not_built_is_refused() -> None:
    with pytest.raises(ValueError, match="a sound stream needs the component 'sound'"):
        toy("video", "text")(streams(), prompt(1, 2))
    with pytest.raises(ValueError, match="a text needs the component 'text'"):
        toy("video")({"video": video()}, prompt(1, 2))
    assert toy("video")({"video": video()}, Condition(texts={}))["video"].isfinite().all()
    for components in ("text", "voice"):
        with pytest.raises(ValueError, match=f"components video, text, sound, video always; got \\['{components}'\\]"):
            toy(components)


def test_attention_may_be_recalled_by_layer(model: JointDiT) -> None:
    """Computed once and given again, it changes nothing for the same input; and it is given for another one."""
    given, condition, kept = streams(), prompt(TEXT, 2), dict[Any, Any]()

    def cache(key: object, compute: Any) -> Any:
        if key not in kept:
            kept[key] = compute()
        return kept[key]

    plain, recalling = model(given, condition), replace(condition, cache=cache)
    assert torch.equal(model(given, recalling)["video"], plain["video"])
    assert len(kept) == TOY.layers
    assert torch.equal(model(given, recalling)["video"], plain["video"])
    other = given | {"sound": replace(given["sound"], latent=-given["sound"].latent)}
    differ(model(other, recalling), model(other, condition))
