"""talkies show: resolved values with their origins, schema, difference."""

import json
from pathlib import Path

import pytest
from toy_run import ToyRun

from talkies.cli.main import run

pytestmark = pytest.mark.timeout(600)

TOY = """\
kind: phase
name: x
phase: {kind: joint}
model: {kind: mova, preset: toy}
codecs: {video: {kind: linear_video}, audio: {kind: linear_audio}, text: {kind: bytes}}
optimizer: {lr: {towers: 1e-3, bridge: "${optimizer.lr.towers}"}}
data: {shards: a, heldout: b, geometry: 32x32x25@12}
steps: {max: 10, global_batch: 2, checkpoint_every: 5}
validation: {every: 5}
tracking: {experiment: e}
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("base.yaml").write_text(TOY)
    Path("x.yaml").write_text("extends: base.yaml\nname: y\n\nsteps: {max: 20}\n")


def lines(text: str) -> dict[str, tuple[str, str]]:
    rows = [line.split() for line in text.splitlines() if not line.startswith("#")]
    return {row[0]: (" ".join(row[1:-1]), row[-1]) for row in rows}


def test_each_value_is_shown_with_its_origin(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["show", "x.yaml", "seed=3"]) == 0
    shown = lines(capsys.readouterr().out)
    assert shown["name"] == ("y", "x.yaml:2")
    assert shown["steps.max"] == ("20", "x.yaml:4")
    assert shown["steps.global_batch"] == ("2", "base.yaml:8")
    assert shown["optimizer.lr.bridge"] == ("0.001", "base.yaml:6")
    assert shown["optimizer.betas"] == ("[0.9, 0.999]", "default")
    assert shown["seed"] == ("3", "override")


def test_seconds_are_shown_as_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["show", "x.yaml", "data.geometry=2.50s"]) == 0
    assert lines(capsys.readouterr().out)["data.geometry"] == ("2.5s", "override")


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["show", "x.yaml", "--json", "tracking.experiment=f"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert run(["show", "x.yaml", "--json"]) == 0
    second = json.loads(capsys.readouterr().out)
    assert first["hash"] == second["hash"]
    assert first["values"]["tracking"]["experiment"] == "f"
    assert first["origins"]["tracking.experiment"] == "override"


def test_difference(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["show", "x.yaml", "--diff", "base.yaml"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "# x.yaml -> base.yaml: 2 differ",
        "name       y -> x",
        "steps.max  20 -> 10",
    ]
    assert run(["show", "x.yaml", "name=x", "--diff", "base.yaml", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"steps.max": {"recipe": 20, "other": 10}}
    assert run(["show", "x.yaml", "--diff", "x.yaml"]) == 0
    assert capsys.readouterr().out == "x.yaml and x.yaml: the same\n"


def test_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["show", "--schema"]) == 0
    assert json.loads(capsys.readouterr().out)["$schema"].endswith("2020-12/schema")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show"], "talkies: show: give a RECIPE, or --schema\n"),
        (["show", "x.yaml", "--schema"], "talkies: show: --schema describes every recipe; drop the other arguments\n"),
        (
            ["show", "x.yaml", "optimizer.epz=1"],
            "talkies: recipe: unknown key `optimizer.epz` (override). Did you mean `optimizer.eps`?\n",
        ),
        (["show", "y.yaml"], "talkies: recipe: no file y.yaml; nearest: x.yaml\n"),
    ],
)
def test_mistakes_are_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert run(arguments) == 2
    assert capsys.readouterr().err == message


@pytest.mark.parametrize("verb", ["show", "plan", "train"])
def test_a_file_that_is_not_a_recipe_is_described(
    toy_run: ToyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    (tmp_path / "other.json").write_text('{"a": 1}')
    run_folder = toy_run.phase("lora")
    messages = {
        run_folder / "recipe.json": "is the record of a run, not a recipe: its part `recipe` is the one",
        toy_run.folder / "curriculum.json": "is the record of a run, not a recipe",
        run_folder / "release" / "release.json": "with neither `kind` nor `extends` it is not a recipe",
        run_folder / "result.json": "has no `kind`, so it is not a recipe: `kind` must be one of phase, ",
        tmp_path / "other.json": "talkies: recipe: other.json has no `kind`, so it is not a recipe",
    }
    for file, words in messages.items():
        assert run([verb, str(file)]) == 2
        found = capsys.readouterr().err
        assert file.name in found
        assert words in found
        assert found.count("\n") == 1


def test_the_recipe_in_a_record_can_be_used(
    toy_run: ToyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the message says."""
    record = json.loads((toy_run.phase("lora") / "recipe.json").read_text())
    (tmp_path / "again.yaml").write_text(json.dumps(record["recipe"]))
    assert run(["show", "again.yaml", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["hash"] == record["recipe_hash"]
