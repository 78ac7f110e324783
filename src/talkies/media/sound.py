"""Reads the sound of a media file as mono, placed in time by its timestamps."""

from collections.abc import Iterator
from fractions import Fraction
from math import ceil, floor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.signal import resample_poly
from torch import Tensor

from talkies.media.container import MediaError, need_stream, opened
from talkies.media.decoding import sounds
from talkies.media.downmix import Channel, NoChannelError, Samples, mono
from talkies.media.timeline import Beginning, find_beginning

GAP = 0.008
"""Seconds: a larger jump of the timestamps is a gap or an overlap, a smaller one is rounding (Matroska: 1 ms). Less
than half a frame at 60 fps."""
OVERLAP = 0.1
"""Seconds: overlapping sound replaces earlier sound up to this duration; beyond, the file jumps back in time."""
MARGIN = 0.05
"""Seconds decoded beyond the window, so that its last samples are resampled from the sound that follows."""


class ChannelError(MediaError):
    """Sound without the requested channel."""


def read_audio(
    path: Path | str,
    *,
    sample_rate: int,
    seconds: float | Fraction,
    begin: Beginning | None = None,
    channel: Channel = "mix",
) -> Tensor:
    """Sound [S] fp32 from `begin` on (default: `find_beginning(path)`), when the window's first picture is shown.

    The mix of the channels or one of them, resampled to `sample_rate`; gaps in the file's sound become silence. S is
    floor(sample_rate * seconds), or less if the sound ends earlier. Raises MediaError if there is no audio stream or it
    is damaged within the window, ChannelError if there is no such channel.
    """
    with opened(path) as container:
        stream = need_stream(container, "audio", path)
        begin = find_beginning(path) if begin is None else begin
        pieces = _pieces(container, stream, path, channel)
        rate, sound = _placed(pieces, begin.seconds, float(seconds) + MARGIN, path)
    # A float such as 193 / 24 may be a rounding error below the duration that it represents.
    return torch.from_numpy(_at_rate(sound, rate, sample_rate)[: floor(sample_rate * seconds + 1e-6)].copy())


def resampled(sound: Tensor, rate: int, sample_rate: int) -> Tensor:
    """Sound [S] fp32 on the CPU at `rate` -> at `sample_rate`, as `read_audio` does it."""
    return torch.from_numpy(_at_rate(sound.numpy(), rate, sample_rate))


def _at_rate(sound: Samples, rate: int, sample_rate: int) -> Samples:
    if rate == sample_rate:
        return sound
    common = Fraction(sample_rate, rate)
    found: Samples = resample_poly(sound, common.numerator, common.denominator).astype(np.float32)
    return found


def sound_end(path: Path | str) -> float:
    """When a file's sound ends, in seconds of the file's own time: found by decoding it. MediaError as `read_audio`."""
    with opened(path) as container:
        end = 0.0
        for time, frame in sounds(container, need_stream(container, "audio", path), path):
            end = time + _without_padding(frame) / frame.sample_rate
    return end


def _pieces(container: Any, stream: Any, path: Path | str, channel: Channel) -> Iterator[tuple[float, int, Samples]]:
    """(start in seconds, sample rate, mono samples) of every decoded frame; the last may be shorter than decoded."""
    last: tuple[float, Any] | None = None
    for time, frame in sounds(container, stream, path):
        if last is not None:
            yield last[0], last[1].sample_rate, _read(last[1], path, channel)
        last = time, frame
    if last is not None:
        time, frame = last
        yield time, frame.sample_rate, _read(frame, path, channel)[: _without_padding(frame)]


def _without_padding(frame: Any) -> int:
    """Number of samples of the stream's last frame without the encoder's padding, which mp4 declares."""
    declared, tick = round(frame.duration * frame.time_base * frame.sample_rate), frame.time_base * frame.sample_rate
    samples: int = frame.samples
    return declared if 0 < declared < samples - tick else samples


def _read(frame: Any, path: Path | str, channel: Channel) -> Samples:
    try:
        return mono(frame, channel)
    except NoChannelError as error:
        raise ChannelError(path, f"its sound {error}") from error
    except ValueError as error:
        raise MediaError(path, f"its {frame.format.name} samples cannot be read ({error}); convert them") from error


def _placed(
    pieces: Iterator[tuple[float, int, Samples]], origin: float, seconds: float, path: Path | str
) -> tuple[int, Samples]:
    """The file's sample rate, and its sound over [origin, origin + seconds)."""
    rate, cursor, filled = 0, 0, 0
    window = np.zeros(0, dtype=np.float32)
    for time, piece_rate, samples in pieces:
        if not rate:
            rate, cursor = piece_rate, round((time - origin) * piece_rate)
            window = np.zeros(ceil(seconds * rate), dtype=np.float32)
        if piece_rate != rate:
            raise MediaError(path, f"its sample rate changes from {rate} to {piece_rate} Hz; convert it to one")
        place = round((time - origin) * rate)
        if cursor - place > OVERLAP * rate:
            at, back = cursor / rate, (cursor - place) / rate
            raise MediaError(
                path, f"its sound goes back by {back:.3f} s after {at:.3f} s; cut it there, or re-encode it"
            )
        cursor = place if abs(place - cursor) > GAP * rate else cursor
        first, last = max(0, cursor), min(len(window), cursor + len(samples))
        if first < last:
            window[first:last] = samples[first - cursor : last - cursor]
            filled = max(filled, last)
        cursor += len(samples)
        if cursor >= len(window):
            break
    return max(rate, 1), window[:filled]
