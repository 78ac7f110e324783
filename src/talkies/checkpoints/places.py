"""places.json of a release: where its base and its pretrained codecs are. It is no part of what the release is: neither
listed in release.json nor hashed.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from talkies.config import CheckpointError
from talkies.config.places import kept, opened
from talkies.config.records import Kind, Name, record
from talkies.config.regular import resolved

PLACES = "places.json"


@record
class Places:
    """Where the `base` of an adapter was, and the `weights` of pretrained codecs by part; relative paths begin at
    `folder`, or wherever that is now."""

    folder: Name
    weights: dict[Literal["video", "audio", "text"], Name]
    base: Name | None = None


KIND = Kind(holds=Places, about="release", remedy="restore it from a copy, or remove it", error=CheckpointError)


def places_text(folder: Path, base: Path | None, weights: Mapping[str, str]) -> str:
    """The content of places.json for the release `folder`."""
    where = {part: kept(Path(path).expanduser(), folder) for part, path in weights.items()}
    values = {"folder": str(resolved(folder)), "weights": where, "base": None if base is None else kept(base, folder)}
    return json.dumps(values, indent=2, sort_keys=True) + "\n"


def recorded_weights(folder: Path) -> dict[str, str]:
    """Part -> where the weights of a release's pretrained codecs are."""
    found = KIND.find(folder / PLACES)
    if found is None:
        return {}
    return {part: str(opened(text, folder, written_in=found.folder)) for part, text in found.weights.items()}


def recorded_base(folder: Path) -> list[Path]:
    """Where the base of a release is, if it says so."""
    found = KIND.find(folder / PLACES)
    return [opened(found.base, folder, written_in=found.folder)] if found is not None and found.base else []
