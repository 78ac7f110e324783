"""From a recipe's `model:` section to a network with random weights."""

import hashlib
from collections.abc import Collection, Iterator
from copy import copy

import torch
from torch import Tensor, nn

from talkies.config.quoting import shown
from talkies.models.config import COMPONENTS, MovaConfig
from talkies.models.mova import Mova


def build_mova(config: MovaConfig, *, components: frozenset[str], seed: int, device: str = "cpu") -> Mova:
    """MOVA in fp32 on `device`: "cpu" with weights drawn from `seed`, or "meta" without values.

    A component's weights are a function of (seed, component): they do not depend on which others are built.
    """
    assert device in ("cpu", "meta"), device
    with torch.device("meta"):
        model = Mova(config.shape, components=components)
    if device == "cpu":
        model.to_empty(device=device)
        initialise(model, seed)
    return model


def initialise(model: nn.Module, seed: int) -> None:
    """Redraw every parameter of `model` on the CPU, component by component; the global generator is untouched."""
    with torch.no_grad():
        parameters = dict(model.named_parameters())
        for name, value in draw_weights(model, seed):
            parameters[name].copy_(value)


def draw_weights(model: nn.Module, seed: int, components: Collection[str] = COMPONENTS) -> Iterator[tuple[str, Tensor]]:
    """Yield (name, value on the CPU) for every parameter of these components of `model`, module by module.

    Only the structure of `model` is read, so it may be on the meta device. A value depends on (seed, component) and on
    the parameters before it in its component. The global generator is untouched.
    """
    for component, module in model.named_children():
        if component not in components:
            continue
        digest = hashlib.sha256(f"{seed}/{component}".encode()).digest()
        state = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big")).get_state()
        for path, part in module.named_modules(prefix=component):
            names = [name for name, _ in part.named_parameters(recurse=False)]
            if names:
                values, state = _draw(part, state)
                yield from ((f"{path}.{name}", values[name]) for name in names)


def _draw(part: nn.Module, state: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """New values for the parameters of `part` alone, drawn from generator `state`, and the state afterwards."""
    fresh = copy(part)
    fresh._parameters = {
        name: None if p is None else nn.Parameter(torch.empty(p.shape, dtype=p.dtype))
        for name, p in part._parameters.items()
    }
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(state)
        fresh.reset_parameters()  # type: ignore[operator]
        after = torch.get_rng_state()
    return {name: p.detach() for name, p in fresh.named_parameters(recurse=False)}, after


def component_of(parameter_name: str) -> str:
    """The component that a parameter of Mova belongs to. Raises ValueError if there is none."""
    name = parameter_name.split(".", 1)[0]
    if name not in COMPONENTS:
        raise ValueError(f"{shown(parameter_name)} belongs to none of the components {', '.join(COMPONENTS)}")
    return name


def count_parameters(module: nn.Module) -> int:
    """Number of values in the parameters of `module`, on any device."""
    return sum(p.numel() for p in module.parameters())
