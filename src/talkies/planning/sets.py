"""The plan of a preparation: the latent geometry of every shard set."""

from talkies.codecs.config import audio_grid, video_grid
from talkies.prepare.config import PrepareConfig
from talkies.prepare.plan import SetPlan, plan
from talkies.streams import Grid, Modality


def plan_sets(config: PrepareConfig) -> dict[str, dict[Modality, Grid]]:
    """Shard set -> modality -> Grid. Raises RecipeError, with the key, for a set that cannot be made."""
    return {name: _grids(config, wanted) for name, wanted in plan(config).items()}


def _grids(config: PrepareConfig, wanted: SetPlan) -> dict[Modality, Grid]:
    geometry, codecs = wanted.geometry, config.codecs
    found: dict[Modality, Grid] = {}
    if wanted.video:
        size = {"frames": geometry.frames, "height": geometry.height, "width": geometry.width}
        found["video"] = video_grid(codecs.video, fps=geometry.fps, **size)
    if wanted.audio:
        found["audio"] = audio_grid(codecs.audio, samples=geometry.samples(wanted.sample_rate))
    return found
