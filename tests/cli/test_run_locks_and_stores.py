"""Verbs that work on a run lock it, use its own store, and make no store or folder that was not there."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient
from toy_run import ToyRun

from talkies.cli.main import run
from talkies.cli.place import lookups
from talkies.config import GateError
from talkies.media.probe import probe
from talkies.models.systems import SYSTEMS
from talkies.parallel.ranks import Ranks
from talkies.parallel.world import ALONE
from talkies.runs.folders import locked
from talkies.runs.recorded import recipe_of_run
from talkies.runs.run_promotion import promote_run
from talkies.tracking.config import GateConfig

pytestmark = pytest.mark.timeout(600)
PHASES = ["video_pretraining", "audio_pretraining", "joint_phase1", "joint_phase2", "high_resolution", "lora"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, so that it will hold only what a command makes."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def copied(toy_run: ToyRun, tmp_path: Path) -> Callable[[str], Path]:
    """Copies a phase of the toy_run, which stays the same MLflow run."""

    def copy(name: str) -> Path:
        shutil.copytree(toy_run.phase(name), tmp_path / name)
        return tmp_path / name

    return copy


def registry(toy_run: ToyRun) -> MlflowClient:
    return MlflowClient(f"sqlite:///{toy_run.runs / 'mlflow.db'}")


@pytest.mark.parametrize("verb", ["evaluate", "promote"])
def test_a_run_in_use_is_neither_evaluated_nor_promoted(
    copied: Callable[[str], Path], capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    folder = copied("lora")
    (folder / "evaluation.json").unlink()
    spool = (folder / "spool.jsonl").read_bytes()
    with locked(folder):
        assert run([verb, str(folder)]) == 75
    assert f"in use by process {os.getpid()}; wait for it, then {verb} it" in capsys.readouterr().err
    assert not (folder / "evaluation.json").exists()
    assert (folder / "spool.jsonl").read_bytes() == spool


def test_evaluate_and_promote_use_the_runs_own_store(
    toy_run: ToyRun, copied: Callable[[str], Path], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copied("lora")
    before = (folder / "spool.jsonl").read_bytes()
    assert run(["evaluate", str(folder), "--clips", "2"]) == 0
    store = f"sqlite:///{toy_run.runs / 'mlflow.db'}"
    added = (folder / "spool.jsonl").read_bytes()[len(before) :].decode().splitlines()
    begin = json.loads(added[0])
    assert (begin["store"], begin["artifacts"]) == (store, str(toy_run.runs / "artifacts"))
    assert run(["promote", str(folder), "--expect", "1"]) == 0
    assert "models:/mova-toy@champion is version 1" in capsys.readouterr().out
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("verb", ["evaluate", "promote"])
@pytest.mark.parametrize("option", ["--runs", "--tracking-uri"])
def test_another_store_is_refused_with_both_names(
    *,
    toy_run: ToyRun,
    copied: Callable[[str], Path],
    here: Path,
    capsys: pytest.CaptureFixture[str],
    verb: str,
    option: str,
) -> None:
    other = f"sqlite:///{here / 'other' / 'mlflow.db'}"
    folder = copied("audio_pretraining") if verb == "evaluate" else copied("lora")
    assert run([verb, str(folder), option, "other" if option == "--runs" else other]) == 2
    output = capsys.readouterr().err
    assert f"{folder} is tracked at sqlite:///{toy_run.runs / 'mlflow.db'}" in output
    assert other in output
    assert output.count("\n") == 1
    assert list(here.iterdir()) == []


LOOKUPS = {
    "sample": ["sample", "models:/nobody@champion", "--prompt", "x"],
    "evaluate": ["evaluate", "models:/nobody@champion", "--data", "x"],
    "rollback": ["rollback", "nobody"],
}


@pytest.mark.parametrize("more", [[], ["--runs", "gone"], ["--tracking-uri", "sqlite:///gone.db"]], ids=str)
@pytest.mark.parametrize("verb", LOOKUPS)
def test_a_lookup_without_a_registry_makes_none(
    here: Path, capsys: pytest.CaptureFixture[str], verb: str, more: list[str]
) -> None:
    assert run([*LOOKUPS[verb], *more]) == 69
    output = capsys.readouterr().err
    assert output.count("\n") == 1
    for part in ("nobody@champion", "there is no store", more[-1].rpartition("/")[2] if more else "runs", "--runs"):
        assert part in output, output
    assert list(here.iterdir()) == []


def test_replay_makes_no_store_in_place_of_a_lost_one(
    copied: Callable[[str], Path], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copied("audio_pretraining")
    known = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**known, "tracking_uri": f"sqlite:///{here / 'mlflow.db'}"}))
    assert run(["replay", str(folder)]) == 69
    assert f"there is no store {here / 'mlflow.db'}" in capsys.readouterr().err
    assert list(here.iterdir()) == []


def test_promote_uses_the_tracking_config_that_it_is_given(
    toy_run: ToyRun, copied: Callable[[str], Path], tmp_path: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copied("lora")
    own = recipe_of_run(folder, SYSTEMS).tracking
    other = replace(own, register="mova-toy-other", alias="challenger", gates=())
    strict = replace(other, gates=(GateConfig(metric="evaluation/sync_reference", op=">=", value=2.0),))
    found = lookups(toy_run.runs, None, source=str(folder))
    given = {"expect": None, "cards": tmp_path, "ranks": Ranks(ALONE), **found}
    with pytest.raises(GateError, match=r"sync_reference .*needs >= 2.*mova-toy-other@challenger"):
        promote_run(folder, tracking=strict, **given)
    assert registry(toy_run).search_registered_models("name = 'mova-toy-other'") == []
    assert promote_run(folder, tracking=other, **given) == "models:/mova-toy-other@challenger"  # type: ignore[arg-type]
    assert str(registry(toy_run).get_model_version_by_alias("mova-toy-other", "challenger").version) == "1"
    assert "models:/mova-toy-other@challenger is version 1" in capsys.readouterr().out


@pytest.mark.parametrize("verb", ["sample", "evaluate", "promote"])
def test_a_curriculums_folder_names_its_phases(
    toy_run: ToyRun, here: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    words = ["--prompt", "x"] if verb == "sample" else []
    assert run([verb, str(toy_run.folder), *words]) == 65
    output = capsys.readouterr().err
    assert output.count("\n") == 1
    assert all(str(toy_run.phase(name)) in output for name in PHASES), output


@pytest.mark.parametrize(
    ("phase", "modality"), [("audio_pretraining", "sound without video"), ("video_pretraining", "video without sound")]
)
def test_a_clip_of_one_modality_is_reported_as_such(
    toy_run: ToyRun, here: Path, capsys: pytest.CaptureFixture[str], phase: str, modality: str
) -> None:
    assert run(["sample", str(toy_run.phase(phase)), "--prompt", "A happy man", "--out", "made.mp4"]) == 0
    assert f"sample:   made.mp4 ({phase}, seed 0, {modality}): A happy man" in capsys.readouterr().out
    info = probe(Path("made.mp4"))
    assert (info.height is None) == modality.startswith("sound")
    assert (info.audio_seconds is None) == modality.startswith("video")


@pytest.mark.parametrize("value", ["-1", "9223372036854775808", "1.5", "x"])
@pytest.mark.parametrize("verb", [["sample", "--prompt", "x"], ["evaluate"]], ids=["sample", "evaluate"])
def test_a_seed_is_a_natural_number_of_64_bits(
    here: Path, capsys: pytest.CaptureFixture[str], verb: list[str], value: str
) -> None:
    assert run([*verb, "nowhere", "--seed", value]) == 2
    assert f"--seed: {value} is not a seed: give an integer from 0 to 9223372036854775807" in capsys.readouterr().err
    assert run([*verb, "nowhere", "--seed", "9223372036854775807"]) == 65
