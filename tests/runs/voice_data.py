"""A data root of sounds, each with a reference and the reference's samples; and recipes that clone from it."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from talkies.codecs.byte_text import ByteTextEncoder
from talkies.codecs.config import ByteTextConfig, LinearAudioConfig, WaveformConfig
from talkies.codecs.fitted import save_codec
from talkies.codecs.linear_audio import LinearAudioCodec, fit
from talkies.codecs.waveform import WaveformCodec
from talkies.config.canonical import to_dict
from talkies.data.clip import Caption, Clip, Header, Latent
from talkies.data.shards import ShardWriter
from talkies.models.systems import SYSTEMS
from talkies.recipe.config import PhaseRecipe, decode_phase_values
from talkies.runs.place import Place
from talkies.runs.run_phase import run_phase
from talkies.streams.codec import AudioCodec

GEOMETRY = "32x32x25@12.5"
RATE, SECONDS = 16000, 2
LINEAR, STORED, TEXT = LinearAudioConfig(), WaveformConfig(hop=640), ByteTextConfig()
UNREAD = ("script", "description")
CODECS = {"sound": LINEAR, "voice": STORED, "text": TEXT}


def sounds(number: int) -> tuple[Tensor, Tensor, int]:
    """A sound, another passage in the same voice, and how many samples of that are real."""
    generator = torch.Generator().manual_seed(number)
    clock = torch.arange(RATE * SECONDS) / RATE
    pitch = 150 * 2 ** float(torch.rand((), generator=generator))
    made = []
    for _ in range(2):
        beat = 0.5 + 0.5 * torch.sin(2 * torch.pi * (1 + 3 * torch.rand((), generator=generator)) * clock)
        made.append(0.4 * beat * sum(torch.sin(2 * torch.pi * k * pitch * clock) / k for k in (1, 2, 3, 5)))
    real = RATE * SECONDS - (number % 3) * 4000
    return made[0], made[1] * (torch.arange(len(clock)) < real), real


def fitted() -> LinearAudioCodec:
    return fit(LINEAR, [sound for number in range(6) for sound in sounds(number)[:2]])


def voice_root(folder: Path) -> Path:
    """11 clips to train on and 4 that are held out."""
    codec = fitted()
    save_codec(codec, folder / "codecs" / "sound")
    for name, numbers in (("train", range(11)), ("heldout", range(20, 24))):
        _write(folder / "sets" / name, name, numbers, codec)
    return folder


def _write(folder: Path, split: str, numbers: range, codec: LinearAudioCodec) -> None:
    voice, text = WaveformCodec(STORED), ByteTextEncoder(TEXT)
    header = Header(
        name=split, split=split, geometry=GEOMETRY, fps=12.5,
        codecs={"sound": codec.identity, "voice": voice.identity, "text": text.identity},
        codec_configs={name: dict(to_dict(config)) for name, config in CODECS.items()},
        made_by={"sound": "sound", "reference": "sound", "voice": "voice", "text": "text"},
        null_texts={"text": text.encode([""])},
    )  # fmt: skip
    with ShardWriter(folder, header, 4) as writer:
        for number in numbers:
            clip, passage, real = sounds(number)
            caption = f"<script> word {number}"
            features = text.encode([caption])
            writer.add(
                Clip(
                    id=f"{split}-{number}",
                    streams={
                        "sound": _latent(codec, clip),
                        "reference": _latent(codec, passage, real, start=-5.0),
                        "voice": _latent(voice, passage, real, start=-5.0),
                    },
                    texts={"text": Caption(caption=caption, features=features.embedding[0, : int(features.length)])},
                )
            )


def _latent(codec: AudioCodec, samples: Tensor, real: int | None = None, start: float | None = None) -> Latent:
    valid = codec.grid(len(samples) if real is None else real).shape[0]
    return Latent(values=codec.encode(samples[None])[0], grid=codec.grid(len(samples)), valid=valid, start=start)


PHASE: dict[str, Any] = {
    "name": "tuning",
    "phase": {"kind": "cloning", "degraded": 0.5, "reference_dropout": 0.2},
    "model": {"kind": "mirage_audio", "preset": "tiny", "sound_features": 8},
    "codecs": {name: asdict(config) for name, config in (CODECS | dict.fromkeys(UNREAD, TEXT)).items()},
    "optimizer": {"lr": {"sound": 1e-3, "text": 1e-3}},
    "data": {"shards": "train", "heldout": "heldout", "geometry": GEOMETRY},
    "steps": {"max": 4, "global_batch": 4, "checkpoint_every": 2, "log_every": 2},
    "validation": {"every": 4, "clips": 4, "samples": 0, "final_clips": 4},
    "tracking": {"experiment": "voices"},
}


def recipe(**changes: Any) -> PhaseRecipe:
    """Cloning with half of the references degraded; `phase`, if given, changes keys of it."""
    phase = {**PHASE["phase"], **changes.pop("phase", {})}
    return decode_phase_values({**PHASE, **changes, "phase": phase}, SYSTEMS, where="tuning.yaml")


def trained(data: Path, folder: Path, phase: PhaseRecipe, **options: Any) -> Path:
    """The run, trained to its end, or on."""
    place = Place(folder=folder, data_root=data, store=f"sqlite:///{folder.parent / 'mlflow.db'}", artifacts=None)
    run_phase(phase, place, siblings={}, registry=Path, bar=False, **options)
    return folder
