"""What the network does besides computing what diffusers' does."""

import copy
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from cog_toy import KINDS, ROPE, SHAPE, clip, toy, words
from torch import Tensor
from torch.testing import assert_close

from talkies.models.build import build
from talkies.models.cogvideox.block import Block, Pair, Times, normed
from talkies.models.cogvideox.config import CogVideoXConfig
from talkies.models.cogvideox.tower import CogVideoX, Embedded
from talkies.nn.attention import attend
from talkies.streams.batch import Memory, Stream, computed

LEVELS = (0.0, 0.75, 0.25)
TOKENS = 24
"""Of a latent step."""


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest) -> CogVideoX:
    return toy(request.param)


@pytest.fixture(scope="module")
def rotating() -> CogVideoX:
    return toy()


def run(
    model: CogVideoX,
    stream: Stream,
    text: Tensor,
    between: Callable[[Tensor], Tensor] | None = None,
    memory: Memory | None = None,
) -> Tensor:
    """Layer by layer, as a system does: something is done to the video tokens between its attention and its
    feed-forward, and attention may be recalled."""
    state = model.video.embed(stream, text)
    for index, attention in enumerate(model.attention):
        recall = computed if memory is None else lambda compute, key=index: memory(key, compute)
        state = model.video.attended(index, state, attention, recall=recall)
        state = state if between is None else replace(state, tokens=between(state.tokens))
        state = model.video.fed(index, state)
    return model.video.predicted(state)


def differ(found: Tensor, other: Tensor) -> None:
    """In every sample."""
    assert ((found - other).abs().amax((1, 2, 3, 4)) > 1e-3).all()


def stepwise(stream: Stream, *levels: tuple[float, ...]) -> Stream:
    return replace(stream, time=torch.tensor(levels))


@torch.no_grad()
def test_a_level_for_every_step_is_the_level_of_all(model: CogVideoX) -> None:
    stream, text = clip(), words()
    every = replace(stream, time=stream.time[:, None].expand(-1, SHAPE[0]))
    assert_close(model(every, text), model(stream, text), rtol=1e-6, atol=1e-6)


@torch.no_grad()
def test_a_clean_step_changes_what_is_predicted(rotating: CogVideoX) -> None:
    """Where it is clean, and (through the attention) elsewhere."""
    stream, text = clip(), words()
    plain = rotating(stepwise(stream, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)), text)
    found = rotating(stepwise(stream, (0.0, 0.5, 0.5), (0.5, 0.5, 0.5)), text)
    assert ((found - plain)[0].abs().amax((0, 2, 3)) > 1e-4).all()
    assert_close(found[1], plain[1])


def own_values(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, whole: int = 0) -> Tensor:
    """An attention in which every token sees itself alone."""
    return v


@torch.no_grad()
def test_steps_are_modulated_by_their_own_level(rotating: CogVideoX) -> None:
    """In the attention and the feed-forward of every block, and in the final layer: what a step's tokens meet there is
    what all meet at that level. The text meets the highest level. (Tokens see only themselves, so that they can be
    compared.)"""
    model, (stream, text) = copy.deepcopy(rotating), (clip(1), words(1))
    for attention in model.attention:
        attention.joint.attend = own_values
    mixed = model.video.embed(stepwise(stream, LEVELS), text)
    alike = {level: model.video.embed(replace(stream, time=torch.tensor([level])), text) for level in LEVELS}
    parts = {level: slice(step * TOKENS, (step + 1) * TOKENS) for step, level in enumerate(LEVELS)}
    for index, attention in enumerate(model.attention):
        for layer in (
            lambda state, index=index, attention=attention: model.video.attended(index, state, attention),
            lambda state, index=index: model.video.fed(index, state),
        ):
            found = layer(mixed)
            for level, part in parts.items():
                expected = layer(alike[level])
                assert_close(found.tokens[:, part], expected.tokens[:, part])
                assert torch.allclose(found.text, expected.text, atol=1e-5) == (level == 0.75)
    found = model.video.final(mixed)
    for level, part in parts.items():
        assert_close(found[:, part], model.video.final(alike[level])[:, part])


