"""What Mirage video's curriculum makes, through the command line, with every part real but small."""

import json
from pathlib import Path

import pytest
import torch
from given_sounds import onset, packets, sound_file
from mirage_run import MIRAGE
from PIL import Image
from toy_run import ToyRun, ablated, released, table_of

from talkies.checkpoints.release import load_component, read_release
from talkies.cli.main import run
from talkies.config.source import load
from talkies.media.frames import read_frames
from talkies.media.probe import probe
from talkies.models.build import build, draw_weights
from talkies.models.systems import SYSTEMS
from talkies.recipe.config import decode_phase

ALL = ("video", "text", "sound")
PROMOTED = "models:/mirage-toy@champion"
FRAME = 1024 / 44100
"""Seconds of a frame of the given sounds."""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_warm_up_trains_the_sound_alone_and_its_release_holds_the_rest_bitwise(mirage_run: ToyRun) -> None:
    before, after, last = (released(mirage_run.phase(name)) for name in ("video_pretraining", "warm_up", "stitch"))
    for name in ("video", "text"):
        assert after[f"{name}.safetensors"] == before[f"{name}.safetensors"]
        assert last[f"{name}.safetensors"] != after[f"{name}.safetensors"]
    recipe = decode_phase(load(MIRAGE / "warm_up.yaml"), SYSTEMS)
    drawn = dict(draw_weights(build(recipe.system, recipe, ALL, seed=None), recipe.seed, {"sound"}))
    trained = load_component(mirage_run.phase("warm_up") / "release", "sound")
    assert len(trained) == len(drawn)
    still = {name for name, value in trained.items() if torch.equal(value, drawn[f"sound.{name}"])}
    assert still == {"blocks.3.enter.attn.norm_q.weight"}, "the last layer's tokens are only keys"


def test_a_checkpoint_of_warm_up_becomes_the_release_with_what_is_frozen(mirage_run: ToyRun, tmp_path: Path) -> None:
    checkpoint = mirage_run.phase("warm_up") / "checkpoints" / "step-00000004"
    assert run(["export", str(checkpoint), "--consolidate", "--out", str(tmp_path / "made")]) == 0
    ours, theirs = read_release(tmp_path / "made"), read_release(mirage_run.phase("warm_up") / "release")
    assert ours["components"].keys() == set(ALL)
    for name in ALL:
        assert ours["components"][name]["sha256"] == theirs["components"][name]["sha256"]


def sampled(mirage_run: ToyRun, out: Path, *words: str) -> None:
    assert run(["sample", PROMOTED, *words, "--out", str(out), "--runs", str(mirage_run.runs)]) == 0


