"""Runs and their checkpoints, found by the path that a user gives."""

from pathlib import Path

from talkies.checkpoints.store import CheckpointStore
from talkies.config import CheckpointError
from talkies.config.records import present
from talkies.config.regular_files import resolved
from talkies.parallel.ranks import Ranks
from talkies.recipe.config import Systems
from talkies.weights.recognition import layout_of

MAX_NAMED = 12


def checkpoint_of(path: Path, ranks: Ranks | None = None) -> tuple[Path, Path]:
    """A checkpoint and its run: `path` itself, or the newest checkpoint of the run `path`, which the processes of
    `ranks` hash together. CheckpointError if `path` is neither."""
    if present(path / "recipe.json"):
        latest = CheckpointStore(path / "checkpoints").latest(ranks)
        if latest is None:
            raise CheckpointError(f"source: {path} has no complete checkpoint yet")
        return latest, path
    if present(path / "manifest.json"):
        path = resolved(path)  # the parents of "." are not those of the folder
        run = path.parent.parent
        if not present(run / "recipe.json"):
            raise CheckpointError(
                f"source: {path} is a checkpoint without its run: {run / 'recipe.json'} is missing; give it as "
                "RUN/checkpoints/step-..., in the folder of the run that wrote it"
            )
        return path, run
    refuse_many("source", path)
    raise CheckpointError(
        f"source: {path} is neither a run, a checkpoint nor a release: no recipe.json, no release.json"
    )


def refuse_download(what: str, path: Path, systems: Systems) -> None:
    """CheckpointError for a folder of released weights, which is to be imported first."""
    known = None if present(path / "recipe.json") or present(path / "manifest.json") else layout_of(path, systems)
    if known is not None:
        raise CheckpointError(
            f"{what}: {path} is a download (layout {known}), not a release: make one of it with `talkies import`"
        )


def refuse_many(what: str, path: Path) -> None:
    """CheckpointError that names the runs if `path` is a folder of several, such as a curriculum's."""
    if found := _holding(path, "recipe.json"):
        raise CheckpointError(f"{what}: {path} is a folder of runs, not a run; give one of them: {found}")


def refuse_releases(what: str, path: Path) -> None:
    """CheckpointError that names the releases in `path`, if there are any; for what is no release itself."""
    if found := _holding(path, "release.json"):
        raise CheckpointError(f"{what}: {path} is a folder of releases, not a release; give one of them: {found}")


def _holding(path: Path, record: str) -> str:
    """The folders at most two below `path` that have a file `record`, as messages list them; "" if there are none."""
    found = sorted({file.parent for pattern in ("*", "*/*") for file in path.glob(f"{pattern}/{record}")})
    return ", ".join(map(str, found[:MAX_NAMED])) + ("" if len(found) <= MAX_NAMED else ", ...")


def neighbours(run: Path) -> dict[str, Path]:
    """Phases of the same curriculum by name, from the numbered folders beside `run`."""
    return {p.name.split("-", 1)[1]: p for p in resolved(run).parent.glob("[0-9]*-*") if p.is_dir()}
