"""Unmarked interlaced video is detected by combing; other video is not."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from av.filter import Graph
from painted import FPS, read, write
from PIL import Image, ImageDraw

from talkies.media.interlace_detection import InterlaceDetector, Order

H, W, FRAMES = 96, 128, 24
ROW, COLUMN = np.mgrid[:H, :W]
RNG = np.random.default_rng(1)
CODERS: dict[str, dict[str, str]] = {"fine": {"crf": "15"}, "coarse": {"crf": "30", "preset": "veryfast"}}
Pictures = Sequence[np.ndarray]


def coded(path: Path, pictures: Pictures, coder: str = "fine") -> Path:
    """H.264 of grey or RGB pictures."""
    frames = []
    for values in pictures:
        rgb = values if values.ndim == 3 else np.repeat(values[..., None], 3, -1)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb.round().clip(0, 255), np.uint8), format="rgb24")
        frames.append(frame.reformat(format="yuv420p"))
    return write(path, frames, codec="libx264", options=CODERS[coder])


def order(path: Path) -> Order | None:
    detector = InterlaceDetector()
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            assert not frame.interlaced_frame
            detector.note(frame)
    return detector.order


def source(size: str, fps: int, count: int = FRAMES, name: str = "testsrc2") -> list[np.ndarray]:
    """Pictures of one of libav's test sources."""
    graph = Graph()
    nodes = [graph.add(name, f"s={size}:r={fps}"), graph.add("buffersink")]
    graph.link_nodes(*nodes).configure()
    return [nodes[-1].pull().to_ndarray(format="rgb24") for _ in range(count)]


def cloud(seed: int = 2) -> np.ndarray:
    """Something with edges and details of all sizes: grey [400, 400]."""
    rng = np.random.default_rng(seed)
    made = np.zeros((400, 400))
    for size in (4, 8, 16, 32, 80):
        grid = rng.uniform(-1, 1, (size, size)) > 0.2
        made += np.asarray(Image.fromarray(grid).resize((400, 400), Image.Resampling.NEAREST), float)
    return np.asarray(Image.fromarray((made * 50).astype(np.uint8)).resize((300, 300), Image.Resampling.BICUBIC), float)


CLOUD = cloud()


def seen(x: float, y: float = 20) -> np.ndarray:
    """A part of the cloud, from (x, y) on."""
    left, top = int(x), int(y)
    part, a, b = CLOUD[top : top + H + 1, left : left + W + 1], x - left, y - top
    upper, lower = part[:-1, :-1] * (1 - a) + part[:-1, 1:] * a, part[1:, :-1] * (1 - a) + part[1:, 1:] * a
    return upper * (1 - b) + lower * b


def woven(fine: Pictures, parity: str) -> list[np.ndarray]:
    """Pictures of two fields, each of its own moment."""
    second = slice(1, None, 2) if parity == "tff" else slice(0, None, 2)
    made = []
    for first, other in zip(fine[::2], fine[1::2], strict=True):
        both = first.copy()
        both[second] = other[second]
        made.append(both)
    return made


@pytest.mark.parametrize("coder", CODERS)
@pytest.mark.parametrize("size", ["112x64", "320x180", "144x576"])
@pytest.mark.parametrize("parity", ["tff", "bff"])
def test_interlaced_drawings(tmp_path: Path, parity: str, size: str, coder: str) -> None:
    assert order(coded(tmp_path / "a.mp4", woven(source(size, 2 * FPS, 2 * FRAMES), parity), coder)) == parity


def test_cameras_that_soften_their_lines(tmp_path: Path) -> None:
    """As cameras do against flicker: each line is blended half with its neighbours."""
    sharp = [picture.astype(float) for picture in source("320x180", 2 * FPS, 2 * FRAMES)]
    soft = [np.roll(made, 1, 0) / 4 + made / 2 + np.roll(made, -1, 0) / 4 for made in sharp]
    assert order(coded(tmp_path / "a.mp4", woven(soft, "bff"), "coarse")) == "bff"