@pytest.mark.parametrize("form", ["wav", "m4a"])
def test_the_film_of_a_longer_sound_has_that_sound_untouched_in_time(
    mirage_run: ToyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    """Without a prompt, in windows; stereo at another rate than the model's is said."""
    given, out = sound_file(tmp_path / f"given.{form}", seconds=5.0, beep=3.13), tmp_path / "out.mp4"
    sampled(mirage_run, out, "--audio", str(given), "--overlap", "0.4")
    said = capsys.readouterr().out
    assert f"{given}: resampled from 44,100 to 16,000 Hz for the model" in said
    assert f"{given}: its 2 channels are mixed to one for the model" in said
    assert "the film is made in 3 windows of 2.00 s" in said or "the film is made in 4 windows of 2.00 s" in said
    found = probe(out)
    assert found.frames == 62
    assert (found.audio_rate, found.audio_channels) == (44100, 2)
    assert packets(out) == packets(given)
    assert onset(out) == pytest.approx(3.13, abs=FRAME)


def test_of_a_longer_sound_the_whole_is_shown(mirage_run: ToyRun, tmp_path: Path) -> None:
    """By the recipe's own windows."""
    given, out = sound_file(tmp_path / "given.wav", seconds=3.0, beep=0.5), tmp_path / "out.mp4"
    sampled(mirage_run, out, "--audio", str(given), "--prompt", "Somebody in a blue shirt is talking.")
    assert probe(out).frames == 37  # of 12.5 a second; less than a frame's sound has no picture of its own
    assert packets(out) == packets(given)


def test_a_short_sound_is_taken_and_said(
    mirage_run: ToyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = sound_file(tmp_path / "given.wav", seconds=0.7, beep=0.3)
    sampled(mirage_run, tmp_path / "out.mp4", "--audio", str(given))
    assert f"{given}: it lasts 0.70 s: silence follows up to the 2.00 s of a clip" in capsys.readouterr().out
    assert probe(tmp_path / "out.mp4").frames == 25
    assert packets(tmp_path / "out.mp4") == packets(given)


@pytest.mark.parametrize(("seconds", "message"), [(2.0, "is silent: nothing would be said"), (0.05, "sounds for 0.05")])
def test_silence_and_a_click_are_refused(
    mirage_run: ToyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str], seconds: float, message: str
) -> None:
    given = sound_file(tmp_path / "given.wav", seconds=seconds, beep=None if "silent" in message else 0.0)
    out = tmp_path / "out.mp4"
    words = ["sample", PROMOTED, "--runs", str(mirage_run.runs), "--audio", str(given), "--out", str(out)]
    assert run(words) == 65
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not out.exists()


def test_sound_image_and_negative_prompt_change_the_clip(mirage_run: ToyRun, tmp_path: Path) -> None:
    """The image has another size; the negative prompt counts where guidance leaves the prompt out."""
    picture = tmp_path / "face.png"
    Image.new("RGB", (48, 96), (200, 30, 60)).save(picture)
    plain = ["--audio", str(sound_file(tmp_path / "given.wav", seconds=2.0, beep=0.5))]
    guided = [*plain, "--prompt", "Somebody in a blue shirt is talking.", "--text-scale", "3", "--sound-scale", "2"]
    variants = {
        "plain": plain,
        "again": plain,
        "image": [*plain, "--image", str(picture)],
        "sound": ["--audio", str(sound_file(tmp_path / "other.wav", seconds=2.0, beep=1.2))],
        "guided": guided,
        "negative": [*guided, "--negative", "Somebody in a red shirt is talking."],
    }
    made = {}
    for name, words in variants.items():
        sampled(mirage_run, tmp_path / f"{name}.mp4", *words)
        made[name] = read_frames(tmp_path / f"{name}.mp4", frames=25, fps=12.5, height=32, width=32)
    assert torch.equal(made.pop("again"), made["plain"])
    names = [*made]
    for index, one in enumerate(names):
        assert not any(torch.equal(made[one], made[other]) for other in names[:index]), one


def test_a_silent_phase_samples_from_a_prompt_alone(mirage_run: ToyRun, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    source = str(mirage_run.phase("video_pretraining"))
    assert run(["sample", source, "--prompt", "a face", "--out", str(out), "--runs", str(tmp_path)]) == 0
    assert (probe(out).frames, probe(out).audio_rate) == (25, None)


def test_an_ablation_is_printed_and_logged(
    mirage_run: ToyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All subsets of the three conditions, and one or two of another clip."""
    logged = ablated(mirage_run, "reference", tmp_path / "run", clips=2)
    table = table_of(capsys.readouterr().out)
    assert table.pop("given")[0] == "sync"
    expected = {"none", "text", "reference", "sound", "text-reference", "text-sound", "reference-sound"}
    expected |= {"text-reference-sound", "other-text", "other-reference", "other-sound"}
    expected |= {"other-text-reference", "other-text-sound", "other-reference-sound"}
    assert table.keys() == expected
    assert {f"ablation/{row}/sync" for row in expected} <= logged.keys()
    assert {f"ablation/other-{row}/sync_original" for row in ("sound", "text-sound", "reference-sound")} <= {*logged}
    kept = json.loads((tmp_path / "run" / "evaluation.json").read_text())["metrics"]
    assert {key: kept[key] for key in kept if key.startswith("ablation/")} == pytest.approx(
        {key: value for key, value in logged.items() if key.startswith("ablation/")}
    )
