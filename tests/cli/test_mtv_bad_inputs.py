"""Bad input to MTV is one line and an exit code; nothing is written."""

import json
from pathlib import Path

import pytest
import torch
from given_sounds import sound_file
from mtv_run import FEW_SCENES, MTV, float_wav, track_file
from test_mirage_bad_inputs import refused
from toy_run import TINY, ToyRun

from talkies.cli.main import run

pytestmark = pytest.mark.timeout(600)
WAN = "phases.model.preset=toy-wan"
CLEAN = "phases.phase.known_frames={head: 0}"
SAMPLES = {
    "nothing": ([], 2, "--prompt is missing"),
    "a sound and a track of it": (
        ["--audio", "{tmp}/mix.wav", "--speech", "{tmp}/speech.wav"],
        2,
        "--speech is a track of a sound, which the audio is as a whole: drop --audio",
    ),
    "a track that it does not hear": (
        ["--speech", "{tmp}/speech.wav", "--speech2", "{tmp}/speech2.wav"],
        2,
        "--speech2: .*hears no speech2; drop it",
    ),
    "tracks of other lengths": (
        ["--speech", "{tmp}/speech.wav", "--music", "{tmp}/longer.wav"],
        65,
        "tracks of one sound are equally long; found .*speech.wav 2.00 s, .*longer.wav 3.00 s: give files of one",
    ),
    "tracks of other lengths that are shorter than a clip": (
        ["--speech", "{tmp}/half.wav", "--music", "{tmp}/quarter.wav"],
        65,
        "tracks of one sound are equally long; found .*half.wav 1.00 s, .*quarter.wav 0.50 s: give files of one",
    ),
    "silent tracks": (["--speech", "{tmp}/silent.wav", "--music", "{tmp}/silent.wav"], 65, "all tracks are silent"),
    "a silent sound": (
        ["--audio", "{tmp}/silent.wav"],
        65,
        "silent.wav is silent: none of the tracks that the model hears sounds: speech, effects, music; give another",
    ),
    "a track that is not finite": (
        ["--speech", "{tmp}/speech.wav", "--music", "{tmp}/nan.wav"],
        65,
        "nan.wav: its sound has values that are not finite",
    ),
    "a sound that is not finite": (["--audio", "{tmp}/nan.wav"], 65, "nan.wav: its sound has values that are not fin"),
    "a line that is not finite": (
        ["--prompts", "{tmp}/nan.jsonl"],
        65,
        "nan.jsonl line 1: .*nan.wav: its sound has values that are not finite",
    ),
    "a scale of lines without tracks": (
        ["--prompts", "{tmp}/plain.jsonl", "--scale", "tracks=2"],
        2,
        "the scale tracks guides by the tracks that are given: give --audio or a track .*, or drop it",
    ),
    "a scale without tracks": (
        ["--prompt", "x", "--tracks-scale", "2"],
        2,
        "the scale tracks guides by the tracks that are given: give --audio or a track .*, or drop it",
    ),
    "a damaged track": (["--speech", "{tmp}/damaged.wav"], 65, "damaged.wav"),
    "a track without sound": (["--music", "{tmp}/mute.mp4"], 65, "mute.mp4 has no sound; give a file .* to --music"),
    "no file": (["--effects", "{tmp}/nowhere.wav"], 65, "nowhere.wav"),
    "a film": (["--prompt", "x", "--video", "{tmp}/mute.mp4"], 2, "--video: mtv models take no such file; they take:"),
    "a scale of another system": (
        ["--prompt", "x", "--scale", "sound=2"],
        2,
        "mtv models have the scales text, tracks",
    ),
    "an overlap of nothing": (["--prompt", "x", "--overlap", "0.4"], 2, "--overlap is for windows of a sound"),
    "an overlap of a whole clip": (
        ["--speech", "{tmp}/speech.wav", "--overlap", "2"],
        2,
        "--overlap 2: a clip lasts 2 s",
    ),
    "a line with both": (["--prompts", "{tmp}/both.jsonl"], 2, "both.jsonl line 1: `music` .*drop the `audio`"),
    "a line with other lengths": (
        ["--prompts", "{tmp}/uneven.jsonl"],
        65,
        "uneven.jsonl line 1: tracks of one sound are equally long",
    ),
}
PHASES: dict[str, tuple[list[str], str]] = {
    "an unknown track": (["visual_mood.phase.tracks=[speech,noise]"], "`phase.tracks.1` is 'noise'"),
    "a track twice": (["visual_mood.phase.tracks=[speech,speech]"], "`phase.tracks` is speech, speech: name one"),
    "no track": (["visual_mood.phase.tracks=[]"], "`phase.tracks` is empty"),
    "tracks that the demixer does not part": (
        [
            "prepare.codecs.demix={kind: bands, bands: {noise: [90, 1900]}}",
            "phases.codecs.demix={kind: bands, bands: {noise: [90, 1900]}}",
        ],
        "`phase.tracks` names speech, but `codecs.demix` parts a sound into noise",
    ),
    "a demixer without weights": (
        [
            f"{x}.codecs.demix={{kind: demucs, tracks: [speech, speech2, effects, music]}}"
            for x in ("prepare", "phases")
        ],
        "`codecs.demix.weights` is not set",
    ),
    "files of tracks that are not rendered": (
        [f"{x}.codecs.demix={{kind: tracks, names: [speech, speech2, effects, music]}}" for x in ("prepare", "phases")],
        "reads tracks from files *.",
    ),
    "another demixer": (
        ["prepare.codecs.demix.edge=20"],
        "`codecs.demix.edge` is 10.0, the preparation 'mtv-toy' has 20.0",
    ),
    "a second speaker of one": (
        ["phases.model.speakers=1"],
        "`phase.tracks` names speech2, but the network hears speech, effects, music: set `model.speakers` to 2",
    ),
    "a track that the set has not": (
        ["visual_mood.phase.tracks=[speech,speech2]"],
        "phase 'visual_mood': .*keeps no speech2, only ",
    ),
    "a set without a track": (["prepare.sets.visual_mood.without=[music]"], "keeps no music, only "),
    "more intervals than steps": (
        ["phases.model.intervals=14"],
        "it has 13 latent steps, but `model.intervals` is 14: at most one per step",
    ),
    "another stride": (
        ["prepare.codecs.video.stride=4", "phases.codecs.video.stride=4"],
        "`codecs.video.stride` is 4, .*has intervals of 2 frames",
    ),
    "other features": (["phases.model.features=40"], "`codecs.sound.channels` is 80, but `model.features` is 40: make"),
    "guidance by tracks that are not heard": (
        ["video_pretraining.sampling.scales={tracks: 2}"],
        "`sampling.scales.tracks` needs tracks, which video_pretraining phases lack",
    ),
    "known frames on Wan": ([WAN], "`phase.known_frames` gives .* toy-wan cannot have: remove it"),
    "the attention of Wan": (
        [WAN, CLEAN, "phases.flow.target={kind: velocity}", "phases.sampling.sampler={kind: euler}"],
        "`phase.trains` is control_and_attention, .*choose control or all",
    ),
    "a sampler of another target": (["phases.sampling.sampler={kind: euler}"], "use ddim or dpm_sde"),
    "known frames of more than all": (["phases.phase.known_frames={head: 0.9, tail: 0.2}"], "add up to 1.1"),
    "steering of nothing": (
        ["basic_face.parents.base=null"],
        "steering phases do not train the component video: set `parents.base`",
    ),
    "windows without a sound": (
        ["video_pretraining.sampling.windows={overlap: 0.4}"],
        "`sampling.windows` is for videos that are made for a sound",
    ),
    "a phase of another system": (["visual_mood.phase={kind: joint}"], "one of video_pretraining, steering"),
    "a size of another system": (["phases.model.sound_width=48"], "unknown key `model.sound_width`"),
}


