import math

import pytest
import torch

from talkies.flow.config import CosmapWeighting, UniformWeighting
from talkies.flow.loss import per_sample_loss, weight_of


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_half_precision_inputs_are_computed_in_fp32() -> None:
    pred, target = normal(2, 3, 4).bfloat16(), normal(2, 3, 4, seed=1).bfloat16()
    assert per_sample_loss(pred, target, torch.ones(2, 4, dtype=torch.bool)).dtype == torch.float32


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


def test_uniform_weighting_is_none_at_all() -> None:
    assert weight_of(UniformWeighting(), torch.rand(3)) is None
    pred, target, mask = normal(3, 2, 4), normal(3, 2, 4, seed=1), torch.ones(3, 4, dtype=torch.bool)
    assert torch.equal(per_sample_loss(pred, target, mask, torch.ones(3)), per_sample_loss(pred, target, mask))


def test_cosmap_weighs_the_middle_and_is_1_on_average() -> None:
    t = torch.linspace(0, 1, 10_001, dtype=torch.float64)
    weight = weight_of(CosmapWeighting(), t)
    assert weight is not None
    assert weight.shape == t.shape
    assert float(weight[0]) == float(weight[-1]) == pytest.approx(2 / math.pi)
    assert float(weight[5000]) == float(weight.max()) == pytest.approx(4 / math.pi)
    torch.testing.assert_close(weight, weight.flip(0))
    assert float(torch.trapezoid(weight, t)) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 5, 2)])
def test_a_weight_may_be_one_per_sample_or_per_step(shape: tuple[int, ...]) -> None:
    shape = (2, *shape)
    pred, target = normal(*shape), normal(*shape, seed=1)
    mask = torch.arange(6) < torch.tensor([6, 4])[:, None]
    per_sample, per_step = torch.tensor([0.5, 3.0]), torch.rand(2, 6)
    plain = per_sample_loss(pred, target, mask)
    torch.testing.assert_close(per_sample_loss(pred, target, mask, per_sample), plain * per_sample)
    found = per_sample_loss(pred, target, mask, per_step)
    errors = (
        (pred - target).square().flatten(3).mean(-1).mean(1) if len(shape) > 3 else (pred - target).square().mean(1)
    )
    for row, steps in enumerate((6, 4)):
        expected = (errors[row, :steps] * per_step[row, :steps]).mean()
        torch.testing.assert_close(found[row], expected)
