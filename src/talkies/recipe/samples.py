"""The sampled clips that a model card shows."""

from pathlib import Path

from talkies.config.lines import flat
from talkies.media.sheet import reduced
from talkies.media.write import PROVENANCE, read_tags
from talkies.tracking.card_text import Sample

SHOWN = 3
PROMPT = 300
"""Characters of a prompt on a card."""


def samples_of(folder: Path, sha256: str) -> list[Sample]:
    """Up to 3 samples of the release `sha256` among the evaluated clips in `folder`: clips say of themselves what made
    them, and each has a contact sheet. Raises MediaError for a clip that is damaged."""
    found = []
    for clip in sorted(folder.glob("sample-*.mp4")):
        tags, sheet = read_tags(clip), clip.with_suffix(".png")
        if sha256[:16] in tags.get(PROVENANCE, "") and sheet.is_file():
            found.append(Sample(prompt=flat(tags.get("title", ""), PROMPT), picture=reduced(sheet)))
    return found[:SHOWN]
