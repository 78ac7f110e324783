"""Versions of a registered model: from a release folder to a version, and from a version to a verified folder."""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from pydantic import Field

from talkies.checkpoints.bases import BASE, base_folder
from talkies.checkpoints.release import read_release, release_sha256
from talkies.config import CheckpointError, TrackingError
from talkies.config.places import kept_uri, opened_uri
from talkies.config.records import Kind, Name, record
from talkies.config.regular_files import resolved
from talkies.files.durable import UNWRITABLE, write_json
from talkies.tracking.alias import aliases
from talkies.tracking.artifacts import fetch, push
from talkies.tracking.describe import measured
from talkies.tracking.gates import GateResult
from talkies.tracking.mlflow_run import read_mlflow_run
from talkies.tracking.records import SPOOL
from talkies.tracking.replay import replay
from talkies.tracking.undo import Undo


@record
class Origin:
    """NAME.origin.json beside a downloaded release: the version's `source` in the store `uri`."""

    source: Annotated[Name, Field(pattern=r"^runs:/[^/]+/.+$")]
    uri: Name


ORIGIN = Kind(
    holds=Origin, about="registry", remedy="remove it and the folder that it is named after, to fetch that again"
)


def register(
    client: MlflowClient,
    name: str,
    run_id: str,
    release_folder: Path,
    *,
    metrics: Mapping[str, float],
    gates: Sequence[GateResult],
    undo: Undo,
) -> tuple[str, bool]:
    """Store the release with its run and register it; returns the version and whether it is new. A release that is
    already registered keeps its version. An adapter's base is stored once, with the base's own run. `undo` removes the
    registration.

    Raises CheckpointError for a damaged release, TrackingError if the store gives back other bytes.
    """
    info, sha256 = read_release(release_folder), release_sha256(release_folder)
    source = push(client, run_id, release_folder, "release")
    tags = {
        "sha256": sha256,
        "recipe_hash": str(info["recipe_hash"]),
        "commit": str(info["commit"]),
        "data": str(info["data"]["fingerprint"]),
        **measured(metrics, gates),
    }
    if info["base"]:
        base = base_folder(release_folder, info["base"])
        tags |= {"base.sha256": info["base"]["sha256"], "base.source": _store_base(client, run_id, base)}
    if known := _known(client, name, sha256, source):
        return known, False
    if _ensure_model(client, name):
        undo.add(_drop_model, client, name)
    version = str(client.create_model_version(name, source, run_id=run_id, tags=tags).version)
    undo.add(_drop_version, client, name, version)
    return version, True


def next_version(client: MlflowClient, name: str, run_id: str, release_folder: Path) -> str:
    """The version that `register` will give, if no other process registers one before."""
    known = _known(client, name, release_sha256(release_folder), f"runs:/{run_id}/release")
    return known or str(max((int(found.version) for found in versions(client, name)), default=0) + 1)


def _known(client: MlflowClient, name: str, sha256: str, source: str) -> str | None:
    """The version that a release is registered as."""
    same = (found for found in versions(client, name) if found.tags.get("sha256") == sha256 and found.source == source)
    return next((str(found.version) for found in same), None)


def _drop_version(client: MlflowClient, name: str, version: str) -> None:
    """Unregister a version, unless an alias points at it by now."""
    if version not in aliases(client, name).values():
        client.delete_model_version(name, version)


def _drop_model(client: MlflowClient, name: str) -> None:
    """Remove a registered model, unless it has versions by now."""
    if not versions(client, name):
        client.delete_registered_model(name)


def versions(client: MlflowClient, name: str) -> list[ModelVersion]:
    """Every version of a registered model, the newest first; none if there is no such model."""
    return sorted(client.search_model_versions(f"name = '{name}'"), key=lambda version: -int(version.version))


def download(client: MlflowClient, version: ModelVersion, *, spec: str, uri: str, download_to: Path) -> Path:
    """The release folder of a version below `download_to`, fetched once, verified every time; an adapter's base is its
    folder `base`.

    Raises TrackingError if the version has no recorded hash or its files are missing, CheckpointError if they are not
    the registered ones.
    """
    tags = version.tags
    if "sha256" not in tags:
        raise TrackingError(f"registry: {spec} has no sha256 tag: talkies did not register it and cannot verify it")
    folder = _fetched(client, version.source, tags["sha256"], uri, download_to)
    if "base.source" in tags:
        base = _fetched(client, tags["base.source"], tags["base.sha256"], uri, download_to)
        link = folder / BASE
        if not link.is_dir():  # a copy that resolved its links holds the base itself
            link.unlink(missing_ok=True)
            link.symlink_to(Path("..") / base.name, target_is_directory=True)
    return folder


def _ensure_model(client: MlflowClient, name: str) -> bool:
    """Make the registered model; False if it already exists."""
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        return False
    return True


def _store_base(client: MlflowClient, run_id: str, found: Path) -> str:
    """The source of an adapter's base in the registry: where it was downloaded from, else with its own run, else with
    the adapter's run."""
    folder = resolved(found)  # a downloaded adapter's base is a link
    known = ORIGIN.find(_origin(folder))
    if known is not None and opened_uri(known.uri, folder.parent) == client.tracking_uri:
        return known.source
    owner = folder.parent
    if (owner / SPOOL).is_file():
        replay(owner)
    identity = read_mlflow_run(owner)
    if identity is not None and identity.tracking_uri == client.tracking_uri:
        return push(client, identity.mlflow_run_id, folder, "release")
    return push(client, run_id, folder, BASE)


def _fetched(client: MlflowClient, source: str, sha256: str, uri: str, download_to: Path) -> Path:
    target = download_to / sha256[:16]
    if target.is_dir():
        _verify(target, sha256, f"{target} (fetched from {source}); remove the folder to fetch it again")
        return target
    download_to.mkdir(parents=True, exist_ok=True)
    temporary = download_to / f".{target.name}.{os.getpid()}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        fetch(client, source, temporary)
        _verify(temporary, sha256, f"{source} at {uri}; it was refused")
        origin = {"source": source, "uri": kept_uri(uri, download_to, runs=download_to.parent)}
        write_json(_origin(target), origin, refused=UNWRITABLE)
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def _verify(folder: Path, sha256: str, what: str) -> None:
    found = release_sha256(folder)
    if found != sha256:
        raise CheckpointError(f"registry: sha256 {found[:12]} is not the registered {sha256[:12]}: {what}")
    read_release(folder)


def _origin(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.origin.json")