MOVED: dict[str, Callable[[float], np.ndarray]] = {
    "slow pan": lambda time: seen(10 + 2.5 * time),
    "fast pan": lambda time: seen(100 + 60 * np.sin(time / 8)),
    "diagonal": lambda time: seen(10 + 4 * time, 10 + 2 * time),
    "noisy": lambda time: seen(10 + 5 * time) + RNG.normal(0, 8, (H, W)),
    "zoom": lambda time: np.asarray(
        Image.fromarray(CLOUD).resize((W, H), Image.Resampling.BILINEAR, box=(0, 0, 120 + 6 * time, 90 + 4 * time))
    ),
}
"""Pictures by time, in frames."""


@pytest.mark.parametrize("coder", CODERS)
@pytest.mark.parametrize("name", MOVED)
def test_the_same_motion_as_frames_and_as_fields(tmp_path: Path, name: str, coder: str) -> None:
    moments = [MOVED[name](half / 2) for half in range(2 * FRAMES)]
    assert order(coded(tmp_path / "a.mp4", moments[::2], coder)) is None
    for parity in ("tff", "bff"):
        assert order(coded(tmp_path / f"{parity}.mp4", woven(moments, parity), coder)) == parity


def test_film_in_the_halves_of_video(tmp_path: Path) -> None:
    """Hard telecine combs two of five pictures; wrongly paired fields comb all."""
    film = [seen(5 + 4 * index) for index in range(FRAMES)]
    shifted = woven([part for pair in zip(film[1:], film, strict=False) for part in pair], "tff")
    assert order(coded(tmp_path / "a.mp4", shifted)) == "bff"
    groups = [film[index : index + 4] for index in range(0, 20, 4)]
    halves = [half for a, b, c, d in groups for half in (a, a, b, b, b, c, c, d, d, d)]
    assert order(coded(tmp_path / "b.mp4", woven(halves, "tff"))) == "tff"


