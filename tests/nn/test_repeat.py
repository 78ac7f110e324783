"""The same value for several places in a row."""

import torch

from talkies.nn.repeat import repeated


def test_values_are_repeated_in_order() -> None:
    x = torch.randn(2, 3, 4, 5, requires_grad=True)
    found = repeated(x, (2, 0, 3))
    assert torch.equal(found, x[:, [0, 0, 2, 2, 2]])
    found.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad[0, :, 0, 0], torch.tensor([2.0, 0.0, 3.0]))
    assert repeated(x, (1, 1, 1)) is x
