"""`talkies perform`: takes of a script, and the film of the one that is chosen, by cut models of both systems."""

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from given_sounds import packets
from mirage_run import MIRAGE
from speaking import WORDS, perform, released
from toy_run import ToyRun

from talkies.config.source import load
from talkies.flow.config import WindowsConfig
from talkies.media.probe import probe
from talkies.media.write import PROVENANCE, read_tags
from talkies.models.systems import SYSTEMS
from talkies.recipe.config import decode_phase
from talkies.runs.run_perform import film_sampling

pytestmark = pytest.mark.timeout(600)
ASKED = ("script.txt", "--describe", "A clean recording.", "--voice", "low.wav", "--consent", "my own voice")
ROW = re.compile(r" +\d+ +\d\.\d\d +-?(\d+\.\d|inf) +(-|\d\.\d\d)  out/take-\d\.wav")
TAKES = [f"take-{number}.wav" for number in (1, 2, 3)]


def there(folder: str = "out") -> dict[str, int]:
    """The files of a folder, and when each was written."""
    return {path.name: path.stat().st_mtime_ns for path in Path(folder).iterdir()}


def sounds(folder: str = "out") -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(Path(folder).glob("take-*.wav"))}


def test_takes_are_kept_and_more_are_made(speaking: Path, stage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By a model of random weights: a take has noise of its own, and those that are there stay, whatever is asked."""
    model = speaking / "cloning"
    assert perform(model, *ASKED, "--takes", "2") == 0
    said = capsys.readouterr()
    assert not said.err
    assert re.search(r"^perform:  sound: 2 takes in \d+\.\d s$", said.out, re.MULTILINE)
    first, known = sounds(), there()
    assert [*first] == TAKES[:2]
    assert first["take-1.wav"] != first["take-2.wav"]
    assert perform(model, *ASKED, "--takes", "3") == 0
    assert "perform:  sound: 1 takes in" in capsys.readouterr().out
    assert [*sounds()] == TAKES
    assert {name: there()[name] for name in first} == {name: known[name] for name in first}
    whole, known = sounds(), there()
    assert perform(model, *ASKED, "--takes", "1") == 0
    assert "perform:  sound:" not in capsys.readouterr().out
    assert {name: there()[name] for name in whole} == {name: known[name] for name in whole}
    assert [clip["file"] for clip in json.loads(Path("out/clips.json").read_text())["clips"]] == TAKES
    assert perform(model, *ASKED, "--takes", "3", out="again") == 0
    assert sounds("again") == whole


def test_the_table_says_how_long_loud_and_true_each_take_is(
    speaking: Path, stage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is said is recognised of scripts of the synthetic world, and of no others."""
    assert perform(speaking / "cloning", *ASKED, "--takes", "2") == 0
    lines = capsys.readouterr().out.splitlines()
    begin = lines.index("take  seconds   LUFS  script  file")
    assert all(ROW.fullmatch(line) for line in lines[begin + 1 : begin + 3])
    assert [line.split()[1] for line in lines[begin + 1 : begin + 3]] == ["0.60", "0.60"], "6 letters, 10 a second"
    assert re.fullmatch(r"perform:  2 takes of 2 s are \d\.\de\+\d\d FLOPs", lines[-1])
    assert re.fullmatch(r"\d\.\d\d", lines[begin + 1].split()[3])
    Path("script.txt").write_text("Good morning!")
    assert perform(speaking / "design", "script.txt", "--takes", "1", out="other") == 0
    assert capsys.readouterr().out.splitlines()[-2].split()[3] == "-"


def test_a_take_says_whose_voice_it_is(speaking: Path, stage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert perform(speaking / "cloning", *ASKED, "--takes", "1") == 0
    tags = read_tags("out/take-1.wav")
    assert tags[PROVENANCE].endswith("seed 0; cloned voice")
    assert tags["talkies-voice"].endswith(hashlib.sha256(Path("low.wav").read_bytes()).hexdigest())
    assert tags["talkies-consent"] == "my own voice"
    assert tags["title"] == "<describe> A clean recording. <script> [S1] so ba mi"
    capsys.readouterr()
    assert perform(speaking / "cloning", *ASKED[:-2], "--takes", "1", out="silent") == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("talkies: warning: perform: a voice is cloned, and nothing says who allows to")
    assert "talkies-consent" not in read_tags("silent/take-1.wav")


@pytest.mark.parametrize(
    "changed",
    [
        {"script": "[S1] so ba lu\n"},
        {"words": (*ASKED[:4], "high.wav", *ASKED[5:])},
        {"words": (*ASKED[:2], "A noisy recording.", *ASKED[3:])},
        {"words": (*ASKED[:-1], "somebody else")},
        {"words": (*ASKED, "--seed", "1")},
        {"words": (*ASKED, "--seconds", "1")},
    ],
    ids=str,
)
def test_another_performance_in_the_same_folder_is_refused(
    speaking: Path, stage: Path, capsys: pytest.CaptureFixture[str], changed: dict[str, object]
) -> None:
    model = speaking / "cloning"
    assert perform(model, *ASKED, "--takes", "1") == 0
    Path("script.txt").write_text(str(changed.get("script", WORDS)))
    before, words = there(), changed.get("words", ASKED)
    capsys.readouterr()
    assert perform(model, *words, "--takes", "2") == 65  # type: ignore[misc]
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert line == (
        "talkies: perform: out/take-1.wav was not made of this prompt, seed, model and sampling: move it away, or give "
        "another --out"
    )
    assert not captured.out
    assert there() == before


@pytest.mark.slow
def test_a_take_is_filmed_and_another_one_costs_no_sound(
    voices_run: ToyRun, mirage_run: ToyRun, stage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    audio, video = voices_run.phase("cloning"), str(mirage_run.phase("reference"))
    assert perform(audio, *ASKED, "--takes", "2", "--video-model", video) == 0
    said = capsys.readouterr().out.splitlines()
    assert re.fullmatch(
        r"perform:  2 takes of 2 s are \S+ FLOPs, 2 s of film \S+: as many as [\d,]+\.\d takes", said[-1]
    )
    assert sorted(there()) == ["clips.json", *TAKES[:2]]
    made = sounds()
    for number, more in ((1, ()), (2, ("--image", "face.png", "--prompt", "Somebody in a blue shirt is talking."))):
        words = ("--takes", "2", "--video-model", video, "--take", str(number), *more)
        assert perform(audio, *ASKED, *words) == 0
        said = capsys.readouterr().out.splitlines()
        assert "perform:  sound:" not in " ".join(said), "no take is made again"
        assert re.fullmatch(r"perform:  video: \d+\.\d s", said[-1])
        film, take = Path(f"out/film-{number}.mp4"), Path(f"out/take-{number}.wav")
        assert packets(film) == packets(take), "the take is heard, untouched"
        assert probe(film).frames == 25
        tags, own = read_tags(film), read_tags(take)
        assert {name: tags[name] for name in ("talkies-voice", "talkies-consent")} == {
            name: own[name] for name in ("talkies-voice", "talkies-consent")
        }
        assert tags[PROVENANCE].endswith("cloned voice")
        assert (tags["talkies-take"], sounds()) == (f"take-{number}.wav", made)


@pytest.mark.slow
def test_the_film_of_a_short_take_and_one_without_a_voice(
    voices_run: ToyRun, mirage_run: ToyRun, stage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--takes", "1", "--seconds", "1", "--take", "1", "--video-model", str(mirage_run.phase("stitch")))
    assert perform(voices_run.phase("speech"), "script.txt", *words) == 0
    assert "out/take-1.wav: it lasts 1.00 s: silence follows" in capsys.readouterr().out
    tags = read_tags("out/film-1.mp4")
    assert "cloned" not in tags[PROVENANCE]
    assert not tags.keys() & {"talkies-voice", "talkies-consent"}


@pytest.mark.slow
def test_a_film_is_as_long_as_its_take(mirage_run: ToyRun, stage: Path) -> None:
    audio = released(stage / "long", "data.geometry=3s", "phase.kind=design", "sampling.scales.reference=1.0")
    Path("script.txt").write_text("[S1] " + "so ba mi " * 5)
    words = ("--takes", "1", "--take", "1", "--video-model", str(mirage_run.phase("stitch")))
    assert perform(audio, "script.txt", *words) == 0
    assert probe("out/take-1.wav").audio_seconds == pytest.approx(3.0)
    assert probe("out/film-1.mp4").frames == 37  # of 12.5 a second


def test_a_film_has_windows_also_where_the_recipe_has_none() -> None:
    recipe = decode_phase(load(MIRAGE / "stitch.yaml", ["sampling.windows=null"]), SYSTEMS)
    assert film_sampling(recipe) == replace(recipe.sampling, windows=WindowsConfig())
    recipe = decode_phase(load(MIRAGE / "stitch.yaml"), SYSTEMS)
    assert film_sampling(recipe) == recipe.sampling
