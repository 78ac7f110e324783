"""Small films with flashes and beeps at the same moments, in every container, and checks of what is read from them.

A film has FRAMES pictures. Each shows its number in eight blocks, so that a picture is identified with certainty and
one that a decoder has invented is detected; EVENTS are bright in the lower part, and a tone lasts as long as each of
them.
"""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from schedule import own_schedule
from torch import Tensor

FPS, FRAMES, GOP = 24, 48, 12
WINDOW = 21
HEIGHT, WIDTH = 48, 64
RATE = 48000
TICK = Fraction(1, 240_000)
EVENTS = (3, 8, 15, 19, 26, 30, 37, 41, 45)
DARK, LIGHT, FLASH = 40, 200, 230
X265 = "keyint=12:min-keyint=12:scenecut=0:log-level=none:pools=none:bframes=3"
X264 = {"g": "12", "keyint_min": "12", "sc_threshold": "0", "preset": "veryfast", "crf": "18"}
VIDEO: dict[str, tuple[str, dict[str, str]]] = {
    "h264": ("libx264", {**X264, "bf": "0"}),
    "h264-b": ("libx264", {**X264, "bf": "2"}),
    "h264-open": ("libx264", {**X264, "bf": "3", "x264-params": "open-gop=1:b-adapt=0"}),
    "h264-refresh": ("libx264", {**X264, "bf": "0", "intra-refresh": "1"}),
    "hevc": ("libx265", {"preset": "ultrafast", "x265-params": f"{X265}:open-gop=0"}),
    "hevc-open": ("libx265", {"preset": "ultrafast", "x265-params": f"{X265}:open-gop=1"}),
    "vp9": ("libvpx-vp9", {"g": "12", "deadline": "realtime", "cpu-used": "8", "b": "500k"}),
    "vp8": ("libvpx", {"g": "12", "deadline": "realtime", "cpu-used": "8", "b": "500k"}),
    "av1": ("libsvtav1", {"g": "12", "preset": "10", "svtav1-params": "lp=1", "crf": "5"}),
    "mpeg2": ("mpeg2video", {"g": "12", "bf": "0", "b": "1M"}),
    "mpeg2-b": ("mpeg2video", {"g": "12", "bf": "2", "b": "1M"}),
    "mpeg4": ("mpeg4", {"g": "12", "bf": "0", "b": "1M"}),
    "mpeg4-b": ("mpeg4", {"g": "12", "bf": "2", "b": "1M"}),
}
"""Encoders and their options by name: "-b" has B-pictures, "-open" also lets them refer to the previous group,
"-refresh" has no key pictures, but refreshes a column with each picture."""
AUDIO = {
    "aac": "aac",
    "ac3": "ac3",
    "flac": "flac",
    "mp2": "mp2",
    "mp3": "libmp3lame",
    "opus": "libopus",
    "pcm": "pcm_s16le",
    "vorbis": "vorbis",
}
DELAYS = {"mp3": 1105, "mp2": 481, "ac3": 256}
FORMATS = {"mkv": "matroska", "ts": "mpegts", "fmp4": "mp4", "mpg": "vob", "wmv": "asf"}


def picture(number: int) -> Any:
    """uint8 [HEIGHT, WIDTH, 3] of a frame."""
    made = np.full((HEIGHT, WIDTH, 3), 60, np.uint8)
    for bit in range(8):
        made[:16, 8 * bit : 8 * bit + 8] = LIGHT if number >> bit & 1 else DARK
    made[16:32] = np.linspace(40, 120, WIDTH).astype(np.uint8)[None, :, None]
    made[32:, 2 * number % 32 : 2 * number % 32 + 16] = 90
    if number in EVENTS:
        made[32:] = FLASH
    return made