@pytest.mark.parametrize("name", PHASES)
def test_a_curriculum_that_cannot_work_is_refused_before_anything_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    words, message = PHASES[name]
    train = ["train", str(MTV / "curriculum.yaml"), *FEW_SCENES, *words, "--runs", str(tmp_path), "--quiet"]
    refused(capsys, train, 2, message)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def files(mtv_run: ToyRun, tmp_path: Path) -> Path:
    """Sounds of tracks, most of which do not go together."""
    for name in ("speech", "speech2"):
        track_file(tmp_path, name)
    sound_file(tmp_path / "mix.wav", seconds=2.0, beep=0.5)
    sound_file(tmp_path / "silent.wav", seconds=2.0)
    for name, seconds in {"longer": 3.0, "half": 1.0, "quarter": 0.5}.items():
        sound_file(tmp_path / f"{name}.wav", seconds=seconds, beep=0.3)
    float_wav(tmp_path / "nan.wav", torch.full((32000,), torch.nan))
    (tmp_path / "damaged.wav").write_bytes(b"RIFF" + bytes(40))
    words = ["--prompt", "x", "--out", str(tmp_path / "mute.mp4"), "--runs", str(mtv_run.runs)]
    assert run(["sample", str(mtv_run.phase("video_pretraining")), *words]) == 0
    lines = {
        "both": {"audio": "mix.wav", "music": "speech.wav"},
        "uneven": {"speech": "half.wav", "music": "mix.wav"},
        "nan": {"audio": "nan.wav"},
        "plain": {"prompt": "x"},
    }
    for name, line in lines.items():
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(line))
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_of_bad_input_is_refused(
    mtv_run: ToyRun, files: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    words, code, message = SAMPLES[name]
    capsys.readouterr()
    before, out = sorted(files.iterdir()), files / ("clips" if "--prompts" in words else "out.mp4")
    given = [word.replace("{tmp}", str(files)) for word in words]
    source = str(mtv_run.phase("visual_mood"))
    refused(capsys, ["sample", source, *given, "--out", str(out), "--runs", str(mtv_run.runs)], code, message)
    assert sorted(files.iterdir()) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [
        ("video_pretraining", "--audio {tmp}/mix.wav", "does not make a video for a sound; drop it"),
        ("video_pretraining", "--speech {tmp}/speech.wav", "hears no speech; drop it"),
        ("video_pretraining", "--prompt x --tracks-scale 2", "--tracks-scale 2.0 needs tracks"),
        ("basic_face", "--music {tmp}/mix.wav", "hears no music; drop it"),
    ],
)
def test_what_a_phase_does_not_hear_is_refused(
    mtv_run: ToyRun, files: Path, capsys: pytest.CaptureFixture[str], case: tuple[str, str, str]
) -> None:
    phase, options, message = case
    given, out = options.replace("{tmp}", str(files)).split(), files / "out.mp4"
    capsys.readouterr()
    words = ["sample", str(mtv_run.phase(phase)), *given, "--out", str(out), "--runs", str(mtv_run.runs)]
    refused(capsys, words, 2, message)
    assert not out.exists()


@pytest.mark.slow
def test_other_systems_hear_no_tracks(
    mtv_run: ToyRun, mirage_run: ToyRun, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor are their models parents of MTV's, or the reverse."""
    out, speech = files / "out.mp4", str(files / "speech.wav")
    capsys.readouterr()
    words = ["sample", str(mirage_run.phase("reference")), "--speech", speech, "--out", str(out)]
    refused(capsys, [*words, "--runs", str(mirage_run.runs)], 2, "--speech: mirage models take no such file")
    assert not out.exists()
    cases = [
        (MTV / "basic_face.yaml", mtv_run, mirage_run.phase("stitch")),
        (mirage_run.recipes / "warm_up.yaml", mirage_run, mtv_run.phase("visual_mood")),
    ]
    for recipe, whose, parent in cases:
        train = ["train", str(recipe), *TINY, f"data.root={whose.data}", f"parents.base={parent}"]
        refused(capsys, [*train, "--runs", str(files / "runs")], 65, "parent: .*is of another architecture")
        assert not list((files / "runs").rglob("*.json"))
