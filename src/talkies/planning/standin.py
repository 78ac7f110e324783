"""Values with tensors inside, such as the arguments of a module: their tensors, their kind, and stand-ins for them."""

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

PLAIN = (int, float, str, bool, type(None))


def mapped(value: Any, change: Callable[[Tensor], Any]) -> Any:
    """`value` with every tensor in it changed; in dataclasses, mappings, lists and tuples."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {key: mapped(x, change) for key, x in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(mapped(x, change) for x in value))
    if isinstance(value, (list, tuple)):
        return type(value)(mapped(x, change) for x in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: mapped(getattr(value, f.name), change) for f in fields(value) if f.init})
    return value


def tensors(value: Any) -> list[Tensor]:
    """Every tensor in `value`, in order."""
    found: list[Tensor] = []
    mapped(value, found.append)
    return found


def kind_of(module: nn.Module) -> Any:
    """Equal for modules that do the same: of equal classes, settings and parameters."""
    parts = ((name, type(part), _settings(part)) for name, part in module.named_modules())
    return (*parts, *((name, p.shape, p.dtype, p.requires_grad) for name, p in module.named_parameters()))


def _settings(module: nn.Module) -> Any:
    plain = (*PLAIN, tuple)
    return tuple((name, signature(x)) for name, x in vars(module).items() if name[0] != "_" and isinstance(x, plain))


def signature(value: Any) -> Any:
    """Equal for arguments with which a module does the same."""
    if isinstance(value, Tensor):
        strides = tuple(n for n, size in zip(value.stride(), value.shape, strict=True) if size > 1)
        return value.shape, strides, value.dtype, value.requires_grad
    if isinstance(value, Mapping):
        return tuple((key, signature(x)) for key, x in value.items())
    if isinstance(value, (list, tuple)):
        return tuple(map(signature, value))
    if is_dataclass(value) and not isinstance(value, type):
        return tuple(signature(getattr(value, f.name)) for f in fields(value))
    return value if isinstance(value, PLAIN) else type(value)


def stand_in(result: Any, given: list[Tensor]) -> Any:
    """A value like `result` that depends on the tensors `given`; gradients flow, and nothing is kept for them."""
    like = tensors(result)
    source = torch.empty(0, device="meta", requires_grad=any(x.requires_grad for x in like))
    made = iter(_Standing.apply(like, source, *given))  # type: ignore[no-untyped-call]
    return mapped(result, lambda _: next(made))


class _Standing(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, like: list[Tensor], *given: Tensor) -> tuple[Tensor, ...]:
        ctx.shapes = [(x.shape, x.dtype) if x.requires_grad else None for x in given]
        made = _like(like)
        ctx.mark_non_differentiable(*(new for new, x in zip(made, like, strict=True) if not x.requires_grad))
        return made

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> tuple[Tensor | None, ...]:
        # No default device holds here.
        return None, *(s and torch.empty(s[0], dtype=s[1], device="meta") for s in ctx.shapes)


def _like(results: list[Tensor]) -> tuple[Tensor, ...]:
    """Empty tensors like `results`: parts of one storage are so here, too, and keep all of it."""
    storages: dict[int, Tensor] = {}
    made = []
    for x in results:
        whole = x.untyped_storage()
        if whole._cdata not in storages:
            storages[whole._cdata] = torch.empty(whole.nbytes(), dtype=torch.uint8, device="meta")
        held, empty = storages[whole._cdata].untyped_storage(), torch.empty(0, dtype=x.dtype, device="meta")
        made.append(empty.set_(held, x.storage_offset(), x.shape, x.stride()))
    return tuple(made)
