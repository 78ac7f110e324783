"""Where a run works: RUN/place.json."""

import logging
from dataclasses import dataclass
from pathlib import Path

from talkies.config.places import kept, kept_uri, opened, opened_uri
from talkies.config.regular_files import resolved
from talkies.config.secrets import credential
from talkies.files.durable import write_json
from talkies.runs.records import PLACE

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a run works: its folder, the prepared data, the tracking store, and the curriculum's folder, if any."""

    folder: Path
    data_root: Path
    store: str
    artifacts: Path | None
    parent: Path | None = None


def place_of(run: Path) -> Place:
    """The Place in a run's place.json, with paths as they are now if the run was moved. CheckpointError if the file is
    missing or damaged."""
    found = PLACE.read(run / "place.json")
    return Place(
        folder=run,
        data_root=opened(found.data_root, run, written_in=found.folder),
        store=_checked(opened_uri(found.store, run, written_in=found.folder), run),
        artifacts=None if found.artifacts is None else opened(found.artifacts, run, written_in=found.folder),
    )


def _checked(store: str, run: Path) -> str:
    """`store`, after a warning if an older version recorded a part that can carry a credential."""
    if part := credential(store):
        _log.warning(
            "tracking: the URI in the records of %s can carry a credential: %s; see `talkies status`", run, part
        )
    return store


def write_place(place: Place) -> None:
    """Write place.json."""
    folder, artifacts = place.folder, place.artifacts
    where: dict[str, str | None] = {"data_root": kept(place.data_root, folder), "store": kept_uri(place.store, folder)}
    where |= {"artifacts": None if artifacts is None else kept(artifacts, folder), "folder": str(resolved(folder))}
    write_json(folder / "place.json", where)
