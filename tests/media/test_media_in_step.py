"""Flash against beep in every container: within a tenth of a frame after reading, or refused with a reason.

Every film is one or the other by `reason` below, and begins with the picture that `FIRST` says.
"""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
import torch
from films import CHANGES, FORMATS, FPS, HEIGHT, RATE, WIDTH, WINDOW, Film, apart, encoded, number_of, picture
from schedule import own_schedule

from talkies.codecs.load import load_codecs
from talkies.config import DataError
from talkies.config.decode import decode_values
from talkies.data.shards import ShardSet
from talkies.media.container import MediaError
from talkies.media.frames import read_frames
from talkies.media.probe import probe
from talkies.media.sound import read_audio
from talkies.media.timeline import find_beginning
from talkies.models.systems import SYSTEMS
from talkies.prepare.config import PrepareConfig
from talkies.prepare.pipeline import prepare

STREAMS = {
    "mp4": "h264/aac h264-b/aac h264-open/aac h264-refresh/aac hevc/aac hevc-open/opus vp9/opus mpeg2-b/mp2 "
    "mpeg4-b/mp3",
    "fmp4": "h264-b/aac hevc-open/aac",
    "mov": "h264-b/pcm h264-open/aac hevc/aac mpeg4/aac mpeg4-b/pcm mpeg2/mp2 mpeg2-b/pcm",
    "mkv": "h264/aac h264-b/mp3 h264-open/opus hevc/flac hevc-open/aac vp8/pcm vp9/opus mpeg2-b/mp2 mpeg4/vorbis "
    "mpeg4-b/ac3 av1/opus",
    "flv": "h264-open/aac h264-b/mp3",
    "mpg": "mpeg2-b/mp2 mpeg2/ac3",
    "wmv": "mpeg4/mp3 h264-b/aac",
    "webm": "vp9/opus vp8/vorbis",
    "ts": "h264/aac h264/opus h264-b/mp2 h264-b/mp3 h264-open/aac h264-refresh/aac hevc/aac hevc-open/ac3 mpeg2/mp2 "
    "mpeg2-b/mp2",
    "avi": "mpeg4/pcm mpeg4/mp3 mpeg4-b/mp3 h264/pcm h264-b/ac3 mpeg2-b/mp2",
}
AVI = ("whole", "inside, from 0", "second group, from 0")
"""What AVI allows: its streams begin together."""
FIRST = {
    "whole": (0,),
    "later": (0,),
    "negative": (0, 8, 9),  # containers without negative times move them to 0; mp4 hides what is before 0
    "sound late": (11, 12, 13, 14),  # packets of sound are cut whole, and one of FLAC lasts 2.3 frames
    "pictures late": (12,),
    "sought": (6, 7, 8, 9),
    "sought, between": (7, 8, 9),
    "inside": (12,),
    "inside, from 0": (12,),
    "second group": (12, 13, 14),
    "second group, from 0": (12, 13, 14),
    "torn": (24,),
}
TELLING = {
    "mp4-h264-b-aac": ("whole", "negative", "sound late", "sound too late", "sought", "sought, between", "inside"),
    "mp4-hevc-open-opus": ("whole", "pictures late", "inside"),
    "mp4-mpeg4-b-mp3": ("sought", "inside"),
    "fmp4-h264-b-aac": ("later", "sought", "sought, between"),
    "mov-hevc-aac": ("sought, between",),
    "mov-mpeg2-b-pcm": ("whole", "inside"),
    "mov-h264-open-aac": ("second group",),
    "mkv-h264-aac": ("later", "inside"),
    "mkv-h264-open-opus": ("second group",),
    "mkv-hevc-open-aac": ("second group", "sought"),
    "mkv-vp9-opus": ("inside",),
    "webm-vp9-opus": ("whole", "sound late", "inside, from 0"),
    "ts-h264-open-aac": ("torn",),
    "ts-hevc-aac": ("pictures late", "torn"),
    "ts-mpeg2-b-mp2": ("whole", "inside", "torn"),
    "flv-h264-b-mp3": ("inside",),
    "mpg-mpeg2-b-mp2": ("inside",),
    "wmv-mpeg4-mp3": ("sought",),
    "avi-mpeg4-mp3": ("whole", "inside, from 0"),
    "avi-h264-b-ac3": ("whole",),
    "avi-mpeg2-b-mp2": ("second group, from 0",),
}
"""The cases of every test run; the others are slow."""


def films() -> list[Film]:
    """Every case that its container allows."""
    made = []
    for container, streams in STREAMS.items():
        for video, audio in (pair.split("/") for pair in streams.split()):
            changes = [c for c in CHANGES if (c in AVI or container != "avi") and (c != "torn" or container == "ts")]
            made += [Film(container, video, audio, change) for change in changes]
    return made


ALL = films()
TOLD = [film for film in ALL if film.change in TELLING.get(f"{film.container}-{film.video}-{film.audio}", ())]


