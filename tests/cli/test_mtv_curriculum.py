"""What MTV's curriculum makes, through the command line, with every part real but small."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from given_sounds import onset, packets, sound_file
from mtv_run import HERTZ, float_wav, track_file
from PIL import Image
from toy_run import TINY, ToyRun, ablated, released

from talkies.checkpoints.release import read_release, release_sha256
from talkies.cli.main import run
from talkies.codecs.demix_config import BandsConfig
from talkies.codecs.load import load_demixer
from talkies.data.shards import ShardSet
from talkies.media.frames import read_frames
from talkies.media.probe import probe
from talkies.media.sound import read_audio

PHASES = ("video_pretraining", "basic_face", "single_character", "multiple_characters", "sound_event", "visual_mood")
PROMOTED = "models:/mtv-toy@champion"
FRAME = 1024 / 44100
"""Seconds of a frame of the given sounds."""
TRACKS = ("speech", "effects", "music")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def weights(folder: Path) -> dict[str, str]:
    """sha256 of the networks that a run has released."""
    return {name: sha256 for name, sha256 in released(folder).items() if "/" not in name}


def test_each_stage_starts_from_the_exact_result_of_the_one_before(mtv_run: ToyRun) -> None:
    """The control begins with the first stage that steers."""
    for before, name in pairwise(PHASES):
        info = read_release(mtv_run.phase(name) / "release")
        inherited = {"video", "attention"} if name == "basic_face" else {"video", "attention", "control"}
        assert info["parents"].keys() == inherited
        parent = release_sha256(mtv_run.phase(before) / "release")
        assert {one["sha256"] for one in info["parents"].values()} == {parent}


def test_steering_trains_the_control_and_the_attention_and_keeps_the_rest_bitwise(mtv_run: ToyRun) -> None:
    """Up to the last stage, which trains all."""
    made = [weights(mtv_run.phase(name)) for name in PHASES]
    assert made[0].keys() == {"video.safetensors", "attention.safetensors"}
    assert {files["video.safetensors"] for files in made[:-1]} == {made[0]["video.safetensors"]}
    assert made[-1]["video.safetensors"] != made[0]["video.safetensors"]
    for name in ("attention", "control"):
        found = [files[f"{name}.safetensors"] for files in made if f"{name}.safetensors" in files]
        assert len({*found}) == len(found) >= 5


def test_sets_keep_the_tracks_that_they_name_and_know_the_demixer(mtv_run: ToyRun) -> None:
    release = read_release(mtv_run.phase("visual_mood") / "release")
    for name, tracks in (("visual_mood", TRACKS), ("multiple_characters", ("speech", "speech2", "effects", "music"))):
        header = ShardSet.open(mtv_run.data / "sets" / name).header
        assert header.made_by.keys() == {"text", "video", "audio", *tracks}
        assert header.codecs["demix"] == release["codecs"]["demix"]


def test_mlflow_holds_one_run_per_stage_and_what_follows_each_track(mtv_run: ToyRun) -> None:
    client = mtv_run.client
    (experiment,) = client.search_experiments()
    runs = {found.info.run_name: found for found in client.search_runs([experiment.experiment_id])}
    assert (experiment.name, runs.keys()) == ("mtv-toy", {"mtv-toy", *PHASES})
    parent = runs["mtv-toy"].info.run_id
    assert {runs[name].data.tags["mlflow.parentRunId"] for name in PHASES} == {parent}
    assert {found.info.status for found in runs.values()} == {"FINISHED"}
    measured = runs["visual_mood"].data.metrics
    expected = {"speech/sync", "speech/sync_swapped", "effects/sync", "music/mood", "music/mood_swapped", "wall"}
    assert {f"evaluation/{key}" for key in expected} <= measured.keys()
    shown = client.list_artifacts(runs["visual_mood"].info.run_id, "samples/step-00000004")
    assert any(file.path.endswith(".mp4") for file in shown)
    version = client.get_model_version_by_alias("mtv-toy", "champion")
    assert version.run_id == runs["visual_mood"].info.run_id
    assert version.tags["sha256"] == release_sha256(mtv_run.phase("visual_mood") / "release")


def test_the_card_says_what_follows_each_track_and_what_may_be_given(mtv_run: ToyRun) -> None:
    card = mtv_run.phase("visual_mood") / "cards" / "mtv-toy" / "version-0001.md"
    text = card.read_text()
    for track in TRACKS:
        assert f"type: evaluation/{track}/" in text
        assert f"`--{track} FILE`" in text
    assert "--speech2" not in text, "the last stage hears one speaker"
    assert "demix: bands" in text
    assert len([*card.with_suffix("").glob("*.jpg")]) == 3


def sampled(mtv_run: ToyRun, out: Path, *words: object, source: str | Path = PROMOTED) -> None:
    assert run(["sample", *map(str, (source, *words)), "--out", str(out), "--runs", str(mtv_run.runs)]) == 0


def frames(path: Path) -> torch.Tensor:
    return read_frames(path, frames=25, fps=12.5, height=32, width=32)


def test_the_film_of_a_longer_sound_has_that_sound_untouched_in_time(
    mtv_run: ToyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Demixed as a whole, without a prompt, in windows."""
    given, out = sound_file(tmp_path / "given.wav", seconds=5.0, beep=3.13), tmp_path / "out.mp4"
    sampled(mtv_run, out, "--audio", given)
    said = capsys.readouterr().out
    assert f"{given}: resampled from 44,100 to 16,000 Hz for the model" in said
    assert "the film is made in 3 windows of 2.00 s, 0.40 s of each in common with the next" in said
    assert (probe(out).frames, probe(out).audio_rate) == (62, 44100)
    assert packets(out) == packets(given)
    assert onset(out) == pytest.approx(3.13, abs=FRAME)


