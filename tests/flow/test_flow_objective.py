import pytest
import torch

from talkies.flow.objective import expert_at, expert_range, interpolate, per_sample_loss, velocity
from talkies.flow.schedule import shift, sigma_grid


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
    assert per_sample_loss(x0, noise, torch.ones(2, 4, dtype=torch.bool)).dtype == torch.float32


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 5, 2)])
def test_the_loss_is_the_mean_over_valid_steps(shape: tuple[int, ...]) -> None:
    shape = (4, *shape)
    pred, target = normal(*shape), normal(*shape, seed=1)
    mask = torch.arange(6) < torch.tensor([6, 4, 0, 1])[:, None]
    loss = per_sample_loss(pred, target, mask)
    assert loss.shape == (4,)
    torch.testing.assert_close(loss[0], (pred[0] - target[0]).square().mean())
    torch.testing.assert_close(loss[1], (pred[1, :, :4] - target[1, :, :4]).square().mean())
    assert float(loss[2]) == 0
    torch.testing.assert_close(loss[3], (pred[3, :, 0] - target[3, :, 0]).square().mean())


def test_padding_reaches_neither_loss_nor_gradient() -> None:
    pred, target = normal(2, 3, 5), normal(2, 3, 5, seed=1)
    mask = torch.tensor([[True] * 5, [True, True, False, False, False]])
    clean = per_sample_loss(pred, target, mask)
    pred[1, :, 2:] = torch.nan
    target[1, :, 3:] = torch.inf
    pred.requires_grad_()
    loss = per_sample_loss(pred, target, mask)
    assert torch.equal(loss, clean)
    loss.sum().backward()
    assert pred.grad is not None
    assert bool(pred.grad.isfinite().all())
    assert not bool(pred.grad[1, :, 2:].any())
    assert bool(pred.grad[1, :, :2].all())


def test_the_experts_share_the_levels_at_the_boundary() -> None:
    high, low = expert_range(0, 0.9, 5.0), expert_range(1, 0.9, 5.0)
    assert high == (pytest.approx(9 / 14), 1.0)
    assert low == (0.0, high[0])
    assert shift(high[0], 5.0) == pytest.approx(0.9)
    assert expert_range(0, 0.9, 1.0)[0] == pytest.approx(0.9)


def test_the_switch_is_strict_and_the_released_sampler_makes_it_after_18_steps() -> None:
    assert [expert_at(s, 0.9) for s in (1.0, 0.9, 0.8999, 0.0)] == [0, 0, 1, 1]
    experts = [expert_at(sigma, 0.9) for sigma in sigma_grid(50, 5.0)[:-1]]
    assert experts == [0] * 18 + [1] * 32


@pytest.mark.parametrize("boundary", [0.0, 1.0, -0.1, 900.0])
def test_a_boundary_outside_the_levels_is_refused(boundary: float) -> None:
    with pytest.raises(ValueError, match="expert boundary"):
        expert_range(0, boundary, 5.0)