def first(film: Film) -> tuple[int, ...]:
    """The numbers of the pictures with which a film may begin when read."""
    if film.video == "h264-refresh" and film.change in (
        "inside",
        "inside, from 0",
        "second group",
        "second group, from 0",
        "pictures late",
        "torn",
    ):
        return tuple(number + 2 for number in FIRST[film.change])
    return FIRST[film.change]


def reason(film: Film) -> str | None:
    """Why a film is refused; None if it is read in step."""
    cut = film.change.startswith(("inside", "second group"))
    if film.container == "wmv" and film.video == "h264-b":  # ASF keeps one time for each packet
        return r"frame \d is shown at 0\.\d+ s instead of 0\.\d+ s: frames are missing, or the rate varies"
    if film.change == "sound too late":
        return r"ends after 1\d frames, 21 are needed: its sound begins 1\.\d+ s after its first whole picture"
    if film.container == "avi" and film.video in ("mpeg4-b", "mpeg2-b") and cut:
        return "begins inside a group of pictures, and AVI does not record when the others are shown"
    if (film.container, film.video, film.change) == ("mov", "mpeg2-b", "inside"):
        return "hides its beginning with an edit list and wrongly marks pictures as key pictures"
    return None


def in_step(film: Film, folder: Path) -> None:
    """The property of one film."""
    path, refused = film.write(folder), reason(film)
    if refused is not None:
        with pytest.raises(MediaError, match=refused):
            read(path)
        return
    frames, samples = read(path)
    numbers = [number_of(image) for image in frames]
    assert numbers[0] in first(film)
    assert numbers == list(range(numbers[0], numbers[0] + WINDOW))
    assert abs(apart(frames, samples, RATE)) < 0.1


def read(path: Path, **begin: Any) -> tuple[torch.Tensor, torch.Tensor]:
    found = find_beginning(path, **begin)
    frames = read_frames(path, frames=WINDOW, fps=FPS, height=HEIGHT, width=WIDTH, begin=found)
    return frames, read_audio(path, sample_rate=RATE, seconds=Fraction(WINDOW, FPS), begin=found)


def test_the_cases_of_every_run_exist() -> None:
    assert len(TOLD) == sum(map(len, TELLING.values()))
    assert {film.change for film in TOLD} == set(CHANGES)
    assert {film.container for film in TOLD} == set(STREAMS)


