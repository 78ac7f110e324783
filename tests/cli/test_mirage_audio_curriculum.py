"""What Mirage audio's curriculum makes, through the command line, with every part real but small."""

import json
from pathlib import Path

import pytest
from speaking import RATE, recorded, voice
from torch import Tensor
from toy_run import ToyRun, ablated, table_of

from talkies.checkpoints.release import read_release
from talkies.cli.main import run
from talkies.media.probe import probe
from talkies.media.sound import read_audio
from talkies.media.write import PROVENANCE, read_tags

PROMOTED = "models:/mirage-audio-toy@champion"
ALL = ("sound", "text")
USES = {
    f"{use}-{number:02d}{end}.m4a" for use in ("cloning", "tuning") for number in (0, 1) for end in ("", "-reference")
}
USES |= {"design-00.m4a", "design-01.m4a"}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a script and the recordings of two voices."""
    monkeypatch.chdir(tmp_path)
    Path("script.txt").write_text("[S1] so ba mi\n")
    recorded(Path("low.wav"), voice(2.5, rate=RATE), rate=RATE)
    recorded(Path("high.wav"), voice(2.5, pitch=210.0))
    return tmp_path


def sampled(made: ToyRun, *words: str, out: str = "take.wav", source: str = PROMOTED) -> Tensor:
    assert run(["sample", source, *words, "--out", out, "--runs", str(made.runs)]) == 0
    return read_audio(out, sample_rate=RATE, seconds=9)


def test_each_phase_samples_a_script_and_the_last_one_a_voice(voices_run: ToyRun, here: Path) -> None:
    for phase in ("general_sound", "speech", "cloning"):
        source = str(voices_run.phase(phase))
        assert len(sampled(voices_run, "--script", "script.txt", source=source)) == 2 * RATE
        assert read_tags("take.wav").get("talkies-voice") is None
    asked = ("--script", "script.txt", "--describe", "A clean recording.", "--consent", "my own voice")
    low, high = (sampled(voices_run, *asked, "--voice", f"{name}.wav") for name in ("low", "high"))
    assert not low.equal(high)
    tags = read_tags("take.wav")
    assert tags["title"] == "<describe> A clean recording. <script> [S1] so ba mi"
    assert tags["talkies-consent"] == "my own voice"
    assert tags[PROVENANCE].endswith("seed 0; cloned voice")
    again = sampled(voices_run, *asked, "--voice", "high.wav", "--seconds", "1")
    assert len(again) == RATE


def test_a_checkpoint_becomes_the_release(voices_run: ToyRun, tmp_path: Path) -> None:
    checkpoint = voices_run.phase("speech") / "checkpoints" / "step-00000004"
    assert run(["export", str(checkpoint), "--consolidate", "--out", str(tmp_path / "made")]) == 0
    ours, theirs = read_release(tmp_path / "made"), read_release(voices_run.phase("speech") / "release")
    assert ours["components"].keys() == set(ALL)
    for name in ALL:
        assert ours["components"][name]["sha256"] == theirs["components"][name]["sha256"]


def test_mlflow_plays_each_use_beside_its_reference(voices_run: ToyRun, tmp_path: Path) -> None:
    """MLflow 3 has a player for m4a, among others; these are the names that its list of artifacts shows."""
    phase = voices_run.phase("cloning")
    client, identity = voices_run.client, json.loads((phase / "run.json").read_text())["mlflow_run_id"]
    found = {file.path.removeprefix("evaluation/") for file in client.list_artifacts(identity, "evaluation")}
    assert found == USES | {f"sample-{number:02d}.m4a" for number in range(8)}
    folder = Path(client.download_artifacts(identity, "evaluation", str(tmp_path)))
    sounds = {path.name: read_audio(path, sample_rate=RATE, seconds=9) for path in sorted(folder.iterdir())}
    assert all(probe(folder / name).fps is None and bool(sound.any()) for name, sound in sounds.items())
    assert sounds["cloning-00.m4a"].equal(sounds["sample-00.m4a"])
    assert not sounds["design-00.m4a"].equal(sounds["cloning-00.m4a"])
    assert not sounds["tuning-00.m4a"].equal(sounds["cloning-00.m4a"])
    assert not sounds["tuning-00-reference.m4a"].equal(sounds["cloning-00-reference.m4a"])
    tags = {name: read_tags(folder / name) for name in sounds}
    cloned = {name for name in sounds if "talkies-voice" in tags[name]}
    assert cloned == {name for name in sounds if not name.startswith("design") and "reference" not in name}
    assert all(tags[name][PROVENANCE].endswith("; cloned voice") for name in cloned)
    assert tags["design-01.m4a"]["title"] == tags["tuning-01.m4a"]["title"] == tags["sample-01.m4a"]["title"]
    assert tags["tuning-01-reference.m4a"]["title"].startswith("the reference of the held-out clip ")


def test_the_card_says_whose_voices_a_model_has_heard(voices_run: ToyRun) -> None:
    (card,) = voices_run.phase("cloning").glob("cards/*/version-0001.md")
    text = card.read_text()
    assert "## Voices\n\nnobody's: the speakers are synthetic\n" in text
    assert "Of held-out prompts and what else held-out clips give: its waveform (grey) and loudness (red)." in text
    assert "Control: sounds for what others were given." in text


def test_an_ablation_tells_script_setting_and_voice_apart(
    voices_run: ToyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All subsets of the two conditions, and one or both of another clip."""
    logged = ablated(voices_run, "cloning", tmp_path / "run", clips=4)
    table = table_of(capsys.readouterr().out)
    metrics = table.pop("given")
    assert metrics == ["script", "setting", "pitch", "timbre"]
    own = ("text", "reference", "text-reference")
    assert table.keys() == {"none", *own, *(f"other-{names}" for names in own)}
    assert {f"ablation/{row}/{metric}" for row in table for metric in metrics} == {
        key for key in logged if key.startswith("ablation/")
    }
    for metric in metrics:
        assert logged[f"ablation/text-reference/{metric}"] == logged[f"evaluation/{metric}"]


def test_a_phase_without_references_ablates_its_text(
    voices_run: ToyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ablated(voices_run, "speech", tmp_path / "run", clips=2)
    table = table_of(capsys.readouterr().out)
    assert table.pop("given") == ["script", "setting"]
    assert [*table] == ["none", "text", "other-text"]
    assert {path.name[:6] for path in (tmp_path / "run" / "evaluation").iterdir()} == {"sample"}


def test_a_phase_is_planned_as_it_is_made_and_sampled(voices_run: ToyRun, capsys: pytest.CaptureFixture[str]) -> None:
    phase = voices_run.phase("cloning")
    assert run(["plan", str(voices_run.recipes / "cloning.yaml"), "--json"]) == 0
    planned, made = json.loads(capsys.readouterr().out), read_release(phase / "release")["components"]
    assert {name: planned["parts"][name]["trained"] for name in ALL} == {name: made[name]["parameters"] for name in ALL}
    assert run(["plan", str(phase), "--sample"]) == 0
    assert capsys.readouterr().out.startswith("cloning: sampling on one GPU, fp32, 2 steps of 2 evaluations\n")
