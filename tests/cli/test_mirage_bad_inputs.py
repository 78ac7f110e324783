"""Bad input to Mirage video and Mirage audio is one line and an exit code; nothing is written."""

import shutil
from pathlib import Path

import pytest
from given_sounds import sound_file
from mirage_run import FEW, FEW_VOICES, MIRAGE, VOICES
from toy_run import RECIPES, TINY, ToyRun

from talkies.cli.main import run

MOVA = RECIPES.parent
pytestmark = pytest.mark.timeout(600)
SAMPLES = {
    "no file": (["--audio", "{tmp}/nowhere.wav"], 65, "nowhere.wav"),
    "no samples": (["--audio", "{tmp}/empty.wav"], 65, "empty.wav"),
    "damaged sound": (["--audio", "{tmp}/damaged.m4a"], 65, "damaged.m4a"),
    "a picture as sound": (["--audio", "{tmp}/damaged.png"], 65, "damaged.png"),
    "damaged image": (
        ["--audio", "{tmp}/good.wav", "--image", "{tmp}/damaged.png"],
        65,
        "damaged.png is no PNG, JPEG or WebP file",
    ),
    "neither prompt nor sound": ([], 2, "--prompt is missing"),
    "a film": (
        ["--prompt", "x", "--video", "{tmp}/good.wav"],
        2,
        "--video: mirage models take no such file; they take: --image",
    ),
    "a bridge": (
        ["--audio", "{tmp}/good.wav", "--bridge-scale", "2"],
        2,
        "mirage models have the scales text, sound",
    ),
    "a negative prompt without guidance": (
        ["--audio", "{tmp}/good.wav", "--text-scale", "1", "--negative", "y"],
        2,
        "--negative: no evaluation leaves the prompt out",
    ),
    "an overlap of a whole clip": (
        ["--audio", "{tmp}/good.wav", "--overlap", "2"],
        2,
        "--overlap 2: a clip lasts 2 s",
    ),
}


def refused(capsys: pytest.CaptureFixture[str], words: list[str], code: int, message: str) -> None:
    assert run(words) == code
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert line.startswith("talkies: ")
    assert message in line if ".*" not in message else all(part in line for part in message.split(".*"))
    assert "Traceback" not in captured.err


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Sounds and pictures, most of them damaged."""
    sound_file(tmp_path / "good.wav", seconds=2.0, beep=0.5)
    whole = (tmp_path / "good.wav").read_bytes()
    (tmp_path / "empty.wav").write_bytes(whole[: whole.index(b"data") + 4] + bytes(4))
    content = sound_file(tmp_path / "damaged.m4a", seconds=2.0, beep=0.5).read_bytes()
    (tmp_path / "damaged.m4a").write_bytes(content[: len(content) // 2])
    (tmp_path / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_of_bad_input_is_refused(
    mirage_run: ToyRun, files: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    words, code, message = SAMPLES[name]
    given = [word.replace("{tmp}", str(files)) for word in words]
    before, out = sorted(files.iterdir()), files / "out.mp4"
    words = ["sample", str(mirage_run.phase("reference")), *given, "--out", str(out), "--runs", str(mirage_run.runs)]
    refused(capsys, words, code, message)
    assert sorted(files.iterdir()) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [
        ("stitch", "--audio {tmp}/good.wav --image {tmp}/face.png", "takes no image; drop it"),
        ("video_pretraining", "--audio {tmp}/good.wav", "does not make a video for a sound; drop it"),
        ("video_pretraining", "--prompt x --sound-scale 2", "--sound-scale 2.0 needs a sound"),
    ],
)
def test_what_a_phase_does_not_read_is_refused(
    mirage_run: ToyRun, files: Path, capsys: pytest.CaptureFixture[str], case: tuple[str, str, str]
) -> None:
    phase, options, message = case
    given, out = options.replace("{tmp}", str(files)).split(), files / "out.mp4"
    words = ["sample", str(mirage_run.phase(phase)), *given, "--out", str(out), "--runs", str(mirage_run.runs)]
    refused(capsys, words, 2, message)
    assert not out.exists()


@pytest.mark.slow
def test_a_phase_is_refused_for_a_set_that_lacks_what_it_reads(
    mirage_run: ToyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for phase, parent, missing in (("reference", "stitch", "reference"), ("stitch", "warm_up", "sound")):
        where = [f"data.root={mirage_run.data}", f"parents.base={mirage_run.phase(parent)}", "data.shards=silent"]
        words = ["train", str(MIRAGE / f"{phase}.yaml"), *TINY, "tracking.gates=[]", *where]
        refused(capsys, [*words, "--runs", str(tmp_path)], 65, f"set 'silent'.*holds no {missing}, only video")
        assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_other_system_is_no_parent(
    mirage_run: ToyRun, voices_run: ToyRun, toy_run: ToyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither a MOVA for Mirage nor the reverse, nor a Mirage of the other kind."""
    cases = [
        (VOICES / "speech.yaml", voices_run.data, mirage_run.phase("stitch")),
        (MIRAGE / "warm_up.yaml", mirage_run.data, voices_run.phase("speech")),
        (MIRAGE / "warm_up.yaml", mirage_run.data, toy_run.phase("joint_phase2")),
        (MIRAGE / "warm_up.yaml", mirage_run.data, toy_run.phase("video_pretraining")),
        (RECIPES / "joint_phase2.yaml", toy_run.data, mirage_run.phase("stitch")),
    ]
    for recipe, data, parent in cases:
        words = ["train", str(recipe), *TINY, f"data.root={data}", f"parents.base={parent}"]
        refused(capsys, [*words, "--runs", str(tmp_path)], 65, "parent: .*is of another architecture")
        assert not list(tmp_path.rglob("*.json"))


