"""Features of texts, each encoded once for all clips and windows that are made of it."""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor

from talkies.streams.batch import Text
from talkies.streams.codec import TextEncoder

LIMIT = 1 << 30


class TextMemory:
    """The features of texts by codec and caption, without the zeros past their length, on the encoder's device. Beyond
    `limit` bytes, those that were not used for the longest time are forgotten."""

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        self._size = 0
        self._rows: OrderedDict[tuple[str, str], Tensor] = OrderedDict()
        self._padded: dict[str, int] = {}

    def encoded(self, name: str, encoder: TextEncoder, captions: Sequence[str]) -> Text:
        """What the encoder `name` makes of captions; equal ones are encoded once."""
        new = [caption for caption in dict.fromkeys(captions) if (name, caption) not in self._rows]
        if new:
            self._keep(name, new, encoder.encode(new))
        rows = [self._rows[name, caption] for caption in captions]
        embedding = rows[0].new_zeros(len(rows), self._padded[name], rows[0].shape[1])
        for features, row in zip(embedding, rows, strict=True):
            features[: len(row)] = row
        self._forget([(name, caption) for caption in captions])
        return Text(embedding=embedding, length=torch.tensor([len(row) for row in rows], device=embedding.device))

    def _keep(self, name: str, captions: Sequence[str], text: Text) -> None:
        self._padded[name] = text.embedding.shape[1]
        for caption, features, length in zip(captions, text.embedding, text.length.tolist(), strict=True):
            self._rows[name, caption] = features[:length].clone()
            self._size += self._rows[name, caption].nbytes

    def _forget(self, used: Sequence[tuple[str, str]]) -> None:
        for key in used:
            self._rows.move_to_end(key)
        while self._size > self.limit:
            _, features = self._rows.popitem(last=False)
            self._size -= features.nbytes
