"""From a recipe's `model:` section to a network with random weights."""

import hashlib

import torch
from torch import nn

from talkies.models.config import COMPONENTS, MovaConfig
from talkies.models.mova import Mova


def build_mova(config: MovaConfig, *, components: frozenset[str], seed: int, device: str = "cpu") -> Mova:
    """MOVA in fp32 on `device`: "cpu", drawn from `seed`, or "meta", without values.

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
    """Draw every parameter of `model` on the CPU afresh, component by component; the global generator is untouched."""
    with torch.random.fork_rng(devices=[]):
        for name, component in model.named_children():
            digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
            torch.manual_seed(int.from_bytes(digest[:8], "big"))
            for module in component.modules():
                if next(module.parameters(recurse=False), None) is not None:
                    module.reset_parameters()  # type: ignore[operator]


def component_of(parameter_name: str) -> str:
    """The component that a parameter of Mova belongs to. Raises ValueError for a name of no component."""
    name = parameter_name.split(".", 1)[0]
    if name not in COMPONENTS:
        raise ValueError(f"{parameter_name!r} belongs to none of the components {', '.join(COMPONENTS)}")
    return name


def count_parameters(module: nn.Module) -> int:
    """Number of values in the parameters of `module`, on any device."""
    return sum(p.numel() for p in module.parameters())
