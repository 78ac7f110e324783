"""Reading: geometry, time, and every kind of damage."""

import os
import struct
from dataclasses import replace
from fractions import Fraction
from math import ceil
from pathlib import Path

import av
import numpy as np
import painted
import pytest
import torch

from talkies.config import DataError
from talkies.media.container import EndedError, MediaError
from talkies.media.frames import fitted, read_frames
from talkies.media.probe import probe
from talkies.media.sound import read_audio
from talkies.media.timeline import find_beginning
from talkies.media.write import read_tags, write_mp4
from talkies.streams.codec import Media


@pytest.fixture
def written(tmp_path: Path, square: Media) -> Path:
    """25 frames at 12 fps with sound, index first."""
    write_mp4(tmp_path / "a.mp4", square, tags={})
    return tmp_path / "a.mp4"


def mux(path: Path, times: list[int], *, fps: int = 12, audio_start: float | None = None, rotation: int = 0) -> None:
    """An H.264 file whose frames are shown at `times` (in frames), with a click at `audio_start` of its own sound."""
    with av.open(str(path), "w", format="matroska") as out:
        video = out.add_stream("libx264", rate=fps, options={"bf": "0"})
        video.width, video.height, video.pix_fmt = 48, 32, "yuv420p"
        packets = []
        sound = None if audio_start is None else out.add_stream("pcm_s16le", rate=8000, layout="stereo")
        for index, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(np.full((32, 48, 3), 5 * index % 256, np.uint8), format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, fps)
            packets += video.encode(frame)
        packets += video.encode(None)
        if sound is not None:
            samples = np.zeros((1, 2 * 8000), np.int16)
            samples[0, 0], samples[0, 1] = 32767, 16384
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="stereo")
            frame.sample_rate, frame.time_base, frame.pts = 8000, Fraction(1, 8000), round(8000 * audio_start)
            packets += [*sound.encode(frame), *sound.encode(None)]
        for packet in sorted(packets, key=lambda p: p.dts * p.time_base):
            out.mux(packet)


def test_probe_describes_a_file(written: Path) -> None:
    info = probe(written)
    assert (info.fps, info.frames, info.width, info.height) == (12.0, 25, 32, 32)
    assert (info.audio_rate, info.audio_channels) == (16000, 1)
    assert info.seconds == pytest.approx(25 / 12, abs=1e-3)
    assert info.audio_seconds == pytest.approx(25 / 12, abs=0.07)


def test_frames_from_a_later_start(written: Path) -> None:
    whole = read_frames(written, frames=25, fps=12.0, height=32, width=32)
    begin = find_beginning(written, after=0.75)
    later = read_frames(written, frames=5, fps=12.0, height=32, width=32, begin=begin)
    assert torch.equal(later, whole[9:14])


def test_sound_from_a_later_start(written: Path) -> None:
    whole = read_audio(written, sample_rate=16000, seconds=2.0)
    later = read_audio(written, sample_rate=16000, seconds=1.0, begin=find_beginning(written, after=0.75))
    assert torch.equal(later, whole[12000:28000])


@pytest.mark.parametrize("rate", [24000, 44100, 48000])
def test_sound_is_resampled_in_place(written: Path, rate: int) -> None:
    """The click of frame 10 at 0.833 s, heard at other rates."""
    resampled = read_audio(written, sample_rate=rate, seconds=Fraction(25, 12))
    assert len(resampled) == ceil(Fraction(33333 * rate, 16000))
    first = round(0.6 * rate)
    assert abs((first + int(resampled[first : round(1.1 * rate)].abs().argmax())) / rate - 10 / 12) < 0.001


def test_a_float_duration_gives_the_exact_number_of_samples(written: Path) -> None:
    assert len(read_audio(written, sample_rate=16000, seconds=25 / 12)) == 33333
    assert len(read_audio(written, sample_rate=24000, seconds=1.1)) == 26400


