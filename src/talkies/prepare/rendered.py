"""What is known of rendered clips before they are rendered."""

from collections.abc import Sequence

from talkies.config import RecipeError
from talkies.config.quoting import listed
from talkies.media.rates import FPS_TOLERANCE
from talkies.prepare.geometry import Geometry
from talkies.world.config import SyntheticSource


def check_heldout(name: str, source: SyntheticSource) -> None:
    """RecipeError for a source `name` that holds everything out."""
    if source.heldout >= source.clips:
        raise RecipeError(
            f"recipe: `sources.{name}.heldout` is {source.heldout}, of {source.clips} clips: nothing is left to train "
            "on; lower it, or raise `clips`"
        )


def check_rendered(key: str, name: str, source: SyntheticSource, geometry: Geometry) -> None:
    """RecipeError for a set `key` with pictures of source `name` whose clips are longer than the rendered ones, or of
    another rate."""
    found = f"recipe: `{key}.geometry` is {geometry.spelled}, but `sources.{name}` renders"
    if abs(source.fps / geometry.fps - 1) > FPS_TOLERANCE:
        raise RecipeError(f"{found} {source.fps:g} frames per second: give both the same rate")
    if source.frames < geometry.frames:
        raise RecipeError(f"{found} {source.frames} frames: ask for fewer, or raise `sources.{name}.frames`")


def check_stems(key: str, name: str, source: SyntheticSource, stems: Sequence[str]) -> None:
    """RecipeError for a set `key` that reads files of tracks, NAME and one of `stems`, which source `name` does not
    render."""
    rendered = [f".{track}.wav" for track in source.tracks] if source.stems else []
    for end in stems:
        if end not in rendered:
            files = listed([f"*{other}" for other in rendered]) or "no files of tracks (`stems`)"
            raise RecipeError(
                f"recipe: `{key}` reads tracks from files *{end}, but `sources.{name}` renders {files}: let it render "
                "them, or choose a demixer that finds them itself"
            )
