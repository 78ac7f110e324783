"""Parameters per component, counted on the modules themselves, built on the meta device."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.overrides import TorchFunctionMode

from talkies.models.build import build_mova, count_parameters
from talkies.models.config import COMPONENTS, MovaConfig
from talkies.training.config import LoraConfig, PhaseConfig


@dataclass(frozen=True, kw_only=True)
class Part:
    """One component: its own parameters, and those of the LoRA beside it, which train in its stead."""

    name: str
    built: int
    adapter: int = 0

    @property
    def trained(self) -> int:
        """Parameters that the phase trains."""
        return self.adapter or self.built


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


def count_parts(model: MovaConfig, phase: PhaseConfig, components: frozenset[str]) -> tuple[Part, ...]:
    """The components that a phase builds, in the model's order."""
    with _WithoutInit():
        built = build_mova(model, components=components, seed=0, device="meta")
    parts = []
    for name in COMPONENTS:
        if name in components:
            module: nn.Module = getattr(built, name)
            adapter = adapter_parameters(module, phase) if isinstance(phase, LoraConfig) else 0
            parts.append(Part(name=name, built=count_parameters(module), adapter=adapter))
    return tuple(parts)


def adapter_parameters(module: nn.Module, config: LoraConfig) -> int:
    """Weights of the rank r pair that PEFT puts beside every Linear that a target names: r (in + out)."""
    targets = tuple(f".{target}" for target in config.targets)
    linears = (
        linear for name, linear in module.named_modules() if isinstance(linear, nn.Linear) and name.endswith(targets)
    )
    return sum(config.rank * (linear.in_features + linear.out_features) for linear in linears)
