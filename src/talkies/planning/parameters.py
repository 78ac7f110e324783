"""Parameters per component, counted on the modules themselves, built on the meta device."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.overrides import TorchFunctionMode

from talkies.models.build import build, count_parameters
from talkies.planning.work import Group, Part, Sizes
from talkies.streams.system import Setup, System
from talkies.training.config import LoraConfig, TrainConfig


class _WithoutInit(TorchFunctionMode):
    """Skips torch.nn.init: a meta tensor has no values, and drawing them would import torch._dynamo (seconds)."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        del types
        named = dict(kwargs or {})
        skipped = getattr(func, "__module__", None) == "torch.nn.init"
        return named["tensor"] if skipped else func(*args, **named)


@dataclass(frozen=True, kw_only=True)
class _Shapes:
    """The tensors of one group, each as (rows, values per row)."""

    block: bool
    base: Sizes
    adapter: Sizes


def count_parts(system: System, setup: Setup, components: frozenset[str], train: TrainConfig) -> tuple[Part, ...]:
    """The components that a phase builds, in the model's order."""
    with _WithoutInit():
        return parts_of(build(system, setup, components, seed=None), train)


def parts_of(built: nn.Module, train: TrainConfig) -> tuple[Part, ...]:
    """The components of a model on any device, without adapters."""
    lora = train if isinstance(train, LoraConfig) else None
    return tuple(_part(name, child, lora) for name, child in built.named_children())


def _part(name: str, module: nn.Module, lora: LoraConfig | None) -> Part:
    targets = _targets(module, lora) if lora else frozenset()
    blocks = [block for entries in module.modules() if isinstance(entries, nn.ModuleList) for block in entries]
    inside = {id(part) for block in blocks for part in block.modules()}
    rank = lora.rank if lora else 0
    found = [_shapes(block.modules(), targets, rank, block=True) for block in blocks]
    found.append(_shapes((m for m in module.modules() if id(m) not in inside), targets, rank, block=False))
    groups = tuple(_group(shapes, count, frozen=lora is not None) for shapes, count in Counter(found).items())
    adapter = sum(count * rows * row for shapes, count in Counter(found).items() for rows, row in shapes.adapter)
    return Part(name=name, built=count_parameters(module), adapter=adapter, groups=groups)


def _group(shapes: _Shapes, count: int, *, frozen: bool) -> Group:
    if frozen:
        return Group(block=shapes.block, count=count, trained=shapes.adapter, frozen=shapes.base)
    return Group(block=shapes.block, count=count, trained=shapes.base)


def _shapes(modules: Iterable[nn.Module], targets: frozenset[int], rank: int, *, block: bool) -> _Shapes:
    base: list[tuple[int, int]] = []
    adapter: list[tuple[int, int]] = []
    for module in modules:
        direct = [p.shape for p in module.parameters(recurse=False)]
        base += [(shape[0], shape[1:].numel()) for shape in direct]
        if id(module) in targets and isinstance(module, nn.Linear):
            adapter += [(rank, module.in_features), (module.out_features, rank)]
    return _Shapes(block=block, base=tuple(base), adapter=tuple(adapter))


def _targets(module: nn.Module, config: LoraConfig) -> frozenset[int]:
    """Every Linear that a target names: PEFT adds a pair of matrices of rank r to it, with r (in + out) weights."""
    ends = tuple(f".{target}" for target in config.targets)
    named = module.named_modules()
    return frozenset(id(linear) for name, linear in named if isinstance(linear, nn.Linear) and name.endswith(ends))
