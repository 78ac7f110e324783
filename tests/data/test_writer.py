"""What a writer refuses, and what an interrupted one leaves behind."""

import multiprocessing
import re
import resource
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from talkies.config import DataError, StorageError
from talkies.data.clip import Clip, Header
from talkies.data.shards import ShardSet, ShardWriter
from talkies.streams import Grid


def bad_clips() -> list[tuple[str, Callable[[Clip], Clip]]]:
    def no_number(clip: Clip) -> Clip:
        latent = clip.latents["video"].clone()
        latent[0, 0, 0, 0] = float("nan")
        return replace(clip, latents={**clip.latents, "video": latent})

    return [
        ("'clip-0' is added twice", lambda clip: replace(clip, id="clip-0")),
        ("another geometry", lambda clip: replace(clip, image=None)),
        (
            "another geometry",
            lambda clip: replace(clip, grids={"audio": Grid(channels=5, shape=(7,), rate=Fraction(9))}),
        ),
        (
            r"audio latent \(5, 6\) does not match",
            lambda c: replace(c, latents={**c.latents, "audio": torch.zeros(5, 6)}),
        ),
        ("0 valid video steps", lambda clip: replace(clip, valid={**clip.valid, "video": 0})),
        ("8 valid audio steps; there are 7", lambda clip: replace(clip, valid={**clip.valid, "audio": 8})),
        ("video latent has values that are not finite", no_number),
        ("first-frame latent has values", lambda clip: replace(clip, image=torch.full((3, 4, 2, 2), float("inf")))),
        (r"text \(5, 8\) of length 1", lambda clip: replace(clip, text=torch.zeros(5, 8))),
        ("text features past its length 1", lambda clip: replace(clip, text=torch.ones(6, 8))),
        ("must name the same modalities", lambda clip: replace(clip, valid={"video": 4})),
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
    two = replace(header.null_text, embedding=torch.zeros(2, 6, 8))
    with pytest.raises(DataError, match="has batch 2, not 1"):
        replace(header, null_text=two)


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
    child.join(60)
    assert child.exitcode == 0
    assert not messages.empty()
    assert re.search(r"shard-00000\.safetensors: File too large; \d+ bytes are needed, \d+ are free", messages.get())
    assert list((tmp_path / "s").iterdir()) == []
