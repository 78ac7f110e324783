"""What stays fp32 under bf16, and the embedding of time."""

import math

import pytest
import torch
from torch.testing import assert_close

from talkies.nn.embedding import sinusoid, time_embedding, time_projection
from talkies.nn.precision import LayerNorm32, Linear32, RMSNorm32


@pytest.mark.parametrize("module", [Linear32(6, 6), LayerNorm32(6), RMSNorm32(6, eps=1e-6)])
def test_fp32_modules_ignore_autocast_and_lift_bf16(module: torch.nn.Module) -> None:
    x = torch.randn(4, 6)
    exact = module(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(module(x), exact)
    assert module(x.bfloat16()).dtype == torch.float32
    assert torch.equal(module(x.bfloat16()), module(x.bfloat16().float()))


def test_bf16_weights_compute_in_fp32() -> None:
    m, x = Linear32(64, 8).bfloat16(), torch.randn(4, 64)
    exact = x.double() @ m.weight.double().T + m.bias.double()
    assert m(x).dtype == torch.float32
    assert_close(m(x).double(), exact, atol=1e-5, rtol=1e-5)


def test_sinusoid_is_cosines_then_sines_in_fp64() -> None:
    got = sinusoid(torch.tensor([0.0, 999.3], dtype=torch.float64), 8)
    assert got.dtype == torch.float64
    for i in range(4):
        angle = 999.3 * 10000.0 ** (-i / 4)
        assert_close(got[:, i], torch.tensor([1.0, math.cos(angle)], dtype=torch.float64))
        assert_close(got[:, 4 + i], torch.tensor([0.0, math.sin(angle)], dtype=torch.float64))


def test_sinusoids_of_several_times_of_a_sample() -> None:
    times = torch.tensor([[3.0, 700.0, 0.0], [1.0, 2.0, 999.0]])
    assert torch.equal(sinusoid(times, 8), sinusoid(times.flatten(), 8).unflatten(0, (2, 3)))


def test_time_networks_answer_in_fp32_under_autocast() -> None:
    embed, project = time_embedding(8, 12), time_projection(12)
    x = sinusoid(torch.tensor([3.0, 700.0]), 8)
    exact = project(embed(x))
    assert exact.shape == (2, 72)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(project(embed(x)), exact)
