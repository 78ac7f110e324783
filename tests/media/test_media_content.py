"""Which files are copies of each other."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from painted import FPS, filled, write

from talkies.media.container import MediaError
from talkies.media.content import has_sound, pictures_of, sound_digest, sounds_alike
from talkies.media.write import write_mp4
from talkies.streams.codec import Media

SECONDS = 1.0
RNG = np.random.default_rng(5)
TIME = np.arange(48000) / 48000
SOUNDS = {
    "voice": 0.3 * np.sin(900 * TIME + 60 * np.sin(9 * TIME)) * (0.5 + 0.5 * np.sin(40 * TIME)),
    "voice of another": 0.3 * np.sin(1100 * TIME + 50 * np.sin(7 * TIME)) * (0.5 + 0.5 * np.sin(33 * TIME + 1)),
    "noise": RNG.normal(0, 0.1, 48000),
    "other noise": RNG.normal(0, 0.1, 48000),
    "tone": 0.3 * np.sin(2 * np.pi * 440 * TIME),
    "silence": np.zeros(48000),
}


def heard(path: Path, samples: np.ndarray, codec: str = "pcm_s16le", rate: int = 48000) -> Path:
    """A file with sound."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=rate, layout="mono")
        stream.bit_rate = 48000
        frame = av.AudioFrame.from_ndarray(samples.astype(np.float32)[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48000, 0, Fraction(1, 48000)
        resampler = av.AudioResampler(
            format=stream.format, layout="mono", rate=rate, frame_size=stream.codec_context.frame_size or 1024
        )
        for part in [*resampler.resample(frame), *resampler.resample(None), None]:
            out.mux(stream.encode(part))
    return path


CODERS: dict[str, tuple[str, dict[str, Any]]] = {
    "aac": ("a.mp4", {"codec": "aac"}),
    "mp3": ("a.mkv", {"codec": "libmp3lame"}),
    "opus": ("a.webm", {"codec": "libopus"}),
    "8 kHz": ("a.wav", {"rate": 8000}),
}


@pytest.mark.parametrize("coder", CODERS)
@pytest.mark.parametrize("name", ["voice", "noise", "tone", "silence"])
def test_re_encoded_sound_is_alike(tmp_path: Path, name: str, coder: str) -> None:
    whole, (file, options) = heard(tmp_path / "whole.wav", SOUNDS[name]), CODERS[coder]
    coded = heard(tmp_path / file, 0.5 * SOUNDS[name], **options)
    assert sounds_alike(whole, coded, seconds=SECONDS)
    assert sounds_alike(coded, whole, seconds=SECONDS)


@pytest.mark.parametrize("name", SOUNDS)
def test_other_sounds_are_not_alike(tmp_path: Path, name: str) -> None:
    one = heard(tmp_path / "one.wav", SOUNDS[name])
    for other, samples in SOUNDS.items():
        assert sounds_alike(one, heard(tmp_path / "b.wav", samples), seconds=SECONDS) == (other == name)


def test_sound_may_be_late_by_an_encoder_delay(tmp_path: Path) -> None:
    one = heard(tmp_path / "one.wav", SOUNDS["voice"])
    for late, alike in ((0.05, True), (0.3, False)):
        for shift in (late, -late):
            other = heard(tmp_path / "b.wav", np.roll(SOUNDS["voice"], round(shift * 48000)))
            assert sounds_alike(one, other, seconds=SECONDS) == alike


def test_shorter_sound_is_compared_as_far_as_it_goes(tmp_path: Path) -> None:
    one = heard(tmp_path / "one.wav", SOUNDS["voice"])
    assert sounds_alike(one, heard(tmp_path / "b.wav", SOUNDS["voice"][:40000]), seconds=SECONDS)
    assert not sounds_alike(one, heard(tmp_path / "c.wav", SOUNDS["voice"][:9000]), seconds=SECONDS)


def test_the_digest_of_sound_is_exact(tmp_path: Path) -> None:
    one = heard(tmp_path / "one.wav", SOUNDS["voice"])
    digest = sound_digest(one, seconds=0.5)
    assert sound_digest(heard(tmp_path / "b.mkv", SOUNDS["voice"]), seconds=0.5) == digest
    assert sound_digest(heard(tmp_path / "c.wav", SOUNDS["voice"][:30000]), seconds=0.5) == digest
    assert sound_digest(heard(tmp_path / "d.wav", 0.9 * SOUNDS["voice"]), seconds=0.5) != digest


def film(path: Path, values: list[int], **keys: Any) -> Path:
    return write(path, [filled([value, 128, 128], "yuv420p", 32, 32) for value in values], **keys)


def test_pictures_have_a_digest_whatever_their_container_and_tags(tmp_path: Path) -> None:
    one = pictures_of(film(tmp_path / "one.mkv", [40, 50, 60]), frames=3)
    assert one is not None
    assert not one.still
    same = pictures_of(film(tmp_path / "b.avi", [40, 50, 60, 70], codec="ffvhuff"), frames=3)
    assert same == one
    tagged = pictures_of(film(tmp_path / "c.mkv", [40, 50, 60], tags={"colorspace": 9}), frames=3)
    assert tagged is not None
    assert (tagged.digest == one.digest, tagged.shown == one.shown) == (True, False)
    fast = pictures_of(film(tmp_path / "d.mkv", [40, 50, 60], fps=2 * FPS), frames=3)
    assert fast is not None
    assert (fast.digest == one.digest, fast.shown == one.shown) == (True, False)
    other = pictures_of(film(tmp_path / "e.mkv", [40, 50, 61]), frames=3)
    assert other is not None
    assert other.digest != one.digest


def palette(path: Path, red: int) -> Path:
    """A film whose only colour is in a palette, as in 8-bit screen recordings."""
    frame = av.VideoFrame(32, 32, "pal8")
    frame.planes[0].update(bytes(frame.planes[0].buffer_size))
    frame.planes[1].update(np.full(256, 0xFF000000 + (red << 16), np.uint32).tobytes())
    return write(path, [frame, frame], codec="png")


def test_colours_of_a_palette_count(tmp_path: Path) -> None:
    one, same, other = (
        pictures_of(palette(tmp_path / name, red), frames=2)
        for name, red in (("a.mov", 200), ("b.avi", 200), ("c.mov", 90))
    )
    assert one is not None
    assert same is not None
    assert other is not None
    assert (one.digest == same.digest, one.digest == other.digest) == (True, False)


def test_still_pictures(tmp_path: Path) -> None:
    found = pictures_of(film(tmp_path / "a.mkv", [40, 40, 40, 41]), frames=3)
    assert found is not None
    assert found.still


def test_unsupported_colours_are_part_of_the_display(tmp_path: Path) -> None:
    found = pictures_of(film(tmp_path / "a.mkv", [40, 50], tags={"color_trc": 8}), frames=2)
    assert found is not None
    assert "transfer characteristics 8 (LINEAR)" in found.shown
    assert str(tmp_path) not in found.shown


def test_missing_streams(tmp_path: Path, square: Media) -> None:
    sound = heard(tmp_path / "a.wav", SOUNDS["tone"])
    assert pictures_of(sound, frames=3) is None
    mute = film(tmp_path / "a.mkv", [40, 50])
    write_mp4(tmp_path / "a.mp4", square, tags={})
    assert [has_sound(path) for path in (sound, mute, tmp_path / "a.mp4")] == [True, False, True]
    with pytest.raises(MediaError, match="has neither a video nor an audio stream"):
        sound_digest(mute, seconds=SECONDS)
    with pytest.raises(MediaError, match="has no audio stream"):
        sounds_alike(sound, mute, seconds=SECONDS)
