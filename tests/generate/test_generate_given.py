"""Given media are fitted to a model's clips, and every change is noted."""

import wave
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from av.video.frame import PictureType

from talkies.config import DataError
from talkies.generate.given import given_film, given_sound
from talkies.media.write import write_mp4
from talkies.streams.codec import Media

RATE = 16000


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """2 s at 25 fps, 64x48: frame k has brightness k / 50; a tone."""
    frames = (torch.arange(50) / 25 - 1)[:, None, None, None].expand(50, 3, 48, 64)
    samples = 0.3 * torch.sin(torch.arange(2 * RATE) * 0.3)
    write_mp4(tmp_path / "clip.mp4", Media(frames=frames, fps=25.0, samples=samples, sample_rate=RATE), tags={})
    return tmp_path / "clip.mp4"


def retimed(clip: Path, path: Path, slots: list[int]) -> Path:
    """The first pictures of a clip, each in its slot of 40 ms."""
    with av.open(str(clip)) as source, av.open(str(path), "w") as out:
        stream: Any = out.add_stream("libx264", rate=25, options={"crf": "12", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 25)
        for slot, frame in zip(slots, source.decode(video=0), strict=False):
            frame.pts, frame.time_base, frame.pict_type = slot, Fraction(1, 25), PictureType.NONE
            for packet in stream.encode(frame):
                out.mux(packet)
        for packet in stream.encode(None):
            out.mux(packet)
    return path


def test_sound_of_the_same_rate_and_length_is_taken_as_it_is(clip: Path) -> None:
    given = given_sound(clip, sample_rate=RATE, samples=2 * RATE)
    assert (given.values.shape, given.notes, given.begin) == ((2 * RATE,), (), 0.0)
    assert float(given.values.abs().max()) == pytest.approx(0.3, rel=0.05)


@pytest.mark.parametrize(
    ("rate", "seconds", "notes"),
    [
        (RATE, 1.0, ["it lasts 2.00 s: the clip is made for the first 1.00 s"]),
        (RATE, 3.0, ["it lasts 2.00 s: silence follows up to the 3.00 s of a clip"]),
        (8000, 2.0, ["resampled from 16,000 to 8,000 Hz for the model"]),
    ],
)
def test_other_lengths_and_rates_are_noted(clip: Path, rate: int, seconds: float, notes: list[str]) -> None:
    given = given_sound(clip, sample_rate=rate, samples=int(rate * seconds))
    assert len(given.values) == int(rate * seconds)
    assert [note[: len(begin)] for note, begin in zip(given.notes, notes, strict=True)] == notes
    assert not bool(given.values[int(2.1 * rate) :].any())


@pytest.mark.parametrize(("more", "seconds"), [(0.0, 1.0), (0.5, 1.5), (9.0, 2.0), (None, 2.0)])
def test_more_of_a_longer_file_may_be_read(clip: Path, more: float | None, seconds: float) -> None:
    given = given_sound(clip, sample_rate=RATE, samples=RATE, more=more)
    assert len(given.values) == pytest.approx(seconds * RATE, abs=1100), "an AAC frame of padding at the end"
    assert torch.equal(given.values[:RATE], given_sound(clip, sample_rate=RATE, samples=RATE).values)
    cut = ("it lasts 2.00 s: the clip is made for the first 1.00 s; --overlap makes a film for all of it",)
    assert given.notes == (() if more is None else cut)


def test_all_of_a_shorter_file_is_followed_by_silence(clip: Path) -> None:
    given = given_sound(clip, sample_rate=RATE, samples=3 * RATE, more=None)
    assert len(given.values) == 3 * RATE
    assert len(given.notes) == 1


@pytest.mark.parametrize(("level", "notes"), [(0.0, 2), (0.1, 1)])
def test_several_channels_and_silence_are_said(tmp_path: Path, level: float, notes: int) -> None:
    path = tmp_path / "a.wav"
    with wave.open(str(path), "wb") as out:
        out.setnchannels(2)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes((torch.ones(2 * RATE) * level * 32767).short().numpy().tobytes())
    found = given_sound(path, sample_rate=RATE, samples=RATE).notes
    assert found[:-1] == ("its 2 channels are mixed to one for the model", "it is silent")[:notes]
    assert found[-1] == "its pcm_s16le, which few players know in mp4, is stored as FLAC, sample for sample"


def test_a_film_of_the_same_kind_is_taken_as_it_is(clip: Path) -> None:
    given = given_film(clip, frames=25, fps=25.0, height=48, width=64)
    assert given.values.shape == (25, 3, 48, 64)
    expected = torch.arange(25) / 25 - 1
    torch.testing.assert_close(given.values.mean((1, 2, 3)), expected, atol=0.03, rtol=0)
    assert given.notes == ("it lasts 2.00 s: the clip is made for the first 1.00 s",)


def test_at_another_rate_the_picture_shown_at_each_time_is_taken(clip: Path) -> None:
    given = given_film(clip, frames=20, fps=10.0, height=48, width=64)
    shown = torch.tensor([int(k * 2.5 + 1e-3) for k in range(20)]) / 25 - 1
    torch.testing.assert_close(given.values.mean((1, 2, 3)), shown, atol=0.03, rtol=0)
    assert given.notes == ("sampled from 25 to 10 fps for the model",)


def test_a_short_film_stands_at_its_last_picture_and_another_size_is_noted(clip: Path) -> None:
    given = given_film(clip, frames=60, fps=25.0, height=32, width=32)
    assert given.values.shape == (60, 3, 32, 32)
    torch.testing.assert_close(given.values[49:], given.values[49:50].expand(11, -1, -1, -1))
    assert given.notes == (
        "cropped and resized from 64x48 to 32x32 for the model",
        "it lasts 2.00 s: its last picture stands up to the 2.40 s of a clip",
    )


@pytest.mark.parametrize("kind", ["mkv", "ts", "mov"])
def test_a_short_film_stands_in_every_container(tmp_path: Path, clip: Path, kind: str) -> None:
    """Some of them do not say how many pictures they have."""
    given = given_film(retimed(clip, tmp_path / f"a.{kind}", list(range(50))), frames=60, fps=25.0, height=48, width=64)
    torch.testing.assert_close(given.values[49:], given.values[49:50].expand(11, -1, -1, -1))
    torch.testing.assert_close(given.values[:50].mean((1, 2, 3)), torch.arange(50) / 25 - 1, atol=0.03, rtol=0)
    assert given.notes == ("it lasts 2.00 s: its last picture stands up to the 2.40 s of a clip",)


@pytest.mark.parametrize("kind", ["mkv", "mp4", "ts"])
def test_of_a_variable_rate_the_picture_shown_at_each_time_is_taken(tmp_path: Path, clip: Path, kind: str) -> None:
    """The first second has 25 pictures, then each is shown for three times as long."""
    slots = [k if k < 25 else 25 + 3 * (k - 25) for k in range(40)]
    given = given_film(retimed(clip, tmp_path / f"a.{kind}", slots), frames=80, fps=25.0, height=48, width=64)
    shown = torch.tensor([max(k for k, slot in enumerate(slots) if slot <= at) for at in range(80)])
    torch.testing.assert_close(given.values.mean((1, 2, 3)), shown / 25 - 1, atol=0.03, rtol=0)
    assert (
        given.notes[0] == "its frame rate varies: the picture shown at each time is taken, 25 a second, for the model"
    )
    assert len(given.notes) == 2
    assert given.notes[1].endswith("its last picture stands up to the 3.20 s of a clip")


def test_films_and_sounds_that_mp4_cannot_hold_are_refused(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as out:
        video: Any = out.add_stream("libvpx", rate=25, width=64, height=48, pix_fmt="yuv420p")
        for packet in (*video.encode(av.VideoFrame(64, 48, "yuv420p")), *video.encode(None)):
            out.mux(packet)
    with pytest.raises(DataError, match="its video is vp8, which mp4 cannot hold"):
        given_film(tmp_path / "a.mkv", frames=1, fps=25.0, height=48, width=64)
    sound = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.float32), format="flt", layout="mono")
    sound.sample_rate, sound.pts, sound.time_base = 16000, 0, Fraction(1, 16000)
    with av.open(str(tmp_path / "b.flv"), "w") as out:
        audio: Any = out.add_stream("nellymoser", rate=16000, layout="mono")
        for packet in (*audio.encode(sound), *audio.encode(None)):
            out.mux(packet)
    with pytest.raises(DataError, match="its audio is nellymoser, which mp4 cannot hold"):
        given_sound(tmp_path / "b.flv", sample_rate=RATE, samples=100)


def test_files_without_the_medium_are_refused(tmp_path: Path) -> None:
    silent = tmp_path / "silent.mp4"
    write_mp4(silent, Media(frames=torch.zeros(5, 3, 32, 32), fps=25.0, samples=None, sample_rate=1), tags={})
    with pytest.raises(DataError, match="has no sound"):
        given_sound(silent, sample_rate=RATE, samples=100)
