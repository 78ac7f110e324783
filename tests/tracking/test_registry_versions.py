"""A version has one set of numbers in the registry, and only in the store that tracks its run."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from talkies.config import GateError, RecipeError, TrackingError
from talkies.tracking.card_metrics import metrics_of
from talkies.tracking.card_text import parse_card
from talkies.tracking.cards import Shelf
from talkies.tracking.config import GateConfig, TrackingConfig
from talkies.tracking.registry import Promotion, promote, resolve, rollback
from talkies.tracking.store import open_client

MakeRun = Callable[..., Path]
NAME = "toy-model"


def promoted(run: Path, config: TrackingConfig, store: str, sync: float = 0.5) -> Promotion:
    more: dict[str, Any] = {"metrics": {"evaluation/sync": sync}, "expect": None, "shelf": Shelf(folder=run.parent)}
    return promote(run, run / "release", config, store=store, **more)


def test_a_release_promoted_again_has_one_set_of_numbers(
    tmp_path: Path, made_run: MakeRun, config: TrackingConfig, store: str
) -> None:
    run, client = made_run("joint"), open_client(store)
    for value, needed in ((0.5, 0.35), (0.75, 0.6)):
        gate = GateConfig(metric="evaluation/sync", op=">=", value=needed)
        done = promoted(run, replace(config, gates=(gate,)), store, value)
        version = client.get_model_version(NAME, "1")
        assert done.version == "1"
        assert json.loads(version.tags["metrics"]) == {"evaluation/sync": value}
        (judged,) = json.loads(version.tags["gates"])
        assert (judged["needed"], judged["found"]) == (needed, value)
        assert done.card is not None
        front = parse_card(done.card.read_text())
        assert metrics_of(front) == {"evaluation/sync": value}
        assert front["talkies"]["gates"][0]["needed"] == needed
        assert f"| higher | **{value:g}** |  |  | &gt;= {needed}: passed |" in version.description


def test_a_lost_race_leaves_the_numbers_of_a_version(
    made_run: MakeRun, config: TrackingConfig, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, client = made_run("joint"), open_client(store)
    promoted(run, config, store)
    promoted(made_run("other", seed=1), config, store)

    def lost(*_: object, **__: object) -> None:
        raise GateError("lost")

    monkeypatch.setattr("talkies.tracking.registry.move", lost)
    with pytest.raises(GateError):
        promoted(run, config, store, 0.75)
    assert json.loads(client.get_model_version(NAME, "1").tags["metrics"]) == {"evaluation/sync": 0.5}


def test_nothing_is_looked_up_without_a_store(tmp_path: Path) -> None:
    gone = tmp_path / "gone.db"
    for look in (
        lambda: resolve(f"models:/{NAME}@champion", uri=f"sqlite:///{gone}", download_to=tmp_path / "downloads"),
        lambda: rollback(NAME, "champion", store=f"sqlite:///{gone}"),
    ):
        with pytest.raises(TrackingError, match=f"{NAME}@champion cannot be looked up: there is no store {gone}"):
            look()
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_registered_only_in_its_own_store(
    tmp_path: Path, made_run: MakeRun, config: TrackingConfig, store: str
) -> None:
    run = made_run("joint")  # spooled for `store`, and never sent
    shutil.copyfile(tmp_path / "mlflow.db", tmp_path / "other.db")
    other = f"sqlite:///{tmp_path / 'other.db'}"
    with pytest.raises(RecipeError, match=f"is tracked at {store}, not at {other}"):
        promoted(run, config, other)
    assert open_client(other).search_registered_models() == []