@pytest.mark.slow
def test_a_damaged_parent_of_a_frozen_part_is_refused(
    mirage_run: ToyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parent = tmp_path / "parent"
    shutil.copytree(mirage_run.phase("video_pretraining") / "release", parent)
    content = (parent / "text.safetensors").read_bytes()
    (parent / "text.safetensors").write_bytes(content[:-9])
    words = ["train", str(MIRAGE / "warm_up.yaml"), *TINY, f"data.root={mirage_run.data}", f"parents.base={parent}"]
    refused(capsys, [*words, "--runs", str(tmp_path / "runs")], 65, "text.safetensors")
    assert not list((tmp_path / "runs").rglob("*.json"))


@pytest.mark.parametrize(
    ("system", "words", "how"),
    [
        (MIRAGE, ["reference.data.shards=silent"], (2, "phase 'reference': .*keeps no reference, only video")),
        (MIRAGE, ["stitch.data.heldout=silent_heldout"], (2, "phase 'stitch': .*keeps no .*only video")),
        (MIRAGE, ["prepare.sets.talking.without=[sound]"], (2, "phase 'warm_up': .*keeps no sound, only ")),
        (MIRAGE, ["prepare.sets.talking.without=[reference]"], (2, "phase 'reference': .*keeps no reference, only ")),
        (MIRAGE, ["phases.codecs.sound.channels=40"], (2, "`codecs.sound.channels` is 40, .*takes 32")),
        (MIRAGE, ["prepare.codecs.sound.channels=40"], (2, "`codecs.sound.channels` is 32, the preparation .*has 40")),
        (MIRAGE, ["warm_up.parents.base=null"], (2, "`parents.base`")),
        (MIRAGE, ["stitch.parents={base: null, video: warm_up, sound: warm_up}"], (2, "unknown key `parents.sound`")),
        (MIRAGE, ["stitch.model.sound_width=96"], (65, "phase 'stitch': parent: 'warm_up' .*sound.width is 48")),
        (MIRAGE, ["phases.model.sound_widht=96"], (2, "`model.sound_width`")),
        (VOICES, ["cloning.data.shards=sounds"], (2, "phase 'cloning': .*keeps no reference, only sound")),
        (VOICES, ["prepare.sets.speakers.without=[reference]"], (2, "phase 'cloning': .*keeps no reference, only ")),
        (VOICES, ["prepare.sets.speakers.without=[voice]"], (2, "phase 'cloning': .*keeps no voice, only ")),
        (
            VOICES,
            ["phases.model.sound_features=13"],
            (2, "`codecs.sound.channels` is 12, but `model.sound_features` is 13"),
        ),
        (VOICES, ["cloning.tracking.voices=null"], (2, "`tracking.voices`")),
        (
            VOICES,
            ["cloning.phase.degradation={noise: 0, snr_db: [5, 9], band: 0.5}"],
            (2, "`phase.degradation.snr_db` is set, but `phase.degradation.noise` is 0"),
        ),
        (VOICES, ["cloning.sampling.windows={overlap: 0.5}"], (2, "`sampling.windows` is for videos that are made")),
        (VOICES, ["phases.model.characters_per_second=-1"], (2, "`model.characters_per_second`")),
        (VOICES, ["phases.model.fastest_characters_per_second=0"], (2, "`model.fastest_characters_per_second`")),
        (
            VOICES,
            ["phases.model.characters_per_second=7"],
            (2, "`model.fastest_characters_per_second` is 6.2, less than the pace of scripts, .* 7: raise it"),
        ),
        (VOICES, ["speech.phase.degraded=0.1"], (2, "degraded")),
    ],
)
def test_a_curriculum_that_cannot_work_is_refused_before_anything_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], system: Path, words: list[str], how: tuple[int, str]
) -> None:
    few = FEW if system == MIRAGE else FEW_VOICES
    train = ["train", str(system / "curriculum.yaml"), *few, *words, "--runs", str(tmp_path), "--quiet"]
    refused(capsys, train, *how)
    assert not list(tmp_path.iterdir())


def test_neither_system_takes_the_others_sections(capsys: pytest.CaptureFixture[str]) -> None:
    refused(capsys, ["plan", str(MIRAGE / "stitch.yaml"), "phase={kind: joint}"], 2, "joint")
    refused(capsys, ["plan", str(MIRAGE / "stitch.yaml"), "model.bridge=true"], 2, "model.bridge")
    refused(capsys, ["plan", str(MOVA / "toy" / "joint_phase2.yaml"), "model.sound_width=48"], 2, "model.sound_width")
    refused(capsys, ["plan", str(VOICES / "speech.yaml"), "phase={kind: stitch}"], 2, "stitch")
    refused(capsys, ["plan", str(MIRAGE / "stitch.yaml"), "data.geometry=2s"], 2, "data.geometry")
