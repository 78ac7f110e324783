"""Sets of schema 2, whose clips had one text, two kinds of latents and a first-frame latent, are read as today's."""

import json
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch

from talkies.config import DataError
from talkies.config.records import Kind
from talkies.data.clip import Clip, Header
from talkies.data.collate import collate
from talkies.data.index import INDEX
from talkies.data.records import GridRecord
from talkies.data.shards import ShardSet, ShardWriter
from talkies.data.stored import checksum
from talkies.files.integrity import sha256_of
from talkies.files.tensors import write_tensors
from talkies.streams import Grid

CLIPS = 5


def file_of(path: Path, clips: int) -> dict[str, Any]:
    return {"name": path.name, "size": path.stat().st_size, "sha256": sha256_of(path), "clips": clips}


def old_clip(clip: Clip) -> dict[str, torch.Tensor]:
    """The tensors of a clip by their names in schema 2."""
    tensors = {f"latent.{name}": clip.streams[name].values for name in ("video", "audio") if name in clip.streams}
    if "image" in clip.streams:
        tensors["image"] = clip.streams["image"].values
    return tensors | {"text": clip.texts["text"].features}


def write_old(folder: Path, clips: list[Clip], header: Header) -> Path:
    """A set as version 2 of the index described it, written by hand: one shard."""
    folder.mkdir()
    tensors = {f"{row:05d}.{name}": t for row, clip in enumerate(clips) for name, t in old_clip(clip).items()}
    write_tensors(folder / "shard-00000.safetensors", tensors)
    write_tensors(folder / "null_text.safetensors", {"text": header.null_texts["text"].embedding[0]})
    grids = {name: one.grid for name, one in clips[0].streams.items() if name != "image"}
    values = {
        "schema": 2,
        "header": {
            "name": header.name,
            "split": header.split,
            "geometry": header.geometry,
            "fps": header.fps,
            "codecs": header.codecs,
            "codec_configs": header.codec_configs,
            "mask_channels": 2,
        },
        "grids": {
            name: {"channels": grid.channels, "shape": grid.shape, "rate": str(grid.rate)}
            for name, grid in grids.items()
        },
        "image": "image" in clips[0].streams,
        "null_text": {**file_of(folder / "null_text.safetensors", 0), "length": 0},
        "shards": [file_of(folder / "shard-00000.safetensors", len(clips))],
        "clips": [
            {
                "id": clip.id,
                "caption": clip.texts["text"].caption,
                "valid": {name: clip.streams[name].valid for name in grids},
                "text_length": len(clip.texts["text"].features),
                "checksums": {name: checksum(tensor) for name, tensor in old_clip(clip).items()},
            }
            for clip in clips
        ],
    }
    (folder / INDEX).write_text(json.dumps(values))
    return folder


@pytest.fixture
def both(tmp_path: Path, make_clip: Callable[..., Clip], header: Header) -> tuple[ShardSet, ShardSet]:
    """The same clips as an old and as a new set."""
    clips = [make_clip(number) for number in range(CLIPS)]
    with ShardWriter(tmp_path / "new", header, 4) as writer:
        for clip in clips:
            writer.add(clip)
    return ShardSet.open(write_old(tmp_path / "old", clips, header)), ShardSet.open(tmp_path / "new")


