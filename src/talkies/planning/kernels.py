"""Stand-ins, on the meta device, for what it lacks: fused kernels, autocast, and adapters that are not built."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from talkies.nn.precision import autocast_dtype
from talkies.planning.meter import Meter
from talkies.training.config import LoraConfig

LOWERED = {
    F.linear, F.conv1d, F.conv2d, F.conv3d, F.scaled_dot_product_attention, torch.matmul, torch.mm, torch.bmm,
    torch.addmm, torch.baddbmm, torch.einsum, Tensor.matmul, Tensor.__matmul__, Tensor.__rmatmul__, Tensor.mm,
    Tensor.bmm,
}  # fmt: skip
"""What autocast runs in bf16."""
WIDENED = {F.layer_norm, F.group_norm, F.rms_norm, F.softmax, F.log_softmax, torch.softmax, Tensor.softmax}
"""What autocast runs in fp32."""


class Kernels(TorchFunctionMode):
    """Attention as a flash kernel: it keeps q, k, v, the result and one fp32 value per query and head. `fused`: RMSNorm
    as CUDA's kernel, which keeps its input and one value per token; the CPU's composite keeps the normalised tokens,
    too. `adapted`: the weights (by id) that an adapter of `lora` changes."""

    def __init__(self, meter: Meter, *, fused: bool, lora: LoraConfig | None, adapted: Collection[int]) -> None:
        super().__init__()
        self.meter, self.fused, self.lora, self.adapted = meter, fused, lora, adapted
        self.adapters: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call `func` or its stand-in."""
        del types
        given, named = args, dict(kwargs or {})
        if func in LOWERED or func in WIDENED:
            args, named = _cast(args, func), {key: _cast((x,), func)[0] for key, x in named.items()}
        if func is F.scaled_dot_product_attention:
            mask = _argument(args, named, 3, "attn_mask")
            masks = [] if mask is None else [mask]
            return _Flash.apply(self.meter, *(*args, *named.values())[:3], *masks)  # type: ignore[no-untyped-call]
        if func is F.rms_norm and self.fused:
            return _RmsNorm.apply(*args[:2], _argument(args, named, 2, "weight"))  # type: ignore[no-untyped-call]
        out = func(*args, **named)
        if func is F.linear and len(given) > 1 and id(given[1]) in self.adapted:
            return out + self._adapter(args[0], given[1])
        return out

    def _adapter(self, x: Tensor, weight: Tensor) -> Tensor:
        """What PEFT adds to the product with `weight`; `x` as the product took it."""
        assert self.lora is not None
        if id(weight) not in self.adapters:
            rank, (rows, columns) = self.lora.rank, weight.shape
            shapes = (rank, columns), (rows, rank)
            down, up = (torch.empty(shape, dtype=weight.dtype, requires_grad=True) for shape in shapes)
            self.meter.weights |= {self.meter.number(down), self.meter.number(up)}
            self.adapters[id(weight)] = (down, up)
        down, up = self.adapters[id(weight)]
        dropped = F.dropout(x.to(down.dtype), self.lora.dropout) if self.lora.dropout else x.to(down.dtype)
        return F.linear(F.linear(dropped.to(x.dtype), down.to(x.dtype)), up.to(x.dtype)) * 1.0


def _cast(values: tuple[Any, ...], func: Callable[..., Any]) -> tuple[Any, ...]:
    """What autocast does to the arguments of `func`."""
    lowered = autocast_dtype(torch.device("meta"))
    if lowered is None:
        return values
    dtype = lowered if func in LOWERED else torch.float32
    return tuple(x.to(dtype) if isinstance(x, Tensor) and x.dtype in (torch.float32, lowered) else x for x in values)


def _argument(args: tuple[Any, ...], named: Mapping[str, Any], place: int, name: str) -> Any:
    return args[place] if len(args) > place else named.get(name)


class _Flash(torch.autograd.Function):
    """softmax(q k^T) v: q [..., H, Tq, D], k [..., H, Tk, D], v [..., H, Tk, E]. As in torch's kernels, the result lies
    in memory as [..., Tq, H, E], and a bool mask is kept in the dtype of q. The backward pass costs two forward passes:
    what a kernel recomputes is no useful work."""

    @staticmethod
    def forward(ctx: Any, meter: Meter, q: Tensor, k: Tensor, v: Tensor, *masks: Tensor) -> Tensor:
        shape, width = q.shape[:-1], v.shape[-1]
        out = q.new_empty(*shape[:-2], shape[-1], shape[-2], width).transpose(-2, -3)
        ctx.meter, ctx.flops = meter, 2 * shape.numel() * k.shape[-2] * (q.shape[-1] + width)
        statistics = q.new_empty(shape, dtype=torch.float32)
        ctx.save_for_backward(q, k, v, out, statistics, *(mask.to(q.dtype) for mask in masks))
        meter.count("flops", ctx.flops)
        return out

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, _, _, *masks = ctx.saved_tensors
        ctx.meter.count("flops", 2 * ctx.flops)
        return None, *map(torch.empty_like, (q, k, v)), *(None for _ in masks)


class _RmsNorm(torch.autograd.Function):
    """x / rms(x) * weight over the last dimensions."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, shape: Sequence[int], weight: Tensor | None) -> Tensor:
        per_token = x.new_empty(x.shape[: x.ndim - len(shape)])
        ctx.save_for_backward(x, per_token, *([] if weight is None else [weight]))
        return torch.empty_like(x)

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, *weight = ctx.saved_tensors[::2]
        return torch.empty_like(x), None, *(map(torch.empty_like, weight) if weight else [None])