def bayer(size: int) -> np.ndarray:
    """Thresholds of ordered dither, [H, W] in 0..1."""
    made = np.zeros((1, 1))
    while len(made) < size:
        made = np.block([[4 * made, 4 * made + 2], [4 * made + 3, 4 * made + 1]])
    return np.asarray(np.tile((made + 0.5) / size**2, (H // size, W // size)))


def text(across: float, up: float, size: int = 12) -> list[np.ndarray]:
    page = Image.new("L", (4 * W, 4 * H), 20)
    for line in range(30):
        words = "The quick brown fox HHH EEE jumps over 0123 lazy dogs " * 2
        ImageDraw.Draw(page).text((4, (size + 2) * line), words, fill=240, font_size=size)
    values = np.asarray(page, float)
    places = [(round(up * index), round(across * index)) for index in range(FRAMES)]
    return [values[top : top + H, left : left + W] for top, left in places]


def stripes(period: int, speed: float) -> list[np.ndarray]:
    return [127 + 100 * np.sign(np.sin(2 * np.pi * (ROW - speed * n + 0.25) / period)) for n in range(FRAMES)]


def squares(size: int, speed: int) -> list[np.ndarray]:
    return [255.0 * ((ROW // size + (COLUMN + speed * n) // size) % 2) for n in range(FRAMES)]


def ball(index: int) -> np.ndarray:
    return np.asarray((COLUMN - 5 * index) ** 2 + (ROW - 48) ** 2 < 400)


WHOLE: dict[str, Callable[[], Pictures]] = {
    "drawing": lambda: source("112x64", FPS),
    "larger drawing": lambda: source("320x180", FPS),
    "fractal": lambda: source("320x180", FPS, name="mandelbrot"),
    "still": lambda: [seen(20)] * FRAMES,
    "pan by 12": lambda: [seen((12 * n) % 150) for n in range(FRAMES)],
    "pan up": lambda: [seen(20, 3 * n) for n in range(FRAMES)],
    "shaking": lambda: [seen(60 + 40 * np.sin(1.7 * n), 50 + 30 * np.cos(2.3 * n)) for n in range(FRAMES)],
    "cuts": lambda: [cloud(n)[:H, :W] for n in range(FRAMES)],
    "noise": lambda: list(RNG.uniform(0, 255, (FRAMES, H, W))),
    "noise that fades in": lambda: [RNG.uniform(0, 255, (H, W)) * n / FRAMES for n in range(FRAMES)],
    "stripes of 2, by 1": lambda: stripes(2, 1),
    "stripes of 2, by a half": lambda: stripes(2, 0.5),
    "stripes of 4, by 1": lambda: stripes(4, 1),
    "squares of 1": lambda: squares(1, 1),
    "squares of 8": lambda: squares(8, 3),
    "ball over stripes": lambda: [np.where(ball(n), 60, 255 * (ROW % 2)) for n in range(FRAMES)],
    "striped ball": lambda: [np.where(ball(n), 255 * (ROW % 2), 60) for n in range(FRAMES)],
    "scan lines": lambda: [seen(4 * n) * np.where(ROW % 2, 0.5, 1) for n in range(FRAMES)],
    "scan lines that fade in": lambda: [seen(20) * np.where(ROW % 2, 0.5, 1) * n / FRAMES for n in range(FRAMES)],
    "dither": lambda: [255.0 * (seen(3 * n) / 255 > bayer(4)) for n in range(FRAMES)],
    "dither that fades in": lambda: [255.0 * (seen(20) / 255 * n / FRAMES > bayer(4)) for n in range(FRAMES)],
    "coarse dither that fades in": lambda: [255.0 * (seen(20) / 255 * n / FRAMES > bayer(2)) for n in range(FRAMES)],
    **{f"text to the left by {speed}": lambda speed=speed: text(speed, 0) for speed in (1, 2, 3, 6)},
    **{f"text up by {speed}": lambda speed=speed: text(0, speed) for speed in (1, 2, 3, 4)},
}


@pytest.mark.parametrize("name", WHOLE)
def test_progressive_pictures_are_unchanged(tmp_path: Path, name: str) -> None:
    assert order(coded(tmp_path / "a.mp4", WHOLE[name](), "coarse")) is None


def test_waves_behind_scan_lines_are_unchanged(tmp_path: Path) -> None:
    """They are combed wherever they move, and by chance 13 times as many places agree on one order as on the other."""
    row, column = np.mgrid[:64, :256]
    waves = [(128 + 100 * np.sin((column + 30 * n) / 12)) * np.where(row % 2, 0.5, 1) for n in range(16)]
    assert order(coded(tmp_path / "a.mp4", waves, "coarse")) is None


@pytest.mark.slow
@pytest.mark.parametrize("name", WHOLE)
def test_progressive_pictures_of_high_quality_are_unchanged(tmp_path: Path, name: str) -> None:
    assert order(coded(tmp_path / "a.mp4", WHOLE[name](), "fine")) is None


def bar(half: int) -> np.ndarray:
    """A bar that moves by 4 pixels every half frame."""
    pixels = np.full((64, 96, 3), 40, np.uint8)
    pixels[:, 4 * half % 80 : 4 * half % 80 + 12] = 220
    return pixels


FORMATS = {"a.mp4": ("libx264", "yuv420p"), "a.mkv": ("ffv1", "yuv422p10le"), "a.mov": ("png", "rgb24")}


@pytest.mark.parametrize("parity", ["tff", "bff"])
@pytest.mark.parametrize("name", FORMATS)
def test_combed_pictures_are_deinterlaced_and_counted(tmp_path: Path, name: str, parity: str) -> None:
    codec, pixels = FORMATS[name]
    pictures = woven([bar(half) for half in range(2 * FRAMES)], parity)
    frames: list[Any] = [av.VideoFrame.from_ndarray(made, format="rgb24").reformat(format=pixels) for made in pictures]
    write(tmp_path / name, frames, codec=codec, options={"qp": "2"} if codec == "libx264" else {})
    film = read(tmp_path / name, height=64, width=96, frames=FRAMES)
    firsts = torch.from_numpy(np.stack([bar(2 * index) for index in range(FRAMES)])).permute(0, 3, 1, 2)
    assert film.treated == {"deinterlaced"}
    assert (film.pixels.float() - firsts.float()).abs().mean() < 1.5  # combed: 7.5; out of step: 15


def test_pictures_that_change_their_size(tmp_path: Path) -> None:
    detector = InterlaceDetector()
    for height in (64, 64, 64, 32, 32, 4, 4, 4, 64):
        detector.note(av.VideoFrame.from_ndarray(np.zeros((height, 8, 3), np.uint8), format="rgb24"))
    assert detector.order is None
