"""One file -> one clip, or the reason for quarantine: every reason is produced with a real file."""

import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
import torch

from talkies.codecs.prompt import LONGEST
from talkies.media.frames import read_frames
from talkies.media.loudness import PEAK, loudness
from talkies.media.sound import read_audio
from talkies.media.write import write_mp4
from talkies.models.systems import SYSTEMS
from talkies.prepare.clips import RawClip, Rejected, read_clip
from talkies.prepare.config import PrepareConfig
from talkies.prepare.encode import signed
from talkies.prepare.items import Item
from talkies.prepare.plan import plan
from talkies.prepare.reading import Reader
from talkies.streams.codec import Media
from talkies.world.attributes import background
from talkies.world.config import SyntheticSource
from talkies.world.render import draw_scene, render_source

Maker = Callable[..., Path]
Recipe = Callable[..., PrepareConfig]


@pytest.fixture
def read(recipe: Recipe) -> Callable[..., RawClip]:
    """Read a file as a set with these keys would."""

    def once(path: Path, caption: str | None = None, **keys: Any) -> RawClip:
        section = {"source": "media", "split": "all", "geometry": "32x32x25@12", **keys}
        made = plan(recipe(sets={"all": section}), SYSTEMS)["all"]
        item = Item(id=path.name, media=path, caption=path.with_suffix(".txt") if caption is None else caption)
        return read_clip(item, made, Reader())

    return once


def test_a_good_clip(make: Maker, read: Callable[..., RawClip]) -> None:
    clip = read(make("a.mp4", caption="\ufeff a square hums \n"))
    assert clip.caption == "a square hums"
    assert clip.frames is not None
    assert (clip.frames.shape, clip.frames.dtype) == ((25, 3, 32, 32), torch.uint8)
    assert clip.samples is not None
    assert (len(clip.samples), clip.real, clip.limited) == (33333, 33333, False)


def test_only_the_first_window_is_taken(make: Maker, read: Callable[..., RawClip]) -> None:
    long, short = read(make("a.mp4", frames=60)), read(make("a.mp4", frames=60), geometry="32x32x5@12")
    assert long.frames is not None
    assert short.frames is not None
    assert torch.equal(long.frames[:5], short.frames)
    assert short.real == 6666


def test_of_a_speaker_the_first_shot_is_taken_and_another_setting_is_left(
    tmp_path: Path, read: Callable[..., RawClip]
) -> None:
    """So a reference image from outside of the window shows who it is, and not the clip's shirt and wall."""
    source = SyntheticSource(domain="speakers", clips=3, frames=50, shot=25, seed=2)
    rooms = []
    for index, path in enumerate(render_source(source, tmp_path / "media", 0)):
        clip, drawn = read(path, geometry="32x32x25@12.5"), draw_scene(source, index, 0).media.frames
        assert clip.frames is not None
        assert drawn is not None
        inside, outside = signed(clip.frames), signed(read_frames(path, frames=50, fps=12.5, height=32, width=32)[25:])
        assert (inside - drawn[:25]).abs().mean() < 0.1
        assert (outside - drawn[25:]).abs().mean() < 0.1
        rooms.append((background(inside), background(outside)))
    assert any(a != b for a, b in rooms)


