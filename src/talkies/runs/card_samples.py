"""The sampled clips that a model card shows."""

from pathlib import Path

from talkies.config import DataError
from talkies.config.regular_files import present, regular_bytes
from talkies.config.single_line import flat
from talkies.media.contact_sheet import reduced
from talkies.media.write import PROVENANCE, read_tags
from talkies.runs.validation import FIRST, PLAYED
from talkies.tracking.card_text import Sample

MAX_SAMPLES = 3
LIMIT = 16 << 20
"""Bytes of a first frame on a card."""
PROMPT = 300
"""Characters of a prompt on a card."""


def samples_of(folder: Path, sha256: str) -> list[Sample]:
    """Up to 3 samples of the release `sha256` among the evaluated clips in `folder`. A clip's tags name its release;
    only clips with a contact sheet count. Raises MediaError for a damaged clip."""
    found = []
    for clip in sorted([*folder.glob("sample-*.mp4"), *folder.glob(f"sample-*{PLAYED}")]):
        tags, sheet = read_tags(clip), clip.with_suffix(".png")
        if sha256[:16] in tags.get(PROVENANCE, "") and sheet.is_file():
            prompt = flat(tags.get("title", ""), PROMPT)
            found.append(Sample(prompt=prompt, picture=reduced(sheet), first=_first(clip.with_suffix(FIRST))))
    return found[:MAX_SAMPLES]


def _first(path: Path) -> bytes | None:
    """The first frame of a clip; None if it was not kept, as in older versions."""
    try:
        return regular_bytes(path, LIMIT) if present(path) else None
    except OSError as error:
        raise DataError(f"samples: cannot read {path}: {error.strerror}: remove it, and evaluate again") from None