def test_stereo_is_averaged_and_sound_that_is_a_little_late_gets_silence(tmp_path: Path) -> None:
    mux(tmp_path / "a.mkv", list(range(24)), audio_start=0.04)
    samples = read_audio(tmp_path / "a.mkv", sample_rate=8000, seconds=2.0)
    assert len(samples) == 8320
    assert int(samples.argmax()) == 320
    assert float(samples[320]) == pytest.approx(0.75, abs=1e-3)
    assert samples[:320].abs().max() == 0


def test_time_begins_where_there_are_pictures_and_sound(tmp_path: Path) -> None:
    """The first frame is shown at 0.5 s of the file, its sound starts at 0.79 s: the window starts at 0.75 s."""
    mux(tmp_path / "a.mkv", list(range(6, 30)), audio_start=0.79)
    samples = read_audio(tmp_path / "a.mkv", sample_rate=8000, seconds=2.0)
    assert int(samples.argmax()) == 320
    frames = read_frames(tmp_path / "a.mkv", frames=21, fps=12.0, height=32, width=48)
    alone = find_beginning(tmp_path / "a.mkv", modalities=("video",))
    pictures = read_frames(tmp_path / "a.mkv", frames=24, fps=12.0, height=32, width=48, begin=alone)
    assert torch.equal(pictures[3:], frames)
    with pytest.raises(EndedError, match=r"after 21 frames, 22 are needed: its sound begins 0\.290 s after its first"):
        read_frames(tmp_path / "a.mkv", frames=22, fps=12.0, height=32, width=48)


def test_sound_that_begins_when_the_pictures_have_ended(tmp_path: Path) -> None:
    mux(tmp_path / "a.mkv", list(range(12)), audio_start=1.5)
    with pytest.raises(EndedError, match=r"its sound begins 1\.500 s after its first picture, when all pictures have"):
        find_beginning(tmp_path / "a.mkv")


def mux_sound(path: Path, pieces: list[tuple[float, torch.Tensor]], rate: int) -> None:
    """A Matroska file (time stamps in whole milliseconds) with 16-bit pieces of sound at their times in seconds."""
    with av.open(str(path), "w", format="matroska") as out:
        stream = out.add_stream("pcm_s16le", rate=rate, layout="mono")
        for time, samples in pieces:
            values = (samples * 32767).round().to(torch.int16).numpy()[None]
            frame = av.AudioFrame.from_ndarray(values, format="s16", layout="mono")
            frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), round(time * rate)
            for packet in stream.encode(frame):
                out.mux(packet)


def test_rounded_time_stamps_leave_no_holes(tmp_path: Path) -> None:
    """Pieces of 1000 samples at 44.1 kHz start between milliseconds; the sound must stay whole."""
    tone = torch.sin(torch.arange(44000) * 0.1) * 0.5 + 0.2
    mux_sound(tmp_path / "a.mka", [(i / 44100, tone[i : i + 1000]) for i in range(0, 44000, 1000)], 44100)
    assert (read_audio(tmp_path / "a.mka", sample_rate=44100, seconds=2.0) - tone).abs().max() < 1e-4


def test_a_gap_in_the_sound_stays_a_gap(tmp_path: Path) -> None:
    piece = torch.full((2000,), 0.5)
    mux_sound(tmp_path / "a.mka", [(0.0, piece), (0.75, piece)], 8000)
    samples = read_audio(tmp_path / "a.mka", sample_rate=8000, seconds=2.0)
    assert len(samples) == 8000
    assert samples[2000:6000].abs().max() == 0
    assert samples[:2000].min() > 0.49
    assert samples[6000:].min() > 0.49


