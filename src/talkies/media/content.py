"""The decoded content of a file, independent of its container; files with equal content are copies."""

import hashlib
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from av.codec.context import Flags2
from scipy.signal import fftconvolve

from talkies.media.colour import colours
from talkies.media.container import MediaError, find_stream, opened
from talkies.media.downmix import channel_values
from talkies.media.orientation import orientation
from talkies.media.rates import frame_rate
from talkies.media.sound import read_audio

RATE, LAG = 8000, 0.1
"""Hz at which sounds are compared, and seconds by which they may be shifted: encoders delay sound."""
SILENT = 1e-3
"""RMS below which sound is silence."""
ALIKE = 0.7
"""Smallest correlation of two encodings of the same sound. Measured over 1 s of re-encoded speech, music, noise and
tones: 0.84 (white noise in Opus at 24 kbit/s) to 1; different sounds: below 0.1."""


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """The first pictures of a file: a `digest` of their stored values; `shown`: how they are displayed (rate, pixel
    aspect, colours and orientation, or why these are unsupported); `still`: whether all are the same."""

    digest: str
    shown: str
    still: bool


def pictures_of(path: Path | str, *, frames: int) -> Pictures | None:
    """Pictures of the first `frames` decoded frames; None if the file has none. Raises MediaError if they cannot be
    decoded."""
    with opened(path) as container:
        stream = find_stream(container, "video")
        if stream is None or stream.codec_context is None:
            return None
        digest, shown, seen = hashlib.sha256(), "", set[bytes]()
        for number, frame in enumerate(container.decode(stream), 1):
            values = hashlib.sha256(_values(frame)).digest()
            digest.update(values)
            seen.add(values)
            shown = shown or _shown(stream, frame, path)
            if number == frames:
                break
    return Pictures(digest=digest.hexdigest(), shown=shown, still=len(seen) < 2)


def _values(frame: Any) -> bytes:
    try:
        values = frame.to_ndarray(format="rgba" if frame.format.has_palette else None)
    except ValueError:  # a format that PyAV cannot convert to an array
        values = frame.to_ndarray(format="rgb24")
    return f"{values.shape}{values.dtype}".encode() + np.ascontiguousarray(values).tobytes()


def _shown(stream: Any, frame: Any, path: Path | str) -> str:
    try:
        rate, aspect = float(frame_rate(stream, path)), float(stream.sample_aspect_ratio or 1)
        return f"{rate:.2f} {aspect:.3f} {colours(frame, path)} {orientation(frame, path)}"
    except MediaError as error:
        return error.reason


def sound_digest(path: Path | str, *, seconds: float | Fraction) -> str:
    """sha256 over `seconds` of decoded sound. Raises MediaError if there is no sound, or if it cannot be decoded."""
    digest = hashlib.sha256()
    with opened(path) as container:
        stream = find_stream(container, "audio")
        if stream is None or stream.codec_context is None:
            raise MediaError(path, "has neither a video nor an audio stream")
        # Containers differ in how they declare a codec's priming, but the decoded samples are the same.
        stream.codec_context.flags2 |= Flags2.skip_manual
        left: int | None = None
        for frame in container.decode(stream):
            left = int(seconds * frame.sample_rate) if left is None else left
            values = channel_values(frame)[:, :left].astype(np.float32)
            digest.update(np.ascontiguousarray(values.T).tobytes())
            left -= values.shape[1]
            if left <= 0:
                break
    return digest.hexdigest()


def has_sound(path: Path | str) -> bool:
    """Whether a file has an audio stream. Raises MediaError if it cannot be opened."""
    with opened(path) as container:
        return find_stream(container, "audio") is not None


def sounds_alike(first: Path | str, second: Path | str, *, seconds: float | Fraction) -> bool:
    """Whether two files have the same sound, possibly in different encodings, or are both silent. Raises MediaError if
    the sound is missing or cannot be decoded."""
    one, other = (read_audio(path, sample_rate=RATE, seconds=seconds).double().numpy() for path in (first, second))
    one, other = (np.pad(values, (0, max(len(one), len(other)) - len(values))) for values in (one, other))
    levels = [float(np.sqrt(np.square(values).mean())) if len(values) else 0.0 for values in (one, other)]
    if min(levels) < SILENT:
        return max(levels) < SILENT
    size, reach = len(one), int(LAG * RATE)
    match = fftconvolve(one, other[::-1])[max(0, size - 1 - reach) : size + reach]
    return float(match.max()) >= ALIKE * size * levels[0] * levels[1]
