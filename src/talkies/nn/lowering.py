"""The parameters that autocast lowers to bf16 wherever they are used. A network that is only evaluated may hold them
in bf16: it computes bitwise the same, in half of the memory."""

from collections.abc import Iterator

import torch
from torch import nn

from talkies.nn.patch import PatchEmbedding
from talkies.nn.precision import Linear32

MATMULS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, PatchEmbedding)


def lowered_parameters(model: nn.Module) -> Iterator[nn.Parameter]:
    """Weights and biases of the matmuls and convolutions of `model` that are not pinned to fp32."""
    for module in model.modules():
        if isinstance(module, MATMULS) and not isinstance(module, Linear32):
            yield from module.parameters(recurse=False)


def hold_lowered(model: nn.Module) -> None:
    """Hold these parameters of `model`, which may be on the meta device, in bf16."""
    for parameter in lowered_parameters(model):
        parameter.data = parameter.data.to(torch.bfloat16)
