"""A promotion or a rollback that fails leaves the registry, the cards and MODEL_CARDS.md as they were."""

import shutil
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow_servers import free_port, listening, serve_here

from talkies.config import DataError, GateError, StorageError, TrackingError, UserError
from talkies.tracking.alias import aliases
from talkies.tracking.card_text import Sample, parse_card
from talkies.tracking.cards import Shelf
from talkies.tracking.config import GateConfig, TrackingConfig
from talkies.tracking.registry import promote, rollback
from talkies.tracking.store import open_client
from talkies.tracking.versions import versions

MakeRun = Callable[..., Path]
NAME = "toy-model"


def promoted(run: Path, config: TrackingConfig, store: str, shelf: Shelf, **more: Any) -> str:
    given: dict[str, Any] = {"metrics": {"evaluation/sync": 0.5}, "expect": None, **more}
    return promote(run, run / "release", config, store=store, shelf=shelf, **given).version


def registry(client: MlflowClient) -> dict[str, Any]:
    """Everything that the registry holds of its models."""
    return {
        model.name: {
            "aliases": aliases(client, model.name),
            "tags": model.tags,
            "versions": [(v.version, v.source, v.tags, v.description) for v in versions(client, model.name)],
        }
        for model in client.search_registered_models()
    }


def files(folder: Path) -> dict[str, bytes | None]:
    """Every file below `folder`, and every folder."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def full(shelf: Shelf, client: MlflowClient) -> dict[str, Any]:
    room = shutil.disk_usage(shelf.folder).free
    (shelf.folder / "filler").write_bytes(bytes(room - (8 << 10)))  # for one card, not for all
    return {"samples": [Sample(prompt="x", picture=bytes(16 << 10))]}


def damaged(shelf: Shelf, client: MlflowClient) -> dict[str, Any]:
    (shelf.cards / NAME / "version-0001.md").write_text("---\ntorn")
    return {}


def in_the_way(shelf: Shelf, client: MlflowClient) -> dict[str, Any]:
    shelf.index.unlink()
    shelf.index.mkdir()
    return {}


def read_only(shelf: Shelf, client: MlflowClient) -> dict[str, Any]:
    subprocess.run(["mount", "-o", "remount,ro", str(shelf.folder)], check=True)
    return {}


def overtaken(shelf: Shelf, client: MlflowClient) -> dict[str, Any]:
    """Another process moves the alias after the version was registered."""

    def move_away(_spec: str) -> Path:
        client.set_registered_model_alias(NAME, "champion", "1")
        return shelf.folder / "mark"

    return {"keep": move_away}


def no_room_for_the_mark(shelf: Shelf, client: MlflowClient) -> dict[str, Any]:
    def refuse(_spec: str) -> Path:
        raise StorageError("storage: cannot write the mark")

    return {"keep": refuse}


def a_gate(shelf: Shelf, client: MlflowClient) -> dict[str, Any]:
    return {"metrics": {"evaluation/sync": 0.1}}


def another(shelf: Shelf, client: MlflowClient) -> dict[str, Any]:
    return {"expect": "1"}


CASES = [
    (full, False, StorageError, "No space left"),
    (read_only, False, StorageError, "Read-only file system"),
    (damaged, False, DataError, r"version-0001\.md is damaged"),
    (in_the_way, False, StorageError, "Is a directory"),
    (overtaken, False, GateError, "lost the race"),
    (overtaken, True, GateError, "lost the race"),
    (no_room_for_the_mark, True, StorageError, "the mark"),
    (a_gate, False, GateError, "1 of 1 gates fail"),
    (another, False, GateError, "expected toy-model@champion at 1, found version 2"),
]


@pytest.mark.parametrize(("prepare", "again", "kind", "words"), CASES)
def test_a_failed_promotion_changes_nothing(
    made_run: MakeRun,
    config: TrackingConfig,
    store: str,
    file_system: Callable[[str], Path],
    *,
    prepare: Callable[[Shelf, MlflowClient], dict[str, Any]],
    again: bool,
    kind: type[UserError],
    words: str,
) -> None:
    """`again`: a release that is already registered as version 1, with other metrics."""
    config = replace(config, gates=(GateConfig(metric="evaluation/sync", op=">=", value=0.3),))
    shelf, client = Shelf(folder=file_system("size=1m")), open_client(store)
    first = made_run("run1", seed=1)
    promoted(first, config, store, shelf)
    promoted(made_run("run2", seed=2), config, store, shelf)
    more = prepare(shelf, client)
    before = (registry(client), files(shelf.folder))
    assert before[0][NAME]["aliases"] == {"champion": "2", "previous_champion": "1"}
    with pytest.raises(kind, match=words):
        promoted(
            first if again else made_run("run3", seed=3),
            config,
            store,
            shelf,
            **{"metrics": {"evaluation/sync": 0.7}, **more},
        )
    if prepare is overtaken:
        assert aliases(client, NAME) == {"champion": "1", "previous_champion": "1"}
        client.set_registered_model_alias(NAME, "champion", "2")
    assert registry(client) == before[0]
    assert files(shelf.folder) == before[1]


def test_the_first_promotion_that_fails_leaves_no_model(
    made_run: MakeRun, config: TrackingConfig, store: str, tmp_path: Path
) -> None:
    shelf, client = Shelf(folder=tmp_path / "new" / "shelf"), open_client(store)
    with pytest.raises(StorageError, match="the mark"):
        promoted(made_run("run1"), config, store, shelf, **no_room_for_the_mark(shelf, client))
    assert registry(client) == {}
    assert not (tmp_path / "new").exists()
    assert promoted(tmp_path / "run1", config, store, shelf, expect="none") == "1"
    assert files(shelf.folder).keys() == {"MODEL_CARDS.md", "cards", f"cards/{NAME}", f"cards/{NAME}/version-0001.md"}


@pytest.mark.parametrize("prepare", [full, read_only])
def test_a_failed_rollback_changes_nothing(
    made_run: MakeRun,
    config: TrackingConfig,
    store: str,
    file_system: Callable[[str], Path],
    prepare: Callable[[Shelf, MlflowClient], dict[str, Any]],
) -> None:
    shelf, client = Shelf(folder=file_system("size=1m")), open_client(store)
    for number in (1, 2):
        promoted(made_run(f"run{number}", seed=number), config, store, shelf)
    prepare(shelf, client)
    before = (registry(client), files(shelf.folder))
    with pytest.raises(StorageError):
        rollback(NAME, "champion", store=store, shelf=shelf)
    assert (registry(client), files(shelf.folder)) == before


def test_odd_text_of_an_old_record_is_promoted_as_one_line(
    made_run: MakeRun, config: TrackingConfig, store: str, tmp_path: Path
) -> None:
    """Recipes are checked now; records of older runs are not."""
    odd = replace(config, license="mit\ntags: [x]\n---\n# Injected <script>alert(1)</script>")
    shelf = Shelf(folder=tmp_path)
    promoted(made_run("run1"), odd, store, shelf)
    text = (shelf.cards / NAME / "version-0001.md").read_text()
    assert parse_card(text)["license"] == "mit tags: [x] --- # Injected <script>alert(1)</script>"
    body = text.split("\n---\n", 1)[1]
    assert "<script>" not in body
    assert "\n# Injected" not in body
    version = open_client(store).get_model_version(NAME, "1")
    assert "<script>" not in version.description


def test_a_server_that_dies_before_the_alias_moves_is_reported_and_the_same_command_continues(
    made_run: MakeRun, config: TrackingConfig, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_here(monkeypatch, tmp_path, store)
    port, shelf = free_port(), Shelf(folder=tmp_path / "shelf")
    with ExitStack() as serving:
        uri = serving.enter_context(listening(port))
        run = made_run("run1", store=uri)

        def die(_spec: str) -> Path:
            serving.close()
            return tmp_path / "mark"

        with pytest.raises(TrackingError, match=r"^tracking: cannot promote to toy-model@champion: .*") as caught:
            promoted(run, config, uri, shelf, keep=die)
        assert "\n" not in str(caught.value)
    assert not shelf.folder.exists()
    with listening(port):
        assert aliases(open_client(uri), NAME) == {}
        assert promoted(run, config, uri, shelf, expect="none") == "1"
        assert aliases(open_client(uri), NAME) == {"champion": "1"}
    assert parse_card((shelf.cards / NAME / "version-0001.md").read_text())["talkies"]["server"] == uri
