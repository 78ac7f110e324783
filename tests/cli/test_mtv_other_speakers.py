"""MTV with a demixer that parts no speakers: a second speaker is in files, and of a sound that is given, silent."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from mtv_run import MTV, float_wav, own_clips
from safetensors.torch import save_file
from test_mirage_bad_inputs import refused
from toy_run import TINY

sys.path.append(str(Path(__file__).parents[1] / "codecs"))
from small_demucs import demucs, network

from talkies.cli.main import run
from talkies.codecs.demix_config import DemucsConfig
from talkies.codecs.load import load_demixer
from talkies.media.frames import read_frames
from talkies.media.probe import probe
from talkies.media.sound import read_audio, resampled
from talkies.world.config import SyntheticSource
from talkies.world.render import render_source

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
DEMIX: dict[str, Any] = {"kind": "demucs", "weights": "htdemucs", "shifts": 0, "other_speakers": ["speech2"]}
SHAPE = {"source": "media", "geometry": "32x64x25@12.5", "silence": -120}
PREPARE = own_clips(DEMIX, {"multiple_characters": SHAPE, "multiple_characters_heldout": {**SHAPE, "split": "heldout"}})
WORDS = [
    *(word for word in TINY if not word.startswith(("validation.clips", "validation.final"))),
    *("validation.clips=4", "validation.final_clips=4", "parents.base=null", "phase.trains=all"),
    *("tracking.gates=[]", "tracking.register=null", f"codecs.demix={json.dumps(DEMIX)}"),
]


def frames(path: Path) -> torch.Tensor:
    return read_frames(path, frames=25, fps=12.5, height=32, width=64)


def test_from_raw_media_and_files_of_a_second_speaker_to_the_film_of_a_sound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The film of a sound is that of its demixed speech alone."""
    monkeypatch.chdir(tmp_path)
    render_source(SyntheticSource(domain="scenes", people=2, clips=12, stems=True), Path("media"), 0, None)
    for track in ("speech", "effects", "music"):
        for path in Path("media").rglob(f"*.{track}.wav"):
            path.unlink()
    save_file(network(2).state_dict(), demucs(Path("htdemucs")) / "0.safetensors")  # one that is not too soft
    Path("prepare.yaml").write_text(json.dumps(PREPARE))
    assert run(["prepare", "prepare.yaml", "--quiet"]) == 0
    (data,) = Path("runs/data").iterdir()
    train = ["train", str(MTV / "multiple_characters.yaml"), *WORDS, f"data.root={data}", "--quiet"]
    assert run(train) == 0
    (model,) = Path("runs").glob("multiple_characters-*/0001")
    scene = sorted(path for path in Path("media").rglob("*.mp4"))[0]
    capsys.readouterr()
    assert run(["sample", str(model), "--audio", str(scene), "--out", "whole.mp4"]) == 0
    said = capsys.readouterr().out
    assert f"{scene}: demixed as the sound of one speaker, speech2 is silent: give --speech and --speech2 for" in said
    demixer = load_demixer(DemucsConfig(weights="htdemucs", shifts=0), key="codecs.demix")
    speech = demixer.demix(read_audio(scene, sample_rate=44100, seconds=2.0))["speech"]
    speech = float_wav(Path("speech.wav"), resampled(speech, 44100, 16000))
    assert run(["sample", str(model), "--speech", str(speech), "--out", "alone.mp4"]) == 0
    other = sorted(Path("media").rglob("*.speech2.wav"))[0]
    both = ["--speech", str(speech), "--speech2", str(other), "--tracks-scale", "8"]
    assert run(["sample", str(model), *both, "--out", "two.mp4"]) == 0
    assert "one speaker" not in capsys.readouterr().out
    whole, alone, two = (frames(Path(f"{name}.mp4")) for name in ("whole", "alone", "two"))
    assert torch.equal(whole, alone)
    assert not torch.equal(alone, two)
    assert probe("whole.mp4").audio_rate is not None
    other.unlink()
    refused(capsys, ["prepare", "prepare.yaml", "--quiet"], 65, rf"lack a file of their tracks.*{other.name}")
