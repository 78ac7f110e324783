"""Colours of reference images: converted as declared, or refused with a remedy."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from talkies.config import DataError
from talkies.generate.image import load_image

RED, GREY = (199, 39, 40), (120, 120, 120)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
PQ = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
Chunk = tuple[bytes, bytes]
TO_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])


def png(path: Path, colour: tuple[int, ...], *chunks: Chunk, mode: str = "RGB", **options: object) -> Path:
    """A PNG of one colour with more chunks before its pixels."""
    Image.new(mode, (8, 8), colour if len(colour) > 1 else colour[0]).save(path, **options)
    data = path.read_bytes()
    made = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    path.write_bytes(data[:33] + made + data[33:])
    return path


def colour_of(path: Path) -> list[int]:
    image = load_image(path, 4, 4)
    return ((image[:, 2, 2] + 1) * 127.5).round().int().tolist()


def near(found: list[int], meant: tuple[int, ...], levels: int = 2) -> bool:
    return max(abs(a - b) for a, b in zip(found, meant, strict=True)) <= levels


def gamma(value: float) -> Chunk:
    return b"gAMA", struct.pack(">I", round(value * 100000))


def primaries(*values: float) -> Chunk:
    return b"cHRM", struct.pack(">8I", *(round(value * 100000) for value in values))


def coded(*values: int) -> Chunk:
    return b"cICP", bytes(values)


def pq(colour: tuple[int, ...]) -> tuple[int, ...]:
    """BT.2020 PQ, in 0..255, of a colour whose white is 203 cd/m2."""
    power = (TO_2020 @ (np.array(colour) / 255) ** 2.4 * 203 / 10000) ** PQ[0]
    return tuple(int(value) for value in (255 * ((PQ[2] + PQ[3] * power) / (1 + PQ[4] * power)) ** PQ[1]).round())


def grey_profile(exponent: float) -> bytes:
    """A grey ICC profile (version 2): value = light ** (1 / `exponent`)."""
    text = b"desc" + bytes(4) + struct.pack(">I", 2) + b"g\0" + bytes(78)
    tags = {
        b"desc": text,
        b"cprt": b"text" + bytes(4) + b"none\0",
        b"wtpt": b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061),
        b"kTRC": b"curv" + bytes(4) + struct.pack(">IH", 1, round(exponent * 256)),
    }
    table, body, at = b"", b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        padded = data + bytes(-len(data) % 4)
        table += name + struct.pack(">2I", at + len(body), len(data))
        body += padded
    size = at + len(body)
    head = struct.pack(">I4sI4s4s4s", size, b"none", 0x02400000, b"mntr", b"GRAY", b"XYZ ")
    head = (head + bytes(12) + b"acsp").ljust(68, b"\0") + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def test_untagged_is_srgb(tmp_path: Path) -> None:
    assert colour_of(png(tmp_path / "a.png", RED)) == list(RED)


@pytest.mark.parametrize("transfer", [1, 13])
def test_code_points_of_srgb_change_nothing(tmp_path: Path, transfer: int) -> None:
    assert colour_of(png(tmp_path / "a.png", RED, coded(1, transfer, 0, 1))) == list(RED)


@pytest.mark.parametrize("colour", [RED, GREY])
def test_hdr_is_tone_mapped(tmp_path: Path, colour: tuple[int, ...]) -> None:
    path = png(tmp_path / "a.png", pq(colour), coded(9, 16, 0, 1))
    assert near(colour_of(path), colour, 6)  # 8 bits of PQ are coarse
    assert not near(colour_of(png(tmp_path / "b.png", pq(colour))), colour, 15)


def test_primaries_of_code_points_are_converted(tmp_path: Path) -> None:
    """Display P3's (184, 58, 51) is about sRGB's (199, 39, 40)."""
    assert near(colour_of(png(tmp_path / "a.png", (184, 58, 51), coded(12, 13, 0, 1))), RED, 4)


def test_code_points_take_precedence_over_a_profile(tmp_path: Path) -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    path = png(tmp_path / "a.png", RED, coded(1, 13, 0, 1), gamma(1), icc_profile=lab)
    assert colour_of(path) == list(RED)


@pytest.mark.parametrize(
    "values", [(9, 8, 0, 1), (23, 1, 0, 1), (11, 13, 0, 1), (1, 13, 1, 1), (9, 16, 0, 0), (0, 1, 0, 1)]
)
def test_code_points_that_are_not_known_are_refused(tmp_path: Path, values: tuple[int, ...]) -> None:
    words = "/".join(map(str, values))
    with pytest.raises(DataError, match=rf"a\.png: its colours \(cICP\) are {words}, .*; convert it to sRGB"):
        colour_of(png(tmp_path / "a.png", RED, coded(*values)))


def test_code_points_after_the_pixels_are_ignored(tmp_path: Path) -> None:
    path = png(tmp_path / "a.png", RED)
    data, body = path.read_bytes(), bytes((9, 16, 0, 1))
    extra = struct.pack(">I", 4) + b"cICP" + body + struct.pack(">I", zlib.crc32(b"cICP" + body))
    path.write_bytes(data[:-12] + extra + data[-12:])
    assert colour_of(path) == list(RED)


@pytest.mark.parametrize("value", [1.0, 1 / 1.8, 1 / 2.6])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P"])
def test_an_odd_gamma_is_applied(tmp_path: Path, mode: str, value: float) -> None:
    """A value v means the light v ** (1 / gAMA), which sRGB encodes as about its 2.2th root."""
    meant = round(255 * (120 / 255) ** (1 / value / 2.2))
    colour = {"RGB": GREY, "RGBA": (*GREY, 255), "L": (120,), "P": (0,)}[mode]
    path = tmp_path / "a.png"
    if mode == "P":
        image = Image.new("P", (8, 8), 0)
        image.putpalette([*GREY, 0, 0, 0])
        image.save(path)
        data, body = path.read_bytes(), gamma(value)[1]
        chunk = struct.pack(">I", 4) + b"gAMA" + body + struct.pack(">I", zlib.crc32(b"gAMA" + body))
        path.write_bytes(data[:33] + chunk + data[33:])
    else:
        png(path, colour, gamma(value), mode=mode)
    assert near(colour_of(path), (meant,) * 3, 1)


@pytest.mark.parametrize("chunks", [[gamma(1 / 2.2)], [gamma(0.45)], [(b"sRGB", b"\0"), gamma(1)]])
def test_a_usual_gamma_changes_nothing(tmp_path: Path, chunks: list[Chunk]) -> None:
    assert colour_of(png(tmp_path / "a.png", RED, *chunks)) == list(RED)


@pytest.mark.parametrize("value", [0, 0.00001, 40000])
def test_an_impossible_gamma_is_refused(tmp_path: Path, value: float) -> None:
    with pytest.raises(DataError, match=r"its gamma \(gAMA\) is .*; convert it to sRGB"):
        colour_of(png(tmp_path / "a.png", RED, gamma(value)))


def test_other_primaries_are_refused(tmp_path: Path) -> None:
    srgb = primaries(0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
    assert colour_of(png(tmp_path / "a.png", RED, srgb)) == list(RED)
    adobe = primaries(0.3127, 0.329, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
    with pytest.raises(
        DataError, match=r"its red, green and blue \(cHRM\) are .*\(0\.21, 0\.71\).*; convert it to sRGB"
    ):
        colour_of(png(tmp_path / "a.png", RED, adobe))


GREYS = {"L": 120, "LA": (120, 255), "RGB": GREY, "RGBA": (*GREY, 255), "1": 1}


@pytest.mark.parametrize(
    ("mode", "suffix"), [*((mode, "png") for mode in GREYS), ("L", "jpg"), ("RGB", "jpg"), ("RGB", "webp")]
)
def test_profiles_of_grey_pictures(tmp_path: Path, mode: str, suffix: str) -> None:
    """120 of 255 with gamma 1 is light of 0.47, which sRGB writes as 182."""
    path = tmp_path / f"a.{suffix}"
    Image.new(mode, (8, 8), GREYS[mode]).save(path, icc_profile=grey_profile(1.0))
    assert near(colour_of(path), (255,) * 3 if mode == "1" else (182,) * 3)


def test_a_grey_profile_on_colours_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="its colour profile is one of grey pictures, and it has colours"):
        colour_of(png(tmp_path / "a.png", RED, icc_profile=grey_profile(1.0)))


@pytest.mark.parametrize("mode", ["L", "LA", "P"])
def test_a_profile_of_coloured_pictures_on_others(tmp_path: Path, mode: str) -> None:
    image = Image.new("RGB", (8, 8), GREY).convert(mode)
    image.save(tmp_path / "a.png", icc_profile=SRGB)
    assert near(colour_of(tmp_path / "a.png"), GREY)


def test_a_profile_leaves_transparency_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("LA", (8, 8), (120, 0)).save(path, icc_profile=grey_profile(1.0))
    assert colour_of(path) == [255, 255, 255]
    image = Image.new("P", (8, 8), 1)
    image.putpalette([*RED, *GREY])
    image.save(path, icc_profile=SRGB, transparency=1)
    assert colour_of(path) == [255, 255, 255]


def test_a_profile_that_cannot_be_unpacked_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="its colour profile is damaged"):
        colour_of(png(tmp_path / "a.png", RED, (b"iCCP", b"name\0\0no deflate stream")))
