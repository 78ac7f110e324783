"""Interlaced video: each frame becomes the picture of the field that is shown first, at its own time."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from painted import FPS, marked, read, write

from talkies.media.container import opened
from talkies.media.decoding import pictures
from talkies.media.deinterlace import progressive

ILDCT, ILME = 0x40000, 0x20000000
FRAMES = 7


def moment(half: int) -> np.ndarray:
    """A bar that moves by 4 pixels every half frame: uint8 [64, 96, 3]."""
    pixels = np.full((64, 96, 3), 40, np.uint8)
    left = 4 * half % 80
    pixels[:, left : left + 12] = 220
    return pixels


def woven(pixels: str, parity: str) -> list[Any]:
    """Frames of two fields, each of its own moment, marked as interlaced."""
    frames = []
    for index in range(FRAMES):
        both = moment(2 * index)
        second = slice(1, None, 2) if parity == "tff" else slice(0, None, 2)
        both[second] = moment(2 * index + 1)[second]
        frames.append(av.VideoFrame.from_ndarray(both, format="rgb24").reformat(format=pixels))
    return marked(frames, parity)


def firsts(count: int) -> torch.Tensor:
    return torch.from_numpy(np.stack([moment(2 * index) for index in range(count)])).permute(0, 3, 1, 2)


CODECS: Mapping[str, tuple[str, str, Mapping[str, str], int]] = {
    "a.ts": ("mpeg2video", "yuv420p", {"qmin": "1", "qmax": "2"}, ILDCT | ILME),
    "a.mp4": ("libx264", "yuv420p", {"qp": "2", "x264opts": "{parity}=1:bframes=0"}, 0),
    "b.mkv": ("libx264", "yuv420p", {"qp": "2", "x264opts": "{parity}=1"}, 0),
    "a.mov": ("prores_ks", "yuv422p10le", {}, ILDCT | ILME),
    "a.mkv": ("ffv1", "yuv420p", {}, 0),
    "a.avi": ("mpeg4", "yuv420p", {"qmin": "1", "qmax": "2"}, ILDCT | ILME),
}


def write_interlaced(path: Path, parity: str, frames: list[Any] | None = None) -> Path:
    codec, pixels, options, flags = CODECS[path.name]
    options = {key: value.format(parity=parity) for key, value in options.items()}
    return write(path, woven(pixels, parity) if frames is None else frames, codec=codec, options=options, flags=flags)


@pytest.mark.parametrize("parity", ["tff", "bff"])
@pytest.mark.parametrize("name", CODECS)
def test_interlaced_video_is_not_combed(tmp_path: Path, name: str, parity: str) -> None:
    film = read(write_interlaced(tmp_path / name, parity), height=64, width=96, frames=FRAMES - 1)
    assert (film.pixels.float() - firsts(FRAMES - 1).float()).abs().mean() < 1.5  # combed: 7.5; out of step: 15
    assert film.treated == {"deinterlaced"}


def test_the_last_frame_is_there_too(tmp_path: Path) -> None:
    film = read(write_interlaced(tmp_path / "a.mov", "tff"), height=64, width=96, frames=FRAMES)
    assert (film.pixels.float() - firsts(FRAMES).float()).abs().mean() < 1.5


def test_times_stay(tmp_path: Path) -> None:
    path = write_interlaced(tmp_path / "a.mp4", "bff")
    with opened(path) as container:
        stream = container.streams.video[0]
        before = [time for time, _ in pictures(container, stream, path)]
    with opened(path) as container:
        stream = container.streams.video[0]
        after = [time for time, _ in progressive(pictures(container, stream, path), stream, lambda: None)]
    assert before == after == pytest.approx([index / FPS for index in range(FRAMES)])


def test_only_marked_frames_are_changed(tmp_path: Path) -> None:
    """A stream that changes to interlaced: its progressive frames are unchanged, with their finest lines."""
    fine = np.full((64, 96, 3), 40, np.uint8)
    fine[::2] = 220
    plain = [av.VideoFrame.from_ndarray(fine, format="rgb24").reformat(format="yuv422p10le") for _ in range(3)]
    frames = [*plain, *woven("yuv422p10le", "tff")[3:]]
    codec, _, _, flags = CODECS["a.mov"]
    mixed = tmp_path / "a.mov"
    write(tmp_path / "plain.mov", plain, codec=codec)
    whole = read(tmp_path / "plain.mov", height=64, width=96, frames=3)
    assert not whole.treated
    write(mixed, frames, codec=codec, flags=flags)
    film = read(mixed, height=64, width=96, frames=6)
    assert film.treated == {"deinterlaced"}
    assert (film.pixels[3:].float() - firsts(6)[3:].float()).abs().mean() < 1.5


@pytest.mark.parametrize(("order", "parity"), [(2, "tff"), (3, "bff")])
def test_the_container_s_field_order_is_used_if_the_codec_has_none(tmp_path: Path, order: int, parity: str) -> None:
    write(tmp_path / "a.mov", woven("rgb24", parity), codec="png")
    data = (tmp_path / "a.mov").read_bytes()
    assert not read(tmp_path / "a.mov", height=64, width=96, frames=2).treated  # too few to be seen
    data = with_fields(data, {2: 1, 3: 6}[order])
    (tmp_path / "b.mov").write_bytes(data)
    film = read(tmp_path / "b.mov", height=64, width=96, frames=2)
    assert film.treated == {"deinterlaced"}
    assert (film.pixels.float() - firsts(2).float()).abs().mean() < 1.5


def with_fields(data: bytes, detail: int) -> bytes:
    """The same QuickTime file with a `fiel` box in its sample description (two fields; 1: top first, 6: bottom)."""
    box = (10).to_bytes(4, "big") + b"fiel" + bytes([2, detail])
    made = bytearray(data)
    for name in (b"stsd", b"stbl", b"minf", b"mdia", b"trak", b"moov"):
        place = data.index(name) - 4
        size = int.from_bytes(data[place : place + 4], "big")
        made[place : place + 4] = (size + len(box)).to_bytes(4, "big")
    entry = data.index(b"stsd") + 12
    size = int.from_bytes(data[entry : entry + 4], "big")
    made[entry : entry + 4] = (size + len(box)).to_bytes(4, "big")
    made[entry + size : entry + size] = box
    return bytes(made)
