"""The whole curriculum through the command line, with every part real but small."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient
from PIL import Image
from toy_run import RECIPES, SMALL, ToyRun

from talkies.checkpoints.release import read_release, release_sha256
from talkies.checkpoints.store import CheckpointStore
from talkies.cli.main import run
from talkies.evaluation.metric_info import METRICS
from talkies.media.frames import read_frames
from talkies.media.probe import probe
from talkies.media.write import PROVENANCE, read_tags
from talkies.runs.folders import locked

PHASES = ["video_pretraining", "audio_pretraining", "joint_phase1", "joint_phase2", "high_resolution", "lora"]
LINEAGE = {
    "joint_phase1": {"video_high": "video_pretraining", "video_low": "video_pretraining", "audio": "audio_pretraining"},
    "joint_phase2": dict.fromkeys(("video_high", "video_low", "audio", "bridge"), "joint_phase1"),
    "high_resolution": dict.fromkeys(("video_high", "video_low", "audio", "bridge"), "joint_phase2"),
    "lora": dict.fromkeys(("video_high", "video_low", "audio", "bridge"), "high_resolution"),
}
pytestmark = pytest.mark.timeout(600)


@pytest.mark.parametrize("name", PHASES)
def test_each_phase_starts_from_the_exact_result_of_the_one_before(toy_run: ToyRun, name: str) -> None:
    info = read_release(toy_run.phase(name) / "release")
    expected = {part: release_sha256(toy_run.phase(p) / "release") for part, p in LINEAGE.get(name, {}).items()}
    assert {part: parent["sha256"] for part, parent in info["parents"].items()} == expected
    assert json.loads((toy_run.phase(name) / "result.json").read_text())["step"] == 4


def test_the_lora_release_holds_the_adapter_alone_and_names_its_base(toy_run: ToyRun) -> None:
    info = read_release(toy_run.phase("lora") / "release")
    assert info["components"] == {}
    assert info["base"]["sha256"] == release_sha256(toy_run.phase("high_resolution") / "release")
    assert (toy_run.phase("lora") / "release" / "adapter" / "adapter_model.safetensors").is_file()


def test_mlflow_holds_one_run_per_phase_under_the_curriculums(toy_run: ToyRun) -> None:
    client = MlflowClient(f"sqlite:///{toy_run.runs / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("mova-toy")
    assert experiment is not None
    runs = {r.info.run_name: r for r in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {"mova-toy", *PHASES}
    assert [found.name for found in client.search_experiments()] == ["mova-toy"]
    parent = runs["mova-toy"].info.run_id
    for name in PHASES:
        assert runs[name].data.tags["mlflow.parentRunId"] == parent
        assert runs[name].info.status == "FINISHED"
    joint = runs["joint_phase1"]
    assert {"train/video", "train/audio", "heldout/video", "heldout/audio/bin0", "train/clips_per_second"} <= set(
        joint.data.metrics
    )
    media = {f.path for f in client.list_artifacts(joint.info.run_id, "samples/step-00000004")}
    assert any(path.endswith(".mp4") for path in media)
    version = client.get_model_version_by_alias("mova-toy", "champion")
    assert version.run_id == runs["lora"].info.run_id
    assert version.tags["sha256"] == release_sha256(toy_run.phase("lora") / "release")


def test_the_promoted_version_brings_its_base_and_codecs_and_samples(toy_run: ToyRun, tmp_path: Path) -> None:
    out = tmp_path / "promoted.mp4"
    prompt = "The calm golden mask of the owl"
    code = run(
        ["sample", "models:/mova-toy@champion", "--prompt", prompt, "--out", str(out), "--runs", str(toy_run.runs)]
    )
    assert code == 0
    info = probe(out)
    assert (info.height, info.width) == (64, 64)
    assert info.audio_seconds == pytest.approx(2.0, abs=0.1)
    assert read_tags(out)[PROVENANCE].startswith("synthetic; talkies lora")
    client = MlflowClient(f"sqlite:///{toy_run.runs / 'mlflow.db'}")
    version = client.get_model_version_by_alias("mova-toy", "champion")
    assert version.tags["base.sha256"] == release_sha256(toy_run.phase("high_resolution") / "release")
    found = [p for p in (toy_run.runs / "downloads").rglob("release.json") if p.parent.name != "base"]
    assert version.tags["sha256"] in {release_sha256(p.parent) for p in found}
    assert any((p.parent / "base" / "bridge.safetensors").is_file() for p in found)
    assert all((p.parent / "codecs" / "audio" / "model.safetensors").is_file() for p in found)


def test_the_card_shows_samples_and_its_command_works_as_pasted(
    toy_run: ToyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = toy_run.phase("lora") / "cards" / "mova-toy" / "version-0001.md"
    text = card.read_text()
    pictures = re.findall(r"\]\((.*?\.jpg)\)", text)
    assert len(pictures) == 3
    for path in pictures:
        with Image.open(card.parent / path) as picture:
            assert picture.width <= 960
    client = MlflowClient(f"sqlite:///{toy_run.runs / 'mlflow.db'}")
    stored = client.list_artifacts(client.get_model_version("mova-toy", "1").run_id, "cards/version-0001")
    assert [f"version-0001/{Path(file.path).name}" for file in stored] == ["version-0001/first.png", *pictures]
    (tmp_path / toy_run.runs.name).symlink_to(toy_run.runs)
    monkeypatch.chdir(tmp_path)
    (command,) = re.findall(r"```bash\n(.*?)\n```", text, re.DOTALL)
    program, *words = shlex.split(command)
    assert program == "talkies"
    assert run(words) == 0
    assert probe(Path("sample.mp4")).audio_seconds == pytest.approx(2.0, abs=0.1)
    measured = json.loads((toy_run.phase("lora") / "evaluation.json").read_text())["metrics"]
    shown = {measure.key: measure for measure in METRICS if measure.applies_to(measured)}
    assert {"evaluation/sync", "evaluation/motion_sync", "evaluation/frechet_video"} <= shown.keys()
    assert "evaluation/kind" not in shown, "these are not the world's speakers"
    for measure in shown.values():
        assert f"| {measure.words} | {measure.better} | **" in text
        assert {measure.key, *(key for key in (measure.ceiling, measure.control) if isinstance(key, str))} <= set(
            measured
        )


def test_a_checkpoint_and_its_release_sample_the_same(toy_run: ToyRun, tmp_path: Path) -> None:
    phase = toy_run.phase("joint_phase1")
    checkpoint = CheckpointStore(phase / "checkpoints").latest()
    frames = []
    for number, source in enumerate((phase, checkpoint)):
        out = tmp_path / f"{number}.mp4"
        assert run(["sample", str(source), "--prompt", "A happy man", "--out", str(out), "--runs", str(tmp_path)]) == 0
        frames.append(read_frames(out, frames=25, fps=12.5, height=32, width=32))
    assert torch.equal(frames[0], frames[1])


def test_guidance_one_is_no_guidance_and_others_change_the_clip(toy_run: ToyRun, tmp_path: Path) -> None:
    made = {}
    for name, scales in {"plain": [], "ones": ["1", "1"], "dual": ["4", "3.5"]}.items():
        out = tmp_path / f"{name}.mp4"
        words = ["--text-scale", scales[0], "--bridge-scale", scales[1]] if scales else []
        args = ["sample", str(toy_run.phase("joint_phase2")), "--prompt", "A sad woman", "--out", str(out), *words]
        assert run([*args, "--runs", str(tmp_path)]) == 0
        made[name] = read_frames(out, frames=25, fps=12.5, height=32, width=32)
    assert torch.equal(made["plain"], made["ones"])
    assert not torch.equal(made["plain"], made["dual"])


def test_a_finished_curriculum_is_not_repeated(toy_run: ToyRun, capsys: pytest.CaptureFixture[str]) -> None:
    before = {p: p.stat().st_mtime_ns for p in toy_run.folder.glob("*/checkpoints/*/manifest.json")}
    assert run(["train", str(RECIPES / "curriculum.yaml"), *SMALL, "--runs", str(toy_run.runs), "--quiet"]) == 0
    assert {p: p.stat().st_mtime_ns for p in toy_run.folder.glob("*/checkpoints/*/manifest.json")} == before
    assert "version 1" in capsys.readouterr().out


def test_a_changed_parent_is_refused_by_name(
    toy_run: ToyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parent = tmp_path / "parent"
    shutil.copytree(toy_run.phase("joint_phase2"), parent)
    weights = parent / "release" / "bridge.safetensors"
    data = bytearray(weights.read_bytes())
    data[-5] ^= 1
    weights.write_bytes(bytes(data))
    code = run(
        ["train", str(RECIPES / "high_resolution.yaml"), f"data.root={toy_run.data}", f"parents.base={parent}",
         "--runs", str(tmp_path / "runs"), "--quiet"]
    )  # fmt: skip
    assert code == 65
    assert "bridge.safetensors" in capsys.readouterr().err


def test_a_gate_that_fails_moves_nothing(toy_run: ToyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "run"
    shutil.copytree(toy_run.phase("lora"), copy)
    record = json.loads((copy / "evaluation.json").read_text())
    record["metrics"]["evaluation/sync_reference"] = 0.1
    (copy / "evaluation.json").write_text(json.dumps(record))
    assert run(["promote", str(copy), "--runs", str(toy_run.runs)]) == 3
    assert "evaluation/sync_reference" in capsys.readouterr().err
    client = MlflowClient(f"sqlite:///{toy_run.runs / 'mlflow.db'}")
    assert str(client.get_model_version_by_alias("mova-toy", "champion").version) == "1"


def test_a_run_with_odd_text_in_its_record_is_promoted_and_shows_it_escaped(toy_run: ToyRun, tmp_path: Path) -> None:
    """Today recipes are checked; the records of older runs were not."""
    copy = tmp_path / "run"
    shutil.copytree(toy_run.phase("lora"), copy)
    record = json.loads((copy / "recipe.json").read_text())
    record["recipe"]["tracking"]["license"] = "mit\n---\n# Injected <script>"
    (copy / "recipe.json").write_text(json.dumps(record))
    assert run(["promote", str(copy), "--runs", str(toy_run.runs), "--cards", str(tmp_path)]) == 0
    text = (tmp_path / "cards" / "mova-toy" / "version-0001.md").read_text()
    assert "## License\n\nmit --- # Injected &lt;script&gt;\n" in text
    assert "(cards/mova-toy/version-0001.md)" in (tmp_path / "MODEL_CARDS.md").read_text()


def test_an_expected_version_that_moved_is_refused_before_anything_is_evaluated(
    toy_run: ToyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(toy_run.phase("lora"), copy)
    (copy / "evaluation.json").unlink()
    assert run(["promote", str(copy), "--expect", "7", "--runs", str(toy_run.runs)]) == 3
    assert "7" in capsys.readouterr().err
    assert not (copy / "evaluation.json").exists()


@pytest.mark.slow
def test_stop_and_resume_through_the_command_line_equal_one_run(toy_run: ToyRun, tmp_path: Path) -> None:
    small = [text.removeprefix("phases.") for text in SMALL if text.startswith("phases.")]
    hashes = []
    for name, stops in (("whole", [None]), ("parts", [1, 3, None])):
        for stop in stops:
            words = [] if stop is None else ["--stop-at", str(stop)]
            args = ["train", str(RECIPES / "audio_pretraining.yaml"), *small, f"data.root={toy_run.data}", *words]
            assert run([*args, "--runs", str(tmp_path / name), "--quiet"]) == 0
        (release,) = (tmp_path / name).glob("audio_pretraining-*/0001/release")
        hashes.append(read_release(release)["components"]["audio"]["sha256"])
    assert hashes[0] == hashes[1]


def test_two_processes_never_share_a_run(toy_run: ToyRun, capsys: pytest.CaptureFixture[str]) -> None:
    with locked(toy_run.folder):
        words = ["train", str(RECIPES / "curriculum.yaml"), *SMALL, "--runs", str(toy_run.runs), "--quiet"]
        assert run(words) == 75
    assert "in use by process" in capsys.readouterr().err
