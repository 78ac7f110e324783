"""Layers that stay fp32 when the matmuls around them run in bf16, under autocast or with bf16 weights."""

from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def autocast_dtype(device: torch.device) -> torch.dtype | None:
    """The dtype to which autocast lowers matmuls on `device`; None if it is off."""
    kind = _kind(device)
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        return torch.get_autocast_dtype(kind)
    return None


def lowered(x: Tensor, layer: nn.Module) -> Tensor:
    """`x` in the dtype of a matmul with the weight of `layer`.

    Call it once before several matmuls: autocast alone would cast, and keep for backward, one copy for each of them.
    """
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return x.to(autocast_dtype(x.device) or weight.dtype)


def widened(x: Tensor) -> Tensor:
    """`x` in fp32, or unchanged if it is fp64: pinning guards against bf16 and must not degrade an fp64 computation."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def rms(x: Tensor, eps: float) -> Tensor:
    """RMSNorm of [..., dim] without a weight, in fp32."""
    return F.rms_norm(widened(x), x.shape[-1:], eps=eps)


class Linear32(nn.Linear):
    """A Linear that computes and returns fp32, whatever autocast or the weight's dtype."""

    def forward(self, input: Tensor) -> Tensor:
        """[..., in] any float dtype -> [..., out] fp32."""
        with no_autocast(input.device):
            bias = None if self.bias is None else widened(self.bias)
            weight = widened(self.weight)
            return F.linear(input.to(weight.dtype), weight, bias)


class LayerNorm32(nn.LayerNorm):
    """LayerNorm that computes and returns fp32."""

    def forward(self, input: Tensor) -> Tensor:
        """[..., dim] any float dtype -> [..., dim] fp32."""
        weight = None if self.weight is None else widened(self.weight)
        bias = None if self.bias is None else widened(self.bias)
        return F.layer_norm(widened(input), self.normalized_shape, weight, bias, self.eps)


class RMSNorm32(nn.RMSNorm):
    """RMSNorm with a learned weight that computes and returns fp32."""

    def forward(self, x: Tensor) -> Tensor:
        """[..., dim] any float dtype -> [..., dim] fp32."""
        return F.rms_norm(widened(x), self.normalized_shape, widened(self.weight), self.eps)


def no_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Within the block autocast is off on `device`."""
    if autocast_dtype(device) is None:
        return nullcontext()
    return torch.autocast(_kind(device), enabled=False)


def _kind(device: torch.device) -> str:
    """The type of device whose autocast applies: the CPU's for the meta device, which has none (planning)."""
    return "cpu" if device.type == "meta" else device.type
