"""The media that a phase makes, and those that it can be given."""

from itertools import pairwise

from talkies.codecs.demix_config import parts_sounds
from talkies.recipe.components import parts
from talkies.recipe.config import PhaseRecipe


def makes(recipe: PhaseRecipe) -> tuple[str, ...]:
    """ "audio" and "video", as far as the phase makes them, sorted."""
    return tuple(sorted({medium_of(recipe, name) for name in parts(recipe).targets}))


def takes(recipe: PhaseRecipe) -> dict[str, str]:
    """Option of `talkies sample` -> what it is for, of those options of the system that this phase can be given."""
    stored, made = recipe.system.stored(recipe.codecs), makes(recipe)
    conditions = parts(recipe).conditions
    given = {"audio", "video"} if len(made) > 1 else set()
    given |= {"image" for name in conditions if stored[name].of in ("first frame", "reference")}
    given |= {"image" for name in parts(recipe).known if medium_of(recipe, name) == "video"}
    given |= {"voice" for name in conditions if stored[name].of == "passage"}
    whole = {name for name in conditions if stored[name].of == "clip" and stored[name].track is None}
    tracks = {track for name in conditions if (track := stored[name].track) is not None}
    given |= {medium_of(recipe, name) for name in whole} | tracks
    given |= {"audio"} if tracks and parts_sounds(recipe.codecs) else set()
    return {name: words for name, words in recipe.system.options.items() if name in given}


def guides(recipe: PhaseRecipe, scale: str) -> tuple[str, ...]:
    """The options of `talkies sample` that give what a guidance scale guides by; none for one of texts or networks."""
    ladder, stored = recipe.system.ladder(recipe), recipe.system.stored(recipe.codecs)
    rungs = [one for one in pairwise(ladder) if one[1].scale == scale]
    added = {name for before, rung in rungs for name in before.without - rung.without} & parts(recipe).conditions
    given = {track for name in added if (track := stored[name].track) is not None}
    given |= {"audio"} if given or any(stored[name].of == "clip" for name in added) else set()
    given |= {"voice"} if any(stored[name].of == "passage" for name in added) else set()
    return tuple(name for name in takes(recipe) if name in given)


def medium_of(recipe: PhaseRecipe, stream: str) -> str:
    """What the codec of a stream encodes: "audio" or "video"."""
    return str(recipe.codecs[recipe.system.stored(recipe.codecs)[stream].codec].medium)
