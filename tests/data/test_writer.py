"""What a writer refuses, and what an interrupted one leaves behind."""

import math
import multiprocessing
import re
import resource
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch

from talkies.config import DataError, StorageError
from talkies.data.clip import Caption, Clip, Header
from talkies.data.shards import ShardSet, ShardWriter
from talkies.streams import Grid


def bad_clips() -> list[tuple[str, Callable[[Clip], Clip]]]:
    def with_latent(name: str, **changes: Any) -> Callable[[Clip], Clip]:
        return lambda clip: replace(clip, streams={**clip.streams, name: replace(clip.streams[name], **changes)})

    def with_text(features: torch.Tensor) -> Callable[[Clip], Clip]:
        return lambda clip: replace(clip, texts={"text": Caption(caption="a", features=features)})

    def without(name: str) -> Callable[[Clip], Clip]:
        return lambda clip: replace(clip, streams={k: v for k, v in clip.streams.items() if k != name})

    chunked = Grid(channels=5, shape=(7,), rate=Fraction(25, 2), chunk=(7, Fraction(1)))
    not_finite = torch.zeros(3, 4, 2, 2).index_fill(1, torch.tensor([0]), math.nan)
    return [
        ("'clip-0' is added twice", lambda clip: replace(clip, id="clip-0")),
        ("another geometry", without("image")),
        ("another geometry", lambda clip: replace(clip, streams={})),
        ("another geometry", with_latent("audio", grid=Grid(channels=5, shape=(7,), rate=Fraction(9)))),
        ("another geometry", with_latent("audio", grid=chunked)),
        (r"audio latent \(5, 6\) does not match", with_latent("audio", values=torch.zeros(5, 6))),
        ("0 valid video steps", with_latent("video", valid=0)),
        ("8 valid audio steps; there are 7", with_latent("audio", valid=8)),
        ("video latent has values that are not finite", with_latent("video", values=not_finite)),
        ("image latent has values", with_latent("image", values=torch.full((3, 4, 2, 2), math.inf))),
        (r"text \(1, 7\) does not match the null text's \(6, 8\)", with_text(torch.zeros(1, 7))),
        (r"text \(7, 8\) does not match the null text's", with_text(torch.zeros(7, 8))),
        (r"text \(8,\) does not match the null text's", with_text(torch.zeros(8))),
        ("its text has values that are not finite", with_text(torch.full((1, 8), math.inf))),
        (r"has starts of \['image'\], the first clip of its set of \[\]", with_latent("image", start=1.5)),
        ("has the streams and texts .*, its set's header", lambda clip: replace(clip, texts={})),
    ]


@pytest.mark.parametrize(("message", "change"), bad_clips())
def test_bad_clip_is_refused(
    tmp_path: Path, make_clip: Callable[..., Clip], header: Header, message: str, change: Callable[[Clip], Clip]
) -> None:
    writer = ShardWriter(tmp_path / "s", header, 4)
    writer.add(make_clip(0))
    with pytest.raises(DataError, match=message):
        writer.add(change(make_clip(1)))
    writer.add(make_clip(2))  # a refused clip may be skipped: the writer continues
    writer.close()
    assert ShardSet.open(tmp_path / "s").ids == ["clip-0", "clip-2"]


def test_no_clips_no_set(tmp_path: Path, header: Header) -> None:
    with pytest.raises(DataError, match="nothing to train on"):
        ShardWriter(tmp_path / "s", header, 4).close()


def test_existing_set_is_not_overwritten(build: Callable[..., Path], header: Header) -> None:
    folder = build()
    with pytest.raises(DataError, match="already holds a shard set"):
        ShardWriter(folder, header, 4)
    assert len(ShardSet.open(folder)) == 10


def test_interrupted_writer_leaves_no_set_and_the_next_one_cleans(
    tmp_path: Path, make_clip: Callable[..., Clip], header: Header
) -> None:
    folder = tmp_path / "s"

    def interrupted() -> None:
        with ShardWriter(folder, header, 2) as writer:
            for number in range(7):
                writer.add(make_clip(number))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert sorted(path.name for path in folder.iterdir()) == [f"shard-0000{i}.safetensors" for i in range(3)]
    with pytest.raises(DataError, match="no complete shard set"):
        ShardSet.open(folder)
    (folder / ".shard-00001.safetensors.77.tmp").write_bytes(b"torn")
    with ShardWriter(folder, header, 8) as writer:
        writer.add(make_clip(1))
    assert sorted(path.suffix for path in folder.iterdir()) == [".json", ".safetensors", ".safetensors"]
    assert len(ShardSet.open(folder)) == 1


def test_header_wants_a_geometry_and_one_null_text(header: Header) -> None:
    with pytest.raises(DataError, match="is not HEIGHTxWIDTHxFRAMES@FPS"):
        replace(header, geometry="360p")
    two = replace(header.null_texts["text"], embedding=torch.zeros(2, 6, 8))
    with pytest.raises(DataError, match="null text 'text' of set 'train' has batch 2, not 1"):
        replace(header, null_texts={"text": two})


def test_full_disk_is_a_storage_error(tmp_path: Path, make_clip: Callable[..., Clip], header: Header) -> None:
    context = multiprocessing.get_context("fork")
    messages = context.SimpleQueue()

    def write() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        writer = ShardWriter(tmp_path / "s", header, 4)
        try:
            for number in range(4):
                writer.add(make_clip(number))
        except StorageError as error:
            messages.put(str(error))

    child = context.Process(target=write)
    child.start()
    child.join(200)
    assert child.exitcode == 0
    assert not messages.empty()
    assert re.search(r"shard-00000\.safetensors: File too large; \d+ bytes are needed, \d+ are free", messages.get())
    assert list((tmp_path / "s").iterdir()) == []
