"""Small media folders, and recipes that prepare them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from talkies.config.decode import decode_values
from talkies.media.write import write_mp4
from talkies.prepare.config import PrepareConfig
from talkies.streams.codec import Media

REAL_CLIPS = Path(__file__).parents[3] / "shared" / "clips"
Maker = Callable[..., Path]


@pytest.fixture
def real_clips() -> Path:
    """A folder with one real clip (24 fps, 352x624, 48 kHz, 8.04 s) and its long caption."""
    if not (REAL_CLIPS / "cat_yarn_352x624_24fps.mp4").is_file():
        pytest.skip(f"the real clip is not in {REAL_CLIPS}")
    return REAL_CLIPS


@pytest.fixture
def make(tmp_path: Path) -> Maker:
    """Write a clip whose pictures and sound follow from `seed`; keywords change one thing."""

    def write(
        name: str,
        *,
        seed: int = 0,
        caption: str | bytes | None = "a square hums",
        frames: int = 25,
        size: tuple[int, int] = (32, 32),
        fps: float = 12.0,
        seconds: float | None = None,
        gain: float = 0.3,
        video: bool = True,
        audio: bool = True,
    ) -> Path:
        path = tmp_path / "media" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = torch.Generator().manual_seed(seed)
        coarse = torch.rand(frames, 3, 4, 4, generator=rng) * 1.6 - 0.8
        pixels = torch.nn.functional.interpolate(coarse, size=size, mode="bilinear")
        rate = 16000
        length = round(rate * (frames / fps if seconds is None else seconds))
        pitches = 200 + 1500 * torch.rand(length // 1600 + 1, generator=rng)
        loudness = torch.rand(length // 1600 + 1, generator=rng).repeat_interleave(1600)[:length]
        phase = (2 * torch.pi * pitches.repeat_interleave(1600)[:length] / rate).cumsum(0)
        samples = (gain * (0.2 + loudness) * (phase.sin() + 0.5 * (3 * phase).sin())).clamp(-1, 1)
        media = Media(frames=pixels if video else None, fps=fps, samples=samples if audio else None, sample_rate=rate)
        write_mp4(path, media, tags={})
        if caption is not None:
            path.with_suffix(".txt").write_bytes(caption.encode() if isinstance(caption, str) else caption)
        return path

    return write


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[..., PrepareConfig]:
    """A recipe over the folder `tmp_path`/media; keywords replace its sections."""

    def build(**sections: Any) -> PrepareConfig:
        values = {
            "kind": "prepare",
            "name": "small",
            "sources": {"media": {"kind": "folder", "path": "media"}},
            "codecs": {
                "video": {"kind": "linear_video", "channels": 8},
                "audio": {"kind": "linear_audio", "channels": 8, "hop": 640},
                "text": {"kind": "bytes", "dim": 16, "length": 6},
            },
            "sets": {"all": {"source": "media", "split": "all", "geometry": "32x32x25@12"}},
            "fit_sets": ["all"],
            "shard_clips": 2,
            **sections,
        }
        return decode_values(PrepareConfig, values, where="test")

    return build