@torch.no_grad()
def test_a_clean_stream_is_at_the_first_step_of_the_schedule(rotating: CogVideoX) -> None:
    """There is no cleaner one: level 0 and level 0.001 are step 0."""
    stream, text = clip(), words()
    levels = [replace(stream, time=torch.full((2,), level)) for level in (0.0, 0.001, 0.002)]
    found = [rotating(level, text) for level in levels]
    assert_close(found[0], found[1])
    differ(found[0], found[2])


@torch.no_grad()
def test_samples_do_not_see_each_other(model: CogVideoX) -> None:
    room = model.video.config.in_channels - model.video.config.out_channels
    stream, text = stepwise(clip(condition=room), (0.0, 0.7, 0.7), (0.2, 0.4, 0.6)), words()
    mask = torch.tensor([[True, True, True], [True, True, False]])
    batched = model(replace(stream, mask=mask), text)
    for i in range(2):
        one = replace(
            stream,
            latent=stream.latent[i : i + 1],
            time=stream.time[i : i + 1],
            condition=None if stream.condition is None else stream.condition[i : i + 1],
            mask=mask[i : i + 1],
        )
        assert_close(batched[i : i + 1], model(one, text[i : i + 1]), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_padding_changes_nothing(rotating: CogVideoX) -> None:
    stream, text = clip(shape=(2, 8, 12)), words()
    junk = torch.cat((stream.latent, 10 * torch.randn(2, 5, 1, 8, 12)), 2)
    mask = torch.tensor([[True, True, False]] * 2)
    longer = replace(stream, latent=junk, grid=replace(stream.grid, shape=SHAPE))
    expected = rotating(stream, text)
    assert_close(rotating(replace(longer, mask=mask), text)[:, :, :2], expected, rtol=1e-5, atol=1e-5)
    differ(rotating(longer, text)[:, :, :2], expected)


@torch.no_grad()
def test_without_a_condition_there_are_zeros() -> None:
    model, stream, text = toy("learned"), clip(), words()
    zeros, other = (replace(stream, condition=x) for x in (torch.zeros(2, 3, *SHAPE), torch.randn(2, 3, *SHAPE)))
    assert torch.equal(model(stream, text), model(zeros, text))
    differ(model(stream, text), model(other, text))


@torch.no_grad()
def test_every_position_of_the_text_is_attended_to(model: CogVideoX) -> None:
    """Also one of zeros, as an empty prompt's padding is; what is given has any length up to the table's."""
    stream, text = clip(), words(length=5)
    for index in range(5):
        other = text.clone()
        other[:, index] = 0
        differ(model(stream, text), model(stream, other))


@torch.no_grad()
def test_layer_by_layer_it_is_the_network(model: CogVideoX) -> None:
    """Also with something between, which sees all tokens of the video, and moves it."""
    stream, text, seen = clip(), words(), []

    def noted(tokens: Tensor) -> Tensor:
        seen.append(tokens.shape)
        return tokens

    plain = model(stream, text)
    assert torch.equal(run(model, stream, text), plain)
    assert torch.equal(run(model, stream, text, noted), plain)
    assert seen == [(2, 3 * TOKENS, 96)] * ROPE.layers
    differ(run(model, stream, text, lambda tokens: 1.1 * tokens), plain)


def affine(x: Tensor, norm: torch.nn.LayerNorm, shift: Tensor, scale: Tensor) -> Tensor:
    """The usual form of what `normed` does at once."""
    return norm(x) * (1 + scale) + shift


@torch.no_grad()
def test_a_block_is_attention_and_feed_forward_of_modulated_norms(rotating: CogVideoX) -> None:
    """Of the text, too, with the other half of the modulation."""
    state, block, attention = rotating.video.embed(clip(), words()), rotating.video.blocks[0], rotating.attention[0]
    assert isinstance(block, Block)

    def modulated(norm: Any, x: Tensor, y: Tensor) -> tuple[Pair, Pair]:
        video, text = (norm.modulation(state.times.embedded[:, at : at + 1]).chunk(6, -1) for at in (1, 0))
        return (affine(x, norm.norm, *video[:2]), affine(y, norm.norm, *text[3:5])), (video[2], text[5])

    given, gates = modulated(block.norm, state.tokens, state.text)
    found = attention._attended(*given, state.rope, None)
    expected = tuple(x + gate * y for x, gate, y in zip((state.tokens, state.text), gates, found, strict=True))
    after = rotating.video.attended(0, state, attention)
    assert_close((after.tokens, after.text), expected)
    given, gates = modulated(block.feed.norm, *expected)
    expected = tuple(x + gate * block.feed.ffn(y) for x, gate, y in zip(expected, gates, given, strict=True))
    fed = rotating.video.fed(0, after)
    assert_close((fed.tokens, fed.text), expected)


@torch.no_grad()
def test_what_is_done_between_moves_the_video_alone_and_before_the_feed_forward(rotating: CogVideoX) -> None:
    state, added = rotating.video.embed(clip(), words()), torch.randn(2, 3 * TOKENS, 96)
    after = rotating.video.attended(0, state, rotating.attention[0])
    moved, plain = (rotating.video.fed(0, one) for one in (replace(after, tokens=after.tokens + added), after))
    assert torch.equal(moved.text, plain.text)
    block = rotating.video.blocks[0]
    assert isinstance(block, Block)
    scale, shift, gate = block.feed.norm(state.times.embedded).video
    steered = after.tokens + added
    assert_close(moved.tokens, steered + gate * block.feed.ffn(normed(steered, scale, shift, ROPE.eps)))
    assert not torch.allclose(moved.tokens - plain.tokens, added)


def test_what_is_done_between_gets_gradients(rotating: CogVideoX) -> None:
    factor = torch.ones((), requires_grad=True)
    run(copy.deepcopy(rotating), clip(), words(), lambda tokens: tokens * factor).square().mean().backward()
    assert factor.grad is not None
    assert factor.grad.isfinite()
    assert factor.grad != 0


def test_levels_of_steps_become_those_of_tokens() -> None:
    """One for all stays one; a process that holds no token of a step leaves it out."""
    x = torch.randn(2, 3, 4)
    found = Times(embedded=torch.empty(0), counts=(2, 0, 3)).by_token(x)
    assert torch.equal(found, x[:, [0, 0, 2, 2, 2]])
    assert Times(embedded=torch.empty(0), counts=(5,)).by_token(x[:, :1]).shape == (2, 1, 4)


@torch.no_grad()
def test_attention_may_be_recalled_by_block(rotating: CogVideoX) -> None:
    stream, text, memory = clip(), words(), Memory()
    plain = rotating(stream, text)
    for _ in range(2):
        assert torch.equal(run(rotating, stream, text, memory=memory), plain)
    other = replace(stream, latent=-stream.latent)
    differ(run(rotating, other, text, memory=memory), rotating(other, text))


@torch.no_grad()
def test_the_text_is_embedded_once(rotating: CogVideoX) -> None:
    stream, memory = clip(), Memory()
    first, again = (rotating.video.embed(stream, text, memory).text for text in (words(), words()))
    assert torch.equal(first, again)


def test_text_is_held_whole_and_comes_last(rotating: CogVideoX) -> None:
    seen = []

    def spy(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, whole: int = 0) -> Tensor:
        seen.append((tuple(q.shape), mask, whole))
        return attend(q, k, v, mask)

    spied = copy.deepcopy(rotating)
    for attention in spied.attention:
        attention.joint.attend = spy
    spied(clip(), words())
    assert seen == [((2, ROPE.heads, 72 + 7, ROPE.head_dim), None, 7)] * ROPE.layers


def test_gradients_reach_every_parameter(model: CogVideoX) -> None:
    model = copy.deepcopy(model)
    stream = stepwise(clip(condition=model.video.config.in_channels - 5), (0.0, 0.7, 0.7), (0.2, 0.4, 0.6))
    model(stream, words()).square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@torch.no_grad()
@pytest.mark.parametrize("lowered_by", ["autocast", "weights"])
def test_bf16_stays_close_and_answers_in_fp32(model: CogVideoX, lowered_by: str) -> None:
    stream, text = clip(), words()
    exact = model(stream, text)
    low_model = copy.deepcopy(model).bfloat16() if lowered_by == "weights" else model
    with torch.autocast("cpu", torch.bfloat16, enabled=lowered_by == "autocast"):
        low = low_model(stream, text)
    assert low.dtype == torch.float32
    assert 0 < (low - exact).norm() < 0.02 * exact.norm()


@torch.no_grad()
def test_modulation_rotations_and_the_residual_are_fp32_under_autocast(rotating: CogVideoX) -> None:
    (stream, text), video, block = (clip(), words()), rotating.video, rotating.video.blocks[0]
    assert isinstance(block, Block)
    exact, states = video.embed(stream, text), []
    norms = (block.norm, block.feed.norm)
    expected = [norm(exact.times.embedded) for norm in norms]

    def both(state: Embedded) -> None:
        after = video.attended(0, state, rotating.attention[0])
        states.extend((state, after, video.fed(0, after)))

    with torch.autocast("cpu", torch.bfloat16):
        low = video.embed(stream, text)
        for norm, vectors in zip(norms, expected, strict=True):
            found = norm(exact.times.embedded)
            assert all(map(torch.equal, (*found.video, *found.text), (*vectors.video, *vectors.text)))
        both(low)
        low_final = video.final(exact)
    assert torch.equal(video.final(exact), low_final)
    assert {x.dtype for state in states for x in (state.tokens, state.text)} == {torch.float32}
    assert torch.equal(low.times.embedded, exact.times.embedded)
    assert torch.equal(low.rope.rotations, exact.rope.rotations)


def test_it_is_drawn_from_a_seed_and_runs_on_meta(model: CogVideoX) -> None:
    network = SimpleNamespace(build=lambda *_: CogVideoX(model.video.config))
    system, components = SimpleNamespace(network=lambda: network), ("video", "attention")
    first, again = (build(system, None, components, seed=seed) for seed in (0, 0))
    stream, text = clip(), words()
    assert torch.equal(first(stream, text), again(stream, text))
    with torch.device("meta"):
        out = build(system, None, components, seed=None)(clip(), words())
    assert (out.shape, out.device.type) == (stream.latent.shape, "meta")


BAD: list[tuple[Stream, Tensor, str]] = [
    (replace(clip(), latent=torch.randn(2, 4, *SHAPE)), words(), r"\(5, 3, 8, 12\), but got \(4, 3, 8, 12\)"),
    (clip(condition=3), words(), r"\(5, 3, 8, 12\), but got \(8, 3, 8, 12\): the codec or the condition"),
    (clip(shape=(3, 8, 9)), words(), r"latent shape \(3, 8, 9\) is not divisible by the patch"),
    (clip(), words(3), r"text \[2, L, 20\] .* but got text \(3, 7, 20\) and levels \(2,\)"),
    (clip(), torch.randn(2, 7, 21), r"but got text \(2, 7, 21\)"),
    (replace(clip(), time=torch.rand(2, 4)), words(), r"noise levels \[2\] or \[2, 3\], .* levels \(2, 4\)"),
    (replace(clip(), time=torch.rand(3)), words(), r"levels \(3,\)"),
]


@pytest.mark.parametrize(("stream", "text", "message"), BAD, ids=[message[:25] for *_, message in BAD])
def test_bad_inputs_are_refused(rotating: CogVideoX, stream: Stream, text: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rotating(stream, text)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"patch": (2, 2, 2)}, r"a patch folds one latent step, but it is \(2, 2, 2\)"),
        ({"in_channels": 4}, "4 in_channels do not hold a latent of 5"),
    ],
)
def test_bad_sizes_are_refused(keys: dict[str, Any], message: str) -> None:
    config: CogVideoXConfig = replace(ROPE, **keys)
    with pytest.raises(ValueError, match=message):
        CogVideoX(config)