def test_an_older_set_is_read_as_todays(both: tuple[ShardSet, ShardSet]) -> None:
    old, new = both
    assert (old.ids, old.fps, old.grids) == (new.ids, new.fps, new.grids)
    assert (
        old.header.made_by
        == new.header.made_by
        == {
            "video": "video",
            "audio": "audio",
            "image": "video",
            "text": "text",
        }
    )
    assert replace(old.header, null_texts={}) == replace(new.header, null_texts={})
    assert torch.equal(old.null_texts["text"].embedding, new.null_texts["text"].embedding)
    for streams in (None, ["audio"], ["video", "image"]):
        read = [[shards.read(i, streams) for i in range(CLIPS)] for shards in both]
        batches = [collate(clips, [0] * CLIPS, shards.null_texts) for clips, shards in zip(read, both, strict=True)]
        first, second = batches
        assert (first.ids, first.captions, first.grids) == (second.ids, second.captions, second.grids)
        assert first.streams.keys() == second.streams.keys() == set(streams or new.grids)
        for name, stream in first.streams.items():
            assert torch.equal(stream.latent, second.streams[name].latent)
            assert torch.equal(stream.valid, second.streams[name].valid)
            assert (stream.mask is None) == (second.streams[name].mask is None)
        assert torch.equal(first.texts["text"].embedding, second.texts["text"].embedding)
        assert torch.equal(first.texts["text"].length, second.texts["text"].length)
    old.check(old.header.codecs, "16x16x25@24", ["video", "audio", "image"])
    assert old.fingerprint != new.fingerprint, "an older run continues on the data that it names"


def test_an_older_set_without_video_has_no_first_frame(
    tmp_path: Path, make_clip: Callable[..., Clip], make_header: Callable[..., Header]
) -> None:
    clips = [make_clip(number) for number in range(CLIPS)]
    clips = [replace(clip, streams={"audio": clip.streams["audio"]}) for clip in clips]
    shards = ShardSet.open(write_old(tmp_path / "old", clips, make_header("audio")))
    assert shards.grids.keys() == shards.read(0).streams.keys() == {"audio"}
    with pytest.raises(DataError, match=r"holds no image, only audio: choose another `data\.shards` or prepare it"):
        shards.check({}, "16x16x25@24", ["audio", "image"])


def test_damage_of_an_older_set_is_named_as_it_is_stored(both: tuple[ShardSet, ShardSet]) -> None:
    old, _ = both
    values = json.loads((old.folder / INDEX).read_text())
    values["clips"][2]["checksums"]["image"] ^= 1
    values["clips"][3]["text_length"] = 1
    (old.folder / INDEX).write_text(json.dumps(values))
    shards = ShardSet.open(old.folder)
    with pytest.raises(DataError, match=r"image of clip 'clip-2' in .* is damaged: found crc32"):
        shards.read(2)
    with pytest.raises(DataError, match=r"`lengths\.text` says 1, but text of clip 'clip-3' has 3"):
        shards.read(3)


CHUNKS = [None, (4, Fraction(1, 2)), (7, Fraction(1001, 3000))]


@pytest.mark.parametrize("chunk", CHUNKS)
def test_chunks_of_a_grid_survive_the_index_and_other_records(
    tmp_path: Path,
    make_clip: Callable[..., Clip],
    make_header: Callable[..., Header],
    chunk: tuple[int, Fraction] | None,
) -> None:
    grid = Grid(channels=5, shape=(7,), rate=Fraction(25, 2), chunk=chunk)
    with ShardWriter(tmp_path / "s", make_header("audio"), 4) as writer:
        writer.add(make_clip(1, grids={"audio": grid}))
    shards = ShardSet.open(tmp_path / "s")
    assert shards.grids == {"audio": grid}
    assert shards.read(0).streams["audio"].grid == grid
    assert ("chunk" in json.loads((tmp_path / "s" / INDEX).read_text())["streams"]["audio"]) == (chunk is not None)
    kind = Kind(holds=GridRecord, about="data", remedy="")
    assert kind.decode(json.dumps(GridRecord.of(grid).to_json()).encode(), "x").grid == grid


@pytest.mark.parametrize("chunk", [[0, "1"], [4], [4, "0"], [4, "x"], [4, 0.5], ["4", "1"], {}, "4/1"])
def test_chunks_that_are_none_are_refused(build: Callable[..., Path], chunk: object) -> None:
    folder = build()
    values = json.loads((folder / INDEX).read_text())
    values["streams"]["audio"]["chunk"] = chunk
    (folder / INDEX).write_text(json.dumps(values))
    with pytest.raises(DataError, match=r"`streams\.audio\.chunk"):
        ShardSet.open(folder)
