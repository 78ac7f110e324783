"""Features of windows of a long sound: they depend on what is heard around the window.

A sound is encoded whole, or, if it is long, in pieces that each hear some sound on both sides, so that memory is
bounded. A window's features are a slice of the sound's, whatever the window.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from talkies.codecs.config import AudioConfig
from talkies.codecs.geometry import samples_of, steps_of
from talkies.codecs.speech_config import SpeechConfig
from talkies.streams.codec import AudioEncoder


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Steps [begin, end) of a sound, for which the steps [first, last) are heard."""

    begin: int
    end: int
    first: int
    last: int


def pieces(config: SpeechConfig, steps: int) -> Iterator[Piece]:
    """The pieces of a sound of `steps` steps."""
    return cut(steps, own=config.piece * config.rate, around=config.context * config.rate)


def cut(steps: int, *, own: int, around: int) -> Iterator[Piece]:
    """Pieces of `own` steps, for which `around` steps on both sides are heard, too; one if that covers the sound."""
    if steps <= own + 2 * around:
        yield Piece(begin=0, end=steps, first=0, last=steps)
        return
    for begin in range(0, steps, own):
        end = min(begin + own, steps)
        yield Piece(begin=begin, end=end, first=max(0, begin - around), last=min(steps, end + around))


def steps_needed(config: SpeechConfig, window: range) -> int:
    """How many steps of a sound, from its beginning, decide the features of the steps in `window`."""
    own, around = config.piece * config.rate, config.context * config.rate
    # One step more than is encoded whole shows that the sound is longer.
    return max(config.longest * config.rate + 1, -(-window.stop // own) * own + around)


def features(
    encoder: AudioEncoder, config: AudioConfig | SpeechConfig, sound: Tensor, *, window: range | None = None
) -> Tensor:
    """Features [C, T] of the steps in `window` (None: all) of a sound [S], which silence follows if it ends earlier.

    `config` is the encoder's. Of an encoder that hears no context, the window alone is encoded.
    """
    window = range(steps_of(config, len(sound))) if window is None else window
    sound = pad(sound, (0, max(0, samples_of(config, window.stop) - len(sound))))
    if not isinstance(config, SpeechConfig):
        return encoder.encode(sound[None, window.start * config.hop : window.stop * config.hop])[0]
    found = []
    for piece in pieces(config, steps_of(config, len(sound))):
        if piece.begin < window.stop and window.start < piece.end:
            # A piece begins with a second, so that its first sample is a whole one.
            heard = encoder.encode(sound[None, samples_of(config, piece.first) : samples_of(config, piece.last)])[0]
            begin, end = max(piece.begin, window.start), min(piece.end, window.stop)
            found.append(heard[:, begin - piece.first : end - piece.first])
    return torch.cat(found, dim=1)
