"""What closed-form codecs can be fitted with, from their recipe keys alone. No torch: a recipe is checked by it."""

from talkies.codecs.config import CodecConfig, LinearAudioConfig, LinearVideoConfig, SourceFilterConfig

BANDS = 32
"""Of source_filter: overlapping bands of equal width up to half the sample rate."""


def fit_problem(codec: CodecConfig) -> str | None:
    """What no clips can make up for: more channels than a block or a step has directions, or too few; None if nothing
    is wrong."""
    if isinstance(codec, LinearVideoConfig):
        return _video(codec)
    if isinstance(codec, LinearAudioConfig):
        return _audio(codec, least=2, most=codec.hop // 2, holds="loudness and spectrum", shortest=16)
    if isinstance(codec, SourceFilterConfig):
        holds = "loudness, pitch, periodicity and spectrum"
        return _audio(codec, least=4, most=BANDS + 3, holds=holds, shortest=64)
    return None


def _video(codec: LinearVideoConfig) -> str | None:
    """A block's average has as many values as a frame of it, its motion as many as the other frames."""
    still, motion, pixels = codec.channels - codec.motion, codec.motion, 3 * codec.block**2
    if still < 1:
        return f"`motion` is {motion}, but it must be below `channels`, {codec.channels}"
    most = (codec.stride - 1) * pixels
    if still > pixels or motion > most:
        return (
            f"`channels` is {codec.channels}, {motion} of them for `motion`: a block of {codec.stride} x {codec.block} "
            f"x {codec.block} has at most {pixels} for what stands still, and {most} for motion"
        )
    return None


def _audio(
    codec: LinearAudioConfig | SourceFilterConfig, *, least: int, most: int, holds: str, shortest: int
) -> str | None:
    hop = codec.hop
    if codec.channels < least or hop < shortest or hop % 2:
        return (
            f"{codec.channels} channels and a hop of {hop}: at least {least} channels ({holds}) and an even hop of "
            f"{shortest} or more are needed"
        )
    if codec.channels > most:
        return f"`channels` is {codec.channels}: at a hop of {hop} there are at most {most}"
    return None