def test_sound_that_overlaps_stays_in_time_and_sound_that_goes_back_is_refused(tmp_path: Path) -> None:
    quiet, loud = torch.full((2000,), 0.25), torch.full((2000,), 0.5)
    mux_sound(tmp_path / "a.mka", [(0.0, quiet), (0.2, loud), (0.3, quiet)], 8000)
    samples = read_audio(tmp_path / "a.mka", sample_rate=8000, seconds=0.2)
    assert (samples - 0.25).abs().max() < 1e-3
    mux_sound(tmp_path / "b.mka", [(0.0, quiet), (0.2, loud)], 8000)
    samples = read_audio(tmp_path / "b.mka", sample_rate=8000, seconds=0.4)
    assert (samples[:1600] - 0.25).abs().max() < 1e-3
    assert (samples[1600:] - 0.5).abs().max() < 1e-3
    with pytest.raises(MediaError, match=r"its sound goes back by 0\.150 s after 0\.450 s; cut it there"):
        read_audio(tmp_path / "a.mka", sample_rate=8000, seconds=0.6)


def test_uneven_frames_are_refused(tmp_path: Path) -> None:
    mux(tmp_path / "a.mkv", [0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15])
    with pytest.raises(DataError, match=r"frame 6 is shown at 0\.667 s instead of 0\.500 s"):
        read_frames(tmp_path / "a.mkv", frames=12, fps=12.0, height=32, width=48)


