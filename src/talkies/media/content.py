"""What a file decodes to, whatever its container: a digest that a remux does not change."""

import hashlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from av.codec.context import Flags2

from talkies.media.container import MediaError, find_stream, opened
from talkies.media.downmix import channel_values


def content_digest(path: Path | str, *, frames: int, seconds: float | Fraction) -> str:
    """sha256 over the first `frames` pictures and `seconds` of sound as the codecs give them out, of whatever the file
    has of both. Raises MediaError for what cannot be decoded."""
    digest, missing = hashlib.sha256(), list[str]()
    for kind in ("video", "audio"):
        with opened(path) as container:
            stream = find_stream(container, kind)
            if stream is None or stream.codec_context is None:
                missing.append(kind)
                digest.update(b"none")
            elif kind == "video":
                _add_pictures(digest, container, stream, frames)
            else:
                _add_sound(digest, container, stream, seconds)
    if len(missing) == 2:
        raise MediaError(path, "has neither a video nor an audio stream")
    return digest.hexdigest()


def _add_pictures(digest: Any, container: Any, stream: Any, frames: int) -> None:
    for number, frame in enumerate(container.decode(stream), 1):
        try:
            values = frame.to_ndarray()
        except ValueError:  # a format that PyAV cannot hand out
            values = frame.to_ndarray(format="rgb24")
        digest.update(f"{values.shape}{values.dtype}".encode() + np.ascontiguousarray(values).tobytes())
        if number == frames:
            return


def _add_sound(digest: Any, container: Any, stream: Any, seconds: float | Fraction) -> None:
    # Containers differ in how they declare the priming of a codec, not in what it decodes to.
    stream.codec_context.flags2 |= Flags2.skip_manual
    left: int | None = None
    for frame in container.decode(stream):
        left = int(seconds * frame.sample_rate) if left is None else left
        values = channel_values(frame)[:, :left].astype(np.float32)
        digest.update(np.ascontiguousarray(values.T).tobytes())
        left -= values.shape[1]
        if left <= 0:
            return
