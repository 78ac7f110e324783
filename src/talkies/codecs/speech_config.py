"""Recipe keys of pretrained speech encoders, whose features are a model's sound."""

from fractions import Fraction
from typing import ClassVar, Literal

from talkies.config import config
from talkies.config.numbers import Context, Features, Piece
from talkies.config.schema import added

Medium = Literal["video", "audio", "text", "tracks"]
"""What a codec encodes; a demixer makes tracks."""


@config
class SpeechConfig:
    """Features of a pretrained speech encoder of transformers: its last hidden state, `channels` wide, brought from 50
    to `rate` a second by linear interpolation. `align_corners`: the first and the last feature are the first and the
    last state. `layers: all`: the states of all its layers, one after another (channel = layer * width + place), so
    that `channels` is layers * width. It only encodes.

    A file is encoded whole, so that the features of a clip depend on what is heard around it; one longer than `piece`
    + 2 `context` seconds is encoded in pieces of `piece` seconds, each with `context` seconds on both sides.
    `weights`: a folder with config.json, preprocessor_config.json (not for `whisper`) and *.safetensors."""

    medium: ClassVar[Medium] = "audio"
    fitted: ClassVar[bool] = False
    sample_rate: ClassVar[int] = 16000
    weights: str | None = None
    channels: Features = 1024
    layers: Literal["last", "all"] = added(default="last")
    rate: Literal[10, 20, 24, 25, 40, 50] = 25
    align_corners: bool = True
    piece: Piece = 20
    context: Context = 5

    @property
    def hop(self) -> int | Fraction:
        """Samples per step: 2000 / 3 at 24 a second."""
        exact = Fraction(self.sample_rate, self.rate)
        return exact if exact.denominator > 1 else exact.numerator

    @property
    def longest(self) -> int:
        """Seconds of the longest sound that is encoded whole."""
        return self.piece + 2 * self.context


@config
class WaveConfig(SpeechConfig):
    """`interpolate`: `after` the network, or `before` its transformer, whose states are then those of the features (as
    in MTV's and Hallo's released code): what its convolutions hear is interpolated."""

    interpolate: Literal["after", "before"] = added(default="after")


@config
class Wav2Vec2Config(WaveConfig):
    """transformers' Wav2Vec2Model."""

    kind: Literal["wav2vec2"] = "wav2vec2"


@config
class HubertConfig(WaveConfig):
    """transformers' HubertModel."""

    kind: Literal["hubert"] = "hubert"


@config
class WhisperConfig(SpeechConfig):
    """The encoder of transformers' WhisperModel, which hears 30 seconds at a time."""

    kind: Literal["whisper"] = "whisper"
