"""The release that an adapter adapts, found by its hash."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from talkies.checkpoints.places import recorded_base
from talkies.checkpoints.release import RELEASE, release_sha256
from talkies.config import CheckpointError
from talkies.config.places import looked_for, opened
from talkies.config.records import present
from talkies.config.regular_files import resolved

BASE = "base"


def base_folder(folder: Path, base: Mapping[str, Any]) -> Path:
    """The release that the adapter in `folder` adapts (`base` of its release.json): inside `folder` (a downloaded
    version), at its recorded path, or in a run beside the adapter's. CheckpointError if it is not found there."""
    places = [folder / BASE, *recorded_base(folder)]
    if base.get("path"):  # in releases of older versions
        places.append(opened(str(base["path"]), folder))
    others = sorted(resolved(folder).parents[1].glob(f"*/{folder.name}"))
    wrong = []
    for candidate in (*places, *others):
        if present(candidate / RELEASE):
            found = release_sha256(candidate)
            if found == base["sha256"]:
                return candidate
            wrong += [f", and {candidate} has sha256 {found[:12]}"] if candidate in places else []
    looked = "; ".join(looked_for(path, folder) for path in places)
    raise CheckpointError(
        f"lora: the base of {folder} ({base['name']}, sha256 {base['sha256'][:12]}) was not found{''.join(wrong[:1])} "
        f"(looked for: {looked}); put that release at {folder / BASE}"
    )
