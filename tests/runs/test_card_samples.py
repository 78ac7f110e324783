"""The sampled clips that a model card shows."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from talkies.config import DataError
from talkies.media.contact_sheet import contact_sheet, reduced
from talkies.media.write import PROVENANCE
from talkies.runs.card_samples import samples_of
from talkies.runs.validation import write_samples
from talkies.streams.codec import Media

SHA256 = "ab" * 32


def clip(height: int = 32, width: int = 32, frames: int = 3) -> Media:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(frames, 3, height, width, generator=generator) * 2 - 1
    return Media(frames=pixels, fps=12.5, samples=torch.zeros(4000), sample_rate=16000)


def test_samples_are_those_of_the_release(tmp_path: Path) -> None:
    prompts = [f"prompt {number}\nof <b>two</b> lines" for number in range(5)]
    write_samples([clip()] * 5, prompts, tmp_path, tags={PROVENANCE: f"synthetic; talkies lora sha256 {SHA256[:16]}"})
    found = samples_of(tmp_path, SHA256)
    assert [sample.prompt for sample in found] == [f"prompt {number} of <b>two</b> lines" for number in range(3)]
    frames = [Image.open(BytesIO(sample.first or b""), formats=["PNG"]) for sample in found]
    expected = ((clip().frames[0] + 1) * 127.5).round().byte().permute(1, 2, 0)  # type: ignore[index]
    assert all(torch.equal(torch.from_numpy(np.array(frame)), expected) for frame in frames)
    (tmp_path / "sample-00.first.png").unlink()
    assert samples_of(tmp_path, SHA256)[0].first is None  # an evaluation of an older version
    assert samples_of(tmp_path, "cd" * 32) == []
    assert samples_of(tmp_path / "none", SHA256) == []


@pytest.mark.parametrize(("height", "width"), [(32, 32), (352, 640), (320, 180)])
def test_a_picture_of_a_clip_of_any_size_is_small(tmp_path: Path, height: int, width: int) -> None:
    media = clip(height, width, frames=12)
    contact_sheet(tmp_path / "sheet.png", media.frames, media.samples, media.sample_rate)
    data = reduced(tmp_path / "sheet.png")
    picture = Image.open(BytesIO(data), formats=["JPEG"])
    assert max(picture.size) <= 960
    assert picture.height <= 480
    assert len(data) < 300_000


def test_a_damaged_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "sheet.png").write_bytes(b"\x89PNG\r\n\x1a\n torn")
    with pytest.raises(DataError, match=r"sheet\.png is damaged"):
        reduced(tmp_path / "sheet.png")
