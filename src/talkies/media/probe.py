"""Describes a media file (`probe`)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from talkies.media.container import MediaError, find_stream, need_stream, opened
from talkies.media.decoding import pictures, sounds
from talkies.media.frames import upright_size
from talkies.media.rates import SLOTTED, frame_rate

UNDELAYED = ("pcm_", "adpcm_", "flac", "alac")
"""Codecs, by the prefix of their names, whose encoders add no delay before the sound."""


@dataclass(frozen=True, kw_only=True)
class MediaInfo:
    """The declared properties of a file; the size is that of the upright picture. None if there is no such stream, or
    if the file does not declare it (Matroska has no frame count). `delayed`: its sound begins with an encoder delay of
    unknown length."""

    fps: float | None = None
    frames: int | None = None
    seconds: float | None = None
    width: int | None = None
    height: int | None = None
    audio_rate: int | None = None
    audio_channels: int | None = None
    audio_seconds: float | None = None
    delayed: bool = False


def probe(path: Path | str) -> MediaInfo:
    """Describe a file whose first frame and first sound can be decoded.

    Raises MediaError (a DataError) if they cannot, or if there is neither video nor sound.
    """
    properties: dict[str, Any] = {}
    for kind, describe in (("video", _video), ("audio", _audio)):
        with opened(path) as container:
            if find_stream(container, kind) is not None:
                properties |= describe(container, path)
    if not properties:
        raise MediaError(path, "has neither a video nor an audio stream")
    return MediaInfo(**properties)


def _video(container: Any, path: Path | str) -> dict[str, Any]:
    stream = need_stream(container, "video", path)
    first = _first(pictures(container, stream, path), stream, path)
    fps, seconds = float(frame_rate(stream, path)), _seconds(container, stream)
    width, height = upright_size(first, path)
    return {"fps": fps, "frames": stream.frames or None, "seconds": seconds, "width": width, "height": height}


def _audio(container: Any, path: Path | str) -> dict[str, Any]:
    stream = need_stream(container, "audio", path)
    first = _first(sounds(container, stream, path), stream, path)
    return {
        "audio_rate": first.sample_rate,
        "audio_channels": first.layout.nb_channels,
        "audio_seconds": _seconds(container, stream),
        "delayed": container.format.name == SLOTTED and not stream.codec_context.codec.name.startswith(UNDELAYED),
    }


def _first(decoded: Iterator[tuple[float, Any]], stream: Any, path: Path | str) -> Any:
    first = next(decoded, None)
    if first is None:
        raise MediaError(path, f"its {stream.type} stream is empty")
    return first[1]


def _seconds(container: Any, stream: Any) -> float | None:
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    return None if container.duration is None else container.duration / 1e6
