"""Recipe keys of pretrained speech encoders, whose features are a model's sound."""

from typing import ClassVar, Literal

from talkies.config import config
from talkies.config.numbers import Channels, Context, Piece

Medium = Literal["video", "audio", "text", "tracks"]
"""What a codec encodes; a demixer makes tracks."""


@config
class SpeechConfig:
    """Features of a pretrained speech encoder of transformers: its last hidden state, `channels` wide, brought from 50
    to `rate` a second by linear interpolation. `align_corners`: the first and the last feature are the first and the
    last state. It only encodes.

    A file is encoded whole, so that the features of a clip depend on what is heard around it; one longer than `piece`
    + 2 `context` seconds is encoded in pieces of `piece` seconds, each with `context` seconds on both sides.
    `weights`: a folder with config.json, preprocessor_config.json (not for `whisper`) and *.safetensors."""

    medium: ClassVar[Medium] = "audio"
    fitted: ClassVar[bool] = False
    sample_rate: ClassVar[int] = 16000
    weights: str | None = None
    channels: Channels = 1024
    rate: Literal[10, 20, 25, 40, 50] = 25
    align_corners: bool = True
    piece: Piece = 20
    context: Context = 5

    @property
    def hop(self) -> int:
        """Samples per step."""
        return self.sample_rate // self.rate

    @property
    def longest(self) -> int:
        """Seconds of the longest sound that is encoded whole."""
        return self.piece + 2 * self.context


@config
class Wav2Vec2Config(SpeechConfig):
    """transformers' Wav2Vec2Model."""

    kind: Literal["wav2vec2"] = "wav2vec2"


@config
class HubertConfig(SpeechConfig):
    """transformers' HubertModel."""

    kind: Literal["hubert"] = "hubert"


@config
class WhisperConfig(SpeechConfig):
    """The encoder of transformers' WhisperModel, which hears 30 seconds at a time."""

    kind: Literal["whisper"] = "whisper"
