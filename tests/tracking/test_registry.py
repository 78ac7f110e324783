"""Promotion, rollback and resolving a name to verified files, on a real MLflow registry."""

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from talkies.checkpoints.release import load_component, read_release, release_sha256
from talkies.config import CheckpointError, GateError, RecipeError, TrackingError
from talkies.tracking.alias import aliases, move
from talkies.tracking.card_text import parse_card
from talkies.tracking.cards import Shelf
from talkies.tracking.config import GateConfig, TrackingConfig
from talkies.tracking.mlflow_run import read_mlflow_run
from talkies.tracking.registry import Promotion, promote, resolve, rollback
from talkies.tracking.store import open_client

MakeRun = Callable[..., Path]
NAME = "toy-model"


def promoted(run: Path, config: TrackingConfig, store: str, **more: Any) -> Promotion:
    arguments: dict[str, Any] = {
        "metrics": {"evaluation/sync": 0.5},
        "expect": None,
        "shelf": Shelf(folder=run.parent),
    }
    return promote(run, run / "release", config, store=store, **{**arguments, **more})


def card_aliases(cards: Path) -> list[list[str]]:
    return [parse_card(path.read_text())["talkies"]["aliases"] for path in sorted((cards / NAME).glob("*.md"))]


def test_a_promoted_release_comes_back_by_name(
    tmp_path: Path, made_run: MakeRun, config: TrackingConfig, store: str
) -> None:
    run = made_run("joint")
    done = promoted(run, config, store, expect="none")
    assert (done.name, done.alias, done.version, done.previous) == (NAME, "champion", "1", None)
    version = open_client(store).get_model_version_by_alias(NAME, "champion")
    identity = read_mlflow_run(run)
    assert identity is not None
    assert version.source == f"runs:/{identity.mlflow_run_id}/release"
    assert version.tags["sha256"] == release_sha256(run / "release") == done.sha256
    assert version.tags["recipe_hash"] == "a1" * 32
    assert json.loads(version.tags["metrics"]) == {"evaluation/sync": 0.5}
    assert "# toy-model version 1 (champion)" in version.description

    for spec in (f"models:/{NAME}@champion", f"models:/{NAME}/1"):
        folder = resolve(spec, uri=store, download_to=tmp_path / "downloads")
        assert read_release(folder) == read_release(run / "release")
    assert load_component(folder, "audio")["w"].equal(load_component(run / "release", "audio")["w"])
    assert (folder / "codecs" / "audio" / "config.json").read_text() == "{}"

    again = promoted(run, config, store, expect="1")
    assert (again.version, again.previous) == ("1", "1")  # the same release keeps its version


def test_failing_gates_move_nothing(made_run: MakeRun, config: TrackingConfig, store: str) -> None:
    gates = (
        GateConfig(metric="evaluation/sync", op=">=", value=0.35),
        GateConfig(metric="evaluation/lag_ms", op="<=", value=80),
        GateConfig(metric="heldout/video", op="<=", value=1),
        GateConfig(metric="heldout/audio", op="<=", value=1),
    )
    run = made_run("joint")
    metrics = {"evaluation/sync": 0.21, "heldout/video": float("nan"), "heldout/audio": 0.5}
    with pytest.raises(GateError) as caught:
        promoted(run, replace(config, gates=gates), store, metrics=metrics)
    text = str(caught.value)
    assert "3 of 4 gates fail" in text
    assert "evaluation/sync 0.21 (needs >= 0.35)" in text
    assert "evaluation/lag_ms missing (needs <= 80)" in text
    assert "heldout/video nan (needs <= 1)" in text
    assert "heldout/audio" not in text
    assert aliases(open_client(store), NAME) == {}
    assert not (run.parent / "cards").exists()


def test_promotion_records_the_version_to_go_back_to(
    tmp_path: Path, made_run: MakeRun, config: TrackingConfig, store: str
) -> None:
    cards = tmp_path / "cards"
    for number in (1, 2, 3):
        promoted(made_run(f"run{number}", seed=number), config, store)
    client = open_client(store)
    assert aliases(client, NAME) == {"champion": "3", "previous_champion": "2"}
    assert card_aliases(cards) == [[], ["previous_champion"], ["champion"]]

    with pytest.raises(GateError, match=r"expected toy-model@champion at 1, found version 3.*--expect 3"):
        promoted(made_run("run4", seed=4), config, store, expect="1")
    with pytest.raises(GateError, match="expected toy-model@champion at 2, found version 3"):
        rollback(NAME, "champion", store=store, expect="2")
    done = rollback(NAME, "champion", store=store, expect="3", shelf=Shelf(folder=tmp_path))
    assert (done.version, done.previous) == ("2", "3")
    assert aliases(client, NAME) == {"champion": "2", "previous_champion": "1"}
    assert card_aliases(cards) == [["previous_champion"], ["champion"], []]
    rollback(NAME, "champion", store=store)
    assert aliases(client, NAME) == {"champion": "1"}
    with pytest.raises(TrackingError, match="had no version before"):
        rollback(NAME, "champion", store=store)
    with pytest.raises(TrackingError, match="nothing is registered as toy-model@staging; known aliases: champion"):
        rollback(NAME, "staging", store=store)


