"""Small shard sets on disk."""

import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from talkies.data.clip import Caption, Clip, Header, Latent
from talkies.data.shards import ShardSet, ShardWriter
from talkies.streams import Grid
from talkies.streams.batch import Text

sys.path.append(str(Path(__file__).parents[1] / "parallel"))  # damaged.py

GRIDS: dict[str, Grid] = {
    "video": Grid(channels=3, shape=(4, 2, 2), rate=Fraction(6)),
    "audio": Grid(channels=5, shape=(7,), rate=Fraction(25, 2)),
    "image": Grid(channels=3, shape=(4, 2, 2), rate=Fraction(6)),
}
CODEC_OF = {"video": "video", "audio": "audio", "image": "video", "text": "text"}


def clip_of(number: int, *, grids: dict[str, Grid] = GRIDS, dtype: torch.dtype = torch.float32) -> Clip:
    """A clip whose values depend on `number`; every third one has padded audio."""
    generator = torch.Generator().manual_seed(number)
    features = torch.randn(number % 5, 8, generator=generator)

    def latent(name: str, grid: Grid) -> Latent:
        values = torch.randn(grid.latent_shape, generator=generator).to(dtype)
        valid = grid.shape[0] - (number % 3 == 0 and name == "audio") * 2
        return Latent(values=values, grid=grid, valid=valid)

    return Clip(
        id=f"clip-{number}",
        streams={name: latent(name, grid) for name, grid in grids.items()},
        texts={"text": Caption(caption=f"a face \u00fc {number}", features=features)},
    )


def header_of(*streams: str) -> Header:
    null = Text(embedding=torch.zeros(1, 6, 8), length=torch.tensor([0]))
    null.embedding[0, 0] = 0.5
    return Header(
        name="train",
        split="train",
        geometry="16x16x25@24",
        fps=24.0,
        codecs={"video": "aa" * 32, "audio": "bb" * 32, "text": "cc" * 32},
        codec_configs={"video": {"kind": "linear_video"}, "audio": {"kind": "linear_audio"}, "text": {"kind": "bytes"}},
        made_by={name: CODEC_OF[name] for name in (*(streams or GRIDS), "text")},
        null_texts={"text": null},
    )


@pytest.fixture
def make_clip() -> Callable[..., Clip]:
    return clip_of


@pytest.fixture
def header() -> Header:
    return header_of()


@pytest.fixture
def make_header() -> Callable[..., Header]:
    """make_header("audio"): of sets with these streams."""
    return header_of


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
