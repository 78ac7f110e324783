"""Bad input gives one line with what, where, which value and what to do, and an exit code; nothing is half-written."""

import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from toy_run import RECIPES, TINY, ToyRun

from talkies.cli.main import run

PHASE = str(RECIPES / "joint_phase1.yaml")
CURRICULUM = str(RECIPES / "curriculum.yaml")
pytestmark = pytest.mark.timeout(600)
CASES = {
    "unknown key": (
        ["train", PHASE, "optimizer.weight_decai=0.1"],
        2,
        r"optimizer\.weight_decai.*optimizer\.weight_decay",
    ),
    "mistyped": (["train", PHASE, "steps.max=eight"], 2, r"steps\.max.*integer.*eight"),
    "frames": (["train", PHASE, "data.geometry=32x32x24@12.5"], 2, r"data\.geometry.*24 frames.*23 or 25"),
    "height": (["train", PHASE, "data.geometry=30x32x25@12.5"], 2, r"height 30.*24 or 32"),
    "patch": (["train", PHASE, "data.geometry=40x32x25@12.5"], 2, r"data\.geometry.*patch"),
    "no data root": (["train", PHASE], 2, r"data\.root"),
    "missing data": (["train", PHASE, "data.root=nowhere", "parents.video=null", "parents.audio=null"], 65, r"nowhere"),
    "missing parent": (["train", PHASE, "data.root=nowhere"], 65, r"'video_pretraining'.*known: none"),
    "lora without base": (
        ["train", str(RECIPES / "lora.yaml"), "parents.base=null", "data.root=x"],
        2,
        r"parents\.base",
    ),
    "accumulation": (["train", PHASE, "steps.accumulate=3"], 2, r"global_batch` 16.*accumulate.*divisors: 1, 2, 4"),
    "codec against model": (
        ["train", PHASE, "codecs.video.channels=10"],
        2,
        r"codecs\.video.*10 latent channels.*22 in",
    ),
    "text width": (["train", PHASE, "codecs.text.dim=32"], 2, r"codecs\.text\.dim.*64"),
    "train a preparation": (["train", str(RECIPES / "prepare.yaml")], 2, r"prepare recipe"),
    "prepare a phase": (["prepare", PHASE], 2, r"phase recipe"),
    "stop-at a curriculum": (["train", str(RECIPES / "curriculum.yaml"), "--stop-at", "3"], 2, r"--stop-at"),
    "override of no member": (
        ["train", str(RECIPES / "curriculum.yaml"), "joint.steps.max=3"],
        2,
        r"joint\.steps\.max.*phases",
    ),
    "no such recipe": (["train", str(RECIPES / "joint_phase3.yaml")], 2, r"joint_phase3.*joint_phase"),
    "no such source": (["sample", "nowhere", "--prompt", "x"], 65, r"nowhere.*models:/"),
    "not registered": (["sample", "models:/nobody@champion", "--prompt", "x"], 69, r"nobody"),
    "name with a path": (["train", PHASE, "name=../x", "data.root=x"], 2, r"`?name`?.*\.\./x"),
    "license of two lines": (
        ["train", CURRICULUM, 'lora.tracking.license="mit\\ntags: [x]\\n---\\n# Injected"'],
        2,
        r"`tracking.license` .* one line",
    ),
    "license of another form": (
        ["train", PHASE, "data.root=x", "tracking.license=<script>"],
        2,
        r"`tracking.license` must be an identifier",
    ),
    "a plan with such a license": (
        ["plan", PHASE, "tracking.license=My own"],
        2,
        r"`tracking.license` must be an identifier",
    ),
    "gate of two lines": (
        ["train", PHASE, 'tracking.gates=[{metric: "a\\n# b", op: ">=", value: 1}]'],
        2,
        r"`tracking.gates.0.metric` .* one line",
    ),
    "stop-at zero": (["train", PHASE, "--stop-at", "0"], 2, r"--stop-at 0"),
    "runs is a file": (["train", PHASE, "data.root=x", "--runs", str(Path(__file__))], 2, r"files: .*test_bad_inputs"),
    "not an mp4": (["sample", "x", "--prompt", "x", "--out", "x.avi"], 2, r"x\.avi.*\.mp4"),
    "empty prompt": (["sample", "x", "--prompt", " "], 2, r"--prompt is empty"),
    "endless prompt": (["sample", "x", "--prompt", "x" * 65537], 2, r"--prompt has 65,537 bytes; at most 65,536"),
    "promote nothing": (["promote", "nowhere"], 2, "nowhere does not exist: give the folder of a run"),
    "roll back nothing": (["rollback", "nobody"], 69, r"nobody"),
    "replay nothing": (["replay", "nowhere"], 65, r"nowhere.*spool"),
    "unknown verb": (["trian", PHASE], 2, r"trian.*train"),
    "unknown option": (["train", PHASE, "--gpus", "8"], 2, r"--gpus"),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_one_line_and_its_code(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words, code, pattern = CASES[name]
    monkeypatch.chdir(tmp_path)
    assert run(words) == code
    captured = capsys.readouterr()
    first = captured.err.splitlines()[0]
    assert "Traceback" not in captured.err
    assert first.startswith("talkies: ")
    assert re.search(pattern, first), first
    assert not list(tmp_path.rglob("*.mp4"))
    assert not list(tmp_path.rglob("result.json"))


def test_shards_of_other_codecs_are_refused(
    toy_run: ToyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    shutil.copytree(toy_run.data, data)
    words = [*TINY, f"data.root={data}", "codecs.text.length=12", "--runs", str(tmp_path / "runs"), "--quiet"]
    assert run(["train", str(RECIPES / "audio_pretraining.yaml"), *words]) == 65
    assert "text codec" in capsys.readouterr().err


def harmed(toy_run: ToyRun, data: Path, harm: str, name: str = "voices") -> Path:
    """A copy of the toy_run's data with the first shard of a set damaged."""
    shutil.copytree(toy_run.data, data)
    shard = data / "sets" / name / "shard-00000.safetensors"
    content = bytearray(shard.read_bytes())
    content[8 if harm == "header" else len(content) // 2] ^= 1
    shard.write_bytes(bytes(content[:-7]) if harm == "truncate" else bytes(content))
    if harm == "remove":
        shard.unlink()
    return data


@pytest.mark.fault("15", "corrupted or missing whole shard", injected="header xored, cut short, removed; budget of 1 %")
@pytest.mark.parametrize("harm", ["truncate", "flip", "header", "remove"])
def test_a_damaged_shard_is_named(
    toy_run: ToyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str], harm: str, record_outcome: Callable[..., None]
) -> None:
    data = harmed(toy_run, tmp_path / "data", harm)
    words = [*TINY, f"data.root={data}", "--runs", str(tmp_path / "runs"), "--quiet"]
    assert run(["train", str(RECIPES / "audio_pretraining.yaml"), *words]) == 65
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(r"^talkies: data: shard .*/voices/shard-00000\.safetensors is ", line)
    assert re.search(r"\d+ of the \d+ clips of set 'voices' cannot be read, and `survival\.quarantine\.share`", line)
    assert not list((tmp_path / "runs").rglob("checkpoints"))
    record_outcome("exit 65 before the first step: shard, count, budget and its key")


def test_a_damaged_heldout_shard_is_refused(
    toy_run: ToyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = harmed(toy_run, tmp_path / "data", "flip", "voices_heldout")
    words = [*TINY, f"data.root={data}", "survival.quarantine.share=1", "--runs", str(tmp_path / "runs"), "--quiet"]
    assert run(["train", str(RECIPES / "audio_pretraining.yaml"), *words]) == 65
    assert re.search(r"voices_heldout/shard-00000\.safetensors is damaged", capsys.readouterr().err)


@pytest.mark.faults
@pytest.mark.fault("14", "corrupted data sample", injected="one byte of a shard flipped; the run stopped and resumed")
def test_a_run_within_its_budget_continues_with_a_warning(
    toy_run: ToyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str], record_outcome: Callable[..., None]
) -> None:
    words = [word for word in TINY if not word.startswith("steps.max")]
    words += ["steps.max=6", f"data.root={harmed(toy_run, tmp_path / 'data', 'flip')}", "--quiet"]
    words += ["survival.quarantine.share=0.1"]
    train = ["train", str(RECIPES / "audio_pretraining.yaml"), *words, "--runs"]
    assert run([*train, str(tmp_path / "whole")]) == 0
    error = capsys.readouterr().err
    assert "talkies: warning: data: shard " in error
    assert " 1 of its " in error
    assert run([*train, str(tmp_path / "parts"), "--stop-at", "3"]) == 0
    began = time.perf_counter()
    assert run([*train, str(tmp_path / "parts")]) == 0
    took = time.perf_counter() - began
    whole, parts = (next((tmp_path / name).glob("audio_pretraining-*/0001")) for name in ("whole", "parts"))
    weights = "release/audio.safetensors"
    assert (whole / weights).read_bytes() == (parts / weights).read_bytes()
    (line,) = (whole / "quarantine.jsonl").read_text().splitlines()
    assert (parts / "quarantine.jsonl").read_text() == f"{line}\n"
    assert f"clip {json.loads(line)['substitute']} stands in for it" in error
    told_of = json.loads((whole / "release" / "release.json").read_text())["quarantined"]
    assert told_of == {"clips": 1, "sha256": hashlib.sha256(f"{line}\n".encode()).hexdigest()}
    assert json.loads((whole / "result.json").read_text())["metrics"]["data/quarantined"] == 1
    spooled = (whole / "spool.jsonl").read_text()
    assert '"quarantined":"1"' in spooled.replace(" ", "")
    record_outcome(
        "1 clip replaced and counted; stopped and resumed: the same release, bitwise", steps_lost=0, back_s=took
    )


def test_a_parent_without_the_component_is_refused(
    toy_run: ToyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*TINY, f"data.root={toy_run.data}", f"parents.base={toy_run.phase('audio_pretraining')}"]
    code = run(["train", str(RECIPES / "joint_phase2.yaml"), *words, "--runs", str(tmp_path), "--quiet"])
    assert code == 65
    assert "has no video_high" in capsys.readouterr().err


def test_a_parent_of_another_architecture_is_refused(
    toy_run: ToyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parent = tmp_path / "release"
    shutil.copytree(toy_run.phase("joint_phase2") / "release", parent)
    info = json.loads((parent / "release.json").read_text())
    info["shape"]["video"]["dim"] = 128
    (parent / "release.json").write_text(json.dumps(info))
    words = [*TINY, f"data.root={toy_run.data}", f"parents.base={parent}", "--runs", str(tmp_path / "runs"), "--quiet"]
    assert run(["train", str(RECIPES / "high_resolution.yaml"), *words]) == 65
    assert re.search(r"another architecture: video\.dim is 128.*96", capsys.readouterr().err)


def test_an_evaluation_of_other_clips_does_not_count_for_a_promotion(toy_run: ToyRun, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(toy_run.phase("lora"), copy)
    record = json.loads((copy / "evaluation.json").read_text())
    (copy / "evaluation.json").write_text(json.dumps({**record, "clips": 2, "metrics": {"evaluation/sync": -1.0}}))
    assert run(["promote", str(copy), "--runs", str(toy_run.runs), "--cards", str(tmp_path)]) == 0
    again = json.loads((copy / "evaluation.json").read_text())
    assert again["clips"] == record["clips"]
    assert again["metrics"]["evaluation/sync_reference"] == pytest.approx(
        record["metrics"]["evaluation/sync_reference"]
    )
