"""What the network does besides computing what diffusers' does."""

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from cog_toy import KINDS, ROPE, SHAPE, clip, toy, words
from torch import Tensor
from torch.testing import assert_close

from talkies.models.build import build
from talkies.models.cogvideox.config import CogVideoXConfig
from talkies.models.cogvideox.tower import CogVideoX
from talkies.nn.attention import attend
from talkies.nn.block import Steer
from talkies.streams.batch import Memory, Recall, Stream, computed

LAST = ROPE.layers - 1


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest) -> CogVideoX:
    return toy(request.param)


@pytest.fixture(scope="module")
def rotating() -> CogVideoX:
    return toy()


def run(model: CogVideoX, stream: Stream, text: Tensor, steer: Steer | None = None, recall: Any = None) -> Tensor:
    """Block by block, as a system does."""
    state = model.embed(stream, text)
    for index in range(ROPE.layers):
        reuse: Recall = computed if recall is None else lambda compute, key=index: recall(key, compute)
        state = model.layer(index, state, recall=reuse, steer=steer)
    return model.predicted(state)


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


@torch.no_grad()
def test_steps_are_modulated_by_their_own_level(rotating: CogVideoX) -> None:
    """In every block's two norms and in the final layer: what a step's tokens meet there is what all meet at that
    level. The text meets the highest level."""
    stream, text = clip(1), words(1)
    mixed = rotating.embed(stepwise(stream, (0.0, 0.75, 0.25)), text)
    tokens = mixed.tokens.shape[1] // SHAPE[0]
    alike = {level: rotating.embed(replace(stream, time=torch.tensor([level])), text) for level in (0.0, 0.75, 0.25)}
    norms = [norm for block in rotating.blocks for norm in (block.norm1, block.norm2)]
    for norm in norms:
        (video, words_), gates = norm(mixed.tokens, mixed.text, mixed.times)
        for step, level in enumerate((0.0, 0.75, 0.25)):
            part = slice(step * tokens, (step + 1) * tokens)
            expected, expected_gates = norm(mixed.tokens, mixed.text, alike[level].times)
            assert_close(video[:, part], expected[0][:, part])
            assert_close(gates[0][:, part], expected_gates[0].expand(-1, tokens, -1))
            if level == 0.75:
                assert_close((words_, gates[1]), (expected[1], expected_gates[1]))
    found = rotating.final(mixed)
    for step, level in enumerate((0.0, 0.75, 0.25)):
        part = slice(step * tokens, (step + 1) * tokens)
        assert_close(found[:, part], rotating.final(alike[level])[:, part])


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
    room = model.config.in_channels - model.config.out_channels
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


def test_blocks_steer_the_video_after_the_attention(model: CogVideoX) -> None:
    stream, text, seen = clip(), words(), []

    def noted(tokens: Tensor) -> Tensor:
        seen.append(tokens.shape)
        return tokens

    plain = model(stream, text)
    assert torch.equal(run(model, stream, text), plain)
    assert torch.equal(run(model, stream, text, noted), plain)
    assert seen == [(2, 72, 96)] * ROPE.layers
    differ(run(model, stream, text, lambda tokens: 1.1 * tokens), plain)


@torch.no_grad()
def test_what_steers_moves_the_video_alone_and_before_the_feed_forward(rotating: CogVideoX) -> None:
    state, block, added = rotating.embed(clip(), words()), rotating.blocks[0], torch.randn(2, 72, 96)
    inputs = (state.tokens, state.text, state.times, state.rope, state.mask)
    seen: list[Tensor] = []

    def steer(tokens: Tensor) -> Tensor:
        seen.append(tokens)
        return tokens + added

    video, text = block(*inputs, steer=steer)
    assert torch.equal(text, block(*inputs)[1])
    (normed, _), (gate, _) = block.norm2(seen[0] + added, text, state.times)
    assert_close(video, seen[0] + added + gate * block.ffn(normed))
    (entered, words_), (gate, _) = block.norm1(state.tokens, state.text, state.times)
    assert_close(seen[0], state.tokens + gate * block._attended(entered, words_, state.rope, None)[0])


