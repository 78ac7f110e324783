"""PCM comes back from an mp4 as it was: its samples, rate, channels and duration."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from talkies.media.container import MediaError, opened
from talkies.media.downmix import channel_values
from talkies.media.mux import check_carried, write_beside
from talkies.media.probe import probe
from talkies.media.sound import read_audio
from talkies.streams.codec import Media

RATES = (8000, 16000, 22050, 44100, 48000, 88200, 96000, 192000)
FORMATS = {
    "u8": ("u8", np.uint8, 0),
    "s16le": ("s16", np.int16, 0),
    "s24le": ("s32", np.int32, 8),
    "f32le": ("flt", np.float32, 0),
}
"""PCM -> PyAV's format, its type, and the low bits that are always 0."""
Values = NDArray[np.float64]


def written(path: Path, kind: str, rate: int, layout: str, times: tuple[float, ...] = (0.0,), codec: str = "") -> Path:
    """0.1 s of noise at each of `times`; of float PCM, on the grid of 24 bits."""
    name, dtype, low = FORMATS[kind]
    count, rng = av.AudioLayout(layout).nb_channels, np.random.default_rng(0)
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream(codec or f"pcm_{kind}", rate=rate, layout=layout)
        for time in times:
            noise = rng.integers(-(2**23), 2**23, (1, count * (rate // 10)))
            whole = noise / 2**23 if name == "flt" else (noise >> (24 - 8 * np.dtype(dtype).itemsize + low)) << low
            values = (whole + (128 if name == "u8" else 0)).astype(dtype)
            frame = av.AudioFrame.from_ndarray(values, format=name, layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, round(time * rate), Fraction(1, rate)
            for packet in stream.encode(frame):
                out.mux(packet)
        for packet in stream.encode(None):
            out.mux(packet)
    return path


def samples(path: Path) -> Values:
    with opened(path) as container:
        return np.concatenate([channel_values(frame) for frame in container.decode(audio=0)], axis=1)


def stored(path: Path) -> tuple[Path, tuple[str, ...]]:
    """The mp4 with a file's sound, and what was said."""
    out = path.with_name("out.mp4")
    media = Media(frames=torch.zeros(3, 3, 32, 32), fps=25.0, samples=None, sample_rate=1)
    write_beside(out, media, path, "audio", begin=0.0, tags={})
    return out, check_carried(path, "audio")


@pytest.mark.parametrize("layout", ["mono", "stereo", "5.1"])
@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("rate", RATES)
def test_samples_rate_channels_and_duration_are_the_file_s(tmp_path: Path, rate: int, kind: str, layout: str) -> None:
    path = written(tmp_path / "a.wav", kind, rate, layout)
    out, notes = stored(path)
    np.testing.assert_array_equal(samples(out), samples(path))
    assert notes == (f"its pcm_{kind}, which few players know in mp4, is stored as FLAC, sample for sample",)
    found, given = probe(out), probe(path)
    assert (found.audio_rate, found.audio_channels) == (rate, given.audio_channels)
    assert found.audio_seconds == pytest.approx(0.1, abs=1 / rate)
    assert len(read_audio(out, sample_rate=16000, seconds=1)) == len(read_audio(path, sample_rate=16000, seconds=1))


@pytest.mark.parametrize("name", ["a.avi", "a.mkv", "a.mov", "a.aif"])
def test_pcm_of_every_container(tmp_path: Path, name: str) -> None:
    path = written(tmp_path / name, "s16le", 44100, "stereo", codec="pcm_s16be" if name == "a.aif" else "")
    out, notes = stored(path)
    np.testing.assert_array_equal(samples(out), samples(path))
    assert len(notes) == 1


@pytest.mark.parametrize("codec", ["pcm_mulaw", "adpcm_ima_wav"])
def test_other_sound_of_whole_numbers_that_mp4_cannot_hold(tmp_path: Path, codec: str) -> None:
    path = written(tmp_path / "a.wav", "s16le", 16000, "mono", codec=codec)
    out, _ = stored(path)
    np.testing.assert_array_equal(samples(out), samples(path))


def test_floats_that_need_more_bits_are_rounded_and_cut_and_it_is_said(tmp_path: Path) -> None:
    path, values = tmp_path / "a.wav", np.random.default_rng(0).normal(0, 0.3, (1, 16000)).astype(np.float32)
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("pcm_f32le", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(values, format="flt", layout="mono")
        frame.sample_rate = 16000
        for packet in (*stream.encode(frame), *stream.encode(None)):
            out.mux(packet)
    made, notes = stored(path)
    np.testing.assert_allclose(samples(made), values.clip(-1, 1), atol=2**-23, rtol=0)
    assert notes == (
        "its pcm_f32le, which few players know in mp4, is stored as FLAC, rounded to 24 bits",
        f"{int((np.abs(values) > 1).sum())} of its samples are above full scale and cut there",
    )


def test_gaps_become_silence_of_their_duration(tmp_path: Path) -> None:
    path = written(tmp_path / "a.mkv", "s16le", 16000, "mono", times=(0.0, 0.3))
    out, notes = stored(path)
    given, found = samples(path), samples(out)
    np.testing.assert_array_equal(found[:, :1600], given[:, :1600])
    np.testing.assert_array_equal(found[:, 4800:], given[:, 1600:])
    assert not found[:, 1600:4800].any()
    assert notes[1:] == ("0.20 s of gaps in it are stored as silence",)


def test_channels_that_flac_names_otherwise_are_said(tmp_path: Path) -> None:
    path = written(tmp_path / "a.wav", "s24le", 48000, "2.1")
    out, notes = stored(path)
    np.testing.assert_array_equal(samples(out), samples(path))
    assert notes[1:] == ("its channels (2.1) are played as 3.0, which is all that FLAC knows",)


def test_more_channels_than_flac_has_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="its sound has 16 channels, FLAC has up to 8; mix it down"):
        stored(written(tmp_path / "a.wav", "s16le", 8000, "hexadecagonal"))


def test_a_rate_that_flac_does_not_have_is_refused_before(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="a.wav: cannot be encoded as FLAC at 88211 Hz"):
        check_carried(written(tmp_path / "a.wav", "s16le", 88211, "mono"), "audio")
