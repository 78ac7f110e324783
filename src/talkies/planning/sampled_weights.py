"""Bytes of a network's weights, by what is streamed together."""

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor, nn

from talkies.streams.system import System


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Bytes of a component: of all `units`, of its `two` largest ones, and of what is outside of units (`ends`)."""

    units: int
    two: tuple[int, ...]
    ends: int

    @property
    def all(self) -> int:
        """Of the whole component."""
        return self.units + self.ends


def weights_of(system: System, model: nn.Module) -> dict[str, Weights]:
    """By component of a model, in the dtypes that it has."""
    units = [*system.network().units(model)]
    found = {}
    for name, child in model.named_children():
        own = {id(part) for part in child.modules()}
        sizes = sorted(_bytes(unit.parameters()) for unit in units if id(unit) in own)
        found[name] = Weights(units=sum(sizes), two=tuple(sizes[-2:]), ends=_bytes(child.parameters()) - sum(sizes))
    return found


def _bytes(parameters: Iterable[Tensor]) -> int:
    return sum(p.nbytes for p in parameters)


def streamed(parts: Iterable[Weights]) -> int:
    """What is outside of units, and the two largest units."""
    parts = [*parts]
    return sum(part.ends for part in parts) + sum(sorted(size for part in parts for size in part.two)[-2:])