def test_what_steers_gets_gradients(rotating: CogVideoX) -> None:
    factor = torch.ones((), requires_grad=True)
    run(copy.deepcopy(rotating), clip(), words(), lambda tokens: tokens * factor).square().mean().backward()
    assert factor.grad is not None
    assert factor.grad.isfinite()
    assert factor.grad != 0


def test_the_norms_of_queries_and_keys_can_be_used(rotating: CogVideoX) -> None:
    block, heads = rotating.blocks[1], torch.randn(2, 5, ROPE.heads, ROPE.head_dim).bfloat16()
    for norm, parameters in ((block.norm_q, block.attn.norm_q), (block.norm_k, block.attn.norm_k)):
        x = heads.float()
        normed = (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + 1e-6).sqrt()
        assert_close(norm(heads), normed * parameters.weight + parameters.bias)
    assert not torch.equal(block.norm_q(heads), block.norm_k(heads))


@torch.no_grad()
def test_attention_may_be_recalled_by_block(rotating: CogVideoX) -> None:
    stream, text, memory = clip(), words(), Memory()
    plain = rotating(stream, text)
    for _ in range(2):
        assert torch.equal(run(rotating, stream, text, recall=memory), plain)
    other = replace(stream, latent=-stream.latent)
    differ(run(rotating, other, text, recall=memory), rotating(other, text))


@torch.no_grad()
def test_the_text_is_embedded_once(rotating: CogVideoX) -> None:
    stream, memory = clip(), Memory()
    first, again = (rotating.embed(stream, text, memory).text for text in (words(), words()))
    assert torch.equal(first, again)


def test_text_is_held_whole_and_comes_last(rotating: CogVideoX) -> None:
    seen = []

    def spy(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, whole: int = 0) -> Tensor:
        seen.append((tuple(q.shape), mask, whole))
        return attend(q, k, v, mask)

    spied = copy.deepcopy(rotating)
    for block in spied.blocks:
        block.attention.attend = spy
    spied(clip(), words())
    assert seen == [((2, ROPE.heads, 72 + 7, ROPE.head_dim), None, 7)] * ROPE.layers


def test_gradients_reach_every_parameter(model: CogVideoX) -> None:
    model = copy.deepcopy(model)
    stream = stepwise(clip(condition=model.config.in_channels - 5), (0.0, 0.7, 0.7), (0.2, 0.4, 0.6))
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
    stream, text = clip(), words()
    exact, dtypes = rotating.embed(stream, text), set()
    norm, inputs = rotating.blocks[0].norm1, (exact.tokens, exact.text, exact.times)
    normed, gates = norm(*inputs)

    def noted(tokens: Tensor) -> Tensor:
        dtypes.add(tokens.dtype)
        return tokens

    with torch.autocast("cpu", torch.bfloat16):
        low = rotating.embed(stream, text)
        for found, expected in zip(norm(*inputs), (normed, gates), strict=True):
            assert all(map(torch.equal, found, expected))
        run(rotating, stream, text, noted)
        low_final = rotating.final(exact)
    assert torch.equal(rotating.final(exact), low_final)
    assert {low.tokens.dtype, low.text.dtype} == dtypes == {torch.float32}
    assert torch.equal(low.times.embedded, exact.times.embedded)
    assert torch.equal(low.rope.rotations, exact.rope.rotations)


def test_it_is_drawn_from_a_seed_and_runs_on_meta(model: CogVideoX) -> None:
    from types import SimpleNamespace

    network = SimpleNamespace(build=lambda *_: torch.nn.ModuleDict({"video": CogVideoX(model.config)}))
    system = SimpleNamespace(network=lambda: network)
    first, again = (build(system, None, ("video",), seed=seed)["video"] for seed in (0, 0))
    stream, text = clip(), words()
    assert torch.equal(first(stream, text), again(stream, text))
    with torch.device("meta"):
        out = build(system, None, ("video",), seed=None)["video"](clip(), words())
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
        ({"in_channels": 4}, "4 in_channels cannot hold a latent of 5"),
    ],
)
def test_bad_sizes_are_refused(keys: dict[str, Any], message: str) -> None:
    config: CogVideoXConfig = replace(ROPE, **keys)
    with pytest.raises(ValueError, match=message):
        CogVideoX(config)
