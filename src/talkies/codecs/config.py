"""Recipe keys of the frozen codecs. These values alone determine a codec's Grid; its weights are not needed."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from talkies.config import DataError, config
from talkies.config.numbers import Block, Channels, Hop, Length, SampleRate, Stride, Width
from talkies.streams import Grid

Medium = Literal["video", "audio", "text"]
"""What a codec encodes."""


@config
class LinearVideoConfig:
    """Closed-form (PCA) video codec of the toy: blocks of `stride` x `block` x `block` pixels, a causal first frame.
    `motion` of the channels hold the motion within a block."""

    medium: ClassVar[Medium] = "video"
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
    fitted: ClassVar[bool] = False
    kind: Literal["wan"] = "wan"
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


CodecConfig = Annotated[
    LinearVideoConfig | WanVideoConfig | LinearAudioConfig | MovaAudioConfig | ByteTextConfig | Umt5TextConfig,
    Field(discriminator="kind"),
]
CodecsConfig = dict[str, CodecConfig]
"""The frozen parts of one system, by name."""


def fitted_names(codecs: Mapping[str, CodecConfig]) -> tuple[str, ...]:
    """The names of the codecs that are fitted."""
    return tuple(name for name, codec in codecs.items() if codec.fitted)


def sample_rates(codecs: Mapping[str, CodecConfig]) -> dict[str, int]:
    """Audio codec -> samples per second."""
    return {
        name: codec.sample_rate
        for name, codec in codecs.items()
        if isinstance(codec, LinearAudioConfig | MovaAudioConfig)
    }


def grid_of(
    codec: LinearVideoConfig | WanVideoConfig | LinearAudioConfig | MovaAudioConfig,
    *,
    frames: int,
    height: int,
    width: int,
    fps: float,
    samples: int,
) -> Grid:
    """Latent geometry of a clip's frames or samples, whichever the codec encodes. DataError as below."""
    if isinstance(codec, LinearVideoConfig | WanVideoConfig):
        return video_grid(codec, frames=frames, height=height, width=width, fps=fps)
    return audio_grid(codec, samples=samples)


def video_grid(codec: LinearVideoConfig | WanVideoConfig, *, frames: int, height: int, width: int, fps: float) -> Grid:
    """Latent geometry of a clip: T = (frames - 1) / stride + 1, rate fps / stride.

    Raises DataError if frames are not 1 mod the temporal stride or a side is not divisible by the block.
    """
    if frames < 1 or (frames - 1) % codec.stride:
        low = max(1, (frames - 1) // codec.stride * codec.stride + 1)
        raise DataError(
            f"{frames} frames do not fit codec {codec.kind}: frames must be 1 mod {codec.stride}; "
            f"nearest: {low} or {low + codec.stride}"
        )
    for name, size in (("height", height), ("width", width)):
        if size < codec.block or size % codec.block:
            low = max(codec.block, size // codec.block * codec.block)
            raise DataError(
                f"{name} {size} does not fit codec {codec.kind}: it must be divisible by {codec.block}; "
                f"nearest: {low} or {low + codec.block}"
            )
    rate = Fraction(fps).limit_denominator(1001) / codec.stride
    shape = ((frames - 1) // codec.stride + 1, height // codec.block, width // codec.block)
    return Grid(channels=codec.channels, shape=shape, rate=rate)


def audio_grid(codec: LinearAudioConfig | MovaAudioConfig, *, samples: int) -> Grid:
    """Latent geometry of `samples` mono samples, padded right to whole hops: T = (samples - 1) // hop + 1."""
    if samples < 1:
        raise DataError(f"{samples} audio samples: at least 1 is needed")
    steps = (samples - 1) // codec.hop + 1
    return Grid(channels=codec.channels, shape=(steps,), rate=Fraction(codec.sample_rate, codec.hop))