@pytest.mark.parametrize(("fps", "words"), [(24.0, "runs at 12 fps, 24 are needed"), (12.02, "runs at 12 fps")])
def test_another_frame_rate_is_refused(written: Path, fps: float, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_frames(written, frames=5, fps=fps, height=32, width=32)


def test_a_frame_rate_within_a_thousandth_is_taken(written: Path) -> None:
    assert len(read_frames(written, frames=25, fps=12.01, height=32, width=32)) == 25


def test_too_few_frames_are_refused(written: Path) -> None:
    with pytest.raises(DataError, match="ends after 25 frames, 26 are needed"):
        read_frames(written, frames=26, fps=12.0, height=32, width=32)


def test_a_missing_stream_is_named(tmp_path: Path, square: Media) -> None:
    write_mp4(tmp_path / "v.mp4", replace(square, samples=None), tags={})
    write_mp4(tmp_path / "a.mp4", replace(square, frames=None), tags={})
    with pytest.raises(DataError, match="has no audio stream"):
        read_audio(tmp_path / "v.mp4", sample_rate=16000, seconds=1.0)
    with pytest.raises(DataError, match="has no video stream"):
        read_frames(tmp_path / "a.mp4", frames=1, fps=12.0, height=32, width=32)


@pytest.mark.parametrize("share", [0.02, 0.2, 0.4, 0.6, 0.8, 0.95])
def test_a_truncated_file_is_refused(written: Path, share: float) -> None:
    data = written.read_bytes()
    begin = data.index(b"mdat") + 4
    written.write_bytes(data[: begin + round((len(data) - begin) * share)])
    with pytest.raises(DataError, match=r"cut off|frames are missing|ends after|cannot be decoded"):
        read_frames(written, frames=25, fps=12.0, height=32, width=32)


def test_a_file_that_breaks_in_the_middle_is_not_hidden(written: Path) -> None:
    """libav would conceal such frames: they must raise instead. Bytes of the last third of the media are zeroed."""
    data = bytearray(written.read_bytes())
    begin = data.index(b"mdat") + 4
    middle = begin + (len(data) - begin) // 2
    data[middle:] = bytes(len(data) - middle)
    written.write_bytes(bytes(data))
    assert probe(written).frames == 25
    with pytest.raises(MediaError, match="cannot be decoded") as video:
        read_frames(written, frames=25, fps=12.0, height=32, width=32)
    with pytest.raises(MediaError, match="cannot be decoded"):
        read_audio(written, sample_rate=16000, seconds=2.0)
    assert str(written) in str(video.value)
    assert "Traceback" not in str(video.value)


@pytest.mark.parametrize("content", [b"", b"hello\n" * 40, bytes(range(256)) * 40])
def test_what_is_not_a_media_file_is_a_data_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.mp4: cannot be decoded"):
        probe(tmp_path / "a.mp4")


def test_missing_files_and_folders_are_data_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        probe(tmp_path / "a.mp4")
    with pytest.raises(DataError, match="is a folder"):
        probe(tmp_path)
    (tmp_path / "link.mp4").symlink_to(tmp_path / "a.mp4")
    with pytest.raises(DataError, match="is a dangling link"):
        probe(tmp_path / "link.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(DataError, match="not a regular file"):  # and does not block
        probe(tmp_path / "pipe.mp4")
    for name in ("a" * 300, "a\0.mp4"):
        with pytest.raises(DataError, match="cannot be read"):
            probe(tmp_path / name)


def test_tags_that_are_not_utf8_do_no_harm(tmp_path: Path, square: Media) -> None:
    path = tmp_path / "a.mp4"
    write_mp4(path, square, tags={"title": "caf\u00e9"})
    assert path.read_bytes().count("caf\u00e9".encode()) == 1
    path.write_bytes(path.read_bytes().replace("caf\u00e9".encode(), b"caf\xe9 "))
    assert probe(path).frames == 25
    assert read_tags(path)["title"] == "caf\ufffd "


def test_an_unsupported_codec(written: Path) -> None:
    written.write_bytes(written.read_bytes().replace(b"avc1", b"zzzz"))
    with pytest.raises(MediaError, match="its video has an unsupported codec"):
        probe(written)


def test_samples_that_cannot_be_read(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.nut"), "w") as out:
        stream = out.add_stream("pcm_s64le", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1600), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 16000, 0, Fraction(1, 16000)
        for resampled in av.AudioResampler(format=stream.format, layout="mono", rate=16000).resample(frame):
            out.mux(stream.encode(resampled))
        out.mux(stream.encode(None))
    with pytest.raises(MediaError, match="its s64 samples cannot be read"):
        read_audio(tmp_path / "a.nut", sample_rate=16000, seconds=0.1)


def test_a_name_is_never_a_protocol(tmp_path: Path, written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written.rename(tmp_path / "concat:b.mp4")
    assert probe("concat:b.mp4").frames == 25


def test_a_list_of_files_is_not_media(tmp_path: Path, written: Path) -> None:
    (tmp_path / "b.mp4").write_text(f"ffconcat version 1.0\nfile {written.name}\n")
    with pytest.raises(MediaError, match="a list of other files"):
        probe(tmp_path / "b.mp4")


def test_a_playlist_opens_no_other_file(tmp_path: Path, written: Path) -> None:
    (tmp_path / "a.m3u8").write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(DataError, match="cannot be decoded"):
        probe(tmp_path / "a.m3u8")


@pytest.mark.parametrize(
    ("size", "target", "kept"),
    [
        ((90, 160), (32, 32), (slice(0, 90), slice(35, 125))),
        ((160, 90), (32, 64), (slice(57, 102), slice(0, 90))),
        ((32, 64), (32, 64), (slice(0, 32), slice(0, 64))),
    ],
)
def test_pictures_are_cropped_around_their_centre(
    size: tuple[int, int], target: tuple[int, int], kept: tuple[slice, slice]
) -> None:
    picture = torch.zeros(3, *size, dtype=torch.uint8)
    picture[:, kept[0], kept[1]] = 200
    assert torch.equal(fitted(picture, *target), torch.full((3, *target), 200, dtype=torch.uint8))


def test_pictures_are_resized_without_aliasing() -> None:
    stripes = torch.zeros(3, 64, 64, dtype=torch.uint8)
    stripes[:, :, ::2] = 200
    assert (fitted(stripes, 16, 16).int()[:, :, 1:-1] - 100).abs().max() <= 2


def test_wide_pixels_are_taken_as_shown() -> None:
    """720x576 anamorphic 16:9: the whole stored picture is 16:9 as shown."""
    picture = torch.full((3, 576, 720), 90, dtype=torch.uint8)
    picture[:, :, :20] = picture[:, :, -20:] = 0
    assert float(fitted(picture, 72, 128, Fraction(64, 45))[:, :, 1].float().mean()) < 10


@pytest.mark.parametrize(("matrix", "turned"), [((0, 1, -1, 0), 3), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 1)])
def test_telephone_pictures_are_turned_upright(tmp_path: Path, matrix: tuple[int, ...], turned: int) -> None:
    """The track header's matrix [a b; c d] rotates the stored picture (90 degrees clockwise: 0 1 -1 0)."""
    frames = torch.full((3, 3, 32, 48), -0.8)
    frames[:, :, :16, :16] = 0.8  # a light corner, top left
    path = tmp_path / "a.mp4"
    write_mp4(path, Media(frames=frames, fps=12.0, samples=None, sample_rate=1), tags={})
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 44
    a, b, c, d = (value << 16 for value in matrix)
    assert struct.unpack(">9i", data[place : place + 36]) == (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    data[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(bytes(data))
    height, width = (48, 32) if turned % 2 else (32, 48)
    info = probe(path)
    assert (info.height, info.width) == (height, width)
    read = read_frames(path, frames=3, fps=12.0, height=height, width=width)
    upright = torch.rot90(((frames + 1) * 127.5).byte(), turned, (2, 3))
    assert (read.float() - upright.float()).abs().mean() < 6


def test_the_real_clip(real_clip: Path) -> None:
    info = probe(real_clip)
    assert (info.fps, info.frames, info.width, info.height) == (24.0, 193, 624, 352)
    assert (info.audio_rate, info.audio_channels) == (48000, 1)
    frames = read_frames(real_clip, frames=25, fps=24.0, height=64, width=112)
    samples = read_audio(real_clip, sample_rate=48000, seconds=Fraction(193, 24))
    assert frames.shape == (25, 3, 64, 112)
    assert 40 < frames.float().mean() < 215
    assert samples.shape == (386000,)
    assert 0.001 < samples.square().mean().sqrt() < 0.5


def test_real_speech_survives_a_second_encoding_in_time(real_clip: Path, tmp_path: Path) -> None:
    """Read, write, read: the sound's lag against itself is far below 5 ms."""
    frames = read_frames(real_clip, frames=49, fps=24.0, height=64, width=112).float() / 127.5 - 1
    first = read_audio(real_clip, sample_rate=48000, seconds=2.0)
    write_mp4(tmp_path / "b.mp4", Media(frames=frames, fps=24.0, samples=first, sample_rate=48000), tags={})
    again = read_audio(tmp_path / "b.mp4", sample_rate=48000, seconds=2.0)
    spectrum = torch.fft.rfft(first, 2**18).conj() * torch.fft.rfft(again, 2**18)
    lag = int(torch.fft.irfft(spectrum).argmax())
    assert min(lag, 2**18 - lag) / 48000 < 0.001


@pytest.mark.parametrize(
    ("codec", "suffix", "pixels"),
    [
        ("cfhd", "mov", "yuv422p10le"),
        ("qtrle", "mov", "rgb24"),
        ("svq1", "mov", "yuv410p"),
        ("rpza", "mov", "rgb555le"),
        ("flashsv", "flv", "bgr24"),
        ("flashsv2", "flv", "bgr24"),
        ("msvideo1", "avi", "rgb555le"),
    ],
)
def test_decoders_that_mark_no_key_pictures(codec: str, suffix: str, pixels: str, tmp_path: Path) -> None:
    """CineForm from cameras and editing software, and old screen recordings."""
    grey = [40, 70, 100, 130, 160]
    frames = [painted.picture(torch.full((3, 64, 96), value, dtype=torch.uint8), pixels) for value in grey]
    path = painted.write(tmp_path / f"a.{suffix}", frames, codec=codec)
    found = painted.read(path, height=64, width=96, frames=5).pixels.float().mean(dim=(1, 2, 3))
    assert (found - torch.tensor(grey)).abs().max() < 9
