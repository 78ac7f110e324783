"""The plan of a preparation: the latent geometry of every shard set."""

from collections.abc import Sequence

from talkies.prepare.config import PrepareConfig
from talkies.prepare.plan import plan
from talkies.streams import Grid
from talkies.streams.system import System


def plan_sets(config: PrepareConfig, systems: Sequence[System]) -> dict[str, dict[str, Grid]]:
    """Shard set -> stream -> Grid. Raises RecipeError, with the key, for a set that cannot be made."""
    return {name: dict(wanted.grids) for name, wanted in plan(config, systems).items()}
