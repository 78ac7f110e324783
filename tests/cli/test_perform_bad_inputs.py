"""What `talkies perform` cannot make is one line that begins with the verb, and an exit code; nothing is written."""

from pathlib import Path

import pytest
from speaking import WORDS, perform, recorded, voice
from toy_run import ToyRun

pytestmark = pytest.mark.timeout(600)
BAD: dict[str, tuple[list[str], int, str]] = {
    "no script": (["none.txt"], 2, "SCRIPT: cannot read 'none.txt': No such file"),
    "a folder": (["."], 2, "SCRIPT: cannot read '.': it is a folder"),
    "empty": (["empty.txt"], 2, "SCRIPT is empty: write what is said"),
    "no letter": (["dots.txt"], 2, "SCRIPT: it says nothing: no letter and no digit"),
    "not UTF-8": (["latin.txt"], 2, "SCRIPT: 'latin.txt' is not UTF-8 at byte 1"),
    "control": (["bell.txt"], 2, "SCRIPT: it has the control character U+0007 at position 2"),
    "a mark": (["mark.txt"], 2, "SCRIPT has the mark <describe>"),
    "too long": (
        ["long.txt"], 2,
        "the script of SCRIPT takes 3.0 s at this model's pace, and it makes at most 2 s: shorten it, or",
    ),
    "too long at any pace": (["longer.txt"], 2, "the script of SCRIPT takes at least 2.40 s, and this model makes at"),
    "too fast": (
        ["long.txt", "--seconds", "1"], 2, "the script of SCRIPT takes at least 1.20 s, and --seconds is 1: shorten it",
    ),
    "a misspelt speaker": (["small.txt"], 2, "SCRIPT: it has '[s1]', which would be said: a speaker is written [S1]"),
    "no description": (["script.txt", "--describe", " "], 2, "--describe is empty: say how it sounds"),
    "too many seconds": (["script.txt", "--seconds", "2.1"], 2, "--seconds is 2.1: this model makes 0.04 to 2 s"),
    "consent alone": (["script.txt", "--consent", "x"], 2, "--consent is for the voice of --voice"),
    "no voice": (["script.txt", "--voice", "none.wav"], 65, "--voice: none.wav: the file"),
    "not media": (["script.txt", "--voice", "script.txt"], 65, "--voice: script.txt: has neither"),
    "silent": (["script.txt", "--voice", "silent.wav"], 65, "--voice: silent.wav is silent"),
    "short": (["script.txt", "--voice", "short.wav"], 65, "--voice: short.wav sounds for 0.30 s: at least 0.5 s"),
    "clipped": (["script.txt", "--voice", "clipped.wav"], 65, "--voice: clipped.wav is clipped"),
    "no takes": (["script.txt", "--takes", "0"], 2, "--takes 0: give 1 to 100"),
    "too many takes": (["script.txt", "--takes", "101"], 2, "--takes 101: give 1 to 100"),
    "take 0": (["script.txt", "--take", "0", "--video-model", "x"], 2, "--take 0: there are takes 1 to 4; --takes"),
    "take 3 of 2": (
        ["script.txt", "--takes", "2", "--take", "3", "--video-model", "x"], 2, "--take 3: there are takes 1 to 2;",
    ),
    "no video model": (["script.txt", "--take", "1"], 2, "--take makes a film: give --video-model, too"),
    "an image for no film": (["script.txt", "--image", "face.png"], 2, "--image is for the film of a take: give"),
    "a prompt for no film": (["script.txt", "--prompt", "x"], 2, "--prompt is for the film of a take: give"),
    "no such model": (["script.txt", "--video-model", "nowhere"], 2, "--video-model: nowhere is not a folder"),
    "sound for the film": (
        ["script.txt", "--video-model", "{audio}"], 2,
        "--video-model: speaking (mirage_audio, cloning) does not make a video for a sound: give",
    ),
}  # fmt: skip
FILMS: dict[str, tuple[str, list[str], int, str]] = {
    "no picture": ("reference", ["--image", "script.txt"], 65, "--image: image script.txt is no PNG"),
    "no file": ("reference", ["--image", "none.png"], 65, "--image: image none.png"),
    "no image wanted": ("stitch", ["--image", "face.png"], 2, "--image: {phase} takes no image; drop it"),
    "no sound wanted": (
        "video_pretraining", [], 2, "--video-model: video_pretraining (mirage, video_pretraining) does",
    ),
    "no prompt": ("stitch", ["--prompt", " "], 2, "--prompt is empty"),
}  # fmt: skip


@pytest.fixture
def files(stage: Path) -> Path:
    """The working folder with what cannot be used."""
    texts = {"empty": " \n", "dots": "... [S1]", "bell": "ab\x07", "mark": "<describe> a", "long": "a" * 30}
    texts |= {"longer": "a" * 60, "small": "[s1] so ba"}
    for name, text in texts.items():
        Path(f"{name}.txt").write_text(text)
    Path("latin.txt").write_bytes("n\u00e9".encode("latin-1"))
    recorded(Path("silent.wav"), voice() * 0)
    recorded(Path("short.wav"), voice(0.3))
    recorded(Path("clipped.wav"), (4 * voice()).clamp(-0.6, 0.6))
    return stage


def refused(capsys: pytest.CaptureFixture[str], audio: Path, words: list[str], code: int, message: str) -> None:
    before = sorted(Path().rglob("*"))
    capsys.readouterr()
    assert perform(audio, *words) == code
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert line.startswith(f"talkies: perform: {message}")
    assert "--script" not in line
    assert not captured.out
    assert sorted(Path().rglob("*")) == before


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_writes_nothing(
    speaking: Path, files: Path, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words, code, message = BAD[case]
    words = [word.replace("{audio}", str(speaking / "cloning")) for word in words]
    refused(capsys, speaking / "cloning", words, code, message)


def test_a_voice_for_a_model_that_takes_none_and_a_file_for_the_folder(
    speaking: Path, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["script.txt", "--voice", "low.wav"]
    refused(capsys, speaking / "design", words, 2, f"--voice: {speaking / 'design'} takes no voice; drop it")
    Path("out").write_text(WORDS)
    refused(capsys, speaking / "design", ["script.txt"], 2, "--out out is a file: give a folder")


@pytest.mark.slow
@pytest.mark.parametrize("case", FILMS)
def test_a_film_that_cannot_be_made_is_refused_before_a_take_is(
    speaking: Path, mirage_run: ToyRun, files: Path, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    phase, words, code, message = FILMS[case]
    film = ["script.txt", "--take", "1", "--video-model", str(mirage_run.phase(phase))]
    message = message.replace("{phase}", str(mirage_run.phase(phase)))
    refused(capsys, speaking / "design", [*film, *words], code, message)


@pytest.mark.slow
def test_models_in_the_wrong_place_and_a_film_that_is_there(
    speaking: Path, mirage_run: ToyRun, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    film = mirage_run.phase("stitch")
    message = "--audio-model: stitch (mirage, stitch) does not say scripts: give a model of sound that does"
    refused(capsys, film, ["script.txt"], 2, message)
    Path("out").mkdir()
    Path("out/film-1.mp4").write_bytes(b"a film")
    words = ["script.txt", "--take", "1", "--video-model", str(film)]
    refused(capsys, speaking / "design", words, 2, "out/film-1.mp4 is there: move it away, or give another --out")
