"""Where in a video a model lets tracks act: the norms of what they add to its tokens."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from math import isqrt
from typing import Any

import torch
from torch import Tensor, nn

from talkies.streams import Grid
from talkies.world.events import places
from talkies.world.faces import UNITS, Box


class Heat:
    """The mean norm of what modules give, over all their calls."""

    def __init__(self) -> None:
        self._sum: Tensor | None = None
        self._calls = 0

    def hear(self, module: nn.Module, given: Any, found: Tensor) -> None:
        """A forward hook of modules that give [B T, S, d], always as many."""
        del module, given
        norms = found.detach().float().norm(dim=-1)
        self._sum = norms if self._sum is None else self._sum + norms
        self._calls += 1

    def over(self, grid: Grid) -> Tensor:
        """[B, T, h, w] on the CPU: of the tokens of a latent of this Grid, in square patches. ValueError if these are
        not the tokens of whole latent steps."""
        assert self._sum is not None, "nothing was heard"
        steps, height, width = grid.shape
        rows, tokens = self._sum.shape
        side = isqrt(height * width // tokens)
        if rows % steps or side * side * tokens != height * width or height % side:
            raise ValueError(f"{rows} x {tokens} tokens are not those of latents of {steps} x {height} x {width}")
        mean = (self._sum / self._calls).cpu()
        return torch.unflatten(torch.unflatten(mean, 0, (-1, steps)), 2, (height // side, width // side))


@contextmanager
def recorded(heard: Mapping[str, Sequence[nn.Module]]) -> Iterator[dict[str, Heat]]:
    """The heat of each name, over what its modules give meanwhile."""
    heats = {name: Heat() for name in heard}
    with ExitStack() as hooks:
        for name, modules in heard.items():
            for module in modules:
                hooks.callback(module.register_forward_hook(heats[name].hear).remove)
        yield heats


def heat_shares(heats: Mapping[str, Tensor]) -> dict[str, dict[str, float]]:
    """Of the heat [B, T, h, w] of each track, in scenes of the world: `heat`, the share on the tokens in which the
    track is seen (mouth, lamp or light), and `area`, the share of these tokens; without tracks that are not seen."""
    found = {}
    for track, heat in heats.items():
        height, width = heat.shape[-2:]
        boxes = places(track, width // height)
        if boxes:
            on = touched(boxes, height, width)
            share = float((heat * on).sum() / heat.sum().clamp(min=1e-12))
            found[track] = {"heat": share, "area": float(on.float().mean())}
    return found


def touched(boxes: Sequence[Box], height: int, width: int) -> Tensor:
    """Whether each of height x width equal parts of a picture, [height, width] bool, has something of one of the boxes
    in 32nds of the picture's height."""
    part = UNITS / height
    first = torch.arange(max(height, width)) * part
    found = torch.zeros(height, width, dtype=torch.bool)
    for left, top, right, bottom in boxes:
        down = (first < bottom) & (first + part > top)
        across = (first < right) & (first + part > left)
        found |= down[:height, None] & across[:width]
    return found
