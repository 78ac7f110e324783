"""Recipe keys of the frozen codecs. These values alone determine a codec's Grid; its weights are not needed."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from talkies.codecs.demix_config import DemixerConfig
from talkies.codecs.speech_config import HubertConfig, Medium, Wav2Vec2Config, WhisperConfig
from talkies.config import config
from talkies.config.numbers import Block, Channels, Hop, Length, SampleRate, Stride, Width
from talkies.config.schema import added


@config
class LinearVideoConfig:
    """Closed-form (PCA) video codec of the toy: blocks of `stride` x `block` x `block` pixels, a causal first frame.
    `motion` of the channels hold the motion within a block."""

    medium: ClassVar[Medium] = "video"
    piece: ClassVar[int | None] = None
    tiled: ClassVar[bool] = False
    fitted: ClassVar[bool] = True
    kind: Literal["linear_video"] = "linear_video"
    channels: Channels = 12
    motion: Channels = 2
    stride: Stride = 2
    block: Block = 8


@config
class WanVideoConfig:
    """diffusers' AutoencoderKLWan (Wan2.1 VAE: 16 channels, 4 x 8 x 8). `weights`: a folder in diffusers' layout."""

    medium: ClassVar[Medium] = "video"
    piece: ClassVar[int | None] = None
    tiled: ClassVar[bool] = True
    fitted: ClassVar[bool] = False
    kind: Literal["wan"] = "wan"
    weights: str | None = None
    channels: Channels = 16
    stride: Stride = 4
    block: Block = 8


@config
class MochiVideoConfig:
    """diffusers' AutoencoderKLMochi (Mochi 1's VAE: 12 channels, 6 x 8 x 8), in pieces of 25 frames, each encoded
    alone, to 5 latent steps. `weights`: a folder in diffusers' layout."""

    medium: ClassVar[Medium] = "video"
    piece: ClassVar[int] = 5
    tiled: ClassVar[bool] = True
    fitted: ClassVar[bool] = False
    kind: Literal["mochi"] = "mochi"
    weights: str | None = None
    channels: Channels = 12
    stride: Stride = 6
    block: Block = 8


@config
class CogVideoXVideoConfig:
    """diffusers' AutoencoderKLCogVideoX (CogVideoX's VAE: 16 channels, 4 x 8 x 8). `weights`: a folder in diffusers'
    layout, whose config.json has the scale of its latents."""

    medium: ClassVar[Medium] = "video"
    piece: ClassVar[int | None] = None
    tiled: ClassVar[bool] = True
    fitted: ClassVar[bool] = False
    kind: Literal["cogvideox"] = "cogvideox"
    weights: str | None = None
    channels: Channels = 16
    stride: Stride = 4
    block: Block = 8


@config
class LinearAudioConfig:
    """Closed-form audio codec of the toy, `hop` samples per step: channel 0 is the loudness, the others principal
    components of the logarithmic spectrum; decoding synthesises new phases."""

    medium: ClassVar[Medium] = "audio"
    fitted: ClassVar[bool] = True
    kind: Literal["linear_audio"] = "linear_audio"
    channels: Channels = 8
    sample_rate: SampleRate = 16000
    hop: Hop = 1280


@config
class SourceFilterConfig:
    """Closed-form audio codec of the toy, `hop` samples per step: channels 0 to 2 are loudness, pitch and periodicity,
    the others principal components of the smooth spectrum; decoding synthesises harmonics and noise."""

    medium: ClassVar[Medium] = "audio"
    fitted: ClassVar[bool] = True
    kind: Literal["source_filter"] = "source_filter"
    channels: Channels = 12
    sample_rate: SampleRate = 16000
    hop: Hop = 640


@config
class MovaAudioConfig:
    """MOVA's audio VAE: a continuous DAC, 48 kHz mono, 50 Hz, 128 channels (docs/mova.md: Codecs). `weights`: a folder
    with the DAC's config.json and its tensors as safetensors, with or without weight norm."""

    medium: ClassVar[Medium] = "audio"
    fitted: ClassVar[bool] = False
    kind: Literal["mova_dac"] = "mova_dac"
    weights: str | None = None
    channels: Channels = 128
    sample_rate: SampleRate = 48000
    hop: Hop = 960


@config
class OobleckAudioConfig:
    """diffusers' AutoencoderOobleck (Stable Audio Open's VAE: 64 channels of hops of 2048 samples at 44.1 kHz), mono or
    stereo; mean and deviation of its channels are fitted. `weights`: a folder in diffusers' layout."""

    medium: ClassVar[Medium] = "audio"
    fitted: ClassVar[bool] = True
    kind: Literal["oobleck"] = "oobleck"
    weights: str | None = None
    channels: Channels = 64
    sample_rate: SampleRate = 44100
    hop: Hop = 2048


