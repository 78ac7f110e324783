"""Small shard sets on disk."""

import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from talkies.data.clip import Clip, Header
from talkies.data.shards import ShardSet, ShardWriter
from talkies.streams import Grid, Modality
from talkies.streams.batch import Text

sys.path.append(str(Path(__file__).parents[1] / "parallel"))  # damaged.py

GRIDS: dict[Modality, Grid] = {
    "video": Grid(channels=3, shape=(4, 2, 2), rate=Fraction(6)),
    "audio": Grid(channels=5, shape=(7,), rate=Fraction(25, 2)),
}


def clip_of(number: int, *, grids: dict[Modality, Grid] = GRIDS, dtype: torch.dtype = torch.float32) -> Clip:
    """A clip whose values depend on `number`; every third one has padded audio."""
    generator = torch.Generator().manual_seed(number)
    length = number % 5
    text = torch.zeros(6, 8)
    text[:length] = torch.randn(length, 8, generator=generator)
    image = torch.randn(grids["video"].latent_shape, generator=generator).to(dtype) if "video" in grids else None
    return Clip(
        id=f"clip-{number}",
        caption=f"a face \u00fc {number}",
        latents={m: torch.randn(g.latent_shape, generator=generator).to(dtype) for m, g in grids.items()},
        valid={m: g.shape[0] - (number % 3 == 0 and m == "audio") * 2 for m, g in grids.items()},
        grids=grids,
        image=image,
        text=text,
        text_length=length,
    )


def header_of() -> Header:
    null = Text(embedding=torch.zeros(1, 6, 8), length=torch.tensor([0]))
    null.embedding[0, 0] = 0.5
    return Header(
        name="train",
        split="train",
        geometry="16x16x25@24",
        fps=24.0,
        codecs={"video": "aa" * 32, "audio": "bb" * 32, "text": "cc" * 32},
        codec_configs={"video": {"kind": "linear_video"}, "audio": {"kind": "linear_audio"}, "text": {"kind": "bytes"}},
        null_text=null,
        mask_channels=2,
    )


@pytest.fixture
def make_clip() -> Callable[..., Clip]:
    return clip_of


@pytest.fixture
def header() -> Header:
    return header_of()


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., Path]:
    """Write `clips` clips into a set folder, `per` to a shard."""

    def write(clips: int = 10, per: int = 4, name: str = "set") -> Path:
        with ShardWriter(tmp_path / name, header_of(), per) as writer:
            for number in range(clips):
                writer.add(clip_of(number))
        return tmp_path / name

    return write


@pytest.fixture
def shards(build: Callable[..., Path]) -> ShardSet:
    return ShardSet.open(build())
