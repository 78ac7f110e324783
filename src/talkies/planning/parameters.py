"""Parameters per component, counted on the modules themselves, built on the meta device."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn
from torch.overrides import TorchFunctionMode

from talkies.models.build import build, count_parameters
from talkies.nn.lowering import lowered_parameters
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
    """The tensors of one group, each as (rows, values per row). `lowered`: those of `base` that bf16 masters hold in
    bf16 if they are frozen, and `wide` the others."""

    block: bool
    wide: Sizes
    lowered: Sizes
    adapter: Sizes

    @property
    def base(self) -> Sizes:
        """All tensors without the adapter."""
        return self.wide + self.lowered


def skeleton(system: System, setup: Setup, components: frozenset[str]) -> nn.Module:
    """The network of a phase on the meta device."""
    with _WithoutInit():
        return build(system, setup, components, seed=None)


def count_parts(system: System, setup: Setup, components: frozenset[str], train: TrainConfig) -> tuple[Part, ...]:
    """The components that a phase builds, in the model's order."""
    return parts_of(system, setup, skeleton(system, setup, components), train)


def parts_of(
    system: System, setup: Setup, built: nn.Module, train: TrainConfig, *, masters: str = "fp32"
) -> tuple[Part, ...]:
    """The components of a model on any device, without adapters."""
    lora, known = train if isinstance(train, LoraConfig) else None, system.components(setup)
    units, frozen = [*system.network().units(built)], system.parts(setup).frozen
    lowered = [id(p) for unit in units for p in lowered_parameters(unit)] if masters == "bf16" else []
    reader = _Reader(adapted(built, lora), lora.rank if lora else 0, frozenset(lowered))
    parts = (
        _part(name, child, units, reader, frozen=lora is not None or name in frozen)
        for name, child in built.named_children()
    )
    return tuple(replace(part, group=known[part.name].group) for part in parts)


def _part(name: str, module: nn.Module, units: Sequence[nn.Module], reader: "_Reader", *, frozen: bool) -> Part:
    own = {id(part) for part in module.modules()}
    units = [unit for unit in units if id(unit) in own]
    inside = {id(part) for unit in units for part in unit.modules()}
    rest = (part for part in module.modules() if id(part) not in inside)
    found = [*(reader.shapes(unit.modules(), block=True) for unit in units), reader.shapes(rest, block=False)]
    counts = Counter(shapes for shapes in found if shapes.base)
    groups = tuple(_group(shapes, count, frozen=frozen) for shapes, count in counts.items())
    adapter = sum(count * rows * row for shapes, count in counts.items() for rows, row in shapes.adapter)
    return Part(name=name, built=count_parameters(module), adapter=adapter, groups=groups)


def _group(shapes: _Shapes, count: int, *, frozen: bool) -> Group:
    if frozen:
        kept = {"frozen": shapes.wide, "lowered": shapes.lowered}
        return Group(block=shapes.block, count=count, trained=shapes.adapter, **kept)
    return Group(block=shapes.block, count=count, trained=shapes.base)


@dataclass(frozen=True)
class _Reader:
    """Reads the shapes of modules. `adapted`: the weights (by id) that an adapter of `rank` changes; `lowered`: those
    that are held in bf16 if they are frozen."""

    adapted: frozenset[int]
    rank: int
    lowered: frozenset[int]

    def shapes(self, modules: Iterable[nn.Module], *, block: bool) -> _Shapes:
        """Those of the parameters of `modules` together."""
        found = [p for module in modules for p in module.parameters(recurse=False)]
        adapter: list[tuple[int, int]] = []
        for rows, columns in (p.shape for p in found if id(p) in self.adapted):
            adapter += [(self.rank, columns), (rows, self.rank)]
        wide, lowered = (
            tuple((p.shape[0] if p.ndim else 1, p.shape[1:].numel()) for p in found if (id(p) in self.lowered) == low)
            for low in (False, True)
        )
        return _Shapes(block=block, wide=wide, lowered=lowered, adapter=tuple(adapter))


def adapted(model: nn.Module, lora: LoraConfig | None) -> frozenset[int]:
    """The weights (by id) of every Linear that a target names: PEFT adds a pair of matrices of rank r to each, with
    r (in + out) weights."""
    ends = tuple(f".{target}" for target in lora.targets) if lora else ()
    linears = ((name, m) for name, m in model.named_modules() if isinstance(m, nn.Linear))
    return frozenset(id(linear.weight) for name, linear in linears if name.endswith(ends) and ends)