def test_the_film_of_longer_tracks_is_heard_with_their_sum(
    mtv_run: ToyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    beeps = {"speech": 2.0, "effects": 2.5, "music": 0.2}
    given = {name: track_file(tmp_path, name, seconds=3.0, beep=beep) for name, beep in beeps.items()}
    out = tmp_path / "out.mp4"
    sampled(mtv_run, out, *(word for name, path in given.items() for word in (f"--{name}", path)), "--prompt", "x")
    assert "the film is made in 2 windows" in capsys.readouterr().out
    heard = read_audio(out, sample_rate=16000, seconds=3.0)
    for name, beep in beeps.items():
        tone = torch.exp(-2j * torch.pi * HERTZ[name] * torch.arange(1600) / 16000)
        loud = [float((heard[begin : begin + 1600] * tone).mean().abs()) for begin in range(0, 44800, 1600)]
        assert max(range(len(loud)), key=loud.__getitem__) == round(beep / 0.1), name
    assert probe(out).frames == 37


def test_tracks_images_and_prompts_change_the_clip(
    mtv_run: ToyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A track alone, in several channels and at another rate than the model's; an image of another size."""
    picture = tmp_path / "face.png"
    Image.new("RGB", (48, 96), (200, 30, 60)).save(picture)
    guided = ["--tracks-scale", 8, "--text-scale", 2]
    alone = {name: ["--" + name, track_file(tmp_path, name), *guided] for name in TRACKS}
    variants = {
        "prompt": ["--prompt", "1 person conversation.", "--text-scale", 2],
        "again": alone["speech"],
        **alone,
        "two": [*alone["speech"], *alone["music"]],
        "image": [*alone["speech"], "--image", picture],
        "negative": [*alone["speech"], "--prompt", "1 person conversation.", "--negative", "no conversation."],
    }
    made = {}
    for name, words in variants.items():
        sampled(mtv_run, tmp_path / f"{name}.mp4", *words)
        made[name] = frames(tmp_path / f"{name}.mp4")
        said = "seed 0, video without sound, without tracks)" if name == "prompt" else "seed 0)"
        assert said in capsys.readouterr().out
    assert torch.equal(made.pop("again"), made["speech"])
    names = [*made]
    for index, one in enumerate(names):
        assert not any(torch.equal(made[one], made[other]) for other in names[:index]), one
    red, others = made["image"][0].float().mean((1, 2)), made["image"][-1].float().mean((1, 2))
    assert float((red - torch.tensor([200.0, 30.0, 60.0])).abs().max()) < 16, "the image is the first frame"
    assert float((others - red).abs().max()) > 24
    assert probe(tmp_path / "prompt.mp4").audio_rate is None, "nothing is heard"


def test_a_sound_is_its_tracks(mtv_run: ToyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As the demixer of the training data parts it. Tracks may be of float samples, which an mp4 would not hold."""
    given = sound_file(tmp_path / "given.wav", seconds=2.0, beep=0.5)
    sampled(mtv_run, tmp_path / "whole.mp4", "--audio", given, "--tracks-scale", 8)
    parted = load_demixer(BandsConfig(), key="codecs.demix").demix(read_audio(given, sample_rate=16000, seconds=2.0))
    words = [word for name in TRACKS for word in (f"--{name}", float_wav(tmp_path / f"{name}.wav", parted[name]))]
    capsys.readouterr()
    sampled(mtv_run, tmp_path / "parted.mp4", *words, "--tracks-scale", 8)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"sample:   {tmp_path / 'parted.mp4'} (visual_mood, seed 0)")
    assert torch.equal(frames(tmp_path / "whole.mp4"), frames(tmp_path / "parted.mp4"))


def test_a_file_of_prompts_gives_each_line_its_tracks(mtv_run: ToyRun, tmp_path: Path) -> None:
    lines: list[dict[str, str]] = [
        {"name": "spoken", "speech": track_file(tmp_path, "speech").name, "prompt": "1 person conversation."},
        {"name": "both", "effects": track_file(tmp_path, "effects").name, "music": track_file(tmp_path, "music").name},
        {"name": "whole", "audio": sound_file(tmp_path / "long.wav", seconds=3.0, beep=0.5).name},
        {"name": "silent", "prompt": "No conversation."},
    ]
    prompts, out = tmp_path / "prompts.jsonl", tmp_path / "clips"
    prompts.write_text("\n".join(map(json.dumps, lines)))
    sampled(mtv_run, out, "--prompts", prompts, "--batch", 4)
    found = {path.stem: probe(path) for path in out.glob("*.mp4")}
    assert {name: (info.frames, info.audio_rate is not None) for name, info in found.items()} == {
        "spoken": (25, True), "both": (25, True), "whole": (37, True), "silent": (25, False),
    }  # fmt: skip
    words = ["--prompt", "1 person conversation.", "--speech", tmp_path / "speech.wav"]
    sampled(mtv_run, tmp_path / "spoken.mp4", *words)
    assert found.keys() == {json.loads(line)["name"] for line in prompts.read_text().splitlines()}


def test_a_second_speaker_is_heard_by_the_stage_of_several(mtv_run: ToyRun, tmp_path: Path) -> None:
    """It hears two tracks of speech, and no others."""
    both = [word for name in ("speech", "speech2") for word in (f"--{name}", track_file(tmp_path, name))]
    sampled(mtv_run, tmp_path / "two.mp4", *both, source=mtv_run.phase("multiple_characters"))
    assert (probe(tmp_path / "two.mp4").width, probe(tmp_path / "two.mp4").height) == (64, 32)


def test_pretraining_samples_from_a_prompt_alone(mtv_run: ToyRun, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    sampled(mtv_run, out, "--prompt", "1 person conversation.", source=mtv_run.phase("video_pretraining"))
    assert (probe(out).frames, probe(out).audio_rate) == (25, None)


def test_an_evaluation_again_measures_the_same(mtv_run: ToyRun, tmp_path: Path) -> None:
    """Of the promoted version, on its own held-out clips."""
    words = ["evaluate", str(mtv_run.phase("visual_mood")), "--runs", str(mtv_run.runs)]
    path = mtv_run.phase("visual_mood") / "evaluation.json"
    before = json.loads(path.read_text())["metrics"]
    assert run(words) == 0
    assert json.loads(path.read_text())["metrics"] == pytest.approx(before, nan_ok=True)
    assert before["evaluation/speech/sync_reference"] > 0.9


def test_a_phase_without_tracks_says_why_nothing_is_ablated(
    mtv_run: ToyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = ablated(mtv_run, "video_pretraining", tmp_path / "run", clips=2)
    assert not any(key.startswith("ablation/") for key in metrics)
    assert "--ablate: this phase hears no sound" in capsys.readouterr().err


def test_an_adapter_of_the_promoted_toy_samples(mtv_run: ToyRun, tmp_path: Path) -> None:
    """recipes/mtv/toy/lora.yaml trains adapters of the backbone and of the control."""
    where = [f"data.root={mtv_run.data}", "--runs", str(mtv_run.runs), "--quiet"]
    assert run(["train", str(mtv_run.recipes / "lora.yaml"), *TINY, *where]) == 0
    (folder,) = mtv_run.runs.glob("lora-*/0001")
    info = read_release(folder / "release")
    assert info["components"] == {}
    assert info["base"]["sha256"] == release_sha256(mtv_run.phase("visual_mood") / "release")
    adapter = (folder / "release" / "adapter" / "adapter_model.safetensors").read_bytes()
    assert all(name in adapter for name in (b"control", b"attention"))
    sampled(mtv_run, tmp_path / "out.mp4", "--audio", track_file(tmp_path, "speech"), source=folder)
    assert probe(tmp_path / "out.mp4").frames == 25


def test_the_toy_on_a_tower_of_wan_trains_and_samples(mtv_run: ToyRun, tmp_path: Path) -> None:
    """Rectified flow; a tower that is frozen stays as it is, and a long film is held by its overlap."""
    where = [*TINY, f"data.root={mtv_run.data}", "--runs", str(tmp_path), "--quiet"]
    assert run(["train", str(mtv_run.recipes / "wan_pretraining.yaml"), *where]) == 0
    (before,) = tmp_path.glob("wan_pretraining-*/0001")
    steering = [str(mtv_run.recipes / "wan_steering.yaml"), f"parents.base={before}", "phase.trains=control"]
    assert run(["train", *steering, *where, "tracking.gates=[]"]) == 0
    (after,) = tmp_path.glob("wan_steering-*/0001")
    assert weights(after).keys() == {"video.safetensors", "control.safetensors"}
    assert weights(after)["video.safetensors"] == weights(before)["video.safetensors"]
    given = sound_file(tmp_path / "given.wav", seconds=3.0, beep=0.5)
    sampled(mtv_run, tmp_path / "out.mp4", "--audio", given, "--prompt", "1 person conversation.", source=after)
    assert probe(tmp_path / "out.mp4").frames == 37
    assert packets(tmp_path / "out.mp4") == packets(given)
