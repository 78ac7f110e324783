"""Latent steps that are known: drawn for training clips (flow/known_config.py), or given to the clips that are made.

A network sees them clean, at noise level 0, beside those that it makes (MTV's code; Diffusion Forcing, arXiv
2407.01392).
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from talkies.flow.draw import uniform
from talkies.flow.known_config import KnownFrames
from talkies.streams.batch import Batch, Stream


def known_by(batch: Batch, shares: Mapping[str, KnownFrames], *, seed: int) -> dict[str, Tensor]:
    """Stream -> [B, T] bool: the latent steps of every sample that are known, never all of them."""
    return {name: _known(batch, name, frames, seed) for name, frames in shares.items()}


def _known(batch: Batch, name: str, frames: KnownFrames, seed: int) -> Tensor:
    def drawn(what: str) -> Tensor:
        return uniform(seed, batch.ids, batch.visits, f"known/{name}{what}")[:, None]

    steps = batch.streams[name].grid.shape[0]
    found = torch.zeros(len(batch.ids), steps, dtype=torch.bool)
    u, begin = drawn(""), 0.0
    chances = torch.cat([drawn(f"/step{step}") for step in range(steps)], 1)
    patterns = _patterns(steps, drawn("/size"), drawn("/place"), chances)
    for kind, share in frames.shares.items():
        found |= (u >= begin) & (u < begin + share) & patterns[kind]
        begin += share
    found[:, -1] &= ~found.all(1)
    return found


def _patterns(steps: int, size: Tensor, place: Tensor, chances: Tensor) -> dict[str, Tensor]:
    """By key of KnownFrames, the steps [B, T] that are known in samples of that kind, from uniform numbers: of the
    sample, `size` and `place` [B, 1], and of each step, `chances` [B, T]."""
    step = torch.arange(steps)[None]
    count = 1 + (size * max(1, steps // 4)).floor()
    first = (place * (steps - count + 1)).floor()
    return {
        "head": step < 1,
        "random": chances < 0.1 + 0.8 * size,
        "tail": step >= steps - 1,
        "head_tail": (step < 1) | (step >= steps - 1),
        "interpolate": (step + (place * 2).floor()) % 2 == 0,
        "quarter_random": (step >= first) & (step < first + count),
        "quarter_head": step < count,
        "quarter_tail": step >= steps - count,
        "quarter_head_tail": (step < count) | (step >= steps - count),
    }


def with_known(stream: Stream, data: Tensor, known: Tensor) -> Stream:
    """A stream of noise at level 1 with `data` [B, C, K, ...] as its first latent steps, where `known` [B] bool: clean,
    at level 0. Its time becomes [B, T]."""
    count, steps = data.shape[2], stream.grid.shape[0]
    begins = known[:, None] & (torch.arange(steps, device=known.device) < count)
    whole = torch.cat([data, stream.latent[:, :, count:]], 2)
    chosen = begins.view(*begins.shape[:1], 1, steps, *[1] * (whole.ndim - 3))
    times = stream.time[:, None].where(~begins, 0.0)
    return replace(stream, latent=whole.where(chosen, stream.latent), time=times)
