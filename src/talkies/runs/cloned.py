"""A voice that is given: what a model hears of it, and what the file of the clip says of it."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from talkies.codecs.config import sample_rates
from talkies.config import DataError
from talkies.config.plain_json import canonical_json
from talkies.files.integrity import sha256_of
from talkies.generate.prompts import Asked
from talkies.generate.voice import Voice, read_voice
from talkies.media.write import OURS, PROVENANCE
from talkies.parallel.ranks import Ranks
from talkies.prepare.geometry import Geometry
from talkies.recipe.components import parts
from talkies.recipe.config import PhaseRecipe

VOICE, CONSENT = f"{OURS}voice", f"{OURS}consent"
"""The tags that say that a voice was cloned, of which recording, and what allowed to."""
CLONED = "cloned.jsonl"
"""The file of a run that lists what was made with it in cloned voices."""
_log = logging.getLogger(__name__)


def passage_of(recipe: PhaseRecipe) -> str | None:
    """The stream of a voice that a phase can be given."""
    stored = recipe.system.stored(recipe.codecs)
    return next((name for name in parts(recipe).streams if name in stored and stored[name].of == "passage"), None)


def cloned(asked: Asked, recipe: PhaseRecipe) -> Voice | None:
    """The voice that is given, at most as long as the clips of the recipe's geometry; None without one.

    Raises DataError for a file that cannot be used.
    """
    if "voice" not in asked.files:
        return None
    stream = passage_of(recipe)
    assert stream is not None, "what takes no voice was refused"
    rate = sample_rates(recipe.codecs)[recipe.system.stored(recipe.codecs)[stream].codec]
    longest = Geometry.parse(recipe.data.geometry, key="data.geometry").samples(rate)
    try:
        return read_voice(asked.files["voice"], stream=stream, sample_rate=rate, longest=longest)
    except DataError as error:
        raise DataError(f"{asked.at('voice')}: {str(error).removeprefix('media: ')}") from None


def provenance(asked: Asked) -> dict[str, str]:
    """The tags of a clip with a voice that was given."""
    if "voice" not in asked.files:
        return {}
    consent = {} if asked.consent is None else {CONSENT: asked.consent}
    return {VOICE: f"cloned from a recording, sha256 {sha256_of(asked.files['voice'])}", **consent}


def note_cloned(run: Path | None, out: Path, tags: Mapping[str, str], *, verb: str) -> None:
    """Add a line to CLONED in the folder of the model's run (None: it has none here), if the file `out` with these tags
    has a cloned voice. A run that cannot be written is only warned of, by `verb`: the file itself says the same."""
    if run is None or VOICE not in tags:
        return
    line = {"file": str(out), "voice": tags[VOICE], "consent": tags.get(CONSENT)}
    try:
        with (run / CLONED).open("ab") as file:
            file.write(f"{canonical_json(line)}\n".encode())
    except OSError as error:
        _log.warning(f"{verb}: cannot note the cloned voice in {run / CLONED}: {error.strerror}")


def heldout_voice(recipe: PhaseRecipe) -> dict[str, str]:
    """The tags of a clip that is made of what a held-out one gives; none for a phase that takes no voice."""
    return {} if passage_of(recipe) is None else {VOICE: "cloned from a held-out clip"}


def heldout_tags(made_by: str, recipe: PhaseRecipe) -> dict[str, str]:
    """These, with the provenance `made_by`, which says so, too."""
    voice = heldout_voice(recipe)
    return {PROVENANCE: f"{made_by}; cloned voice" if voice else made_by, **voice}


def warn_of_consent(asked: Sequence[Asked], ranks: Ranks) -> None:
    """Warn, once, of the voices that are cloned without a word on who allows to."""
    silent = [one for one in asked if "voice" in one.files and one.consent is None]
    if not silent or not ranks.main:
        return
    how = "give --consent NOTE" if silent[0].where is None else "give --consent NOTE, or a `consent` in their lines"
    what = "a voice is" if len(silent) == 1 else f"the voices of {len(silent)} clips are"
    _log.warning(f"{silent[0].verb}: {what} cloned, and nothing says who allows to: {how}")
