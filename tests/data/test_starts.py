"""Streams that begin before or after their clip say when."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from talkies.config import DataError
from talkies.data.clip import Clip, Header
from talkies.data.collate import collate
from talkies.data.shards import ShardSet, ShardWriter


@pytest.fixture
def folder(tmp_path: Path, make_clip: Callable[..., Clip], header: Header) -> Path:
    """A set whose images begin at -0.5, 0.75 and 2 s."""
    with ShardWriter(tmp_path / "set", header, 2) as writer:
        for number in range(3):
            clip = make_clip(number)
            image = replace(clip.streams["image"], start=-0.5 + 1.25 * number)
            writer.add(replace(clip, streams={**clip.streams, "image": image}))
    return tmp_path / "set"


def test_starts_come_back_with_the_batch(folder: Path) -> None:
    shards = ShardSet.open(folder)
    clips = [shards.read(i) for i in (2, 0)]
    assert [clip.streams["image"].start for clip in clips] == [2.0, -0.5]
    batch = collate(clips, [0, 0], shards.null_texts).to("cpu")
    assert torch.equal(batch.streams["image"].start, torch.tensor([2.0, -0.5]))
    assert batch.streams["video"].start is None


def test_an_index_without_starts_is_as_it_was(build: Callable[..., Path]) -> None:
    """So that the fingerprints of sets that have none stay the same."""
    clips = json.loads((build() / "index.json").read_text())["clips"]
    assert {key for clip in clips for key in clip} == {"id", "captions", "lengths", "valid", "checksums"}


@pytest.mark.parametrize("starts", [{}, {"video": 1.0}, {"image": 1.0, "film": 1.0}])
def test_starts_that_contradict_each_other_are_refused(folder: Path, starts: dict[str, float]) -> None:
    path = folder / "index.json"
    values: dict[str, Any] = json.loads(path.read_text())
    values["clips"][1]["starts"] = starts
    path.write_text(json.dumps(values))
    with pytest.raises(
        DataError, match=r"index\.json is damaged: clip 'clip-1' has `starts` of .*first clip of \['image'\]"
    ):
        ShardSet.open(folder)


def test_a_start_is_finite(tmp_path: Path, make_clip: Callable[..., Clip], header: Header) -> None:
    clip = make_clip(0)
    image = replace(clip.streams["image"], start=float("nan"))
    with pytest.raises(DataError, match="its image starts at nan s; a finite time is needed"):
        ShardWriter(tmp_path / "set", header, 2).add(replace(clip, streams={**clip.streams, "image": image}))
