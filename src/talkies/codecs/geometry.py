"""The Grids of latents, from the configurations of codecs."""

from fractions import Fraction
from math import ceil
from typing import NoReturn

from talkies.codecs.config import AudioConfig, SoundEncoderConfig, VideoConfig
from talkies.codecs.speech_config import SpeechConfig
from talkies.config import DataError
from talkies.streams import Grid


def grid_of(
    codec: VideoConfig | AudioConfig, *, frames: int, height: int, width: int, fps: float, samples: int
) -> Grid:
    """Latent geometry of a clip's frames or samples, whichever the codec encodes. DataError as below."""
    if isinstance(codec, VideoConfig):
        return video_grid(codec, frames=frames, height=height, width=width, fps=fps)
    return audio_grid(codec, samples=samples)


def video_grid(codec: VideoConfig, *, frames: int, height: int, width: int, fps: float) -> Grid:
    """Latent geometry of a clip at rate fps / stride. As a whole: T = (frames - 1) / stride + 1 steps. In pieces: each
    has `piece` steps, the clip whole pieces, or fewer frames than one (a still), which are encoded as a whole.

    Raises DataError for another number of frames, or if a side is not divisible by the block.
    """
    steps = _steps(codec, frames)
    for name, size in (("height", height), ("width", width)):
        if size < codec.block or size % codec.block:
            low = max(codec.block, size // codec.block * codec.block)
            raise DataError(
                f"{name} {size} does not fit codec {codec.kind}: it must be divisible by {codec.block}; "
                f"nearest: {low} or {low + codec.block}"
            )
    exact = Fraction(fps).limit_denominator(1001)
    chunk = None if codec.piece is None else (codec.piece, frames_of(codec, codec.piece) / exact)
    shape = (steps, height // codec.block, width // codec.block)
    return Grid(channels=codec.channels, shape=shape, rate=exact / codec.stride, chunk=chunk)


def still_frames(codec: VideoConfig) -> int:
    """The frames of the shortest clip that has a latent step of several frames: an image, repeated, becomes 2 steps."""
    return frames_of(codec, 2)


def frames_of(codec: VideoConfig, steps: int) -> int:
    """The frames of `steps` latent steps that are encoded together."""
    return (steps - 1) * codec.stride + 1


def _steps(codec: VideoConfig, frames: int) -> int:
    """Latent steps of so many frames."""
    stride, piece = codec.stride, codec.piece
    low = max(1, (frames - 1) // stride * stride + 1)
    if piece is None or frames < (whole := frames_of(codec, piece)):
        if frames < 1 or (frames - 1) % stride:
            below = "" if piece is None else f" below {frames_of(codec, piece)}"
            _refuse(codec, frames, f"1 mod {stride}{below}", low, low + stride)
        return (frames - 1) // stride + 1
    if frames % whole:
        _refuse(codec, frames, f"a multiple of {whole}", frames // whole * whole, (frames // whole + 1) * whole)
    return frames // whole * piece


def _refuse(codec: VideoConfig, frames: int, needed: str, low: int, high: int) -> NoReturn:
    raise DataError(f"{frames} frames do not fit codec {codec.kind}: frames must be {needed}; nearest: {low} or {high}")


def audio_grid(codec: AudioConfig, *, samples: int) -> Grid:
    """Latent geometry of `samples` mono samples, padded right to whole hops.

    Raises DataError for no samples, or for fewer than a step of what only encodes.
    """
    least = int(codec.hop) if isinstance(codec, SoundEncoderConfig) else 1
    if samples < least:
        step = f" (a step of {codec.kind}, {float(1000 * codec.hop / codec.sample_rate):g} ms)" if least > 1 else ""
        raise DataError(f"{samples} audio samples: at least {least}{step} {'are' if step else 'is'} needed")
    rate = Fraction(codec.sample_rate) / codec.hop
    return Grid(channels=codec.channels, shape=(steps_of(codec, samples),), rate=rate)


def steps_of(codec: AudioConfig | SpeechConfig, samples: int) -> int:
    """The latent steps that begin before the last of `samples` samples ends, T = (samples - 1) // hop + 1."""
    return (samples - 1) // codec.hop + 1


def samples_of(codec: AudioConfig | SpeechConfig, steps: int) -> int:
    """The fewest samples that fill `steps` latent steps; `steps_of` them is `steps`."""
    return ceil(steps * codec.hop)
