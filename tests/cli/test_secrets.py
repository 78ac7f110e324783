"""A URI that can carry a credential is refused by key, wherever it is given, and is not recorded anywhere."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from toy_run import RECIPES, TINY, ToyRun

from talkies.cli.main import run
from talkies.config import RecipeError
from talkies.config.secrets import bare
from talkies.tracking.mlflow_run import MlflowRun, write_mlflow_run
from talkies.tracking.spool import check_store

pytestmark = pytest.mark.timeout(600)

URIS = [
    "https://me:sesame@host",
    "https://sesame@host/x",
    "databricks://sesame@workspace",
    "postgresql://me:sesame@host/db",
    "https://host/?password=sesame",
    "postgresql://host/db?sslmode=require&password=sesame",
    "https://host/#sesame",
    "sqlite:///x?key=sesame",
]
PHASE, PREPARE, CURRICULUM = (str(RECIPES / f"{name}.yaml") for name in ("joint_phase1", "prepare", "curriculum"))
SITE = {"kind": "site", "limits": {"nodes": 2, "gpus_per_node": 2, "time": "01:00:00"}}
KEYS = ("tracking.uri", "data.root", "parents.base", "codecs.video.weights", "nowhere.known")


def words(uri: str) -> Iterator[tuple[str, list[str]]]:
    """Every way to give a URI: (the key or flag that the message must name, the command)."""
    for verb in ("train", "plan", "show"):
        yield from ((key, [verb, PHASE, f"{key}={uri}"]) for key in KEYS)
        yield "tracking.uri", [verb, CURRICULUM, f"phases.tracking.uri={uri}"]
        yield "tracking.uri", [verb, "phase.yaml"]
        yield "overrides.0", [verb, "curriculum.yaml"]
    for verb in ("prepare", "plan", "show"):
        yield "sources.faces.path", [verb, PREPARE, f"sources.faces={{kind: folder, path: '{uri}'}}"]
        yield "sets", [verb, PREPARE, f"sets={{'{uri}': {{}}}}"]
    yield "tracking.uri", ["submit", PHASE, f"tracking.uri={uri}", "data.root=x", "--site", "site.yaml", "--dry-run"]
    for key in ("tracking_uri", "data_root", "environment.OTHER"):
        yield key, ["submit", PHASE, "--site", f"{key}.yaml", "--dry-run"]
    for verb in ("sample", "evaluate", "promote", "rollback", "export"):
        more = {"sample": ["--prompt", "x"], "export": ["--out", "x"]}.get(verb, [])
        yield "--tracking-uri", [verb, "x", *more, "--tracking-uri", uri]
        yield "--runs", [verb, "x", *more, "--runs", uri]
    yield "--out", ["export", "x", "--out", uri]
    yield "--cards", ["promote", "x", "--cards", uri]
    yield "--data", ["evaluate", "x", "--data", uri]
    yield "--folder", ["train", PHASE, "data.root=x", "--folder", uri]


def written(uri: str) -> None:
    """Recipes and site profiles that hold `uri`."""
    Path("phase.yaml").write_text(f"extends: recipes/joint_phase1.yaml\ntracking: {{uri: '{uri}'}}\n")
    Path("curriculum.yaml").write_text(f"extends: recipes/curriculum.yaml\noverrides: ['phases.tracking.uri={uri}']\n")
    Path("site.yaml").write_text(json.dumps(SITE))
    for key in ("tracking_uri", "data_root"):
        Path(f"{key}.yaml").write_text(json.dumps({**SITE, key: uri}))
    Path("environment.OTHER.yaml").write_text(json.dumps({**SITE, "environment": {"OTHER": uri}}))


def holders(folder: Path) -> list[str]:
    """Files below `folder` with the secret in their name or content."""
    found = [path for path in folder.rglob("*") if "recipes" not in path.parts]
    return [str(p) for p in found if "sesame" in p.name or (p.is_file() and b"sesame" in p.read_bytes())]


@pytest.mark.parametrize("uri", URIS)
def test_a_uri_is_refused_by_key_and_recorded_nowhere(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").symlink_to(RECIPES)
    written(uri)
    given = {path.name for path in tmp_path.iterdir()}
    everywhere = list(words(uri))
    for key, command in everywhere if uri in URIS[:2] else everywhere[::6]:
        assert run(command) == 2, command
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("\n") == 1, captured.err
        assert "credential" in captured.err, (command, captured.err)
        assert key in captured.err, (command, captured.err)
        assert "sesame" not in captured.err, (command, captured.err)
    assert {path.name for path in tmp_path.iterdir()} == given


@pytest.mark.parametrize("uri", URIS)
def test_a_source_with_one_is_refused_without_it(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for spec in (uri, f"models:/{uri}", "models:/toy@champion?token=sesame", "models:/sesame#sesame@x"):
        for command in (["sample", spec, "--prompt", "x"], ["evaluate", spec], ["status", spec], ["cancel", spec]):
            assert run(command) in (2, 65, 69)
            output = capsys.readouterr().err
            assert "sesame" not in output.replace("models:/sesame#", "models:/#"), (command, output)
    assert holders(tmp_path) == []


@pytest.mark.slow
def test_secrets_of_the_environment_are_in_no_record_or_log(
    toy_run: ToyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "https://me:sesame@host/?token=sesame")
    for name in ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "sesame")
    steps = ["steps.max=1", "steps.checkpoint_every=1", "validation.every=1", f"data.root={toy_run.data}"]
    command = ["train", str(RECIPES / "audio_pretraining.yaml"), *TINY[1:], *steps]
    given = {word.partition("=")[0]: word for word in command[2:]}
    assert run([*command[:2], *given.values(), "--runs", str(tmp_path / "runs"), "--quiet"]) == 0
    (folder,) = (tmp_path / "runs").glob("audio_pretraining-*/0001")
    assert run(["replay", str(folder)]) == 0
    assert run(["status", str(folder)]) == 0
    captured = capfd.readouterr()
    assert "sesame" not in captured.out + captured.err
    assert (tmp_path / "runs" / "mlflow.db").is_file()
    assert holders(tmp_path) == []


@pytest.mark.parametrize("uri", [uri for uri in URIS if uri.startswith("http")])
def test_one_in_a_run_of_an_older_version_is_reported_and_masked(
    uri: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    record = {"recipe": {"steps": {"max": 3}, "tracking": {"uri": uri}}, "recipe_hash": "x", "parents": {}}
    (folder / "recipe.json").write_text(json.dumps(record))
    (folder / "place.json").write_text(json.dumps({"data_root": "x", "store": uri, "artifacts": None}))
    write_mlflow_run(folder, MlflowRun(mlflow_run_id="ab", experiment="toy", tracking_uri=uri, created=1))
    for more in ([], ["--json"]):
        assert run(["status", str(folder), *more]) == 0
        output = capsys.readouterr().out
        assert "can carry a credential: the tracking URI in recipe.json (" in output
        assert all(name in output for name in ("place.json (", "run.json (", "/#/runs/ab"))
        assert "sesame" not in output
    assert run(["replay", str(folder)]) != 0
    assert "sesame" not in capsys.readouterr().err


def test_a_store_is_the_same_without_the_credential() -> None:
    assert {bare(uri) for uri in ("https://me:sesame@host/x", "https://host/x?a=b", "https://host/x#c")} == {
        "https://host/x"
    }
    assert bare("sqlite:////a/b@c/mlflow.db") == "sqlite:////a/b@c/mlflow.db"
    assert bare("postgresql://me@host/db?sslmode=require") == "postgresql://me@host/db"


def test_an_old_run_continues_once_its_recipe_has_no_credential(tmp_path: Path) -> None:
    uri = "https://me:sesame@host/x?token=sesame"
    write_mlflow_run(tmp_path, MlflowRun(mlflow_run_id="ab", experiment="toy", tracking_uri=uri, created=1))
    check_store(tmp_path, "https://host/x")
    with pytest.raises(
        RecipeError, match=r"is tracked at https://\*\*\*@host/x\?token=\*\*\*, not at https://other"
    ) as caught:
        check_store(tmp_path, "https://other")
    assert "sesame" not in str(caught.value)
