"""All eight orientations of a stored picture."""

import struct
from pathlib import Path

import av
import pytest
import torch
from painted import picture, read, write

from talkies.media.frames import read_frames
from talkies.media.orientation import OrientationError
from talkies.media.probe import probe
from talkies.media.timeline import find_beginning
from talkies.media.write import write_mp4
from talkies.streams.codec import Media

ONE = 1 << 16
TURNS = {
    "upright": (ONE, 0, 0, ONE),
    "mirrored": (-ONE, 0, 0, ONE),
    "turned by 180 degrees": (-ONE, 0, 0, -ONE),
    "upside down": (ONE, 0, 0, -ONE),
    "transposed": (0, ONE, ONE, 0),
    "turned right": (0, ONE, -ONE, 0),
    "transverse": (0, -ONE, -ONE, 0),
    "turned left": (0, -ONE, ONE, 0),
}


def shown(stored: torch.Tensor, matrix: tuple[int, ...]) -> torch.Tensor:
    """[3, H, W] with every pixel at its place by the matrix: column a p + c q, row b p + d q."""
    a, b, c, d = (value // ONE for value in matrix)
    _, height, width = stored.shape
    q, p = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    column, row = a * p + c * q, b * p + d * q
    column, row = column - column.min(), row - row.min()
    made = torch.zeros(3, int(row.max()) + 1, int(column.max()) + 1, dtype=torch.uint8)
    made[:, row, column] = stored
    return made


def stored() -> torch.Tensor:
    """Four fields of different colours: uint8 [3, 32, 48]."""
    rng = torch.Generator().manual_seed(1)
    return (
        torch.randint(30, 220, (3, 2, 2), generator=rng, dtype=torch.uint8)
        .repeat_interleave(16, 1)
        .repeat_interleave(24, 2)
    )


ANTICLOCKWISE = bytes.fromhex("00000007 06 2f03 080009 80")
"""H.264's display orientation message (ITU-T H.264, D.1.27): by 90 degrees, for all of a coded video sequence."""
MATROSKA = ("upright", "turned right", "turned left", "turned by 180 degrees")  # it has rotations only


@pytest.mark.parametrize(
    ("turn", "suffix"),
    [*((turn, "mkv") for turn in MATROSKA), *((turn, suffix) for suffix in ("mp4", "mov") for turn in TURNS)],
)
def test_a_picture_is_shown_as_its_matrix_says(tmp_path: Path, turn: str, suffix: str) -> None:
    path, codec = tmp_path / f"a.{suffix}", "ffv1" if suffix == "mkv" else "libx264rgb"
    frames = [picture(stored(), "bgr0" if suffix == "mkv" else "rgb24") for _ in range(3)]
    write(path, frames, codec=codec, options={} if suffix == "mkv" else {"qp": "0"}, matrix=TURNS[turn])
    meant = shown(stored(), TURNS[turn])
    info = probe(path)
    assert (info.height, info.width) == meant.shape[1:]
    film = read(path, height=meant.shape[1], width=meant.shape[2])
    assert torch.equal(film.pixels, meant.expand(3, *meant.shape))


@pytest.mark.parametrize("turn", TURNS)
def test_half_the_size_or_a_rounded_angle_changes_nothing(tmp_path: Path, turn: str) -> None:
    matrix = tuple(value // 2 + 50 for value in TURNS[turn])
    frames = [picture(stored(), "rgb24") for _ in range(2)]
    write(tmp_path / "a.mov", frames, codec="libx264rgb", options={"qp": "0"}, matrix=matrix)
    meant = shown(stored(), TURNS[turn])
    film = read(tmp_path / "a.mov", height=meant.shape[1], width=meant.shape[2], frames=2)
    assert torch.equal(film.pixels[1], meant)


@pytest.mark.parametrize(
    "matrix",
    [
        (46341, 46341, -46341, 46341),
        (ONE, 3000, -3000, ONE),
        (ONE, 0, ONE // 2, ONE),
        (2 * ONE, 0, 0, ONE),
        (ONE, ONE, ONE, ONE),
        (0, 0, 0, 0),
        (ONE, 0, 0, 0),
    ],
)
def test_other_matrices_are_refused(tmp_path: Path, matrix: tuple[int, ...]) -> None:
    """Odd angles, shears, one side stretched, and singular matrices."""
    write(tmp_path / "a.mov", [picture(stored(), "rgb24")], codec="libx264rgb", options={"qp": "0"}, matrix=matrix)
    for look in (probe, lambda path: read(path, height=32, width=32, frames=1)):
        with pytest.raises(OrientationError, match=r"display matrix \[.*re-encode it upright"):
            look(tmp_path / "a.mov")


@pytest.mark.parametrize("turn", ["turned right", "transposed"])
def test_wide_pixels_rotate_with_the_picture(tmp_path: Path, turn: str) -> None:
    """Stored 32x48 with pixels twice as wide as high: shown 96 high and 32 wide."""
    path = tmp_path / "a.mp4"
    media = Media(frames=stored().float().expand(3, 3, 32, 48) / 127.5 - 1, fps=24.0, samples=None, sample_rate=1)
    write_mp4(path, media, tags={})
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 44
    a, b, c, d = TURNS[turn]
    data[place : place + 44] = struct.pack(">9iII", a, b, 0, c, d, 0, 0, 0, 1 << 30, 96 << 16, 32 << 16)
    path.write_bytes(bytes(data))
    whole = read_frames(path, frames=3, fps=24.0, height=96, width=32)
    meant = shown(stored(), TURNS[turn]).repeat_interleave(2, 1)
    assert (whole[0].float() - meant.float()).abs().mean() < 4


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_the_orientation_of_a_key_picture_holds_for_its_group(tmp_path: Path, suffix: str) -> None:
    """Cameras put a message into the H.264 of key pictures alone."""
    path = turned(tmp_path / f"a.{suffix}", groups=2)
    assert (probe(path).height, probe(path).width) == (48, 32)
    film = read(path, height=48, width=32, frames=6)
    meant = shown(stored(), TURNS["turned left"]).float()
    assert (film.pixels.float() - meant).abs().mean(dim=(1, 2, 3)).max() < 8
    late = read_frames(path, frames=2, fps=24.0, height=48, width=32, begin=find_beginning(path, after=1 / 24))
    assert torch.equal(late, film.pixels[1:3])


def test_a_film_that_changes_its_orientation_is_refused(tmp_path: Path) -> None:
    path = turned(tmp_path / "a.mkv", groups=1)
    with pytest.raises(OrientationError, match="changes its orientation while it plays; cut it there, or re-encode it"):
        read(path, height=48, width=32, frames=6)
    assert len(read(path, height=48, width=32, frames=3).pixels) == 3


def turned(path: Path, *, groups: int) -> Path:
    """Six pictures in two groups, of which the first `groups` are marked as rotated left."""
    frames = [picture(stored(), "yuv420p") for _ in range(6)]
    options = {"g": "3", "bf": "0", "crf": "10", "sc_threshold": "0"}
    plain = write(path.with_name("plain.mp4"), frames, codec="libx264", options=options)
    with av.open(str(plain)) as source, av.open(str(path), "w") as out:
        video = source.streams.video[0]
        stream = out.add_stream_from_template(video)
        for number, packet in enumerate(packet for packet in source.demux(video) if packet.size):
            made = av.Packet(ANTICLOCKWISE + bytes(packet)) if packet.is_keyframe and number < 3 * groups else packet
            made.pts, made.dts, made.time_base = packet.pts, packet.dts, packet.time_base
            made.stream, made.is_keyframe = stream, packet.is_keyframe
            out.mux(made)
    return path
