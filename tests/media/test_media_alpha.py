"""Transparency: videos are laid on white, as reference images are."""

from pathlib import Path

import av
import numpy as np
import pytest
import torch
from painted import read, write

from talkies.media.colour import ColourError
from talkies.media.pixels import on_white

COLOUR = (200, 20, 30)
PIXELS = {
    "rgba": ("a.mov", "png"),
    "argb": ("a.mov", "qtrle"),
    "yuva444p10le": ("a.mov", "prores_ks"),
    "bgra": ("a.mkv", "ffv1"),
    "yuva420p": ("a.mkv", "ffv1"),
    "gbrap": ("a.avi", "utvideo"),
    "vp9": ("a.webm", "libvpx-vp9"),
}


def see_through(name: str, covers: tuple[int, int, int] = (255, 128, 0)) -> av.VideoFrame:
    """A red frame of 32x48: the upper half, the lower left quarter and the lower right quarter with an alpha each."""
    rgba = np.empty((32, 48, 4), np.uint8)
    rgba[..., :3] = COLOUR
    rgba[:16, :, 3], rgba[16:, :24, 3], rgba[16:, 24:, 3] = covers
    frame = av.VideoFrame.from_ndarray(rgba, format="rgba")
    return frame if name == "rgba" else frame.reformat(format="yuva420p" if name == "vp9" else name)


@pytest.mark.parametrize("name", PIXELS)
def test_what_is_transparent_is_white(tmp_path: Path, name: str) -> None:
    suffix, codec = PIXELS[name]
    options = {"crf": "4"} if name == "vp9" else {}
    write(tmp_path / suffix, [see_through(name) for _ in range(2)], codec=codec, options=options)
    film = read(tmp_path / suffix, height=32, width=48, frames=2)
    corners = torch.stack([film.pixels[1, :, 8, 8], film.pixels[1, :, 26, 8], film.pixels[1, :, 26, 40]]).int()
    meant = torch.tensor([COLOUR, (227, 137, 142), (255, 255, 255)])
    assert (corners - meant).abs().max() <= 2
    assert film.treated == {"laid on white"}


@pytest.mark.parametrize("name", ["rgba", "bgra", "yuva420p", "yuva444p10le"])
def test_an_alpha_that_covers_everything_changes_nothing(tmp_path: Path, name: str) -> None:
    suffix, codec = PIXELS[name]
    write(tmp_path / suffix, [see_through(name, (255, 255, 255))], codec=codec)
    film = read(tmp_path / suffix, height=32, width=48, frames=1)
    assert (film.pixels[0].int() - torch.tensor(COLOUR)[:, None, None]).abs().max() <= 2
    assert not film.treated


def test_a_palette_with_a_transparent_entry(tmp_path: Path) -> None:
    indices = np.repeat(np.arange(3, dtype=np.uint8), 16)[None].repeat(32, 0)
    frame = av.VideoFrame(48, 32, "pal8")
    width = frame.planes[0].line_size
    frame.planes[0].update(np.pad(indices, ((0, 0), (0, width - 48))).tobytes())
    palette = np.zeros(256, np.uint32)
    palette[:3] = [0xFF000000 + (200 << 16), 0xFF0000C8, 0x0000FF00]  # red, blue, transparent green
    frame.planes[1].update(palette.tobytes())
    write(tmp_path / "a.mov", [frame], codec="png")
    film = read(tmp_path / "a.mov", height=32, width=48, frames=1)
    assert film.pixels[0, :, 5, [8, 24, 40]].T.tolist() == [[200, 0, 0], [0, 0, 200], [255, 255, 255]]


def test_a_video_that_shows_nothing_is_refused(tmp_path: Path) -> None:
    """Screen recorders write alpha 0 without meaning it: a white clip would be wrong."""
    write(tmp_path / "a.mkv", [see_through("bgra", (0, 0, 0)) for _ in range(2)])
    with pytest.raises(ColourError, match="fully transparent"):
        read(tmp_path / "a.mkv", height=32, width=48, frames=2)
    write(tmp_path / "b.mkv", [see_through("bgra", (0, 0, 0)), see_through("bgra")])
    assert bool((read(tmp_path / "b.mkv", height=32, width=48, frames=2).pixels[0] == 255).all()), "it fades in"


@pytest.mark.parametrize("alpha", [0, 1, 77, 128, 254, 255])
def test_white_shows_through_in_proportion(alpha: int) -> None:
    rgb = torch.arange(256, dtype=torch.uint8).expand(3, 1, 256)
    found = on_white(rgb, torch.full((1, 256), alpha, dtype=torch.uint8)).double()
    meant = rgb.double() * alpha / 255 + 255 - alpha
    assert (found - meant).abs().max() <= 0.5 + 1e-9
