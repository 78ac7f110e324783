"""Edit lists of MP4 and QuickTime: pictures stay in sync with the sound wherever an edit begins."""

import struct
from fractions import Fraction
from pathlib import Path

import pytest
from films import FPS, FRAMES, HEIGHT, RATE, WIDTH, Film, apart, number_of

from talkies.media.container import MediaError, need_stream, opened
from talkies.media.decoding import pictures
from talkies.media.frames import read_frames
from talkies.media.sound import read_audio
from talkies.media.timeline import find_beginning

SECOND, MATERIAL = 1000, 12288
"""Time scales that libav writes: of edits, and of the pictures of a film at 24 per second."""


def edit(path: Path, edits: list[tuple[int, int]], track: int) -> None:
    """Replace the edit list of a track: (duration, start in the material; -1: empty)."""
    data = bytearray(path.read_bytes())
    start, end, around = 0, len(data), list[int]()
    for kind, index in ((b"moov", 0), (b"trak", track), (b"edts", 0), (b"elst", 0)):
        start, end = inside(data, start, end, kind, index)
        around.append(start)
        start += 8
    body = struct.pack(">II", 0, len(edits)) + b"".join(struct.pack(">Iii", *entry, 0x10000) for entry in edits)
    growth = len(body) - (end - start)
    data[start:end] = body
    for box in around:
        data[box : box + 4] = struct.pack(">I", struct.unpack(">I", data[box : box + 4])[0] + growth)
    path.write_bytes(data)


def inside(data: bytearray, start: int, end: int, kind: bytes, index: int) -> tuple[int, int]:
    """The position of the box of that kind and index."""
    found = []
    while start < end:
        size, name = struct.unpack(">I4s", data[start : start + 8])
        found += [(start, start + size)] * (name == kind)
        start += size
    return found[index]


def shown(path: Path) -> list[float]:
    with opened(path) as container:
        return [time for time, _ in pictures(container, need_stream(container, "video", path), path)]


def material(path: Path) -> int:
    """The time at which libav's edit list begins: B-pictures are shown later than they are decoded."""
    data = path.read_bytes()
    return int(struct.unpack(">i", data[(at := data.index(b"elst")) + 16 : at + 20])[0])


@pytest.mark.parametrize("quarters", [1, 2, 3, 30, 31, 33])
@pytest.mark.parametrize("film", [Film("mp4", "h264-b", "aac"), Film("mov", "hevc", "pcm")], ids=str)
def test_an_edit_that_begins_between_two_pictures(film: Film, quarters: int, tmp_path: Path) -> None:
    path = film.write(tmp_path)
    late = Fraction(quarters, 4 * FPS)
    edit(path, [(2 * SECOND, material(path) + int(late * MATERIAL))], track=0)
    begin = find_beginning(path)
    frames = read_frames(path, frames=9, fps=FPS, height=HEIGHT, width=WIDTH, begin=begin)
    number = -(-quarters // 4)
    assert [number_of(image) for image in frames] == list(range(number, number + 9))
    assert begin.seconds == pytest.approx(number / FPS - float(late), abs=1e-4)


def test_the_sound_of_another_edit_stays_where_it_is(tmp_path: Path) -> None:
    path = Film("mp4", "h264", "aac").write(tmp_path)
    late = Fraction(22, 4 * FPS)
    edit(path, [(2 * SECOND, int(late * MATERIAL))], track=0)
    edit(path, [(2 * SECOND, 1024 + int(late * RATE))], track=1)
    begin = find_beginning(path)
    frames = read_frames(path, frames=21, fps=FPS, height=HEIGHT, width=WIDTH, begin=begin)
    assert abs(apart(frames, read_audio(path, sample_rate=RATE, seconds=Fraction(21, FPS), begin=begin), RATE)) < 0.1


@pytest.mark.parametrize(
    ("edits", "first", "many"),
    [
        ([(500, -1), (1500, 0)], 0.5, 36),
        ([(1000, 0)], 0, 24),
        ([(1000, 0), (1000, MATERIAL)], 0, FRAMES),  # one piece in two
    ],
    ids=["later", "ends early", "seamless"],
)
def test_what_an_edit_list_shows(edits: list[tuple[int, int]], first: float, many: int, tmp_path: Path) -> None:
    path = Film("mp4", "h264", "aac").write(tmp_path)
    edit(path, edits, track=0)
    assert shown(path) == pytest.approx([first + index / FPS for index in range(many)], abs=1e-4)


@pytest.mark.parametrize(
    "edits",
    [
        [(500, 0), (500, MATERIAL)],
        [(500, MATERIAL), (500, 0)],
        [(500, 0), (250, -1), (500, MATERIAL // 2)],
    ],
    ids=["left out", "backwards", "paused"],
)
def test_several_pieces_are_refused(edits: list[tuple[int, int]], tmp_path: Path) -> None:
    path = Film("mov", "h264", "aac").write(tmp_path)
    edit(path, edits, track=0)
    with pytest.raises(MediaError, match="its edit list plays several pieces of its material"):
        shown(path)
