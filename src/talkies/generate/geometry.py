"""From a latent's Grid back to frames, pixels and samples, with the codec that made it."""

from fractions import Fraction
from math import lcm

from talkies.config import DataError
from talkies.streams import Grid
from talkies.streams.codec import AudioEncoder, VideoCodec

# A side divisible by every spatial factor up to 64: the grid of one frame of this size reveals the codec's factor.
PROBE = lcm(*range(1, 65))


def exact_fps(fps: float) -> Fraction:
    """23.976... becomes 24000/1001, as in the codecs' grids."""
    return Fraction(fps).limit_denominator(1001)


def clip_shape(codec: VideoCodec, grid: Grid, fps: float) -> tuple[int, int, int]:
    """(frames, height, width) of the clips whose latents have `grid` at `fps` frames per second.

    Raises DataError if no clip has that grid under this codec: the grid is another codec's, or of another frame rate.
    """
    probe = codec.grid(1, PROBE, PROBE, fps)
    if (grid.channels, grid.rate) != (probe.channels, probe.rate):
        raise DataError(
            f"the video grid has {grid.channels} channels at {float(grid.rate):g} steps per second, but at {fps:g} fps "
            f"this video codec makes {probe.channels} channels at {float(probe.rate):g}; use the codec and the frame "
            "rate with which the grid was made"
        )
    steps, *sides = grid.shape
    height, width = (n * (PROBE // p) for n, p in zip(sides, probe.shape[1:], strict=True))
    frames = _frames(grid, steps, fps)
    assert codec.grid(frames, height, width, fps) == grid, "a codec's first frame has a latent step of its own"
    return frames, height, width


def _frames(grid: Grid, steps: int, fps: float) -> int:
    """Frames of `steps` latent steps: one of the first step of what is encoded together, `stride` of the others."""
    if grid.chunk is not None and steps >= grid.chunk[0]:
        piece, seconds = grid.chunk
        return steps // piece * int(seconds * exact_fps(fps))
    return (steps - 1) * int(exact_fps(fps) / grid.rate) + 1


def sample_count(codec: AudioEncoder, grid: Grid, frames: int, fps: float) -> int:
    """Audio samples that last as long as `frames` at `fps`, rounded down.

    Raises DataError if a latent of `grid` decodes to fewer.
    """
    wanted = int(frames * codec.sample_rate / exact_fps(fps))
    available = int(grid.shape[0] * codec.sample_rate / grid.rate)
    if available < wanted:
        raise DataError(
            f"audio grid {grid.shape} holds {available} samples, but {frames} frames at {fps:g} fps need {wanted} at "
            f"{codec.sample_rate} Hz; use the audio and video grids of one shard set"
        )
    return wanted
