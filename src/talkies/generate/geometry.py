"""From a latent's Grid back to frames, pixels and samples, through the codec that wrote it."""

from fractions import Fraction
from math import lcm

from talkies.config import DataError
from talkies.streams import Grid
from talkies.streams.codec import AudioCodec, VideoCodec

# A side that every spatial factor up to 64 divides: the grid of one frame of this size tells the codec's factor.
PROBE = lcm(*range(1, 65))


def exact_fps(fps: float) -> Fraction:
    """23.976... becomes 24000/1001, as in the codecs' grids."""
    return Fraction(fps).limit_denominator(1001)


def clip_shape(codec: VideoCodec, grid: Grid, fps: float) -> tuple[int, int, int]:
    """(frames, height, width) of the clips whose latents have `grid` at `fps` frames per second.

    Raises DataError where the codec gives no clip that grid: another codec's grid, or another frame rate.
    """
    steps, *sides = grid.shape
    probe = codec.grid(1, PROBE, PROBE, fps).shape[1:]
    height, width = (n * (PROBE // p) for n, p in zip(sides, probe, strict=True))
    stride = exact_fps(fps) / grid.rate
    if stride.denominator == 1:
        frames = (steps - 1) * int(stride) + 1
        if codec.grid(frames, height, width, fps) == grid:
            return frames, height, width
    raise DataError(
        f"video grid {grid.shape} at {float(grid.rate):g} latent steps per second is not one of this video codec's at "
        f"{fps:g} fps; use the codec and the frame rate with which the grid was made"
    )


def sample_count(codec: AudioCodec, grid: Grid, frames: int, fps: float) -> int:
    """Audio samples that last as long as `frames` at `fps`, rounded down.

    Raises DataError where a latent of `grid` decodes to fewer.
    """
    wanted = int(frames * codec.sample_rate / exact_fps(fps))
    held = int(grid.shape[0] * codec.sample_rate / grid.rate)
    if held < wanted:
        raise DataError(
            f"audio grid {grid.shape} holds {held} samples, but {frames} frames at {fps:g} fps need {wanted} at "
            f"{codec.sample_rate} Hz; use the audio and video grids of one shard set"
        )
    return wanted