def test_a_rollback_to_a_deleted_version_is_refused_by_name(
    made_run: MakeRun, config: TrackingConfig, store: str
) -> None:
    for number in (1, 2):
        promoted(made_run(f"run{number}", seed=number), config, store)
    open_client(store).delete_model_version(NAME, "1")
    with pytest.raises(TrackingError, match="toy-model@champion was at version 1 before 2, but that was deleted"):
        rollback(NAME, "champion", store=store)


@pytest.mark.fault("j", "promotion race", injected="two threads expect the same version")
def test_two_promoters_race_and_one_wins(
    made_run: MakeRun, config: TrackingConfig, store: str, record_outcome: Callable[..., None]
) -> None:
    promoted(made_run("before"), config, store)
    runs = [made_run(f"run{number}", seed=number) for number in (1, 2)]
    start = threading.Barrier(2)
    outcomes: dict[str, Promotion | Exception] = {}

    def go(run: Path) -> None:
        start.wait()
        try:
            outcomes[run.name] = promoted(run, config, store, expect="1", shelf=Shelf(folder=run))
        except (GateError, TrackingError) as error:
            outcomes[run.name] = error

    threads = [threading.Thread(target=go, args=(run,)) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [found for found in outcomes.values() if isinstance(found, Promotion)]
    losers = [found for found in outcomes.values() if isinstance(found, Exception)]
    assert len(winners) == len(losers) == 1, outcomes
    assert isinstance(losers[0], GateError), losers
    assert f"version {winners[0].version}" in str(losers[0])
    found = aliases(open_client(store), NAME)
    assert found == {"champion": winners[0].version, "previous_champion": "1"}
    record_outcome("one wins, the error of the other names the version found")


@pytest.fixture
def three_versions(store: str) -> MlflowClient:
    """A model with three versions, the alias at the first."""
    client = open_client(store)
    client.create_registered_model(NAME)
    for number in "123":
        client.create_model_version(NAME, f"runs:/{number}/release", tags={"sha256": number * 64})
    client.set_registered_model_alias(NAME, "champion", "1")
    return client


def test_an_alias_moved_before_is_left(three_versions: MlflowClient) -> None:
    three_versions.set_registered_model_alias(NAME, "champion", "2")
    with pytest.raises(
        GateError, match=r"it was version 1 at the start and is version 2 now \(sha256 .*it was left there"
    ):
        move(three_versions, NAME, "champion", to="3", before="1", previous="1")
    assert aliases(three_versions, NAME)["champion"] == "2"


@pytest.mark.fault("j", "promotion race", injected="the alias moves between check and write")
def test_an_alias_moved_in_between_is_reported(
    three_versions: MlflowClient, monkeypatch: pytest.MonkeyPatch, record_outcome: Callable[..., None]
) -> None:
    real = MlflowClient.set_registered_model_alias

    def overtaken(client: MlflowClient, name: str, alias: str, version: str) -> None:
        real(client, name, alias, version)
        real(client, name, alias, "2")  # MLflow's page, a moment later

    monkeypatch.setattr(MlflowClient, "set_registered_model_alias", overtaken)
    with pytest.raises(GateError, match=r"is version 2 now .*this had moved it to version 3 in between"):
        move(three_versions, NAME, "champion", to="3", before="1", previous="1")
    record_outcome("refused, naming both versions")


def test_promoters_take_turns(three_versions: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("talkies.tracking.alias.TRIES", 2)
    import time

    three_versions.set_registered_model_tag(NAME, "promoting.champion.other.7.ab", str(time.time()))
    with pytest.raises(GateError, match=r"another process is moving toy-model@champion \(other\.7\.ab\)"):
        move(three_versions, NAME, "champion", to="3", before="1", previous="1")
    assert aliases(three_versions, NAME)["champion"] == "1"
    three_versions.set_registered_model_tag(NAME, "promoting.champion.other.7.ab", str(time.time() - 3600))  # it died
    move(three_versions, NAME, "champion", to="3", before="1", previous="1")
    assert aliases(three_versions, NAME)["champion"] == "3"
    assert three_versions.get_registered_model(NAME).tags == {}


def test_an_adapter_brings_its_base(tmp_path: Path, made_run: MakeRun, config: TrackingConfig, store: str) -> None:
    joint = made_run("joint")
    lora = made_run("lora", base=joint / "release", seed=1)
    promoted(lora, config, store)
    identity = read_mlflow_run(joint)
    assert identity is not None
    version = open_client(store).get_model_version(NAME, "1")
    assert version.tags["base.source"] == f"runs:/{identity.mlflow_run_id}/release"
    folder = resolve(f"models:/{NAME}@champion", uri=store, download_to=tmp_path / "downloads")
    assert read_release(folder / "base") == read_release(joint / "release")

    # An adapter of a downloaded base records its source; an adapter of any other base stores the base itself.
    child = made_run("child", base=folder / "base", seed=2)
    promoted(child, config, store)
    assert open_client(store).get_model_version(NAME, "2").tags["base.source"] == version.tags["base.source"]
    stranger = tmp_path / "elsewhere" / "imported"
    stranger.parent.mkdir()
    (joint / "release").rename(stranger)
    orphan = made_run("orphan", base=stranger, seed=3)
    promoted(orphan, config, store)
    assert open_client(store).get_model_version(NAME, "3").tags["base.source"].endswith("/base")
    fresh = resolve(f"models:/{NAME}/3", uri=store, download_to=tmp_path / "fresh")
    assert release_sha256(fresh / "base") == release_sha256(stranger)


@pytest.mark.fault(
    "s9", "artifact with another sha256", injected="a flipped byte in the store; another registered sha256; none"
)
def test_other_bytes_are_refused(
    tmp_path: Path, made_run: MakeRun, config: TrackingConfig, store: str, record_outcome: Callable[..., None]
) -> None:
    run = made_run("joint")
    promoted(run, config, store)
    client = open_client(store)
    version = client.get_model_version(NAME, "1")
    stored = tmp_path / "artifacts" / "toy" / version.run_id / "artifacts" / "release" / "audio.safetensors"
    data = bytearray(stored.read_bytes())
    data[-1] ^= 1
    stored.unlink()  # a hard link to the run's own file
    stored.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"audio\.safetensors"):
        resolve(f"models:/{NAME}/1", uri=store, download_to=tmp_path / "downloads")
    assert list((tmp_path / "downloads").iterdir()) == []
    client.set_model_version_tag(NAME, "1", "sha256", "0" * 64)
    with pytest.raises(CheckpointError, match=r"is not the registered 000000000000.*refused"):
        resolve(f"models:/{NAME}/1", uri=store, download_to=tmp_path / "downloads")
    client.delete_model_version_tag(NAME, "1", "sha256")
    with pytest.raises(TrackingError, match="did not register it and cannot verify it"):
        resolve(f"models:/{NAME}/1", uri=store, download_to=tmp_path / "downloads")
    record_outcome("refused, nothing kept")


def test_a_run_keeps_one_release(made_run: MakeRun, config: TrackingConfig, store: str) -> None:
    run = made_run("joint")
    promoted(run, config, store)
    other = made_run("other", seed=5)
    (run / "release").rename(run / "old")
    (other / "release").rename(run / "release")
    with pytest.raises(TrackingError, match="already holds another release"):
        promoted(run, config, store)


def test_a_version_without_files_is_detected(tmp_path: Path, store: str) -> None:
    client = open_client(store)
    run = client.create_run(client.create_experiment("other"))
    client.create_registered_model(NAME)
    source = f"runs:/{run.info.run_id}/release"
    client.create_model_version(NAME, source, run.info.run_id, tags={"sha256": "1" * 64})  # MLflow says READY
    with pytest.raises(TrackingError, match=r"the registered version has no files"):
        resolve(f"models:/{NAME}/1", uri=store, download_to=tmp_path)


def test_the_message_for_an_unknown_name_lists_known_ones(
    tmp_path: Path, made_run: MakeRun, config: TrackingConfig, store: str
) -> None:
    with pytest.raises(TrackingError, match="known: nothing of that name"):
        resolve("models:/toy-model@champion", uri=store, download_to=tmp_path)
    with pytest.raises(RecipeError, match="registers nothing"):
        promoted(tmp_path, TrackingConfig(experiment="toy"), store)
    promoted(made_run("joint"), config, store)
    with pytest.raises(TrackingError, match="known: models:/toy-model/1, models:/toy-model@champion"):
        resolve("models:/toy-model@best", uri=store, download_to=tmp_path)
    with pytest.raises(RecipeError, match="reserved"):
        promoted(tmp_path, replace(config, alias="latest"), store)
