"""The frame rate is that of the pictures, even if the header counts parts of pictures."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from films import DELAYS, FPS, FRAMES, HEIGHT, RATE, WIDTH, WINDOW, Film, apart, number_of

from talkies.media.container import MediaError, opened
from talkies.media.frames import read_frames
from talkies.media.probe import probe
from talkies.media.rates import frame_rate
from talkies.media.sound import read_audio
from talkies.media.timeline import find_beginning

PARTS = [
    *(Film("avi", video, "pcm", periods=2) for video in ("h264", "mpeg4-b")),
    Film("avi", "h264-b", "mp3", periods=5),
    Film("mkv", "h264-b", "aac", periods=2),
    Film("mkv", "mpeg4", "flac", periods=5),
    Film("webm", "vp9", "opus", periods=2),
    Film("ts", "h264-b", "aac", periods=2),
    Film("mov", "mpeg2-b", "aac", periods=2),
    Film("flv", "h264", "mp3", periods=2),
    *(Film("wmv", "h264", "aac", periods=each) for each in (1, 2)),
]
MORE = [
    *(Film("avi", video, "pcm", periods=2) for video in ("h264-b", "mpeg2-b", "vp9")),
    *(Film("mkv", video, "aac", periods=2) for video in ("h264", "hevc", "mpeg2-b")),
    *(Film("ts", video, "aac", periods=2) for video in ("hevc", "mpeg2-b", "mpeg4")),
    *(Film(container, "h264-b", "aac", periods=2) for container in ("mp4", "fmp4")),
    *(Film("wmv", video, "aac", periods=each) for video in ("mpeg4", "mpeg4-b") for each in (1, 2)),
]


def read(path: Path) -> tuple[torch.Tensor, torch.Tensor]:
    frames = read_frames(path, frames=WINDOW, fps=FPS, height=HEIGHT, width=WIDTH)
    return frames, read_audio(path, sample_rate=RATE, seconds=Fraction(WINDOW, FPS))


def check_order(frames: torch.Tensor) -> None:
    numbers = [number_of(image) for image in frames]
    assert numbers == list(range(numbers[0], numbers[0] + WINDOW))
    assert numbers[0] == 0


def check(film: Film, tmp_path: Path) -> None:
    path = film.write(tmp_path)
    assert probe(path).fps == FPS
    frames, samples = read(path)
    check_order(frames)
    assert abs(apart(frames, samples, RATE)) < 0.1


@pytest.mark.parametrize("film", PARTS, ids=str)
def test_a_header_that_counts_parts_of_pictures(film: Film, tmp_path: Path) -> None:
    check(film, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("film", MORE, ids=str)
def test_other_headers_that_count_parts_of_pictures(film: Film, tmp_path: Path) -> None:
    check(film, tmp_path)


@pytest.mark.parametrize("periods", [1, 2])
@pytest.mark.parametrize("video", ["mpeg4", "mpeg4-b"])
def test_avi_is_off_by_no_more_than_its_encoder_makes_sound_late(video: str, periods: int, tmp_path: Path) -> None:
    """As ffmpeg writes it: some pictures are moved by whole slots, others not, and the file does not record which."""
    frames, samples = read(Film("avi", video, "mp3", periods=periods, early=False).write(tmp_path))
    assert abs(apart(frames, samples, RATE)) < DELAYS["mp3"] / RATE * FPS + 0.05


def written(path: Path, *, rate: int, ticks: list[int]) -> Fraction:
    """The rate of a video with the header's `rate` whose pictures are shown at `ticks` periods of it."""
    with av.open(str(path), "w") as out:
        video = out.add_stream("mjpeg", rate=rate)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuvj420p"
        for tick in ticks:
            frame = av.VideoFrame(WIDTH, HEIGHT, "yuvj420p")
            frame.pts, frame.time_base = tick, Fraction(1, rate)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
    with opened(path) as container:
        return frame_rate(container.streams.video[0], path)


@pytest.mark.parametrize("name", ["a.avi", "a.mkv"])
def test_pictures_that_are_missing_leave_the_rate(name: str, tmp_path: Path) -> None:
    """Every one of these shows that a picture may last one period."""
    assert written(tmp_path / name, rate=24, ticks=list(range(FRAMES))) == 24
    assert written(tmp_path / name, rate=24, ticks=[n for n in range(FRAMES) if n % 5]) == 24
    assert written(tmp_path / name, rate=24, ticks=[0, 2, *range(4, FRAMES)]) == 24
    assert written(tmp_path / name, rate=24, ticks=[0]) == 24


def dated(path: Path, ticks: list[int], *, sound: bool = True) -> Path:
    """AVI with 48 slots a second and pictures that are shown at `ticks`; the first is written into slot 0."""
    with av.open(str(path), "w") as out:
        video = out.add_stream("mjpeg", rate=48)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuvj420p"
        audio = out.add_stream("pcm_s16le", rate=RATE, layout="mono") if sound else None
        for tick in ticks:
            frame = av.VideoFrame(WIDTH, HEIGHT, "yuvj420p")
            frame.pts, frame.time_base = tick, Fraction(1, 48)
            out.mux(video.encode(frame))
        if audio is not None:
            frame = av.AudioFrame.from_ndarray(np.zeros((1, RATE), np.int16), format="s16", layout="mono")
            frame.sample_rate = RATE
            out.mux(audio.encode(frame))
    return path


@pytest.mark.parametrize("first", [1, 2, 3, 4, 5])
def test_avi_whose_first_picture_is_shown_for_other_slots(first: int, tmp_path: Path) -> None:
    """ffmpeg writes such files when it copies from MP4: the other pictures are in their slots."""
    path = dated(tmp_path / "a.avi", [0, *range(first, 48, 2)])
    assert probe(path).fps == 24
    assert find_beginning(path).seconds == pytest.approx((first % 2 if first > 1 else -1) / 48)
    read_frames(path, frames=12, fps=24, height=HEIGHT, width=WIDTH)


def test_avi_that_lost_where_it_begins(tmp_path: Path) -> None:
    path = dated(tmp_path / "a.avi", [0, *range(40, 80, 2)])
    with pytest.raises(MediaError, match=r"0\.792 s longer than every other"):
        find_beginning(path)
    find_beginning(path, modalities=("video",))
    find_beginning(dated(tmp_path / "mute.avi", [0, *range(40, 80, 2)], sound=False))
    find_beginning(dated(tmp_path / "screen.avi", [0, *range(40, 80, 2), 86, 88]))


@pytest.mark.parametrize("name", ["a.avi", "a.mkv", "a.mp4", "a.nut"])
def test_a_part_of_an_odd_rate_stays_exact(name: str, tmp_path: Path) -> None:
    """60000/1001 with every other picture present: not 30."""
    with av.open(str(tmp_path / name), "w") as out:
        video = out.add_stream("mjpeg", rate=Fraction(60000, 1001))
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuvj420p"
        for number in range(FRAMES):
            frame = av.VideoFrame(WIDTH, HEIGHT, "yuvj420p")
            frame.pts, frame.time_base = 2 * number, Fraction(1001, 60000)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
    with opened(tmp_path / name) as container:
        found = frame_rate(container.streams.video[0], tmp_path / name)
    assert float(found) == pytest.approx(30000 / 1001, rel=1e-5)
