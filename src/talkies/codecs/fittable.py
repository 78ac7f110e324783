"""Which codecs in closed form can be fitted, from their recipe keys alone. No torch: a recipe is checked by it."""

from talkies.codecs.config import CodecConfig, LinearAudioConfig, LinearVideoConfig, SourceFilterConfig
from talkies.config import RecipeError

BLOCK_VALUES = 8192
"""Largest number of values in a block that can be fitted: their covariance takes half a GB."""
PARTS = {
    "linear_audio": ("loudness", "spectrum"),
    "source_filter": ("loudness", "pitch", "periodicity", "spectrum"),
}
"""What a sound is made of, with a channel for each at least."""
HOPS = {"linear_audio": 16, "source_filter": 64}
"""Samples of the shortest step."""
BANDS = 32
"""Of source_filter: overlapping bands of equal width up to half the sample rate."""


def check_fittable(key: str, config: CodecConfig) -> None:
    """RecipeError if no clips can be fitted by the codec of the section `key`."""
    if isinstance(config, LinearVideoConfig):
        _check_video(key, config)
    elif isinstance(config, LinearAudioConfig | SourceFilterConfig):
        _check_audio(key, config)


def _check_video(key: str, config: LinearVideoConfig) -> None:
    if config.motion >= config.channels:
        raise RecipeError(
            f"recipe: `{key}.motion` is {config.motion}: it must be below `{key}.channels`, {config.channels}"
        )
    # Fitting takes the covariance of blocks, whose size grows with the square of the values in a block.
    values = 3 * config.stride * config.block**2
    if values > BLOCK_VALUES:
        raise RecipeError(
            f"recipe: `{key}` has blocks of 3 x {config.stride} (`stride`) x {config.block} x {config.block} "
            f"(`block`) = {values} values, and at most {BLOCK_VALUES} can be fitted: lower one of them"
        )
    # A block's average has as many directions as a frame of it has values, its motion as many as the other frames.
    pixels, still = 3 * config.block**2, config.channels - config.motion
    moving = (config.stride - 1) * pixels
    if still > pixels or config.motion > moving:
        raise RecipeError(
            f"recipe: `{key}.channels` is {config.channels}, {config.motion} of them for `motion`: a block of "
            f"{config.stride} x {config.block} x {config.block} has at most {pixels} for what stands still, and "
            f"{moving} for motion"
        )


def _check_audio(key: str, config: LinearAudioConfig | SourceFilterConfig) -> None:
    parts, shortest = PARTS[config.kind], HOPS[config.kind]
    if config.channels < len(parts):
        raise RecipeError(
            f"recipe: `{key}.channels` is {config.channels}: a {config.kind} codec needs {len(parts)} or more, for "
            f"{', '.join(parts[:-1])} and {parts[-1]}"
        )
    if config.hop < shortest or config.hop % 2:
        raise RecipeError(
            f"recipe: `{key}.hop` is {config.hop}: a {config.kind} codec needs an even number, {shortest} or more"
        )
    most = config.hop // 2 if isinstance(config, LinearAudioConfig) else BANDS + 3
    if config.channels > most:
        raise RecipeError(
            f"recipe: `{key}.channels` is {config.channels}: at a hop of {config.hop} a {config.kind} codec has "
            f"at most {most}"
        )
