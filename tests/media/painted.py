"""Small videos whose stored values, tags and container are chosen."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from av.filter import Graph
from schedule import own_schedule

from talkies.media.frames import Film, read_film

FPS = 24
LUMA = {"bt709": (0.2126, 0.0722), "bt601": (0.299, 0.114), "bt2020": (0.2627, 0.0593), "smpte240m": (0.212, 0.087)}
TO_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
"""Linear BT.709 to linear BT.2020 (ITU-R BT.2087)."""


def coded(colour: Sequence[float], matrix: str, *, bits: int = 8, full: bool = False) -> list[int]:
    """Y, Cb and Cr of R'G'B' in 0..255 (ITU-T H.273, equations 20 to 34)."""
    red, green, blue = (value / 255 for value in colour)
    kr, kb = LUMA[matrix]
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    chroma = (blue - luma) / (2 * (1 - kb)), (red - luma) / (2 * (1 - kr))
    top, step = 2**bits - 1, 2 ** (bits - 8)
    if full:
        return [round(top * luma), *(round(top * value) + 2 ** (bits - 1) for value in chroma)]
    return [round((16 + 219 * luma) * step), *(round((128 + 224 * value) * step) for value in chroma)]


def light(colour: Sequence[float]) -> np.ndarray:
    """Linear BT.709 of R'G'B' in 0..255 on a BT.1886 display."""
    return np.asarray((np.array(colour) / 255) ** 2.4)


def pq(nits: np.ndarray) -> np.ndarray:
    """R'G'B' in 0..255 of light (SMPTE ST 2084, inverse EOTF)."""
    power = (nits / 10000) ** 0.1593017578125
    return np.asarray(255 * ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375)


def hlg(nits: np.ndarray) -> np.ndarray:
    """R'G'B' in 0..255 of light on a display of 1000 cd/m2 (BT.2100: inverse OOTF, OETF)."""
    shown = nits / 1000
    scene = shown * (np.array([0.2627, 0.6780, 0.0593]) @ shown) ** (1 / 1.2 - 1)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.asarray(
        255 * np.where(scene <= 1 / 12, (3 * scene) ** 0.5, a * np.log(np.maximum(12 * scene - b, 1e-9)) + c)
    )


def filled(values: Sequence[int], pixels: str, height: int, width: int) -> Any:
    """A planar frame of one colour."""
    frame = av.VideoFrame(width, height, pixels)
    kind = np.uint8 if frame.format.components[0].bits == 8 else np.uint16
    for plane, value in zip(frame.planes, values, strict=True):
        plane.update(np.full(plane.buffer_size // kind().itemsize, value, kind).tobytes())
    return frame


def write(
    path: Path,
    frames: Sequence[Any],
    *,
    codec: str = "ffv1",
    options: Mapping[str, str] | None = None,
    matrix: tuple[int, ...] | None = None,
    tags: Mapping[str, int] | None = None,
    fps: int = FPS,
    flags: int = 0,
) -> Path:
    """Encode frames. `tags` are attributes of the codec context (colorspace, color_range, color_primaries, color_trc),
    `matrix` the display matrix, as fractions [a, b, c, d]."""
    with own_schedule(), av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=fps, options=dict(options or {}))
        stream.height, stream.width = frames[0].height, frames[0].width
        stream.pix_fmt = frames[0].format.name
        stream.codec_context.flags |= flags
        for name, value in (tags or {}).items():
            setattr(stream.codec_context, name, value)
        if matrix is not None:
            stream.set_display_matrix([*matrix[:2], 0, *matrix[2:4], 0, 0, 0, 1 << 30])
        for index, frame in enumerate(frames):
            frame.pts, frame.time_base = index, Fraction(1, fps)
            for name, value in (tags or {}).items():
                setattr(frame, name, value)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def read(path: Path, *, height: int, width: int, frames: int = 3, fps: int = FPS) -> Film:
    """The first frames as training sees them."""
    return read_film(path, frames=frames, fps=fps, height=height, width=width)


def colour_of(film: Film) -> list[int]:
    """The colour of the middle of the first frame."""
    _, _, height, width = film.pixels.shape
    found: list[int] = film.pixels[0, :, height // 2, width // 2].tolist()
    return found


def marked(frames: Sequence[Any], parity: str) -> list[Any]:
    """The same frames, marked as interlaced ("tff", "bff")."""
    graph = Graph()
    first = frames[0]
    start = graph.add(
        "buffer",
        video_size=f"{first.width}x{first.height}",
        pix_fmt=first.format.name,
        time_base=f"1/{FPS}",
        pixel_aspect="1/1",
    )
    nodes = [start, graph.add("setfield", f"mode={parity}"), graph.add("buffersink")]
    graph.link_nodes(*nodes).configure()
    done = []
    for index, frame in enumerate(frames):
        frame.pts, frame.time_base = index, Fraction(1, FPS)
        start.push(frame)
        done.append(nodes[-1].pull())
    return done


def picture(pixels: torch.Tensor, name: str) -> Any:
    """A frame of uint8 [3, H, W] in pixel format `name`."""
    return av.VideoFrame.from_ndarray(pixels.permute(1, 2, 0).contiguous().numpy(), format="rgb24").reformat(
        format=name
    )
