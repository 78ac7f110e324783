"""places.json of a release: where its base and its pretrained codecs are. It is excluded from the release's identity:
neither listed in release.json nor hashed.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from talkies.config import CheckpointError
from talkies.config.places import kept, opened
from talkies.config.records import Kind, Name, record
from talkies.config.regular_files import resolved

PLACES = "places.json"


@record
class Places:
    """Where the `base` of an adapter was, and the `weights` of pretrained codecs by part. Relative paths start at
    `folder`, or at its new place if it was moved."""

    folder: Name
    weights: dict[Name, Name]
    base: Name | None = None


KIND = Kind(holds=Places, about="release", remedy="restore it from a copy, or remove it", error=CheckpointError)


def places_text(folder: Path, base: Path | None, weights: Mapping[str, str]) -> str:
    """The content of places.json for the release `folder`."""
    paths = {part: kept(Path(path).expanduser(), folder) for part, path in weights.items()}
    values = {"folder": str(resolved(folder)), "weights": paths, "base": None if base is None else kept(base, folder)}
    return json.dumps(values, indent=2, sort_keys=True) + "\n"


def recorded_weights(folder: Path) -> dict[str, str]:
    """Part -> the recorded path of the weights of a pretrained codec."""
    places = KIND.find(folder / PLACES)
    if places is None:
        return {}
    return {part: str(opened(text, folder, written_in=places.folder)) for part, text in places.weights.items()}


def recorded_base(folder: Path) -> list[Path]:
    """The recorded path of an adapter's base, if there is one."""
    places = KIND.find(folder / PLACES)
    return [opened(places.base, folder, written_in=places.folder)] if places is not None and places.base else []
