"""Releases of a small Mirage audio of random weights, and recordings of voices to give to them."""

import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
import torch
import yaml
from PIL import Image
from torch import Tensor
from tracking_release import info

from talkies.checkpoints.release import write_release
from talkies.cli.main import run
from talkies.codecs.load import load_codecs
from talkies.config.canonical import to_dict
from talkies.config.source import load
from talkies.data.records import GridRecord
from talkies.models.build import build
from talkies.models.mirage_audio.config import SOUND
from talkies.models.systems import SYSTEMS
from talkies.prepare.geometry import Geometry
from talkies.recipe.check import cut_grids
from talkies.recipe.components import parts
from talkies.recipe.config import PhaseRecipe, decode_phase
from talkies.runs.recorded import released_values
from talkies.runs.result import split_components

WORDS = "[S1] so ba mi\n"
"""A script of the synthetic world."""
SCRIPT = "[S1] Hello there,\n[S2] hi you!\n"
RATE, HOP, SECONDS = 16000, 160, 2.0
"""Of the codec, and the clips of the model, which says a letter in a tenth of a second."""
VALUES: dict[str, Any] = {
    "kind": "phase",
    "name": "speaking",
    "model": {"kind": "mirage_audio", "preset": "tiny", "sound_features": HOP, "characters_per_second": 10.0},
    "phase": {"kind": "cloning"},
    "codecs": {"sound": {"kind": "waveform", "sample_rate": RATE, "hop": HOP}, "text": {"kind": "bytes"}},
    "optimizer": {
        "kind": "adamw", "lr": {"sound": 1e-3, "text": 1e-3}, "weight_decay": 0.0, "betas": [0.9, 0.99], "warmup": 1,
        "clip": 1.0,
    },
    "data": {"shards": "voices", "heldout": "voices_heldout", "geometry": f"1x1x{int(1000 * SECONDS)}@1000"},
    "steps": {"max": 1, "global_batch": 1, "checkpoint_every": 1},
    "validation": {"every": 1, "clips": 1, "bins": 1, "samples": 1, "sampling_steps": 1},
    "sampling": {"steps": 2, "schedule": {"kind": "uniform"}, "scales": {"text": 2.0, "reference": 1.5}},
    "tracking": {"experiment": "speaking"},
}  # fmt: skip


def recipe_of(folder: Path, *overrides: str) -> PhaseRecipe:
    path = folder / "speaking.yaml"
    path.write_text(yaml.safe_dump(VALUES))
    recipe = decode_phase(load(path, list(overrides)), SYSTEMS)
    path.unlink()
    return recipe


def released(folder: Path, *overrides: str) -> Path:
    """The release of a phase with these weights."""
    recipe = recipe_of(folder.parent, *overrides)
    model = build(recipe.system, recipe, parts(recipe).components, seed=0)
    codecs = load_codecs(recipe.codecs, None).identities
    cut, _ = cut_grids(recipe, Geometry.parse(recipe.data.geometry, key="data.geometry"))
    grids = {name: GridRecord.of(grid, SOUND).to_json() for name, grid in cut.items()}
    data = {**info()["data"], "geometry": recipe.data.geometry, "fps": 1000.0, "grids": grids}
    values = {"recipe": released_values(recipe), "model": to_dict(recipe.model), "codecs": codecs, "data": data}
    write_release(folder, components=split_components(model.state_dict()), info=info(name=recipe.name, **values))
    return folder


def voice(seconds: float = 1.5, *, pitch: float = 120.0, rate: int = 24000, lead: float = 0.0) -> Tensor:
    """A harmonic tone that rises and falls, after silence of `lead` seconds."""
    time = torch.arange(round(seconds * rate)) / rate
    tone = torch.stack([torch.sin(2 * torch.pi * pitch * n * time) / n for n in range(1, 12)]).sum(0)
    loudness = 0.5 + 0.4 * torch.sin(2 * torch.pi * 3 * time)
    return torch.cat([torch.zeros(round(lead * rate)), 0.25 * loudness * tone])


def recorded(path: Path, sound: Tensor, *, rate: int = 24000) -> Path:
    """A file of mono sound; its suffix says which."""
    codec = {".wav": "pcm_s16le", ".flac": "flac", ".mp3": "libmp3lame", ".m4a": "aac"}[path.suffix]
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream(codec, rate=rate, layout="mono")
        values = (sound.clamp(-1, 1) * 32767).round().short()[None].numpy()
        frame = av.AudioFrame.from_ndarray(values, format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        for packet in (*stream.encode(frame), *stream.encode(None)):
            out.mux(packet)
    return path


@pytest.fixture(scope="session")
def speaking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with models and recordings of voices."""
    folder = tmp_path_factory.mktemp("speaking")
    released(folder / "cloning")
    released(folder / "apart", "model.texts=apart", "codecs.script.kind=bytes", "codecs.description.kind=bytes")
    released(folder / "design", "phase.kind=design", "sampling.scales.reference=1.0")
    recorded(folder / "low.wav", voice())
    recorded(folder / "high.wav", voice(pitch=210.0))
    return folder


@pytest.fixture
def here(speaking: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, beside the models, with a script and recordings."""
    for path in speaking.glob("*.wav"):
        shutil.copy(path, tmp_path)
    (tmp_path / "script.txt").write_text(SCRIPT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def sample(folder: Path, *words: object, model: str = "cloning") -> int:
    """The exit code of `talkies sample` with a model of a folder."""
    return run(["sample", str(folder / model), *map(str, words)])


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a script, recordings of two voices and a picture."""
    monkeypatch.chdir(tmp_path)
    Path("script.txt").write_text(WORDS)
    recorded(Path("low.wav"), voice(2.0, rate=RATE), rate=RATE)
    recorded(Path("high.wav"), voice(2.0, pitch=210.0))
    Image.new("RGB", (48, 96), (200, 30, 60)).save("face.png")
    return tmp_path


def perform(audio: Path | str, *words: str, out: str = "out") -> int:
    """The exit code of `talkies perform` by the model `audio`."""
    return run(["perform", *words, "--audio-model", str(audio), "--out", out])