@pytest.mark.parametrize(
    ("keys", "reason"), [({"color_trc": 8}, "colours"), ({"matrix": (1 << 16, 0, 1 << 15, 1 << 16)}, "orientation")]
)
def test_pictures_that_are_not_understood(
    make: Maker, read: Callable[..., RawClip], keys: dict[str, Any], reason: str
) -> None:
    path = make("a.mp4").with_suffix(".mov")
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=12)
        stream.height, stream.width, stream.pix_fmt = 32, 32, "yuv420p"
        stream.codec_context.color_trc = keys.get("color_trc", 1)
        if "matrix" in keys:
            a, b, c, d = keys["matrix"]
            stream.set_display_matrix([a, b, 0, c, d, 0, 0, 0, 1 << 30])
        for index in range(26):
            frame = av.VideoFrame(32, 32, "yuv420p")
            frame.pts, frame.time_base = index, Fraction(1, 12)
            frame.color_trc = keys.get("color_trc", 1)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    with pytest.raises(Rejected) as caught:
        read(path, modalities=["video"])
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("keys", "reason", "words"),
    [
        ({"frames": 20}, "too short", "20 frames, but a clip has 25"),
        ({"fps": 24.0, "frames": 60}, "wrong fps", "runs at 24 fps, the set at 12; convert it (ffmpeg"),
        ({"audio": False}, "no audio", "no audio stream"),
        ({"video": False}, "no video", "no video stream"),
        ({"gain": 0.0}, "silent", "RMS over 2.08 s"),
        ({"gain": 2.0}, "clipped", "times as many as just below"),
        ({"seconds": 1.5}, "audio and video disagree", "sound ends at 1.5"),
        ({"caption": None}, "no caption", "a.txt is missing"),
        ({"caption": " \n"}, "no caption", "empty"),
        ({"caption": b"caf\xe9"}, "caption encoding", "a.txt is not UTF-8"),
        ({"caption": "a\0b"}, "caption encoding", "NUL"),
    ],
)
def test_what_cannot_be_trained_on(
    make: Maker, read: Callable[..., RawClip], keys: dict[str, Any], reason: str, words: str
) -> None:
    with pytest.raises(Rejected) as found:
        read(make("a.mp4", **keys))
    assert found.value.reason == reason
    assert words in found.value.detail


def test_half_a_character_is_no_caption(make: Maker, read: Callable[..., RawClip]) -> None:
    with pytest.raises(Rejected, match=r"^caption encoding: .*a lone surrogate \('\\ud800'\)"):
        read(make("a.mp4"), caption="a \ud800 hums")


