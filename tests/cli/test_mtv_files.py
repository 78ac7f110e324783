"""MTV on a folder of clips with files of their tracks beside them: prepared, trained, and given tracks alone."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from mtv_run import MTV, own_clips, track_file
from test_mirage_bad_inputs import refused
from toy_run import TINY

from talkies.cli.main import run
from talkies.media.probe import probe
from talkies.media.sound import read_audio
from talkies.media.write_sound import write_media
from talkies.streams.codec import Media
from talkies.world.config import SyntheticSource
from talkies.world.render import render_source

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
DEMIX = {"kind": "tracks", "names": ["speech", "effects", "music"]}
SHAPE = {"source": "media", "geometry": "32x32x25@12.5"}
PREPARE = own_clips(DEMIX, {"all": SHAPE, "heldout": {**SHAPE, "split": "heldout"}})
FRESH = ["parents.base=null", "phase.trains=all", "tracking.gates=[]", "tracking.register=null"]


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve scenes, their captions and the files of their tracks."""
    folder = tmp_path_factory.mktemp("rendered") / "media"
    render_source(SyntheticSource(domain="scenes", clips=12, stems=True), folder, 0, None)
    return folder


@pytest.fixture
def media(rendered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of them, beside a recipe that prepares them, as the working directory."""
    shutil.copytree(rendered, tmp_path / "media")
    monkeypatch.chdir(tmp_path)
    Path("prepare.yaml").write_text(json.dumps(PREPARE))
    return Path("media")


def changed(media: Path, track: str, *, seconds: float, gain: float = 1.0) -> None:
    """Every file of a track, of another length or loudness."""
    for path in media.rglob(f"*.{track}.wav"):
        samples = gain * read_audio(path, sample_rate=16000, seconds=2.0)
        longer = torch.nn.functional.pad(samples, (0, round(seconds * 16000) - len(samples)))
        write_media(path, Media(frames=None, fps=1.0, samples=longer, sample_rate=16000), tags={})


def test_a_model_of_files_is_given_tracks_and_cannot_demix(media: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Tracks that no clip has are silence; a sound as a whole is refused, alone or in a line."""
    assert run(["prepare", "prepare.yaml", "--quiet"]) == 0
    (data,) = Path("runs/data").iterdir()
    where = [f"data.root={data}", "data.shards=all", "data.heldout=heldout", f"codecs.demix={json.dumps(DEMIX)}"]
    few = [word for word in TINY if not word.startswith(("validation.clips", "validation.final"))]
    few += ["validation.clips=4", "validation.final_clips=4"]
    assert run(["train", str(MTV / "visual_mood.yaml"), *few, *FRESH, *where, "--quiet"]) == 0
    (folder,) = Path("runs").glob("visual_mood-*/0001")
    assert run(["sample", str(folder), "--speech", str(track_file(Path(), "speech")), "--out", "a.mp4"]) == 0
    assert probe("a.mp4").audio_rate is not None
    capsys.readouterr()
    says = "cannot demix a sound, whose tracks it hears: give "
    words = ["sample", str(folder), "--audio", "speech.wav", "--out", "b.mp4"]
    refused(capsys, words, 2, f"sample: --audio: .*{says}--speech, --effects, --music; drop it")
    Path("lines.jsonl").write_text(json.dumps({"audio": "speech.wav"}))
    words = ["sample", str(folder), "--prompts", "lines.jsonl", "--out", "clips"]
    refused(capsys, words, 2, f"lines.jsonl line 1: `audio`: .*{says}")
    assert not Path("b.mp4").exists()
    assert not Path("clips").exists()


def test_a_file_of_a_track_that_is_missing_ends_the_preparation(
    media: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = sorted(media.rglob("*.music.wav"))[0]
    lost.unlink()
    refused(capsys, ["prepare", "prepare.yaml", "--quiet"], 65, "1 of 12 files lack a file of their tracks.*.music.wav")
    assert not list(Path("runs").rglob("*.safetensors"))


@pytest.mark.parametrize(
    ("track", "how", "message"),
    [
        ("music", {"seconds": 3.0}, "music track .*lasts 3.000 s"),
        ("speech", {"seconds": 2.0, "gain": 0.0}, "silent"),
    ],
)
def test_tracks_of_other_lengths_and_silent_ones_leave_no_set(
    media: Path, capsys: pytest.CaptureFixture[str], track: str, how: dict[str, float], message: str
) -> None:
    """Where every clip is quarantined; a clip is silent if all of its tracks are."""
    changed(media, track, **how)
    if how.get("gain") == 0.0:
        for other in ("effects", "music"):
            changed(media, other, **how)
    refused(capsys, ["prepare", "prepare.yaml", "--quiet"], 65, message)
    assert not list(Path("runs").rglob("*.safetensors"))
