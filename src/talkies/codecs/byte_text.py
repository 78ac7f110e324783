"""Byte-level text features that need no download: the toy's text encoder."""

import hashlib
from collections import Counter
from functools import cached_property

import numpy as np
import torch

from talkies.codecs.config import ByteTextConfig
from talkies.codecs.identity import identity
from talkies.config import RecipeError
from talkies.streams.batch import Text

NGRAMS = (2, 3)
DIGEST = 64
"""Bytes of one blake2b digest: 512 signs."""


class ByteTextEncoder:
    """One position per whitespace-separated word, in order; words with similar spelling have similar features.

    A word's feature is the sum of one hashed random sign vector per byte n-gram (and per whole word), scaled to length
    sqrt(dim), so that every dimension has unit variance. It is a pure function of the word: the same on every machine.
    The empty caption is one empty word: a real null token, so that a dropped caption leaves something to attend to.
    """

    def __init__(self, config: ByteTextConfig) -> None:
        if config.dim < 1 or config.length < 1:
            raise RecipeError(f"`codecs.text`: dim {config.dim}, length {config.length}: both must be at least 1")
        self.config = config

    @cached_property
    def identity(self) -> str:
        """sha256 over config and the features of a probe, so that a changed algorithm changes the identity."""
        return identity(self.config, {"probe": self.encode(["a red face, talking"]).embedding})

    def overflow(self, caption: str) -> int:
        """Words of the caption beyond `config.length`."""
        return max(0, len(caption.split()) - self.config.length)

    def encode(self, captions: list[str]) -> Text:
        """One row per caption, zero past its words; long captions are truncated. ValueError for no captions."""
        if not captions:
            raise ValueError("no captions to encode: at least 1 is needed")
        embedding = torch.zeros(len(captions), self.config.length, self.config.dim)
        lengths = []
        for row, caption in zip(embedding, captions, strict=True):
            words = (caption.split() or [""])[: self.config.length]
            row[: len(words)] = torch.from_numpy(np.stack([word_feature(word, self.config.dim) for word in words]))
            lengths.append(len(words))
        return Text(embedding=embedding, length=torch.tensor(lengths))


def word_feature(word: str, dim: int) -> np.ndarray:
    """[dim] fp32 of length sqrt(dim)."""
    total = np.zeros(dim, dtype=np.int64)
    for gram, count in Counter(_grams(word)).items():  # one at a time: a word may be arbitrarily long
        total += count * _signs(gram, dim)
    # Integers up to here, then one division: nothing rounds differently on another machine.
    length = np.sqrt(float(np.dot(total, total)))
    assert length > 0, "an odd number of signs never sums to zero"
    feature: np.ndarray = (total * (np.sqrt(float(dim)) / length)).astype(np.float32)
    return feature


def _grams(word: str) -> list[bytes]:
    """The byte n-grams of a word with its boundary marks, and the whole word twice. Their number is odd (for m bytes:
    (m - 1) + (m - 2) + 2), so the signs never sum to zero."""
    spelled = b"\x02" + word.encode() + b"\x03"
    return [spelled[i : i + n] for n in NGRAMS for i in range(len(spelled) - n + 1)] + 2 * [b"word" + spelled]


def _signs(gram: bytes, dim: int) -> np.ndarray:
    """[dim] of -1 and 1: the bits of as many blake2b digests as needed."""
    blocks = range((dim + 8 * DIGEST - 1) // (8 * DIGEST))
    digests = b"".join(hashlib.blake2b(gram, digest_size=DIGEST, salt=bytes([block])).digest() for block in blocks)
    bits = np.unpackbits(np.frombuffer(digests, dtype=np.uint8))[:dim]
    return bits.astype(np.int64) * 2 - 1
