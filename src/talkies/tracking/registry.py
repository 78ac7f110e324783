"""The registered model: versions by sha256, an alias that moves on purpose, and the way from a name to files."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from talkies.checkpoints.release import read_release, release_sha256
from talkies.config import RecipeError, TrackingError
from talkies.tracking.alias import aliases, expected, move
from talkies.tracking.card_text import Card, body, parse_card
from talkies.tracking.cards import update_aliases, write_card
from talkies.tracking.config import TrackingConfig
from talkies.tracking.gates import demand, judge
from talkies.tracking.identity import read_identity
from talkies.tracking.names import PREVIOUS, check, parse_spec
from talkies.tracking.records import SPOOL
from talkies.tracking.replay import replay
from talkies.tracking.spool import check_store
from talkies.tracking.store import cut, need_store, open_client, translated
from talkies.tracking.versions import download, measured, register, versions

TIMEOUT_S = 60
WHERE = "give the --runs folder or the tracking URI that it is registered in"


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """What a promotion or a rollback did: `alias` of `name` is at `version` now and was at `previous`."""

    name: str
    alias: str
    version: str
    previous: str | None
    sha256: str
    card: Path | None


def promote(
    run_folder: Path,
    release_folder: Path,
    config: TrackingConfig,
    *,
    store: str,
    metrics: Mapping[str, float],
    expect: str | None,
    cards_folder: Path,
) -> Promotion:
    """Apply the gates to `metrics`, register the release, move `config.alias` to it and write its card file. A release
    that is promoted again keeps its version, whose tags and card then hold these metrics and gates.

    `expect`: the version that the alias must have now ('none': unset); None: the one that it has when this begins.
    Raises GateError for a failing gate, another version than expected or a lost race; RecipeError where the recipe
    registers nothing; CheckpointError for a damaged release; TrackingError where the store fails.
    """
    if config.register is None:
        raise RecipeError("promote: the recipe registers nothing: set `tracking.register` to the model's name")
    name, alias = config.register, config.alias
    check(name, alias)
    gates = judge(config.gates, metrics)
    demand(gates, f"{name}@{alias}")
    info, sha256 = read_release(release_folder), release_sha256(release_folder)
    run_id = _run_of(run_folder, store)
    client = open_client(store, timeout_s=TIMEOUT_S)
    with translated(f"cannot promote to {name}@{alias}"):
        before = expected(aliases(client, name), alias, expect, target=f"{name}@{alias}")
        version = register(client, name, run_id, release_folder, metrics=metrics, gates=gates)
        if version != before:
            move(client, name, alias, to=version, before=before, previous=before)
            client.set_model_version_tag(name, version, PREVIOUS + alias, before or "none")
        for key, text in measured(metrics, gates).items():
            client.set_model_version_tag(name, version, key, text)
        card = Card(
            name=name,
            version=version,
            sha256=sha256,
            run_id=run_id,
            license=config.license,
            info=info,
            metrics=metrics,
            gates=gates,
        )
        path = write_card(cards_folder, card, aliases(client, name))
        client.log_artifact(run_id, str(path), artifact_path="cards")
        client.update_model_version(name, version, description=cut(body(parse_card(path.read_text()))))
    return Promotion(name=name, alias=alias, version=version, previous=before, sha256=sha256, card=path)


def rollback(
    name: str, alias: str, *, store: str, expect: str | None = None, cards_folder: Path | None = None
) -> Promotion:
    """Move `alias` back to the version before, and previous_<alias> to the one before that.

    Raises GateError where the alias is not at `expect` or was moved meanwhile; TrackingError where there is nothing to
    go back to.
    """
    check(name, alias)
    need_store(store, f"{name}@{alias}", WHERE)
    client = open_client(store, timeout_s=TIMEOUT_S)
    with translated(f"cannot roll back {name}@{alias}"):
        found = aliases(client, name)
        now = expected(found, alias, expect, target=f"{name}@{alias}")
        target = found.get(PREVIOUS + alias)
        if now is None or target is None:
            what = (
                f"nothing is registered as {name}@{alias}" if now is None else f"{name}@{alias} had no version before"
            )
            raise TrackingError(f"rollback: {what}; known aliases: {', '.join(sorted(found)) or 'none'}")
        version = client.get_model_version(name, target)
        before_that = version.tags.get(PREVIOUS + alias, "none")
        move(client, name, alias, to=target, before=now, previous=None if before_that == "none" else before_that)
        if cards_folder is not None:
            update_aliases(cards_folder, name, aliases(client, name))
    return Promotion(
        name=name, alias=alias, version=target, previous=now, sha256=str(version.tags.get("sha256")), card=None
    )


def resolve(spec: str, *, uri: str, download_to: Path) -> Path:
    """The release folder of `models:/name@alias` or `models:/name/3`, fetched once to `download_to` and verified
    against the version's sha256 every time; an adapter's base lies in its `base` folder.

    Raises RecipeError for another form, TrackingError where it is not registered, CheckpointError where the files are
    not the registered ones.
    """
    wanted = parse_spec(spec)
    need_store(uri, spec, WHERE)
    client = open_client(uri, timeout_s=TIMEOUT_S)
    with translated(f"cannot look up {spec} at {uri}"):
        found = aliases(client, wanted.name)
        number = wanted.version or found.get(wanted.alias or "")
        known = versions(client, wanted.name)
        version = next((one for one in known if str(one.version) == number), None)
        if version is None:
            names = [f"{wanted.name}/{one.version}" for one in known] + [f"{wanted.name}@{alias}" for alias in found]
            listed = ", ".join(f"models:/{name}" for name in names) or "nothing of that name"
            raise TrackingError(f"registry: {spec} is not registered at {uri}; known: {listed}")
        return download(client, version, spec=spec, uri=uri, download_to=download_to)


def _run_of(run_folder: Path, store: str) -> str:
    """The MLflow run of a run folder, everything that it spooled sent."""
    check_store(run_folder, store)
    if (run_folder / SPOOL).is_file():
        replay(run_folder)
        check_store(run_folder, store)  # the spool itself says where a run goes that was never sent
    identity = read_identity(run_folder)
    if identity is None:
        raise TrackingError(f"registry: {run_folder} has neither {SPOOL} nor run.json: it was never tracked")
    return identity.mlflow_run_id
