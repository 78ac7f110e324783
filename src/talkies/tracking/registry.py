"""The registered model: promotion and rollback of its versions and aliases, and resolving a name to files."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from mlflow import MlflowClient

from talkies.checkpoints.release import read_release, release_sha256
from talkies.config import RecipeError, TrackingError
from talkies.files.staged import staged
from talkies.tracking.alias import aliases, expected, move, moved
from talkies.tracking.card_text import Card, Sample
from talkies.tracking.cards import Shelf
from talkies.tracking.config import TrackingConfig
from talkies.tracking.describe import describe
from talkies.tracking.gates import demand, judge
from talkies.tracking.mlflow_run import read_mlflow_run
from talkies.tracking.names import PREVIOUS, check, parse_spec
from talkies.tracking.records import SPOOL
from talkies.tracking.replay import replay
from talkies.tracking.runs import need_run_store
from talkies.tracking.spool import check_store
from talkies.tracking.store import need_store, open_client, translated
from talkies.tracking.undo import Undo
from talkies.tracking.versions import download, next_version, register, versions

TIMEOUT_S = 60
WHERE = "give the --runs folder or the tracking URI where it is registered"


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """The result of a promotion or a rollback: `alias` of `name` is at `version` now and was at `previous`."""

    name: str
    alias: str
    version: str
    previous: str | None
    sha256: str
    card: Path | None


def ready(run_folder: Path, config: TrackingConfig, *, store: str, expect: str | None, shelf: Shelf) -> None:
    """Raise what `promote` would raise about names, store, alias and cards, before the minutes of an evaluation."""
    name, alias = _target(config)
    check_store(run_folder, store)
    need_run_store(run_folder)
    client = open_client(store, timeout_s=TIMEOUT_S)
    with translated(f"cannot promote to {name}@{alias}"):
        found = aliases(client, name)
        expected(found, alias, expect, target=f"{name}@{alias}")
        with staged(shelf.with_aliases(name, found)):
            pass


def promote(
    run_folder: Path,
    release_folder: Path,
    config: TrackingConfig,
    *,
    store: str,
    metrics: Mapping[str, float],
    expect: str | None,
    shelf: Shelf,
    samples: Sequence[Sample] = (),
    made: Sequence[str] = (),
    takes: Mapping[str, str] | None = None,
    keep: Callable[[str], Path] | None = None,
) -> Promotion:
    """Apply the gates to `metrics`, register the release, write its card to the `shelf` and move `config.alias` to it.
    A release that is promoted again keeps its version, whose tags and card then hold these metrics and gates.

    `made` and `takes`: as on the card. `expect`: the version that the alias must be at ('none': unset); None: the one
    that it is at now. `keep`: called with the version before the alias moves; the file that it writes for a new version
    is removed if the move fails.

    All files are rendered in memory, and written beside those that they replace, before the registry is changed; the
    alias moves last. So a failure leaves the registry, the cards and MODEL_CARDS.md as they were (the run keeps its
    stored release). Raises GateError for a failing gate, another version than expected or a lost race; RecipeError
    if the recipe registers nothing; CheckpointError for a damaged release; DataError for a damaged card;
    StorageError if the cards cannot be written; TrackingError if the store fails.
    """
    name, alias = _target(config)
    gates = judge(config.gates, metrics)
    demand(gates, f"{name}@{alias}")
    run_id = _run_of(run_folder, store)
    client = open_client(store, timeout_s=TIMEOUT_S)
    with translated(f"cannot promote to {name}@{alias}"), ExitStack() as staging, Undo() as undo:
        found = aliases(client, name)
        before = expected(found, alias, expect, target=f"{name}@{alias}")
        card = Card(
            name=name,
            version=next_version(client, name, run_id, release_folder),
            sha256=release_sha256(release_folder),
            run_id=run_id,
            license=config.license,
            voices=config.voices,
            info=read_release(release_folder),
            metrics=metrics,
            gates=gates,
            samples=samples,
            made=made,
            takes=takes or {},
            store=store,
            shelf=shelf.folder,
        )
        with staged(shelf.with_card(card, _after(found, alias, before, card.version))):
            pass  # the registry is changed only if all files can be written
        version, new = register(client, name, run_id, release_folder, metrics=metrics, gates=gates, undo=undo)
        card, after = replace(card, version=version), _after(found, alias, before, version)
        put = staging.enter_context(staged(shelf.with_card(card, after)))
        previous = {} if version == before else {PREVIOUS + alias: before or "none"}
        describe(client, card, after, undo, previous=previous, scratch=run_folder)
        if keep is not None:
            mark = keep(f"models:/{name}/{version}")
            if new:
                undo.add(mark.unlink, missing_ok=True)
        if version != before:
            move(client, name, alias, to=version, before=before, previous=before)
        undo.forget()
        put()
    path = shelf.cards / name / card.file
    return Promotion(name=name, alias=alias, version=version, previous=before, sha256=card.sha256, card=path)


def rollback(name: str, alias: str, *, store: str, expect: str | None = None, shelf: Shelf | None = None) -> Promotion:
    """Move `alias` back to the version before, and previous_<alias> to the one before that, and update the cards on the
    `shelf`. The cards are written beside the old ones before anything moves, so that a failure leaves all as it was.

    Raises GateError if the alias is not at `expect` or was moved meanwhile; TrackingError if there is no version to
    go back to; DataError and StorageError for cards that are damaged or cannot be written.
    """
    check(name, alias)
    need_store(store, f"{name}@{alias}", WHERE)
    client = open_client(store, timeout_s=TIMEOUT_S)
    with translated(f"cannot roll back {name}@{alias}"):
        found = aliases(client, name)
        now = expected(found, alias, expect, target=f"{name}@{alias}")
        target = found.get(PREVIOUS + alias)
        if now is None or target is None:
            what = f"nothing is registered as {name}@{alias}" if now is None else _no_previous(client, name, alias, now)
            raise TrackingError(f"rollback: {what}; known aliases: {', '.join(sorted(found)) or 'none'}")
        version = client.get_model_version(name, target)
        recorded = version.tags.get(PREVIOUS + alias, "none")
        previous = None if recorded == "none" else recorded
        after = moved(found, alias, to=target, previous=previous)
        with staged({} if shelf is None else shelf.with_aliases(name, after)) as put:
            move(client, name, alias, to=target, before=now, previous=previous)
            put()
    return Promotion(
        name=name, alias=alias, version=target, previous=now, sha256=str(version.tags.get("sha256")), card=None
    )


def _target(config: TrackingConfig) -> tuple[str, str]:
    """The registered model and the alias of a promotion."""
    if config.register is None:
        raise RecipeError("promote: the recipe registers nothing: set `tracking.register` to the model's name")
    check(config.register, config.alias)
    return config.register, config.alias


def _no_previous(client: MlflowClient, name: str, alias: str, now: str) -> str:
    """Why there is no version to go back to. MLflow removes the aliases of a version that is deleted."""
    before = client.get_model_version(name, now).tags.get(PREVIOUS + alias, "none")
    if before == "none":
        return f"{name}@{alias} had no version before"
    exists = any(str(version.version) == before for version in versions(client, name))
    reason = f"the alias {PREVIOUS}{alias} was removed" if exists else "that was deleted"
    return f"{name}@{alias} was at version {before} before {now}, but {reason}; move the alias in MLflow, or promote"


def _after(found: Mapping[str, str], alias: str, before: str | None, version: str) -> Mapping[str, str]:
    """The aliases once `alias` is at `version`; promoting the same release again moves nothing."""
    return found if version == before else moved(found, alias, to=version, previous=before)


def resolve(spec: str, *, uri: str, download_to: Path) -> Path:
    """The release folder of `models:/name@alias` or `models:/name/3`, fetched once to `download_to` and verified
    against the version's sha256 every time; an adapter's base is in its `base` folder.

    Raises RecipeError for another form, TrackingError if it is not registered, CheckpointError if the files are
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
    """The MLflow run id of a run folder, after sending the rest of its spool."""
    check_store(run_folder, store)
    if (run_folder / SPOOL).is_file():
        replay(run_folder)
        check_store(run_folder, store)  # a run that was never sent has just gone to the store that its spool names
    identity = read_mlflow_run(run_folder)
    if identity is None:
        raise TrackingError(f"registry: {run_folder} has neither {SPOOL} nor run.json: it was never tracked")
    return identity.mlflow_run_id
