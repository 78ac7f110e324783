"""The noise of clips that are made: what they begin as, and what a sampler adds at its steps."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from talkies.flow.draw import gaussian, shuffled
from talkies.generate.model import Generator
from talkies.generate.request import Request


@dataclass(frozen=True, kw_only=True)
class Noise:
    """N(0, 1) on the device of `model`, a function of each request's seed (`seed` for those without), id and window,
    of the stream and of the step. `own`: a window's is its own; else that of the first window, with its latent steps in
    another order, which is the same at every step."""

    model: Generator
    requests: Sequence[Request]
    seed: int
    own: bool

    def initial(self, stream: str) -> Tensor:
        """The latents [B, C, *shape] at noise level 1."""
        return self._drawn(stream, f"sample/{stream}")

    def added(self, stream: str, step: int) -> Tensor:
        """What a sampler adds to latents [B, C, *shape] at a step, from 0."""
        return self._drawn(stream, f"sample/{stream}/step{step}")

    def _drawn(self, stream: str, name: str) -> Tensor:
        shape, order = self.model.grids[stream].latent_shape, f"sample/{stream}/order"
        rows = []
        for r in self.requests:
            seed = self.seed if r.seed is None else r.seed
            if self.own:
                rows.append(gaussian(seed, [r.id], [r.window], name, shape))
            else:
                rows.append(shuffled(seed, [r.id], [r.window], name, shape, order=order))
        return torch.cat(rows).to(self.model.device)
