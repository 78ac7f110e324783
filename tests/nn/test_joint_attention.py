"""Streams projected apart and attended together, against the formula written out."""

from collections.abc import Sequence

import pytest
import torch
from joint import HEAD_DIM, HEADS, Joint
from torch import Tensor, nn
from torch.testing import assert_close

from talkies.nn.attention import Heads, JointAttention, KeyBias
from talkies.nn.rope import Rope, rope_of, rotate

WIDTHS = (20, 12)
TOKENS = (5, 4)


def rms(x: Tensor, weight: Tensor) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weight


def written_out(m: Joint, xs: Sequence[Tensor], ropes: Sequence[Rope | None]) -> list[Tensor]:
    def heads(y: Tensor) -> Tensor:
        return y.reshape(*y.shape[:2], HEADS, HEAD_DIM)

    q, k, v = [], [], []
    for part, x, rope in zip(m.streams, xs, ropes, strict=True):
        for found, linear, norm in ((q, part.q, part.norm_q), (k, part.k, part.norm_k)):
            normed = rms(heads(linear(x)), norm.weight) if part.per_head else heads(rms(linear(x), norm.weight))
            found.append(normed if rope is None else rotate(normed, rope))
        v.append(heads(part.v(x)))
    scores = torch.einsum("bqhd,bkhd->bhqk", torch.cat(q, 1), torch.cat(k, 1)) / HEAD_DIM**0.5
    out = torch.einsum("bhqk,bkhd->bqhd", scores.softmax(-1), torch.cat(v, 1)).flatten(2)
    return [part.o(y) for part, y in zip(m.streams, out.split([x.shape[1] for x in xs], 1), strict=True)]


def tokens() -> list[Tensor]:
    return [torch.randn(2, count, width) for count, width in zip(TOKENS, WIDTHS, strict=True)]


def ropes(kind: str) -> list[Rope | None]:
    """No positions; those of one table for all heads; one of each head."""
    if kind == "absent":
        return [None, None]
    shape = () if kind == "computed" else (HEADS,)
    return [rope_of(torch.rand(count, *shape, HEAD_DIM // 2) * 6, halves=False) for count in TOKENS]


@pytest.mark.parametrize("per_head", [True, False])
@pytest.mark.parametrize("kind", ["absent", "computed", "by head"])
def test_joint_attention_is_the_formula(kind: str, per_head: bool) -> None:
    m, xs, tables = Joint(WIDTHS, per_head=per_head), tokens(), ropes(kind)
    assert_close(m(xs, tables), written_out(m, xs, tables))


def test_learned_tables_get_the_gradients_of_the_formula() -> None:
    m, xs = Joint(WIDTHS), tokens()
    angles = [nn.Parameter(torch.rand(count, HEADS, HEAD_DIM // 2)) for count in TOKENS]
    found = []
    for forward in (m, lambda *args: written_out(m, *args)):
        results = forward(xs, [rope_of(angle, halves=False) for angle in angles])
        found.append(torch.autograd.grad(sum(y.square().sum() for y in results), angles))
    assert_close(*found)
    assert all(bool(grad.abs().min() > 0) for grad in found[0])


def test_a_stream_that_is_masked_out_is_as_if_absent() -> None:
    m, xs, tables = Joint(WIDTHS), tokens(), ropes("computed")
    mask = torch.tensor([True] * TOKENS[0] + [False] * TOKENS[1]).expand(2, 1, 1, sum(TOKENS))
    alone = Joint(WIDTHS[:1])
    alone.streams[0] = m.streams[0]
    assert_close(m(xs, tables, mask)[0], alone(xs[:1], tables[:1])[0])


@pytest.mark.parametrize("kind", ["absent", "computed", "by head"])
def test_it_compiles_as_a_whole(kind: str) -> None:
    m, xs, tables = Joint(WIDTHS), tokens(), ropes(kind)
    compiled = torch.compile(m, fullgraph=True, dynamic=False, backend="aot_eager")
    assert_close(compiled(xs, tables), m(xs, tables))


def streams() -> dict[str, Heads]:
    return {
        name: Heads(*(torch.randn(2, HEADS, count, HEAD_DIM) for _ in range(3)))
        for name, count in zip(("first", "second"), TOKENS, strict=True)
    }


@pytest.mark.parametrize("initial", [0.0, -2.0, 3.0])
def test_a_bias_is_added_to_the_logits_of_its_keys(initial: float) -> None:
    parts, attention, bias = streams(), JointAttention(HEADS, HEAD_DIM), KeyBias(HEADS, initial)
    found = attention({**parts, "second": bias(parts["second"])}, None)
    added = torch.full((HEADS,), initial, requires_grad=True)
    q, k, v = (torch.cat(pair, 2) for pair in zip(*parts.values(), strict=True))
    logits = q @ k.mT / HEAD_DIM**0.5 + added[:, None, None] * (torch.arange(sum(TOKENS)) >= TOKENS[0])
    expected = (logits.softmax(-1) @ v).split(TOKENS, 2)
    assert list(found) == ["first", "second"]
    assert_close([*found.values()], list(expected))
    grads = [torch.autograd.grad(sum(x.square().sum() for x in r), y)[0]
             for r, y in ((found.values(), bias.bias), (expected, added))]  # fmt: skip
    assert_close(*grads)
    assert grads[0].all()


def test_keys_far_below_zero_are_as_if_absent() -> None:
    parts, attention = streams(), JointAttention(HEADS, HEAD_DIM)
    found = attention({**parts, "second": KeyBias(HEADS, -1000.0)(parts["second"])}, None)
    assert_close(found["first"], attention({"first": parts["first"]}, None)["first"])
