"""Frozen components in a release: read from the parents, one tensor at a time, since no checkpoint holds them."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from talkies.checkpoints.release import open_component
from talkies.checkpoints.spans import StateTensor

Whole = Callable[[StateTensor], Tensor]
Components = dict[str, dict[str, StateTensor]]


def with_frozen(
    components: Components, frozen: Mapping[str, Path], whole: Whole, *, main: bool
) -> tuple[Components, Whole]:
    """`components`, and those that `frozen` names with the release that holds them, as fp32 tensors without values; and
    `whole`, which also reads these. Only the `main` process reads, as only it writes."""
    found, readers = dict(components), dict[int, Callable[[], Tensor]]()
    for component, folder in frozen.items():
        found[component] = {
            name: torch.empty(shape, dtype=torch.float32, device="meta")
            for name, shape, _ in open_component(folder, component)
        }
        readers |= {id(tensor): partial(_read, folder, component, name) for name, tensor in found[component].items()}

    def read_whole(tensor: StateTensor) -> Tensor:
        reader = readers.get(id(tensor))
        if reader is None:
            return whole(tensor)
        assert isinstance(tensor, Tensor)
        return reader() if main else tensor

    return found, read_whole


def _read(folder: Path, component: str, name: str) -> Tensor:
    for known, shape, read in open_component(folder, component):
        if known == name:
            return read(0, shape[0] if shape else 0).float()
    raise AssertionError(f"{folder} had {component}.{name} a moment ago")
