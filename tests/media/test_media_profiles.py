"""Colour profiles of video: applied, refused, and freed once."""

import gc
import struct
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import pytest
import torch
from painted import FPS, read
from PIL import Image, ImageCms

from talkies.media.colour import ColourError
from talkies.media.frames import read_frames
from talkies.media.pngs import png_chunk, png_profile
from talkies.media.probe import probe

COLOUR = (120, 60, 200)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LINEAR = SRGB.replace(struct.pack(">I", round(2.4 * 65536)), struct.pack(">I", 65536))
"""sRGB's profile with another exponent, which displays COLOUR as BENT."""
BENT = [round(255 * (1.055 * ((v / 255 + 0.055) / 1.055) ** (1 / 2.4) - 0.055)) for v in COLOUR]
LAB = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()


def film(path: Path, *pictures: bytes) -> Path:
    """QuickTime with pictures that another encoder made."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("png", rate=FPS)
        stream.width = stream.height = 32
        stream.pix_fmt = "rgb24"
        for index, data in enumerate(pictures):
            packet = av.Packet(data)
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, FPS), True
            packet.pts = packet.dts = index
            out.mux(packet)
    return path


def png(profile: bytes | None = None, mode: str = "RGB") -> bytes:
    file = BytesIO()
    Image.new("RGB", (32, 32), COLOUR).convert(mode).save(file, "png", icc_profile=profile)
    return file.getvalue()


def test_png_with_and_without_profiles(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mov", png(LINEAR), png(), png(SRGB), png(LINEAR, "RGBA"))
    pixels = read(path, height=32, width=32, frames=4).pixels[:, :, 16, 16].int()
    gc.collect()  # PyAV would free a profile's name a second time here
    for found, meant in zip(pixels.tolist(), (BENT, COLOUR, COLOUR, BENT), strict=True):
        assert max(abs(a - b) for a, b in zip(found, meant, strict=True)) <= 2


def test_an_animated_png(tmp_path: Path) -> None:
    first, *others = (Image.new("RGB", (32, 32), (120, 60, 200 - number)) for number in range(6))
    first.save(tmp_path / "a.apng", "png", save_all=True, append_images=others, duration=1000 / FPS, icc_profile=LINEAR)
    film = read_frames(tmp_path / "a.apng", frames=6, fps=probe(tmp_path / "a.apng").fps or 0, height=32, width=32)
    gc.collect()
    assert (film[:, :, 16, 16].int() - torch.tensor(BENT)).abs().max() <= 3


def test_a_profile_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ColourError, match=r"its colour profile cannot be used .*; convert it to BT"):
        read(film(tmp_path / "a.mov", png(LAB), png(LAB)), height=32, width=32, frames=1)


def test_a_profile_that_cannot_be_unpacked_is_empty() -> None:
    data = png(SRGB)
    start = data.index(b"iCCP") + 17
    assert png_profile(BytesIO(data[:start] + b"\xff" * 8 + data[start + 8 :])) == b""


def test_chunks_of_png() -> None:
    assert png_profile(BytesIO(png(SRGB))) == SRGB
    assert png_profile(BytesIO(png())) is None
    assert png_chunk(BytesIO(png()), b"IHDR")[:8] == struct.pack(">2I", 32, 32)  # type: ignore[index]
    assert png_chunk(BytesIO(png()), b"IEND") is None, "behind the pixels"
    assert png_chunk(BytesIO(b"GIF89a and more"), b"IHDR") is None
    for length in range(60):
        assert png_chunk(BytesIO(png()[:length]), b"cICP") is None