def sound() -> Any:
    """fp32 [samples]: a tone of 2 kHz as long as each event is shown, above a hum."""
    time = np.arange(FRAMES * RATE // FPS)
    heard = np.isin(time * FPS // RATE, EVENTS)
    hum, tone = np.sin(2 * np.pi * 313 * time / RATE), np.sin(2 * np.pi * 2000 * time / RATE)
    return (0.01 * hum + 0.5 * tone * heard).astype(np.float32)


@dataclass(frozen=True)
class Film:
    """A film to make: `container` is its suffix ("fmp4": fragmented mp4), the others are keys of VIDEO, AUDIO and
    CHANGES. `periods`: duration of a picture in the header's frame periods; `early`: AVI's sound is moved ahead by its
    encoder's delay, which AVI cannot record."""

    container: str
    video: str
    audio: str
    change: str = "whole"
    periods: int = 1
    early: bool = True

    def __str__(self) -> str:
        each = f"-each_{self.periods}" if self.periods > 1 else ""
        return f"{self.container}-{self.video}-{self.audio}-{self.change.replace(' ', '_')}{each}"

    def write(self, folder: Path) -> Path:
        """Make it in a folder."""
        path = folder / f"film.{self.container.replace('fmp4', 'mp4')}"
        options = {"movflags": "frag_keyframe+delay_moov"} if self.container == "fmp4" else {}
        kind = FORMATS.get(self.container, self.container)
        with own_schedule(), av.open(str(path), "w", format=kind, options=options) as out:
            out.mux(_changed(self.change, *encoded(out, self)))
        if self.change == "torn":
            data = path.read_bytes()
            path.write_bytes(data[round(0.38 * len(data) / 188) * 188 :])
        return path


def encoded(out: Any, film: Film) -> tuple[list[Any], list[Any]]:
    """Packets of pictures and of sound, in the order of decoding."""
    encoder, options = VIDEO[film.video]
    video = out.add_stream(encoder, rate=FPS * film.periods, options=options)
    video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    layout = "stereo" if film.audio == "vorbis" else "mono"  # all that this encoder takes
    audio = out.add_stream(AUDIO[film.audio], rate=RATE, layout=layout, options={"strict": "experimental"})
    pictures = []
    for number in range(FRAMES):
        frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
        frame.pts, frame.time_base = number * film.periods, Fraction(1, FPS * film.periods)
        pictures += video.encode(frame)
    # AVI can record neither a later beginning of the sound nor that its first samples are the encoder's delay.
    delay, change = DELAYS.get(film.audio, 0) if film.early else 0, CHANGES[film.change]
    ahead = delay + round(max(change.silent, 0) * RATE) if film.container == "avi" else 0
    frame = av.AudioFrame.from_ndarray(sound()[None, ahead:], format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = RATE, ahead, Fraction(1, RATE)
    resampler = av.AudioResampler(
        format=audio.format, layout=layout, rate=RATE, frame_size=audio.codec_context.frame_size or 1024
    )
    parts = [*resampler.resample(frame), *resampler.resample(None)]
    sounds = [packet for part in [*parts, None] for packet in audio.encode(part)]
    return [*pictures, *video.encode(None)], sounds


def _changed(change: str, pictures: list[Any], sounds: list[Any]) -> list[Any]:
    """The remaining packets, moved in time, in writing order."""
    made = CHANGES[change]
    keys = [index for index, packet in enumerate(pictures) if packet.is_keyframe]
    first = made.first if made.first < GOP else keys[1]
    pictures = pictures[first:]
    sounds = [packet for packet in sounds if packet.pts * packet.time_base >= made.silent]
    for packet in (*pictures, *sounds):
        times = (ticks * packet.time_base + made.later for ticks in (packet.pts, packet.dts))
        packet.pts, packet.dts = (round(time / TICK) for time in times)
        packet.time_base = TICK
    return sorted(pictures + sounds, key=lambda packet: packet.dts * packet.time_base)


@dataclass(frozen=True, kw_only=True)
class Change:
    """`first`: the first video packet that remains (GOP: the second key picture); `silent`: seconds of sound to cut;
    then all times are moved by `later` seconds."""

    first: int = 0
    silent: Fraction = Fraction(-1)
    later: Fraction = Fraction(0)


SEVEN, BETWEEN, HALF = Fraction(7, FPS), Fraction(37, 5 * FPS), Fraction(GOP, FPS)
CHANGES = {
    "whole": Change(),
    "later": Change(later=Fraction(11, 8)),
    "negative": Change(later=-Fraction(9, FPS)),
    "sound late": Change(silent=HALF),
    "sound too late": Change(silent=Fraction(3, 2)),
    "pictures late": Change(first=GOP),
    # Like -ss when copying: pictures from the previous key picture, at negative times, and sound from 0 on.
    "sought": Change(silent=SEVEN, later=-SEVEN),
    "sought, between": Change(silent=BETWEEN, later=-BETWEEN),
    # Like -copyinkf, with the source's times and from 0 on.
    "inside": Change(first=7, silent=SEVEN),
    "inside, from 0": Change(first=7, silent=SEVEN, later=-SEVEN),
    # From the second key picture on. Pictures of an open group that are shown before it refer to the first group.
    "second group": Change(first=GOP, silent=HALF),
    "second group, from 0": Change(first=GOP, silent=HALF, later=-HALF),
    # A transport stream without its first 38 % of packets.
    "torn": Change(),
}


def number_of(image: Tensor) -> int:
    """The number that a picture [3, HEIGHT, WIDTH] shows. AssertionError if it is not a complete picture of a film."""
    values = [float(image[:, 3:13, 8 * bit + 2 : 8 * bit + 6].float().mean()) for bit in range(8)]
    assert all(min(abs(value - DARK), abs(value - LIGHT)) < 30 for value in values), f"no picture of the film: {values}"
    number = sum((value > (DARK + LIGHT) / 2) << bit for bit, value in enumerate(values))
    error = (image.float() - torch.from_numpy(picture(number)).permute(2, 0, 1)).abs().mean()
    assert float(error) < 10, f"picture {number} is {float(error):.1f} away from what was encoded"
    return number


def flashes(frames: Tensor) -> list[float]:
    """Middles, in frames, of the flashes in [F, 3, H, W]."""
    light = frames[:, :, frames.shape[2] * 3 // 4 :].float().mean((1, 2, 3))
    return [index + 0.5 for index in range(len(light)) if light[index] > 0.7 * FLASH]


def beeps(samples: Tensor, rate: int) -> list[float]:
    """Middles, in frames, of the tones in samples [S]: centres of energy."""
    power = samples.double().square().numpy()
    step = rate // 200
    loud = np.add.reduceat(power, np.arange(0, len(power), step)) / step > 0.02
    edges = np.flatnonzero(np.diff(np.concatenate(([0], loud.astype(int), [0]))))
    found = []
    for first, last in zip(edges[::2] * step, edges[1::2] * step, strict=True):
        part = slice(max(0, first - step), last + step)
        time = np.arange(len(power))[part]
        found.append(float((time * power[part]).sum() / power[part].sum() / rate * FPS))
    return found


def apart(frames: Tensor, samples: Tensor, rate: int) -> float:
    """Frames by which the beeps of a window are late, the largest of its whole events. AssertionError if flashes and
    beeps are not the same number."""
    inner = [time for time in flashes(frames) if 3 < time < len(frames) - 1]
    heard = beeps(samples, rate)
    assert len(inner) >= 2, f"too few flashes: {inner}"
    offsets = [min((beep - flash for beep in heard), key=abs) for flash in inner]
    strays = [beep for beep in heard if 3 < beep < len(frames) - 1 and min(abs(beep - f) for f in flashes(frames)) > 1]
    assert not strays, f"beeps without a flash: {strays}, flashes {inner}"
    return max(offsets, key=abs)