@pytest.mark.parametrize("size", [LONGEST + 1, 30_000_000])
def test_an_overlong_caption_is_quarantined_unread(make: Maker, read: Callable[..., RawClip], size: int) -> None:
    path = make("a.mp4", caption=None)
    with path.with_suffix(".txt").open("wb") as file:
        file.write(b"word")
        file.truncate(size)
    with pytest.raises(Rejected, match=rf"^caption too long: the caption has {size:,} bytes"):
        read(path)
    with pytest.raises(Rejected, match=r"^caption too long"):
        read(path, caption="word " * (size // 5 + 1))
    with pytest.raises(Rejected, match=r"^caption too long"):
        read(path, caption="\u00e9" * (LONGEST // 2 + 1))


def test_the_longest_caption_is_taken(make: Maker, read: Callable[..., RawClip]) -> None:
    assert len(read(make("a.mp4", caption="x" * LONGEST)).caption) == LONGEST


def test_a_caption_that_is_no_file(make: Maker, read: Callable[..., RawClip]) -> None:
    media = make("a.mp4", caption=None)
    media.with_suffix(".txt").mkdir()
    with pytest.raises(Rejected, match=r"^no caption: a.txt is not a regular file"):
        read(media)
    media.with_suffix(".txt").rmdir()
    os.mkfifo(media.with_suffix(".txt"))  # reading it would block
    with pytest.raises(Rejected, match=r"^no caption: a.txt is not a regular file"):
        read(media)


@pytest.mark.parametrize(
    ("value", "reason"),
    [(float("nan"), "not finite"), (float("-inf"), "not finite"), (1e20, "broken stream"), (0.5, None)],
)
def test_one_impossible_sample(read: Callable[..., RawClip], tmp_path: Path, value: float, reason: str | None) -> None:
    samples = 0.3 * torch.sin(torch.arange(32000) * 0.2)
    samples[16000] = value
    with av.open(str(tmp_path / "a.mkv"), "w") as out:
        stream = out.add_stream("pcm_f32le", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None].numpy(), format="flt", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 16000, 0, Fraction(1, 16000)
        out.mux([*stream.encode(frame), *stream.encode(None)])
    if reason is None:
        assert read(tmp_path / "a.mkv", caption="x", modalities=["audio"]).real == 32000
        return
    with pytest.raises(Rejected, match=f"^{reason}"):
        read(tmp_path / "a.mkv", caption="x", modalities=["audio"])


@pytest.mark.parametrize("gain", [1.0, 2.0])
def test_clipping_is_detected_before_resampling(
    real_clips: Path, read: Callable[..., RawClip], tmp_path: Path, gain: float
) -> None:
    """The real clip at 48 kHz, at full scale and 6 dB beyond, for a set at 16 kHz."""
    samples = read_audio(real_clips / "cat_yarn_352x624_24fps.mp4", sample_rate=48000, seconds=2.1)
    samples = (samples / samples.abs().max() * gain).clamp(-1, 1)
    write_mp4(tmp_path / "a.m4a", Media(frames=None, fps=24.0, samples=samples, sample_rate=48000), tags={})
    if gain == 1:
        assert read(tmp_path / "a.m4a", caption="x", modalities=["audio"]).real > 33000
        return
    with pytest.raises(Rejected, match=r"^clipped"):
        read(tmp_path / "a.m4a", caption="x", modalities=["audio"])


def test_a_file_that_is_no_media(make: Maker, read: Callable[..., RawClip]) -> None:
    path = make("a.mp4")
    path.write_bytes(b"not a film")
    with pytest.raises(Rejected, match=r"^undecodable: cannot be decoded"):
        read(path)
    path.unlink()
    with pytest.raises(Rejected, match=r"^undecodable: the file does not exist"):
        read(path)


def test_a_stream_that_fails_in_the_middle(make: Maker, read: Callable[..., RawClip]) -> None:
    path = make("a.mp4")
    data = bytearray(path.read_bytes())
    middle = (data.index(b"mdat") + len(data)) // 2
    data[middle:] = bytes(len(data) - middle)
    path.write_bytes(bytes(data))
    with pytest.raises(Rejected, match=r"^broken stream"):
        read(path)


def test_a_container_that_counts_no_frames_is_short_when_it_ends(
    make: Maker, read: Callable[..., RawClip], tmp_path: Path
) -> None:
    path = make("a.mp4", frames=20)
    with av.open(str(path)) as source, av.open(str(tmp_path / "a.mkv"), "w") as target:
        streams = {stream.index: target.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream_index]
                target.mux(packet)
    with pytest.raises(Rejected, match=r"^too short: ends after 20 frames, 25 are needed"):
        read(tmp_path / "a.mkv", caption="x")


def test_the_middle_of_a_portrait_is_taken(make: Maker, read: Callable[..., RawClip]) -> None:
    portrait, middle = read(make("a.mp4", size=(96, 32))), read(make("a.mp4", size=(96, 32)), geometry="96x32x25@12")
    assert portrait.frames is not None
    assert middle.frames is not None
    assert torch.equal(portrait.frames, middle.frames[:, :, 32:64])


def test_sound_alone_may_be_shorter_and_its_caption_has_its_duration(make: Maker, read: Callable[..., RawClip]) -> None:
    keys = {"modalities": ["audio"], "duration_token": True}
    clip = read(make("a.m4a", video=False, seconds=1.3, caption="A hum."), **keys)
    assert clip.frames is None
    assert clip.samples is not None
    assert clip.caption == "A hum. Duration 1.3 seconds."
    assert (len(clip.samples), clip.real) == (33333, 20800)
    assert clip.samples[clip.real :].abs().max() == 0
    assert read(make("b.m4a", video=False, seconds=9.0), **keys).caption.endswith(" Duration 2.1 seconds.")


def test_sound_that_ends_a_little_early_is_filled_up(make: Maker, read: Callable[..., RawClip]) -> None:
    clip = read(make("a.mp4", seconds=25 / 12 - 0.03))
    assert clip.samples is not None
    assert len(clip.samples) == 33333
    assert abs(clip.real - 32853) <= 1024


def test_pictures_alone_need_no_sound(make: Maker, read: Callable[..., RawClip]) -> None:
    clip = read(make("a.mp4", audio=False), modalities=["video"])
    assert clip.samples is None
    assert clip.frames is not None


def stereo(path: Path, left: torch.Tensor, right: torch.Tensor) -> Path:
    """A file of two channels at 16 kHz."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=16000, layout="stereo")
        packed = (torch.stack([left, right], dim=1).reshape(1, -1) * 32767).short().numpy()
        frame = av.AudioFrame.from_ndarray(packed, format="s16", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = 16000, 0, Fraction(1, 16000)
        out.mux([*stream.encode(frame), *stream.encode(None)])
    return path


@pytest.mark.parametrize("rest", [0.0, 0.01])
def test_antiphase_stereo_is_reported_and_one_channel_can_be_used(
    read: Callable[..., RawClip], recipe: Recipe, tmp_path: Path, rest: float
) -> None:
    hum = 0.3 * torch.sin(torch.arange(40000) * 0.2)
    path = stereo(tmp_path / "a.wav", hum, -hum * (1 - rest))
    with pytest.raises(Rejected, match=r"^channels cancel: .*channel 0 alone .*`sources\.media\.channel` = 0"):
        read(path, caption="x", modalities=["audio"])
    sources = {"media": {"kind": "folder", "path": "media", "channel": "right"}}
    section = {"source": "media", "split": "all", "geometry": "32x32x25@12", "modalities": ["audio"]}
    made = plan(recipe(sets={"all": section}, sources=sources), SYSTEMS)["all"]
    clip = read_clip(Item(id="a", media=path, caption="x"), made, Reader())
    assert clip.samples is not None
    torch.testing.assert_close(clip.samples, -hum[:33333] * (1 - rest), atol=1e-4, rtol=0)


def test_a_channel_that_a_file_lacks_is_a_reason(make: Maker, recipe: Recipe) -> None:
    sources = {"media": {"kind": "folder", "path": "media", "channel": 3}}
    made = plan(recipe(sources=sources), SYSTEMS)["all"]
    path = make("a.mp4")
    with pytest.raises(Rejected, match=r"^no channel: its sound has 1 channels .*`channel` is 3"):
        read_clip(Item(id="a", media=path, caption="x"), made, Reader())


def test_sound_without_loudness_is_silent_where_a_target_is_set(read: Callable[..., RawClip], tmp_path: Path) -> None:
    """A constant: far above the level of silence, but without loudness under BS.1770."""
    path = stereo(tmp_path / "a.wav", torch.full((40000,), 0.002), torch.full((40000,), 0.002))
    keys = {"modalities": ["audio"], "caption": "x"}
    assert read(path, **keys).real == 33333
    with pytest.raises(Rejected, match=r"^silent: its loudness cannot be measured"):
        read(path, lufs=-23.0, **keys)


@pytest.mark.parametrize("samples", [7, 3001, 19199])
def test_short_sound_has_a_loudness(read: Callable[..., RawClip], tmp_path: Path, samples: int) -> None:
    """Lengths at which pyloudnorm's rounding needed one sample too many."""
    noise = 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(1)).clamp(-3, 3)
    clip = read(stereo(tmp_path / "a.wav", noise, noise), caption="x", modalities=["audio"], lufs=-30.0)
    assert clip.samples is not None
    assert loudness(clip.samples[: clip.real], 16000) == pytest.approx(-30, abs=0.1)


def test_loudness_is_brought_to_its_target(make: Maker, read: Callable[..., RawClip]) -> None:
    clip = read(make("a.mp4"), lufs=-30.0)
    assert clip.samples is not None
    assert loudness(clip.samples, 16000) == pytest.approx(-30, abs=0.1)
    loud = read(make("a.mp4"), lufs=-3.0)
    assert loud.limited
    assert loud.samples is not None
    assert float(loud.samples.abs().max()) == pytest.approx(PEAK, rel=1e-4)
