"""The pictures of a file outside of a window."""

from pathlib import Path

import pytest
import torch

from talkies.media.outside import times_outside
from talkies.media.write import write_mp4
from talkies.streams.codec import Media


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """48 frames at 12 per second."""
    frames = torch.rand(48, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    write_mp4(tmp_path / "a.mp4", Media(frames=frames, fps=12.0, samples=None, sample_rate=1), tags={})
    return tmp_path / "a.mp4"


def slots(path: Path, begin: int, end: int, reach: int) -> list[int]:
    """Times in frames; a rounding error beside a frame's own time is not one frame more."""
    found = times_outside(path, begin=begin / 12 + 1e-9, end=end / 12 - 1e-9, fps=12.0, reach=reach / 12)
    return [round(12 * time) for time in found]


def test_pictures_before_and_after_the_window(film: Path) -> None:
    assert slots(film, 10, 35, 100) == [*range(10), *range(35, 48)]
    assert slots(film, 10, 35, 4) == [6, 7, 8, 9, 35, 36, 37, 38]
    assert slots(film, 0, 48, 100) == []


def test_damage_after_the_window_ends_the_search(film: Path) -> None:
    data = bytearray(film.read_bytes())
    begin = data.index(b"mdat")
    middle = begin + (len(data) - begin) * 3 // 4
    data[middle:] = bytes(len(data) - middle)
    film.write_bytes(bytes(data))
    found = slots(film, 0, 12, 100)
    assert found == [*range(12, 12 + len(found))]
    assert 0 < len(found) < 36