@config
class SameAudioConfig:
    """diffusers' AutoencoderSAME (Stable Audio 3's autoencoder: 256 channels of hops of 4096 samples at 44.1 kHz), mono
    or stereo; mean and deviation of its channels are fitted. `weights`: a folder in diffusers' layout."""

    medium: ClassVar[Medium] = "audio"
    fitted: ClassVar[bool] = True
    kind: Literal["same"] = "same"
    weights: str | None = None
    channels: Channels = 256
    sample_rate: SampleRate = 44100
    hop: Hop = 4096


@config
class WaveformConfig:
    """The sound itself: a latent step holds its `hop` samples, so that they come back bit for bit."""

    medium: ClassVar[Medium] = "audio"
    fitted: ClassVar[bool] = False
    kind: Literal["waveform"] = "waveform"
    sample_rate: SampleRate = 16000
    hop: Hop = 640

    @property
    def channels(self) -> int:
        """The samples of a step."""
        return self.hop


@config
class LogMelConfig:
    """Features of sound without weights: the logarithmic loudness of `channels` mel bands in each `hop` (by default 25
    a second). It only encodes."""

    medium: ClassVar[Medium] = "audio"
    fitted: ClassVar[bool] = False
    kind: Literal["log_mel"] = "log_mel"
    channels: Channels = 80
    sample_rate: SampleRate = 16000
    hop: Hop = 640


@config
class ByteTextConfig:
    """Byte-level text features of the toy: each word's bytes hashed into `dim` features, at most `length` words."""

    medium: ClassVar[Medium] = "text"
    fitted: ClassVar[bool] = False
    kind: Literal["bytes"] = "bytes"
    dim: Width = 64
    length: Length = 24


@config
class Umt5TextConfig:
    """transformers' UMT5 encoder, padded positions zeroed. `weights`: a folder with text_encoder/ and tokenizer/."""

    medium: ClassVar[Medium] = "text"
    fitted: ClassVar[bool] = False
    kind: Literal["umt5"] = "umt5"
    weights: str | None = None
    dim: Width = 4096
    length: Length = 512


@config
class T5TextConfig:
    """transformers' T5 encoder (T5 v1.1 XXL). `padding: zero`, as Mochi 1 has it: padded positions are zero, and take
    no part; nothing for an empty caption. `encoded`, as CogVideoX has it, with a `length` of 226: they are attended to,
    and kept as they are encoded, so that every caption has `length` rows. `weights`: a folder with text_encoder/
    and tokenizer/."""

    medium: ClassVar[Medium] = "text"
    fitted: ClassVar[bool] = False
    kind: Literal["t5"] = "t5"
    weights: str | None = None
    dim: Width = 4096
    length: Length = 256
    padding: Literal["zero", "encoded"] = added(default="zero")


@config
class ByT5TextConfig:
    """transformers' T5 encoder of a ByT5 (1472 wide: small, 1536: base), whose tokens are the bytes of a text: padded
    positions zeroed, nothing for an empty caption. `weights`: a folder with text_encoder/."""

    medium: ClassVar[Medium] = "text"
    fitted: ClassVar[bool] = False
    kind: Literal["byt5"] = "byt5"
    weights: str | None = None
    dim: Width = 1472
    length: Length = 1024


VideoVaeConfig = WanVideoConfig | MochiVideoConfig | CogVideoXVideoConfig
"""What is pretrained."""
VideoConfig = LinearVideoConfig | VideoVaeConfig
"""`piece`: the latent steps that are encoded on their own (None: a clip is encoded as a whole)."""
SoundEncoderConfig = LogMelConfig | Wav2Vec2Config | HubertConfig | WhisperConfig
"""What only encodes."""
SoundVaeConfig = OobleckAudioConfig | SameAudioConfig
"""What is pretrained, and has a fitted part."""
AudioConfig = (
    LinearAudioConfig | SourceFilterConfig | MovaAudioConfig | SoundVaeConfig | WaveformConfig | SoundEncoderConfig
)
PretrainedTextConfig = Umt5TextConfig | T5TextConfig | ByT5TextConfig
TextConfig = ByteTextConfig | PretrainedTextConfig
CodecConfig = Annotated[VideoConfig | AudioConfig | TextConfig | DemixerConfig, Field(discriminator="kind")]
CodecsConfig = dict[str, CodecConfig]
"""The frozen parts of one system, by name."""


def fitted_names(codecs: Mapping[str, CodecConfig]) -> tuple[str, ...]:
    """The names of the codecs that are fitted."""
    return tuple(name for name, codec in codecs.items() if codec.fitted)


def sample_rates(codecs: Mapping[str, CodecConfig]) -> dict[str, int]:
    """Audio codec -> samples per second."""
    return {name: codec.sample_rate for name, codec in codecs.items() if isinstance(codec, AudioConfig)}