@pytest.mark.parametrize("film", TOLD, ids=str)
def test_in_step_or_refused(film: Film, tmp_path: Path) -> None:
    in_step(film, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("film", [film for film in ALL if film not in TOLD], ids=str)
def test_all_others_in_step_or_refused(film: Film, tmp_path: Path) -> None:
    in_step(film, tmp_path)


@pytest.mark.parametrize(("video", "audio"), [("vp9", "opus"), ("vp8", "vorbis")])
@pytest.mark.parametrize("container", ["mkv", "webm"])
def test_matroska_that_begins_before_time_zero_is_refused(
    container: str, video: str, audio: str, tmp_path: Path
) -> None:
    """As `ffmpeg -ss 0.5 -c copy -avoid_negative_ts disabled` writes it."""
    path, form = tmp_path / f"cut.{container}", FORMATS.get(container, container)
    with own_schedule(), av.open(str(path), "w", format=form, options={"avoid_negative_ts": "disabled"}) as out:
        pictures, sounds = encoded(out, Film(container, video, audio))
        for packet in sorted([*pictures, *sounds], key=lambda packet: float(packet.dts * packet.time_base)):
            early = round(Fraction(1, 2) / packet.time_base)
            packet.pts, packet.dts = packet.pts - early, packet.dts - early
            out.mux(packet)
    with pytest.raises(MediaError, match=r"pictures begin 0\.\d{3} s before time 0, .*-avoid_negative_ts"):
        read(path)


@pytest.mark.parametrize("after", [0.25, 0.33])
@pytest.mark.parametrize("film", [Film("mkv", "h264-b", "opus", "inside"), Film("ts", "mpeg2-b", "mp2")], ids=str)
def test_a_window_that_begins_later(film: Film, after: float, tmp_path: Path) -> None:
    """At the nearest picture, with its sound."""
    path = film.write(tmp_path)
    begin, (frames, samples) = find_beginning(path), read(path, after=after)
    assert abs(find_beginning(path, after=after).seconds - begin.seconds - after) <= 0.5 / FPS
    assert number_of(frames[0]) - number_of(read(path)[0][0]) == round(after * FPS)
    assert abs(apart(frames, samples, RATE)) < 0.1


@pytest.mark.slow
@pytest.mark.parametrize(("video", "audio"), [("mpeg2-b", "mp2"), ("h264-open", "aac"), ("hevc-open", "aac")])
def test_a_transport_stream_torn_anywhere(video: str, audio: str, tmp_path: Path) -> None:
    """In step, or too little is left and the error names the reason."""
    path = Film("ts", video, audio).write(tmp_path)
    data = path.read_bytes()
    packets, read_in_step, refused = len(data) // 188, 0, list[str]()
    for cut in range(1, packets * 55 // 100, packets // 60):
        path.write_bytes(data[cut * 188 :])
        try:
            frames, samples = read(path)
        except DataError as error:
            refused.append(str(error))
            continue
        numbers = [number_of(image) for image in frames]
        assert numbers == list(range(numbers[0], numbers[0] + WINDOW))
        assert abs(apart(frames, samples, RATE)) < 0.1
        read_in_step += 1
    assert read_in_step > 20
    assert all("21 are needed: it begins inside a group of pictures, so that its first" in words for words in refused)


def test_stored_clips_are_in_step(tmp_path: Path) -> None:
    """Through `prepare`: the clips decoded from the stored latents, and what is quarantined."""
    wanted = [
        Film("mp4", "h264-b", "aac", "sought"),
        Film("mkv", "h264", "aac", "inside"),
        Film("webm", "vp9", "opus"),
        Film("ts", "mpeg2-b", "mp2", "torn"),
        Film("mov", "h264-b", "pcm", "sound late"),
        Film("avi", "mpeg2-b", "mp2", "second group, from 0"),
    ]
    (tmp_path / "clips").mkdir()
    for film in wanted:
        film.write(tmp_path / "clips").with_suffix(".txt").write_text("a film")
    Film("mp4", "h264", "aac", "sound too late").write(tmp_path).rename(tmp_path / "clips" / "late.mp4")
    (tmp_path / "clips" / "late.txt").write_text("a film")
    values = {
        "kind": "prepare",
        "name": "small",
        "sources": {"films": {"kind": "folder", "path": "clips"}},
        "codecs": {
            "video": {"kind": "linear_video", "channels": 24, "motion": 12},
            "audio": {"kind": "linear_audio", "channels": 32, "hop": 320},
            "text": {"kind": "bytes", "dim": 16, "length": 6},
        },
        "sets": {"all": {"source": "films", "split": "all", "geometry": f"{HEIGHT}x{WIDTH}x{WINDOW}@{FPS}"}},
        "fit_sets": ["all"],
    }
    config = decode_values(PrepareConfig, values, where="test")
    found = prepare(config, tmp_path / "root", systems=SYSTEMS, recipe_folder=tmp_path, progress=False).sets["all"]
    refused = {entry.id: (entry.reason, entry.detail) for entry in found.quarantined}
    assert refused["late.mp4"][0] == "too short"
    assert "its sound begins 1.514 s after its first whole picture" in refused["late.mp4"][1]
    assert refused["film.avi"][0] == "undecodable"
    assert len(refused) == 2
    assert (found.kept, found.late) == (5, 3)
    shards = ShardSet.open(tmp_path / "root" / "sets" / "all")
    codecs = load_codecs(config.codecs, tmp_path / "root" / "codecs")
    for clip in (shards.read(index) for index in range(len(shards))):
        frames = (codecs.video["video"].decode(clip.streams["video"].values[None])[0] + 1) * 127.5
        samples = codecs.audio["audio"].decode(clip.streams["audio"].values[None])[0]
        assert abs(apart(frames, samples, codecs.audio["audio"].sample_rate)) < 0.5, clip.id


EMPTY = (4, 5, 30)
"""Pictures that are packets without data: the previous one is repeated."""


@pytest.mark.parametrize("container", ["avi", "nut"])
def test_repeated_pictures(container: str, tmp_path: Path) -> None:
    """As in Theora and captured AVI."""
    path = tmp_path / f"a.{container}"
    with av.open(str(path), "w") as out:
        video = out.add_stream("mpeg4", rate=FPS, options={"b": "1M"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(36):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            for packet in video.encode(frame) if number not in EMPTY else [empty(video, number)]:
                out.mux(packet)
        out.mux(video.encode(None))
    frames = read_frames(path, frames=36, fps=FPS, height=HEIGHT, width=WIDTH)
    assert [number_of(image) for image in frames] == [*range(4), 3, 3, *range(6, 30), 29, *range(31, 36)]


def empty(stream: Any, number: int) -> Any:
    packet = av.Packet(b"")
    packet.stream, packet.time_base = stream, Fraction(1, FPS)
    packet.pts = packet.dts = number
    return packet


def test_no_key_picture_is_left(tmp_path: Path) -> None:
    path = Film("mkv", "h264-b", "aac", "inside").write(tmp_path)
    with av.open(str(path)) as source, av.open(str(tmp_path / "b.mkv"), "w") as out:
        streams = {stream.index: out.add_stream_from_template(stream, opaque=True) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is not None and not (packet.stream.type == "video" and packet.pts * packet.time_base > 0.45):
                packet.stream = streams[packet.stream_index]
                out.mux(packet)
    words = (
        r"inside a group of pictures, and none of its \d pictures is a key picture; cut it from .*\(ffmpeg -ss START"
    )
    with pytest.raises(MediaError, match=words):
        probe(tmp_path / "b.mkv")
