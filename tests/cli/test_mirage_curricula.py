"""The whole curricula of Mirage video and Mirage audio through the command line, with every part real but small."""

import json
import re
import shlex
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from toy_run import ToyRun

from talkies.checkpoints.release import read_release, release_sha256
from talkies.cli.main import run
from talkies.config.records import regular_bytes
from talkies.evaluation.metric_info import METRICS
from talkies.media.probe import MediaInfo, probe
from talkies.models.systems import SYSTEMS
from talkies.recipe.gates import measured as names_of
from talkies.runs.recorded import recipe_of_run
from talkies.tracking.card_text import parse_card


@dataclass(frozen=True, kw_only=True)
class Made:
    """What a curriculum makes. `lineage`: phase -> the parent of each component; the last phase is promoted. `samples`:
    the suffix of validation's samples; `sample`: the file that the card's command makes; `shown`: metrics that the
    card begins with; `gate`: the metric of the promoted phase's gate, and a value that it refuses."""

    name: str
    lineage: dict[str, dict[str, str]]
    samples: str
    sample: str
    shown: tuple[str, ...]
    gate: tuple[str, float]
    silent: tuple[str, ...] = field(default=())

    @property
    def last(self) -> str:
        return [*self.lineage][-1]


def all_from(parent: str, *components: str) -> dict[str, str]:
    return dict.fromkeys(components, parent)


MADE = {
    "mirage_run": Made(
        name="mirage-toy",
        lineage={
            "video_pretraining": {},
            "warm_up": all_from("video_pretraining", "video", "text"),
            "stitch": all_from("warm_up", "video", "text", "sound"),
            "reference": all_from("stitch", "video", "text", "sound"),
        },
        samples=".mp4",
        sample="sample.mp4",
        shown=("sound/sync", "sound/sync_swapped", "kind", "identity", "heldout/video"),
        gate=("evaluation/sync_reference", 0.1),
        silent=("video_pretraining",),
    ),
    "voices_run": Made(
        name="mirage-audio-toy",
        lineage={
            "general_sound": {},
            "speech": all_from("general_sound", "sound", "text"),
            "cloning": all_from("speech", "sound", "text"),
        },
        samples=".m4a",
        sample="sample.wav",
        shown=("script", "setting", "pitch", "reference/pitch_swapped", "degraded/pitch", "timbre", "heldout/sound"),
        gate=("evaluation/script_reference", 0.1),
    ),
}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.parametrize("system", MADE)]


@pytest.fixture
def whole(system: str, request: pytest.FixtureRequest) -> ToyRun:
    found: ToyRun = request.getfixturevalue(system)
    return found


@pytest.fixture
def made(system: str) -> Made:
    return MADE[system]


def test_each_phase_starts_from_the_exact_result_of_the_one_before(whole: ToyRun, made: Made) -> None:
    for name, lineage in made.lineage.items():
        info = read_release(whole.phase(name) / "release")
        expected = {part: release_sha256(whole.phase(parent) / "release") for part, parent in lineage.items()}
        assert {part: parent["sha256"] for part, parent in info["parents"].items()} == expected
        assert json.loads((whole.phase(name) / "result.json").read_text())["step"] == 4


def test_mlflow_holds_one_run_per_phase_with_samples_that_are_heard(whole: ToyRun, made: Made, tmp_path: Path) -> None:
    """A silent phase has nothing to hear."""
    client = whole.client
    experiment = client.get_experiment_by_name(made.name)
    assert experiment is not None
    runs = {r.info.run_name: r for r in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {made.name, *made.lineage}
    parent = runs[made.name].info.run_id
    for name in made.lineage:
        assert (runs[name].data.tags["mlflow.parentRunId"], runs[name].info.status) == (parent, "FINISHED")
        (tmp_path / name).mkdir()
        sample = f"samples/step-00000004/sample-00{made.samples}"
        path = client.download_artifacts(runs[name].info.run_id, sample, str(tmp_path / name))
        found = probe(Path(path))
        assert (found.audio_rate is None) == (name in made.silent)
        assert is_a_clip(found, made)
    version = client.get_model_version_by_alias(made.name, "champion")
    assert version.run_id == runs[made.last].info.run_id
    assert version.tags["sha256"] == release_sha256(whole.phase(made.last) / "release")


def is_a_clip(found: MediaInfo, made: Made) -> bool:
    """Of two seconds, or of sound alone as long as its script."""
    if made.samples == ".mp4":
        return (found.height, found.width, found.frames) == (32, 32, 25)
    return found.frames is None and 0.5 < (found.audio_seconds or 0) < 2.1


def test_the_card_lists_what_the_world_shows_and_its_command_works_as_pasted(
    whole: ToyRun, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phase = whole.phase(made.last)
    path = phase / "cards" / made.name / "version-0001.md"
    text = path.read_text()
    measured = json.loads((phase / "evaluation.json").read_text())["metrics"]
    known = set(names_of(recipe_of_run(phase, SYSTEMS)))
    assert measured.keys() <= known, "a gate may be set on each"
    assert {key for key in known if "frechet" in key} <= measured.keys()
    shown = {measure.key: measure for measure in METRICS if measure.applies_to(measured)}
    assert {f"evaluation/{key}" for key in made.shown} <= shown.keys()
    for measure in shown.values():
        assert f"| {measure.words} | {measure.better} | **" in text
    assert len(parse_card(regular_bytes(path, 1 << 20).decode(), path)["talkies"]["samples"]) == 3
    (tmp_path / whole.runs.name).symlink_to(whole.runs)
    monkeypatch.chdir(tmp_path)
    (command,) = re.findall(r"```bash\n(.*?)\n```", text, re.DOTALL)
    program, *words = shlex.split(command)
    assert program == "talkies"
    assert run(words) == 0
    assert is_a_clip(probe(Path(made.sample)), made)
    assert (whole.folder / made.sample).is_file(), "that of a held-out clip, after the promotion"


def test_a_finished_curriculum_is_not_repeated(whole: ToyRun, made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    before = {p: p.stat().st_mtime_ns for p in whole.folder.glob("*/checkpoints/*/manifest.json")}
    assert len(before) >= len(made.lineage)
    assert run(whole.train) == 0
    assert {p: p.stat().st_mtime_ns for p in whole.folder.glob("*/checkpoints/*/manifest.json")} == before
    assert "version 1" in capsys.readouterr().out


def test_a_gate_that_fails_moves_nothing(
    whole: ToyRun, made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(whole.phase(made.last), copy)
    record = json.loads((copy / "evaluation.json").read_text())
    metric, value = made.gate
    record["metrics"][metric] = value
    (copy / "evaluation.json").write_text(json.dumps(record))
    assert run(["promote", str(copy), "--runs", str(whole.runs)]) == 3
    assert metric in capsys.readouterr().err
    assert str(whole.client.get_model_version_by_alias(made.name, "champion").version) == "1"
