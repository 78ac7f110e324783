"""Clips -> Batch."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from talkies.data.clip import Caption, Clip, Latent
from talkies.streams.batch import Batch, Replaced, Stream, Text


def collate(
    clips: Sequence[Clip], visits: Sequence[int], null_texts: Mapping[str, Text], replaced: Sequence[Replaced] = ()
) -> Batch:
    """One Batch of clips of one geometry; floats become fp32, texts as long as the null texts."""
    first = clips[0]
    return Batch(
        ids=tuple(clip.id for clip in clips),
        visits=tuple(visits),
        streams={name: _stream([clip.streams[name] for clip in clips]) for name in first.streams},
        captions={name: tuple(clip.texts[name].caption for clip in clips) for name in first.texts},
        texts={
            name: _text([clip.texts[name] for clip in clips], null_texts[name].embedding.shape[1])
            for name in first.texts
        },
        null_texts={
            name: Text(embedding=text.embedding.float(), length=text.length.long()) for name, text in null_texts.items()
        },
        replaced=tuple(replaced),
    )


def _stream(latents: Sequence[Latent]) -> Stream:
    """Clean; with a mask only if some sample is padded."""
    grid = latents[0].grid
    assert all(latent.grid == grid for latent in latents), "the clips of a set share their geometry"
    steps = grid.shape[0]
    valid = torch.tensor([latent.valid for latent in latents])
    padded = any(latent.valid < steps for latent in latents)
    starts = _starts(latents)
    return Stream(
        role="target" if starts is None else "reference",
        latent=_stacked([latent.values for latent in latents]),
        time=torch.zeros(len(latents)),
        grid=grid,
        mask=torch.arange(steps)[None] < valid[:, None] if padded else None,
        start=starts,
    )


def _starts(latents: Sequence[Latent]) -> Tensor | None:
    """[B] fp32; None for a stream that begins with its clips."""
    starts = [latent.start for latent in latents if latent.start is not None]
    assert len(starts) in (0, len(latents)), "the clips of a set agree on whether a stream has a start"
    return torch.tensor(starts) if starts else None


def _text(texts: Sequence[Caption], length: int) -> Text:
    rows = [pad(text.features, (0, 0, 0, length - len(text.features))) for text in texts]
    return Text(
        embedding=_stacked(rows), length=torch.tensor([len(text.features) for text in texts], dtype=torch.int64)
    )


def _stacked(tensors: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(tensors)).float()
