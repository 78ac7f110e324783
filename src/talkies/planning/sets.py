"""What a preparation will make: the latent geometry of every shard set."""

from talkies.codecs.config import audio_grid, video_grid
from talkies.prepare.config import PrepareConfig, SetConfig
from talkies.prepare.geometry import Geometry
from talkies.streams import Grid


def plan_sets(config: PrepareConfig) -> dict[str, dict[str, Grid]]:
    """Shard set -> modality -> Grid.

    Raises RecipeError for a geometry that is not HEIGHTxWIDTHxFRAMES@FPS, DataError for one that a codec cannot take.
    """
    return {name: _grids(config, name, wanted) for name, wanted in config.sets.items()}


def _grids(config: PrepareConfig, name: str, wanted: SetConfig) -> dict[str, Grid]:
    geometry = Geometry.parse(wanted.geometry, key=f"sets.{name}.geometry")
    video, audio = config.codecs.video, config.codecs.audio
    size = {"frames": geometry.frames, "height": geometry.height, "width": geometry.width}
    found: dict[str, Grid] = {}
    if "video" in wanted.modalities:
        found["video"] = video_grid(video, fps=geometry.fps, **size)
    if "audio" in wanted.modalities:
        found["audio"] = audio_grid(audio, samples=int(audio.sample_rate * geometry.frames / geometry.fps))
    return found
