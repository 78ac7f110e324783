import math

import pytest
import torch

from talkies.flow.config import TargetConfig, VelocityTarget, VPredictionTarget
from talkies.flow.target import alpha_sigma, interpolate, noisy, target_of, velocity

TARGETS: list[TargetConfig] = [VelocityTarget(), VPredictionTarget()]


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_path_runs_from_data_to_noise_at_the_velocity() -> None:
    x0, noise = normal(3, 2, 4, 5, 5), normal(3, 2, 4, 5, 5, seed=1)
    t = torch.tensor([0.0, 0.3, 1.0])
    x = interpolate(x0, noise, t)
    assert torch.equal(x[0], x0[0])
    assert torch.equal(x[2], noise[2])
    torch.testing.assert_close(x[1], 0.7 * x0[1] + 0.3 * noise[1])
    torch.testing.assert_close(x0 + t.view(-1, 1, 1, 1, 1) * velocity(x0, noise), x)


def test_half_precision_inputs_are_computed_in_fp32() -> None:
    x0, noise, t = normal(2, 3, 4).bfloat16(), normal(2, 3, 4, seed=1).bfloat16(), torch.tensor([0.1, 0.7])
    assert torch.equal(interpolate(x0, noise, t), interpolate(x0.float(), noise.float(), t))
    assert velocity(x0, noise).dtype == torch.float32
    for target in TARGETS:
        for made in (noisy, target_of):
            assert torch.equal(made(target, x0, noise, t), made(target, x0.float(), noise.float(), t))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("shape", [(6,), (4, 3, 2)])
def test_every_path_is_data_at_0_and_noise_at_1_exactly(target: TargetConfig, shape: tuple[int, ...]) -> None:
    x0, noise = normal(2, 3, *shape), normal(2, 3, *shape, seed=1)
    x = noisy(target, x0, noise, torch.tensor([0.0, 1.0]))
    assert x.dtype == torch.float32
    assert torch.equal(x[0], x0[0])
    assert torch.equal(x[1], noise[1])


def test_v_prediction_is_noise_at_0_and_minus_data_at_1_exactly() -> None:
    x0, noise = normal(2, 3, 5), normal(2, 3, 5, seed=1)
    v = target_of(VPredictionTarget(), x0, noise, torch.tensor([0.0, 1.0]))
    assert torch.equal(v[0], noise[0])
    assert torch.equal(v[1], -x0[1])


def test_v_prediction_is_a_rotation() -> None:
    """(data, noise) -> (x, v) keeps the sum of squares, and leads back; v is the derivative of x by the angle."""
    x0, noise = normal(9, 3, 5).double(), normal(9, 3, 5, seed=1).double()
    t = torch.linspace(0, 1, 9)
    x, v = (made(VPredictionTarget(), x0, noise, t).double() for made in (noisy, target_of))
    alpha, sigma = alpha_sigma(VPredictionTarget(), t, x)
    torch.testing.assert_close(x**2 + v**2, x0**2 + noise**2, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(alpha * x - sigma * v, x0, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(sigma * x + alpha * v, noise, rtol=1e-5, atol=1e-5)
    step = 1e-3
    ahead, behind = (noisy(VPredictionTarget(), x0, noise, t * 0 + 0.4 + sign * step) for sign in (1, -1))
    slope = (ahead - behind).double() / (math.pi * step)
    torch.testing.assert_close(
        slope, target_of(VPredictionTarget(), x0, noise, t * 0 + 0.4).double(), rtol=0, atol=1e-3
    )


def test_the_velocity_does_not_depend_on_the_level() -> None:
    x0, noise = normal(2, 3, 5), normal(2, 3, 5, seed=1)
    for t in (torch.zeros(2), torch.rand(2), torch.rand(2, 5)):
        assert torch.equal(target_of(VelocityTarget(), x0, noise, t), noise - x0)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("shape", [(6,), (6, 3, 2)])
def test_a_level_may_differ_by_latent_step(target: TargetConfig, shape: tuple[int, ...]) -> None:
    """[B, T]: every step is what it is at its level alone, and equal levels are those of the whole sample."""
    x0, noise = normal(2, 3, *shape), normal(2, 3, *shape, seed=1)
    levels = torch.tensor([[0.0, 0.1, 0.5, 0.7, 0.9, 1.0], [1.0, 0.0, 0.25, 0.25, 0.5, 0.6]])
    for made in (noisy, target_of):
        found = made(target, x0, noise, levels)
        assert found.shape == x0.shape
        for step in range(6):
            alone = made(target, x0, noise, levels[:, step])
            assert torch.equal(found[:, :, step], alone[:, :, step])
        same = torch.tensor([0.3, 0.8])
        assert torch.equal(made(target, x0, noise, same[:, None].expand(2, 6)), made(target, x0, noise, same))
