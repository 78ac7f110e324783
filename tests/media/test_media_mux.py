"""A given stream is copied packet by packet, and the made one is in step with it."""

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from torch import Tensor

from talkies.media.container import MediaError
from talkies.media.frames import read_frames
from talkies.media.mux import Nowhere, check_carried, write_beside
from talkies.media.probe import probe
from talkies.media.sound import read_audio
from talkies.media.timeline import find_beginning
from talkies.media.write import write_mp4
from talkies.streams.codec import Media

FPS, RATE, FRAMES, SIDE = 25.0, 16000, 50, 64
AT = 30
"""The frame of the flash, which the beep accompanies."""


def film() -> Tensor:
    frames = torch.full((FRAMES, 3, SIDE, SIDE), -0.9)
    frames[AT] = 0.9
    return frames


def sound() -> Tensor:
    time = torch.arange(int(FRAMES / FPS * RATE)) / RATE
    beep = (time >= AT / FPS) & (time < (AT + 1) / FPS)
    return 0.01 * torch.randn(len(time)) + 0.5 * torch.sin(2 * torch.pi * 1000 * time) * beep


def media() -> Media:
    torch.manual_seed(0)
    return Media(frames=film(), fps=FPS, samples=sound(), sample_rate=RATE)


def packets(path: Path, medium: str) -> bytes:
    """All packets of a stream in a row: containers cut PCM into packets of other lengths."""
    with av.open(str(path)) as container:
        stream: Any = container.streams.best(medium)
        return b"".join(bytes(packet) for packet in container.demux(stream) if packet.size)


def encoded(path: Path, codec: str, rate: int = 48000) -> Path:
    """The sound alone, in another codec and container."""
    samples = np.repeat(sound().numpy(), rate // RATE)
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream(codec, rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray((samples[None] * 32767).astype(np.int16), format="s16", layout="mono")
        frame.sample_rate = rate
        for piece in (*stream.encode(frame), *stream.encode(None)):
            out.mux(piece)
    return path


def steps_apart(path: Path) -> float:
    """Frames between the flash and the beep of a file."""
    begin = find_beginning(path)
    frames = read_frames(path, frames=FRAMES - 2, fps=FPS, height=SIDE, width=SIDE, begin=begin)
    heard = read_audio(path, sample_rate=RATE, seconds=(FRAMES - 2) / FPS, begin=begin)
    flash = int(frames.float().mean((1, 2, 3)).argmax())
    loud = heard.unfold(0, int(RATE / FPS), int(RATE / FPS)).square().mean(1)
    return float(abs(flash - int(loud.argmax())))


@pytest.mark.parametrize("medium", ["video", "audio"])
def test_the_given_stream_is_untouched_and_in_step(tmp_path: Path, medium: Any) -> None:
    given, out = tmp_path / "given.mp4", tmp_path / "out.mp4"
    write_mp4(given, media(), tags={})
    write_beside(out, media(), given, medium, begin=find_beginning(given, modalities=(medium,)).seconds, tags={})
    assert packets(out, medium) == packets(given, medium)
    assert steps_apart(out) <= 1


@pytest.mark.parametrize(("name", "codec"), [("a.flac", "flac"), ("a.ogg", "libopus"), ("a.mp3", "libmp3lame")])
def test_sound_of_other_files_is_untouched_and_in_step(tmp_path: Path, name: str, codec: str) -> None:
    given, out = encoded(tmp_path / name, codec), tmp_path / "out.mp4"
    begin = find_beginning(given, modalities=("audio",)).seconds
    write_beside(out, media(), given, "audio", begin=begin, tags={"talkies-provenance": "synthetic"})
    assert packets(out, "audio") == packets(given, "audio")
    assert probe(out).fps == FPS
    assert steps_apart(out) <= 1


def test_a_given_stream_may_be_longer(tmp_path: Path) -> None:
    given, out = tmp_path / "given.mp4", tmp_path / "out.mp4"
    write_mp4(given, media(), tags={})
    short = Media(frames=film()[: FRAMES // 2], fps=FPS, samples=None, sample_rate=RATE)
    write_beside(out, short, given, "audio", begin=0.0, tags={})
    assert packets(out, "audio") == packets(given, "audio")
    assert probe(out).frames == FRAMES // 2


def test_a_file_without_the_stream_is_refused(tmp_path: Path) -> None:
    given, out = encoded(tmp_path / "a.wav", "pcm_s16le"), tmp_path / "out.mp4"
    with pytest.raises(MediaError, match="no video"):
        write_beside(out, media(), given, "video", begin=0.0, tags={})
    assert not out.exists()


def test_an_error_of_the_output_names_the_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given, out = encoded(tmp_path / "a.wav", "pcm_s16le"), tmp_path / "out.mp4"
    monkeypatch.setattr("talkies.media.mux.OPTIONS", {"movie_timescale": "0"})
    with pytest.raises(MediaError, match=r"out\.mp4: cannot be written \("):
        write_beside(out, media(), given, "audio", begin=0.0, tags={})
    assert not out.exists()


@pytest.mark.parametrize("medium", ["video", "audio"])
def test_what_mp4_holds_is_carried_without_a_word(tmp_path: Path, medium: Any) -> None:
    write_mp4(tmp_path / "given.mp4", media(), tags={})
    assert check_carried(tmp_path / "given.mp4", medium) == ()


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [("a.webm", "libvpx", "yuv420p"), ("a.mov", "prores", "yuv422p10le"), ("a.gif", "gif", "rgb8")],
)
def test_pictures_that_mp4_cannot_hold_are_refused_before(tmp_path: Path, name: str, codec: str, pixels: str) -> None:
    with av.open(str(tmp_path / name), "w") as out:
        stream: Any = out.add_stream(codec, rate=25, width=SIDE, height=SIDE, pix_fmt=pixels)
        for packet in (*stream.encode(av.VideoFrame(SIDE, SIDE, pixels)), *stream.encode(None)):
            out.mux(packet)
    with pytest.raises(MediaError, match=r"which mp4 cannot hold .*; convert it \(ffmpeg -i IN OUT.mp4\)$"):
        check_carried(tmp_path / name, "video")


def test_packets_without_times_are_refused(tmp_path: Path) -> None:
    """AVI does not say when pictures are shown that are not in the order of decoding."""
    write_mp4(tmp_path / "a.mp4", media(), tags={})
    with av.open(str(tmp_path / "a.mp4")) as source, av.open(str(tmp_path / "a.avi"), "w") as out:
        stream: Any = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    with pytest.raises(MediaError, match="its video is h264, which mp4 cannot hold"):
        check_carried(tmp_path / "a.avi", "video")


def test_nowhere_is_seekable() -> None:
    file = Nowhere()
    assert [file.write(b"abc"), file.seek(1), file.write(b"x"), file.tell(), file.seek(-1, 2), file.seek(1, 1)] == [
        3,
        1,
        1,
        2,
        2,
        3,
    ]
