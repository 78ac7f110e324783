"""Recordings of voices: what of them a model hears, and what is refused."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
import torch
from scipy.io import wavfile
from torch import Tensor

from talkies.config import DataError
from talkies.generate.voice import Voice, read_voice

THEIRS, OURS = 48000, 16000
CODECS = {"wav": "pcm_s16le", "flac": "flac", "mp3": "libmp3lame", "m4a": "aac"}


def spoken(seconds: float, *, loud: float = 0.3) -> Tensor:
    """A tone that rises in pitch, so that every part is told from every other."""
    time = torch.arange(round(seconds * THEIRS)) / THEIRS
    return loud * torch.sin(2 * torch.pi * (200 * time + 50 * time**2))


def file(path: Path, sound: Tensor, *, channels: int = 1, film: bool = False) -> Path:
    layout = "mono" if channels == 1 else "stereo"
    values = (sound.clamp(-1, 1) * 32767).round().short()
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream(CODECS.get(path.suffix[1:], "aac"), rate=THEIRS, layout=layout)
        picture: Any = out.add_stream("libx264", rate=10, options={"threads": "1"}) if film else None
        frame = av.AudioFrame.from_ndarray(
            values[:, None].expand(-1, channels).reshape(1, -1).numpy(), format="s16", layout=layout
        )
        frame.sample_rate, frame.pts, frame.time_base = THEIRS, 0, Fraction(1, THEIRS)
        if film:
            picture.height = picture.width = 16
            picture.pix_fmt = "yuv420p"
            for index in range(10):
                shown = av.VideoFrame.from_ndarray(torch.zeros(16, 16, 3).byte().numpy(), format="rgb24")
                shown.pts, shown.time_base = index, Fraction(1, 10)
                out.mux(picture.encode(shown))
            out.mux(picture.encode(None))
        for packet in (*stream.encode(frame), *stream.encode(None)):
            out.mux(packet)
    return path


def read(path: Path, longest: float = 10.0) -> Voice:
    return read_voice(path, stream="reference", sample_rate=OURS, longest=round(longest * OURS))


@pytest.mark.parametrize("kind", ["wav", "flac", "mp3", "m4a", "mp4", "mkv"])
def test_a_voice_of_any_kind_of_file_is_what_was_recorded(tmp_path: Path, kind: str) -> None:
    path = file(tmp_path / f"a.{kind}", spoken(1.0), film=kind in ("mp4", "mkv"), channels=2)
    found = read(path)
    assert found.notes[:2] == (
        "resampled from 48,000 to 16,000 Hz for the model",
        "its 2 channels are mixed to one for the model",
    )
    assert len(found.samples) == pytest.approx(OURS, abs=0.06 * OURS)
    wanted = spoken(1.0)[::3][: len(found.samples)]
    ours, theirs = found.samples[: len(wanted)], wanted[: len(found.samples)]
    best = max(
        float(torch.corrcoef(torch.stack([ours[shift : shift + 9000], theirs[:9000]]))[0, 1]) for shift in range(1300)
    )
    assert best > 0.99


def test_silence_at_the_ends_is_cut_off_and_the_first_part_is_taken(tmp_path: Path) -> None:
    silence = torch.zeros(THEIRS)
    path = file(tmp_path / "a.wav", torch.cat([silence, spoken(3.0), silence]))
    whole, first = read(path), read(path, 2.0)
    assert whole.notes[1] == "it lasts 5.00 s: the voice is taken from 1.00 to 4.00 s"
    assert first.notes[1] == "it lasts 5.00 s: the voice is taken from 1.00 to 3.00 s"
    assert len(whole.samples) == pytest.approx(3 * OURS, abs=1)
    assert len(first.samples) == 2 * OURS
    torch.testing.assert_close(first.samples[:-100], whole.samples[: 2 * OURS - 100])
    torch.testing.assert_close(
        whole.samples[100:-100], spoken(3.0)[::3][100 : len(whole.samples) - 100], atol=2e-3, rtol=0
    )


def test_a_pause_within_is_kept(tmp_path: Path) -> None:
    path = file(tmp_path / "a.wav", torch.cat([spoken(1.0), torch.zeros(THEIRS), spoken(1.0)]))
    assert len(read(path).samples) == 3 * OURS
    assert len(read(path).notes) == 1


@pytest.mark.parametrize(
    ("sound", "message"),
    [
        (torch.zeros(THEIRS), "a.wav is silent: give a recording of a voice"),
        (1e-4 * spoken(2.0), "a.wav is silent"),
        (torch.zeros(121 * THEIRS), "a.wav is silent in its first 120 s"),
        (spoken(0.4), r"a.wav sounds for 0.40 s: at least 0.5 s of a voice are needed"),
        (torch.cat([torch.zeros(THEIRS), spoken(0.3), torch.zeros(THEIRS)]), "a.wav sounds for 0.3"),
    ],
)
def test_what_is_no_voice_is_refused(tmp_path: Path, sound: Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(file(tmp_path / "a.wav", sound))


def test_a_clipped_voice_is_refused_where_it_is_heard(tmp_path: Path) -> None:
    """Clipping beyond the part that is taken harms nobody."""
    time = torch.arange(2 * THEIRS) / THEIRS
    rough = spoken(2.0) * (1 + 0.5 * torch.sin(2 * torch.pi * 3 * time))
    path = file(tmp_path / "a.wav", torch.cat([rough, (4 * rough).clamp(-0.5, 0.5)]))
    assert len(read(path, 2.0).samples) == 2 * OURS
    with pytest.raises(
        DataError, match=r"a.wav is clipped at 0.\d+ of full scale: give a recording that was made at a"
    ):
        read(path, 4.0)


def test_a_file_without_sound_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("libx264", rate=10, options={"threads": "1"})
        stream.height = stream.width = 16
        stream.pix_fmt = "yuv420p"
        frame = av.VideoFrame.from_ndarray(torch.zeros(16, 16, 3).byte().numpy(), format="rgb24")
        for packet in (*stream.encode(frame), *stream.encode(None)):
            out.mux(packet)
    with pytest.raises(DataError, match=r"a.mp4 has no sound: give a recording of a voice"):
        read(path)
    (tmp_path / "b.wav").write_bytes(b"nothing at all")
    with pytest.raises(DataError, match=r"b.wav"):
        read(tmp_path / "b.wav")


def test_a_voice_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    samples = spoken(2.0).numpy().copy()
    samples[900] = float("nan")
    wavfile.write(tmp_path / "a.wav", THEIRS, samples)
    with pytest.raises(DataError, match="not finite"):
        read_voice(tmp_path / "a.wav", stream="reference", sample_rate=THEIRS, longest=10 * THEIRS)
