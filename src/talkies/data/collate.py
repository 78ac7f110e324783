"""Clips -> Batch."""

from collections.abc import Sequence

import torch
from torch import Tensor

from talkies.data.clip import Clip
from talkies.streams.batch import Batch, Replaced, Text


def collate(clips: Sequence[Clip], visits: Sequence[int], null_text: Text, replaced: Sequence[Replaced] = ()) -> Batch:
    """One Batch of clips of one geometry; floats become fp32.

    `masks[m]` [B, T] is True on the valid steps of each clip; `padded` names the modalities with padded steps.
    """
    first = clips[0]
    assert all(clip.grids == first.grids for clip in clips), "the clips of a set share their geometry"
    steps = {m: grid.shape[0] for m, grid in first.grids.items()}
    valid = {m: torch.tensor([clip.valid[m] for clip in clips]) for m in steps}
    return Batch(
        ids=tuple(clip.id for clip in clips),
        visits=tuple(visits),
        captions=tuple(clip.caption for clip in clips),
        latents={m: _stacked([clip.latents[m] for clip in clips]) for m in steps},
        masks={m: torch.arange(steps[m])[None] < valid[m][:, None] for m in steps},
        padded=frozenset(m for m in steps if any(clip.valid[m] < steps[m] for clip in clips)),
        grids=dict(first.grids),
        image=None if first.image is None else _stacked([clip.image for clip in clips if clip.image is not None]),
        text=Text(
            embedding=_stacked([clip.text for clip in clips]),
            length=torch.tensor([clip.text_length for clip in clips], dtype=torch.int64),
        ),
        null_text=Text(embedding=null_text.embedding.float(), length=null_text.length.long()),
        replaced=tuple(replaced),
    )


def _stacked(tensors: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(tensors)).float()
