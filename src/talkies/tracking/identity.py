"""RUN_FOLDER/run.json: which MLflow run a folder is, across every requeue and resume."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from talkies.config import TrackingError
from talkies.tracking.atomic import write_json

FILE = "run.json"


@dataclass(frozen=True, kw_only=True)
class Identity:
    """`created`: start of the first attempt, ms since the epoch."""

    mlflow_run_id: str
    experiment: str
    tracking_uri: str
    created: int


def read_identity(run_folder: Path) -> Identity | None:
    """The identity of a run that MLflow knows; None before. TrackingError where run.json is damaged."""
    path = run_folder / FILE
    if not path.exists():
        return None
    try:
        return Identity(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        keys = ", ".join(f"`{key.name}`" for key in fields(Identity))
        raise TrackingError(
            f"tracking: {path} is damaged: it must hold {keys}; restore it, or remove it to upload the run again"
        ) from None


def write_identity(run_folder: Path, identity: Identity) -> None:
    """Write run.json atomically."""
    write_json(run_folder / FILE, asdict(identity))
