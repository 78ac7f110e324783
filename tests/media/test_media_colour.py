"""Colours are read as intended, for any tags, depth and range."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from painted import TO_2020, coded, colour_of, filled, hlg, light, picture, pq, read, write

from talkies.media.colour import ColourError
from talkies.media.frames import read_frames
from talkies.media.write import write_mp4
from talkies.streams.codec import Media

RED, GREEN, GREY = (199, 39, 40), (40, 180, 60), (128, 128, 128)
TAGS = ("colorspace", "color_primaries", "color_trc", "color_range")


def tagged(*values: int) -> dict[str, int]:
    return dict(zip(TAGS, values, strict=False))


def near(found: Sequence[int], meant: Sequence[float], levels: int = 3) -> bool:
    return max(abs(a - b) for a, b in zip(found, meant, strict=True)) <= levels


@pytest.mark.parametrize(
    ("size", "matrix"),
    [
        ((576, 720), "bt601"),
        ((718, 1278), "bt601"),
        ((720, 64), "bt709"),
        ((64, 1280), "bt709"),
        ((1080, 1920), "bt709"),
        ((1280, 720), "bt709"),
    ],
)
def test_untagged_video_is_read_as_by_players(tmp_path: Path, size: tuple[int, int], matrix: str) -> None:
    frames = [filled(coded(GREEN, matrix), "yuv420p", *size)]
    options = {"qp": "4", "preset": "ultrafast"}
    write(tmp_path / "a.mp4", frames, codec="libx264", options=options)
    assert near(colour_of(read(tmp_path / "a.mp4", height=16, width=16, frames=1)), GREEN)


MATRICES = {"bt709": 1, "bt601": 6, "smpte240m": 7, "bt2020": 9}


@pytest.mark.parametrize("size", [(64, 64), (720, 128)])
@pytest.mark.parametrize("matrix", MATRICES)
def test_a_tag_takes_precedence_over_the_size(tmp_path: Path, matrix: str, size: tuple[int, int]) -> None:
    frames = [filled(coded(GREEN, matrix), "yuv420p", *size)]
    write(tmp_path / "a.mkv", frames, tags=tagged(MATRICES[matrix], 1))
    assert near(colour_of(read(tmp_path / "a.mkv", height=16, width=16, frames=1)), GREEN)


@pytest.mark.parametrize("colour", [RED, GREEN, GREY, (250, 250, 250), (5, 5, 5)])
@pytest.mark.parametrize(
    ("pixels", "full"),
    [
        *((name, full) for name in ("yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv444p12le") for full in (0, 1)),
        ("yuvj420p", 1),
        ("yuvj444p", 1),
    ],
)
def test_ranges_depths_and_chroma(tmp_path: Path, pixels: str, full: int, colour: Sequence[int]) -> None:
    bits = 10 if "10" in pixels else 12 if "12" in pixels else 8
    values = coded(colour, "bt709", bits=bits, full=bool(full))
    codec = "mjpeg" if pixels.startswith("yuvj") else "ffv1"
    if codec == "mjpeg":  # JFIF knows BT.601 only
        values = coded(colour, "bt601", full=True)
    tags = tagged(5 if codec == "mjpeg" else 1, 1, 1, 2 if full else 1)
    write(tmp_path / "a.mkv", [filled(values, pixels, 64, 64)], codec=codec, tags=tags)
    assert near(colour_of(read(tmp_path / "a.mkv", height=16, width=16, frames=1)), colour)


@pytest.mark.parametrize(
    ("codec", "pixels"), [("libx264", "yuv420p"), ("libx265", "yuv420p10le"), ("libvpx-vp9", "yuv420p")]
)
@pytest.mark.parametrize("full", [False, True])
def test_full_range_flags_of_codecs(tmp_path: Path, codec: str, pixels: str, full: bool) -> None:
    values = coded(RED, "bt709", bits=10 if "10" in pixels else 8, full=full)
    options = {
        "libx264": {"qp": "2"},
        "libx265": {"x265-params": "qp=2:bframes=0:log-level=none"},
        "libvpx-vp9": {"crf": "2"},
    }[codec]
    path = tmp_path / ("a.webm" if "vp9" in codec else "a.mp4")
    write(
        path, [filled(values, pixels, 64, 64)] * 2, codec=codec, options=options, tags=tagged(1, 1, 1, 2 if full else 1)
    )
    assert near(colour_of(read(path, height=16, width=16, frames=2)), RED, 4)


@pytest.mark.parametrize("pixels", ["gray", "gray10le", "gbrp", "gbrp10le", "bgr0", "rgb24"])
def test_grey_and_rgb(tmp_path: Path, pixels: str) -> None:
    """At any size, RGB needs no matrix."""
    colour = GREY if pixels.startswith("gray") else GREEN
    if pixels.startswith("gray"):
        frame = filled([512 if "10" in pixels else 128], pixels, 720, 64)
    else:
        frame = picture(torch.tensor(colour, dtype=torch.uint8)[:, None, None].expand(3, 720, 64), pixels)
    path = tmp_path / {"gbrp": "a.avi", "rgb24": "a.mov"}.get(pixels, "a.mkv")
    write(path, [frame], codec={"gbrp": "utvideo", "rgb24": "png"}.get(pixels, "ffv1"))
    assert near(colour_of(read(path, height=16, width=16, frames=1)), colour, 1)


@pytest.mark.parametrize(
    ("value", "limited", "meant"), [(16, True, 0), (235, True, 255), (126, True, 128), (126, False, 126)]
)
def test_limited_grey_is_stretched(tmp_path: Path, value: int, limited: bool, meant: int) -> None:
    options = {"qp": "0", "preset": "ultrafast"}
    frames = [filled([value], "gray", 64, 64)]
    write(tmp_path / "a.mp4", frames, codec="libx264", options=options, tags={"color_range": 1 if limited else 2})
    assert near(colour_of(read(tmp_path / "a.mp4", height=16, width=16, frames=1)), (meant,) * 3, 1)


CURVES = {"sdr": 14, "pq": 16, "hlg": 18}


def wide(colour: Sequence[float], curve: str) -> np.ndarray:
    """R'G'B' in 0..255 of a colour in BT.2020, with white at 203 cd/m2."""
    shown = TO_2020 @ light(colour)
    return np.asarray(255 * shown ** (1 / 2.4) if curve == "sdr" else {"pq": pq, "hlg": hlg}[curve](203 * shown))


