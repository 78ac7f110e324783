"""The sound of a media file, mono, placed in time as the file's timestamps say."""

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
"""Seconds: a jump of the timestamps beyond this is a gap or an overlap, below it rounding (Matroska: 1 ms). Less than
half a frame at 60 fps."""
OVERLAP = 0.1
"""Seconds: sound that begins before the sound so far ends takes its place; more than this is a file that goes back."""
MARGIN = 0.05
"""Seconds decoded beyond the window, so that its last samples are resampled from what really follows."""


class ChannelError(MediaError):
    """Sound without the channel that was asked for."""


def read_audio(
    path: Path | str,
    *,
    sample_rate: int,
    seconds: float | Fraction,
    begin: Beginning | None = None,
    channel: Channel = "mix",
) -> Tensor:
    """Sound [S] fp32 from `begin` on (default: `find_beginning(path)`), when the window's first picture is shown.

    The mix of the channels or one of them, resampled to `sample_rate`; silence where the file's sound has a gap. S is
    floor(sample_rate * seconds), or less where the sound ends before. Raises MediaError without an audio stream or
    where it is damaged within the window, ChannelError without such a channel.
    """
    with opened(path) as container:
        stream = need_stream(container, "audio", path)
        begin = find_beginning(path) if begin is None else begin
        pieces = _pieces(container, stream, path, channel)
        rate, sound = _placed(pieces, begin.seconds, float(seconds) + MARGIN, path)
    if rate != sample_rate:
        common = Fraction(sample_rate, rate)
        sound = resample_poly(sound, common.numerator, common.denominator).astype(np.float32)
    # A float such as 193 / 24 may lie a rounding error below the duration that it stands for.
    return torch.from_numpy(sound[: floor(sample_rate * seconds + 1e-6)].copy())


def _pieces(container: Any, stream: Any, path: Path | str, channel: Channel) -> Iterator[tuple[float, int, Samples]]:
    """(start in seconds, sample rate, mono samples) of every decoded frame; the last may be shorter than decoded."""
    last: tuple[float, Any] | None = None
    for time, frame in sounds(container, stream, path):
        if last is not None:
            yield last[0], last[1].sample_rate, _read(last[1], path, channel)
        last = time, frame
    if last is not None:
        time, frame = last
        yield time, frame.sample_rate, _read(frame, path, channel)[: _meant(frame)]


def _meant(frame: Any) -> int:
    """How many samples of the stream's last frame belong to it: encoders fill it up, and mp4 says how far."""
    told, tick = round(frame.duration * frame.time_base * frame.sample_rate), frame.time_base * frame.sample_rate
    samples: int = frame.samples
    return told if 0 < told < samples - tick else samples


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
    held = np.zeros(0, dtype=np.float32)
    for time, found, samples in pieces:
        if not rate:
            rate, cursor = found, round((time - origin) * found)
            held = np.zeros(ceil(seconds * rate), dtype=np.float32)
        if found != rate:
            raise MediaError(path, f"its sample rate changes from {rate} to {found} Hz; convert it to one")
        place = round((time - origin) * rate)
        if cursor - place > OVERLAP * rate:
            at, back = cursor / rate, (cursor - place) / rate
            raise MediaError(
                path, f"its sound goes back by {back:.3f} s after {at:.3f} s; cut it there, or encode it anew"
            )
        cursor = place if abs(place - cursor) > GAP * rate else cursor
        first, last = max(0, cursor), min(len(held), cursor + len(samples))
        if first < last:
            held[first:last] = samples[first - cursor : last - cursor]
            filled = max(filled, last)
        cursor += len(samples)
        if cursor >= len(held):
            break
    return max(rate, 1), held[:filled]
