"""What a backward pass gives, and how near two of them must be."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

Step = tuple[Tensor, dict[str, Tensor]]
"""A loss, and the gradients by parameter."""


def backward(model: nn.Module, loss: Tensor) -> Step:
    loss.backward()
    return loss.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def averaged(step: Step) -> Step:
    """On every rank, as DDP and FSDP average gradients."""
    import torch.distributed as dist

    loss, grads = step
    for grad in grads.values():
        dist.all_reduce(grad)
    return loss, {name: grad / dist.get_world_size() for name, grad in grads.items()}


def close_gradients(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """The same parameters have gradients, within 1e-5 of their global norm."""
    assert found.keys() == expected.keys()
    norm = float(torch.linalg.vector_norm(torch.stack([grad.norm() for grad in expected.values()])))
    for name, grad in expected.items():
        assert float((found[name] - grad).abs().max()) <= 1e-5 * norm, name


def close_step(found: Step, expected: Step) -> None:
    """The loss within 1e-5 of it, and gradients as above."""
    torch.testing.assert_close(found[0], expected[0], rtol=1e-5, atol=0)
    close_gradients(found[1], expected[1])
