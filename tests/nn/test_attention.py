"""Attention against the formula written out."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from talkies.nn.attention import Attention, Projection, attend
from talkies.nn.precision import LayerNorm32, RMSNorm32
from talkies.nn.rope import Rope, rope_of, rotate


def rms(x: Tensor, weight: Tensor, eps: float = 1e-6) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * weight


def written_out(m: Attention, x: Tensor, memory: Tensor, rope: Rope | None, memory_rope: Rope | None) -> Tensor:
    def heads(y: Tensor) -> Tensor:
        return y.reshape(*y.shape[:2], m.heads, -1)

    q, k, v = heads(rms(m.q(x), m.norm_q.weight)), heads(rms(m.k(memory), m.norm_k.weight)), heads(m.v(memory))
    q, k = q if rope is None else rotate(q, rope), k if memory_rope is None else rotate(k, memory_rope)
    scores = torch.einsum("bqhd,bkhd->bhqk", q, k) / q.shape[-1] ** 0.5
    return m.o(torch.einsum("bhqk,bkhd->bqhd", scores.softmax(-1), v).flatten(2))


def random_norms(m: Attention) -> Attention:
    with torch.no_grad():
        m.norm_q.weight.uniform_(0.5, 1.5)
        m.norm_k.weight.uniform_(0.5, 1.5)
    return m


def rope(tokens: int, pairs: int) -> Rope:
    return rope_of(torch.rand(tokens, pairs) * 6, halves=False)


def test_self_attention_is_the_formula() -> None:
    m, x, turns = random_norms(Attention(24, 2, eps=1e-6)), torch.randn(3, 5, 24), rope(5, 6)
    assert_close(m(x, rope=turns, memory_rope=turns), written_out(m, x, x, turns, turns))


def test_cross_attention_over_another_width_is_the_formula() -> None:
    m = random_norms(Attention(24, 3, memory_dim=10, eps=1e-6))
    x, memory, ropes = torch.randn(2, 5, 24), torch.randn(2, 7, 10), (rope(5, 4), rope(7, 4))
    assert_close(m(x, memory, rope=ropes[0], memory_rope=ropes[1]), written_out(m, x, memory, *ropes))
    assert_close(m(x, memory), written_out(m, x, memory, None, None))


def test_masked_keys_are_as_if_absent() -> None:
    m, x, memory = Attention(24, 2, memory_dim=10, eps=1e-6), torch.randn(2, 5, 24), torch.randn(2, 7, 10)
    mask = torch.tensor([True] * 4 + [False] * 3).expand(2, 1, 1, 7)
    assert_close(m(x, memory, mask=mask), m(x, memory[:, :4]))
    assert not torch.allclose(m(x, memory), m(x, memory[:, :4]), atol=1e-3)


def test_a_sample_without_keys_gives_zero_and_finite_gradients() -> None:
    q, k = (torch.randn(2, 1, 3, 4, requires_grad=True) for _ in range(2))
    mask = torch.tensor([[False] * 3, [True] * 3])[:, None, None]
    out = attend(q, k, k, mask)
    out.sum().backward()
    assert torch.equal(out[0], torch.zeros_like(out[0]))
    assert q.grad is not None
    assert k.grad is not None
    assert q.grad.isfinite().all()
    assert k.grad.isfinite().all()


def test_attend_is_replaceable_per_instance() -> None:
    ours, other = Attention(24, 2, eps=1e-6), Attention(24, 2, eps=1e-6)
    seen = []

    def spy(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        seen.append((q.shape, k.shape, v.shape, mask))
        return attend(q, k, v, mask)

    x, before = torch.randn(3, 5, 24), ours.attend
    expected = ours(x)
    ours.attend = spy
    assert torch.equal(ours(x), expected)
    other(x)
    assert seen == [((3, 2, 5, 12),) * 3 + (None,)]
    assert before is attend


@pytest.mark.parametrize("lowered_by", ["autocast", "weights"])
def test_bf16_runs_the_matmuls_low_and_stays_close(lowered_by: str) -> None:
    m, x, turns = Attention(32, 2, eps=1e-6), torch.randn(3, 5, 32), rope(5, 8)
    exact, dtypes = m(x, rope=turns, memory_rope=turns), []

    def spy(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        dtypes.extend([q.dtype, k.dtype, v.dtype])
        return attend(q, k, v, mask)

    m.attend = spy
    if lowered_by == "weights":
        m.bfloat16()
    with torch.autocast("cpu", torch.bfloat16, enabled=lowered_by == "autocast"):
        low = m(x, rope=turns, memory_rope=turns)
    assert dtypes == [torch.bfloat16] * 3
    assert low.dtype == torch.bfloat16
    assert (low - exact).norm() < 0.02 * exact.norm()


@pytest.mark.parametrize("per_head", [True, False])
def test_queries_and_keys_may_have_another_norm(per_head: bool) -> None:
    m, x = Projection(24, 2, eps=1e-3, norm=LayerNorm32, per_head=per_head), torch.randn(3, 5, 24)
    for norm in (m.norm_q, m.norm_k):
        torch.nn.init.normal_(norm.weight)
        torch.nn.init.normal_(norm.bias)
    width = (12,) if per_head else (24,)
    for found, linear, norm in zip(m.project(x)[:2], (m.q, m.k), (m.norm_q, m.norm_k), strict=True):
        flat = linear(x).unflatten(-1, (-1, *width))
        normed = torch.nn.functional.layer_norm(flat, width, norm.weight, norm.bias, 1e-3)
        assert_close(found, normed.reshape(3, 5, 2, 12).transpose(1, 2))
    assert isinstance(Projection(24, 2, eps=1e-6).norm_q, RMSNorm32)
