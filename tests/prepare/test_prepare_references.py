"""References: a picture from outside of the window, its time, and files that have none."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from talkies.codecs.config import LinearVideoConfig
from talkies.codecs.load import load_codecs
from talkies.config import DataError
from talkies.data.collate import collate
from talkies.data.shards import ShardSet
from talkies.media.frames import read_frames
from talkies.media.timeline import Beginning
from talkies.models.systems import SYSTEMS
from talkies.prepare.config import PrepareConfig
from talkies.prepare.geometry import Geometry
from talkies.prepare.pipeline import Report, prepare
from talkies.prepare.references import read_still

Maker = Callable[..., Path]
SIZE = Geometry(height=32, width=32, frames=25, fps=12.0)
MIRAGE: dict[str, Any] = {
    "system": "mirage",
    "codecs": {
        "video": {"kind": "linear_video", "channels": 8},
        "sound": {"kind": "log_mel", "channels": 12},
        "audio": {"kind": "waveform"},
        "text": {"kind": "bytes", "dim": 16, "length": 6},
    },
}


@pytest.fixture
def run(tmp_path: Path, recipe: Callable[..., PrepareConfig]) -> Callable[..., Report]:
    def once(**keys: Any) -> Report:
        sets = {"all": {"source": "media", "split": "all", "geometry": "32x32x25@12", **keys}}
        made = recipe(**MIRAGE, sets=sets)
        return prepare(made, tmp_path / "root", systems=SYSTEMS, recipe_folder=tmp_path, progress=False)

    return once


def test_a_reference_is_a_picture_outside_of_the_window(make: Maker) -> None:
    path = make("a.mp4", frames=60)
    frames = read_frames(path, frames=60, fps=12.0, height=32, width=32)
    seen = set[int]()
    for name in map(str, range(12)):
        begin = Beginning(seconds=1.0, picture=0.0, sound=0.0)
        still = read_still(path, SIZE, begin, name, None)
        assert still is not None
        place = round(12 * (still.start + 1.0))
        assert still.start == pytest.approx(place / 12 - 1.0, abs=1e-3)
        assert torch.equal(still.pixels, frames[place])
        seen.add(place)
        again = read_still(path, SIZE, begin, name, None)
        assert again is not None
        assert again.start == still.start
    assert seen <= {*range(12), *range(37, 60)}
    assert min(seen) < 12  # negative starts, too
    assert len(seen) > 5


def test_a_set_holds_the_encoded_reference_and_its_time(
    make: Maker, run: Callable[..., Report], tmp_path: Path
) -> None:
    paths = [make(f"{i}.mp4", seed=i, frames=40) for i in range(3)]
    assert run().sets["all"].kept == 3
    shards = ShardSet.open(tmp_path / "root" / "sets" / "all")
    video = load_codecs({"video": LinearVideoConfig(channels=8)}, tmp_path / "root" / "codecs").video["video"]
    assert dict(shards.header.made_by)["reference"] == "video"
    assert shards.grids["reference"] == video.grid(3, 32, 32, 12.0)
    clips = [shards.read(i) for i in range(3)]
    starts = collate(clips, [0] * 3, shards.null_texts).streams["reference"].start
    assert starts is not None
    for clip, start in zip(clips, starts.tolist(), strict=True):
        (path,) = [path for path in paths if path.name == clip.id]
        place = round(12 * start)
        assert 25 <= place < 40
        image = read_frames(path, frames=40, fps=12.0, height=32, width=32)[place] / 127.5 - 1
        expected = video.encode(image.expand(1, 3, 3, 32, 32))[0]
        torch.testing.assert_close(clip.streams["reference"].values, expected, atol=1e-5, rtol=1e-5)


def test_a_file_without_another_picture_is_quarantined_unless_the_set_leaves_references_out(
    make: Maker, run: Callable[..., Report], tmp_path: Path
) -> None:
    for i, frames in enumerate((25, 40, 40)):
        make(f"{i}.mp4", seed=i, frames=frames)
    report = run().sets["all"]
    assert report.kept == 2
    (lost,) = report.quarantined
    assert (lost.id, lost.reason) == ("0.mp4", "no reference")
    assert (
        "outside of its window of 2.083 s; use longer files, or leave the reference out: `sets.all.without`"
        in lost.detail
    )
    assert run().sets["all"].reused
    report = run(without=["reference"]).sets["all"]
    assert (report.kept, report.reused) == (3, False)
    shards = ShardSet.open(tmp_path / "root" / "sets" / "all")
    assert sorted(shards.grids) == ["audio", "sound", "video"]
    with pytest.raises(DataError, match=r"set 'all' .* holds no reference, only audio, sound, video"):
        shards.check({}, "32x32x25@12", ["video", "reference"])