@pytest.mark.parametrize("colour", [RED, GREEN, GREY, (20, 20, 20), (60, 60, 200)])
@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("untagged", [(), ("colorspace",), ("color_primaries",)])
def test_bt2020_becomes_bt709(tmp_path: Path, curve: str, colour: Sequence[int], untagged: Sequence[str]) -> None:
    """SDR is converted, HDR tone-mapped: colours up to 0.6 of reference white are preserved."""
    values = coded(wide(colour, curve), "bt2020", bits=10)
    tags = {name: 2 if name in untagged else value for name, value in tagged(9, 9, CURVES[curve], 1).items()}
    write(tmp_path / "a.mkv", [filled(values, "yuv444p10le", 64, 64)], tags=tags)
    film = read(tmp_path / "a.mkv", height=16, width=16, frames=1)
    assert near(colour_of(film), colour)
    assert film.treated == (set() if curve == "sdr" else {"tone-mapped"})


@pytest.mark.parametrize("codec", ["libx265", "libsvtav1"])
@pytest.mark.parametrize("curve", ["pq", "hlg"])
def test_hdr_of_telephones_and_films(tmp_path: Path, codec: str, curve: str) -> None:
    """A red that becomes (121, 76, 60) if the transfer is ignored."""
    values = coded(wide(RED, curve), "bt2020", bits=10)
    options: Mapping[str, str] = {
        "libx265": {"x265-params": "qp=2:bframes=0:log-level=none"},
        "libsvtav1": {"crf": "5", "preset": "12"},
    }[codec]
    path = tmp_path / "a.mp4"
    frames = [filled(values, "yuv420p10le", 64, 64) for _ in range(2)]
    write(path, frames, codec=codec, options=options, tags=tagged(9, 9, CURVES[curve], 1))
    assert near(colour_of(read(path, height=16, width=16, frames=2)), RED, 5)


@pytest.mark.parametrize("curve", ["pq", "hlg"])
def test_highlights_keep_their_order(tmp_path: Path, curve: str) -> None:
    """From dark to 1000 cd/m2, greys increase; reference white is bright, the peak is white."""
    found = []
    for nits in (1, 20, 100, 203, 400, 700, 1000):
        values = coded({"pq": pq, "hlg": hlg}[curve](np.full(3, float(nits))), "bt2020", bits=10)
        write(tmp_path / f"{nits}.mkv", [filled(values, "yuv444p10le", 32, 32)], tags=tagged(9, 9, CURVES[curve], 1))
        found.append(colour_of(read(tmp_path / f"{nits}.mkv", height=16, width=16, frames=1)))
    levels = [colour[0] for colour in found]
    assert all(max(colour) - min(colour) <= 2 for colour in found)
    assert all(low < high for low, high in pairwise(levels))
    assert 225 < levels[3] < 245
    assert levels[-1] >= 253


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"color_trc": 8}, r"transfer characteristics 8 \(LINEAR\)"),
        ({"color_trc": 17}, r"transfer characteristics 17 \(SMPTE428\)"),
        ({"colorspace": 14}, "matrix coefficients 14"),
        ({"colorspace": 8}, "matrix coefficients 8"),
        ({"color_primaries": 11}, r"primaries 11 \(SMPTE431\)"),
    ],
)
def test_unsupported_colours_are_refused(tmp_path: Path, tags: Mapping[str, int], words: str) -> None:
    write(tmp_path / "a.mkv", [filled([90, 100, 110], "yuv444p", 32, 32)], tags=tags)
    with pytest.raises(ColourError, match=words + r", which are not known here; convert it to BT\.709"):
        read(tmp_path / "a.mkv", height=16, width=16, frames=1)


@pytest.mark.parametrize("size", [(64, 64), (720, 96)])
@pytest.mark.parametrize("colour", [RED, GREEN, GREY])
def test_what_is_written_is_read_back(tmp_path: Path, size: tuple[int, int], colour: Sequence[int]) -> None:
    pixels = torch.tensor(colour)[None, :, None, None] / 127.5 - 1
    media = Media(frames=pixels.expand(2, 3, *size), fps=24.0, samples=None, sample_rate=1)
    write_mp4(tmp_path / "a.mp4", media, tags={})
    found = read_frames(tmp_path / "a.mp4", frames=2, fps=24.0, height=size[0], width=size[1])
    assert near(found[1, :, 30, 30].tolist(), colour)
