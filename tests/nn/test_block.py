"""The block and the head against their equations."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close

from talkies.nn.block import Block, Head, SwiGlu
from talkies.nn.rope import Rope, rope_of

DIM = 24


def norm(x: Tensor) -> Tensor:
    return (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-6).sqrt()


def rope(tokens: int) -> Rope:
    return rope_of(torch.rand(tokens, 6) * 6, halves=False)


def test_block_is_its_equation() -> None:
    block, turns = Block(DIM, 40, 2, eps=1e-6), rope(5)
    torch.nn.init.normal_(block.norm3.weight)
    torch.nn.init.normal_(block.norm3.bias)
    x, text, time = torch.randn(3, 5, DIM), torch.randn(3, 4, DIM), torch.randn(3, 6, DIM)
    shift_sa, scale_sa, gate_sa, shift_ff, scale_ff, gate_ff = ((block.modulation + time)[:, i, None] for i in range(6))
    y = x + gate_sa * block.self_attn(norm(x) * (1 + scale_sa) + shift_sa, rope=turns, memory_rope=turns)
    y = y + block.cross_attn(norm(y) * block.norm3.weight + block.norm3.bias, text)
    first, last = block.ffn[0], block.ffn[2]
    y = y + gate_ff * last(F.gelu(first(norm(y) * (1 + scale_ff) + shift_ff), approximate="tanh"))
    assert_close(block(x, text, time, turns), y)


def test_head_takes_one_time_per_sample() -> None:
    head = Head(DIM, 7, eps=1e-6)
    x, time = torch.randn(3, 5, DIM), torch.randn(3, DIM)
    shift, scale = (head.modulation + time[:, None]).unbind(1)
    assert_close(head(x, time), head.head(norm(x) * (1 + scale[:, None]) + shift[:, None]))
    alone = [head(x[i : i + 1], time[i : i + 1]) for i in range(3)]
    assert_close(head(x, time), torch.cat(alone))


def test_modulation_starts_as_normal_over_root_dim() -> None:
    block = Block(400, 8, 2, eps=1e-6)
    std = block.modulation.std()
    assert abs(std * 400**0.5 - 1) < 0.1


def test_residual_is_fp32_under_autocast() -> None:
    block, turns = Block(DIM, 40, 2, eps=1e-6), rope(5)
    x, text, time = torch.randn(3, 5, DIM), torch.randn(3, 4, DIM), torch.randn(3, 6, DIM)
    exact = block(x, text, time, turns)
    with torch.autocast("cpu", torch.bfloat16):
        low = block(x, text, time, turns)
    assert low.dtype == torch.float32
    assert 0 < (low - exact).norm() < 0.02 * exact.norm()


def test_swiglu_is_its_equation() -> None:
    mlp, x = SwiGlu(DIM, 40), torch.randn(2, 5, DIM)
    gate, up = x @ mlp.gate.weight.T, x @ mlp.up.weight.T
    assert_close(mlp(x), (gate * gate.sigmoid() * up) @ mlp.down.weight.T)
